//! The recipes hang together: what one of them takes from another is there. They run for hours, on packages that no test installs, so that nothing else would
//! tell before somebody trains.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Names that a module makes at its top level, or imports there.
fn made(source: &str) -> BTreeSet<String> {
    // What every module has.
    let mut names = BTreeSet::from(["__doc__".to_owned()]);
    let mut add = |text: &str| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        names.extend(
            text.split(|c: char| !is_name(c))
                .filter(|n| !n.is_empty())
                .map(str::to_owned),
        );
    };
    for line in source.lines() {
        for keyword in ["def ", "class "] {
            if let Some(rest) = line.strip_prefix(keyword) {
                add(rest.split(['(', ':']).next().unwrap());
            }
        }
        if let Some((_, taken)) = line.split_once(" import ") {
            add(taken);
        } else if let Some(module) = line.strip_prefix("import ") {
            add(module);
        } else if let Some((left, _)) = line.split_once(" = ")
            && !line.starts_with(' ')
        {
            add(left);
        }
    }
    names
}

/// `from ..common.x import a, b as c` of a module in `folder`: where it points, and the names.
fn taken(folder: &Path, line: &str) -> Option<(PathBuf, Vec<String>)> {
    let (from, names) = line
        .trim_start()
        .strip_prefix("from .")?
        .split_once(" import ")?;
    let up = from.chars().take_while(|c| *c == '.').count();
    let mut at = folder.to_path_buf();
    (0..up).for_each(|_| assert!(at.pop(), "{line}"));
    at.extend(from[up..].split('.').filter(|part| !part.is_empty()));
    let names = names.split('#').next().unwrap().trim_matches(['(', ')']);
    let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
    let own = |name: &str| name.split(" as ").next().unwrap().to_owned();
    Some((at, names.map(own).collect()))
}

fn sources(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "py") {
            let source = std::fs::read_to_string(&path).unwrap();
            found.insert(path.with_extension(""), source);
        }
    }
}

#[test]
fn what_a_recipe_takes_from_another_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recipes");
    let mut modules = BTreeMap::new();
    sources(&root, &mut modules);
    let made: BTreeMap<&PathBuf, BTreeSet<String>> =
        modules.iter().map(|(at, s)| (at, made(s))).collect();
    let (mut checked, mut missing) = (0, Vec::new());
    for (at, source) in &modules {
        for line in source.lines() {
            let Some((from, names)) = taken(at.parent().unwrap(), line) else {
                continue;
            };
            for name in names {
                checked += 1;
                let inside = [from.clone(), from.join("__init__")];
                let is_made = inside
                    .iter()
                    .any(|m| made.get(m).is_some_and(|names| names.contains(&name)));
                let is_module =
                    modules.contains_key(&from.join(&name)) || from.join(&name).is_dir();
                if !is_made && !is_module {
                    missing.push(format!("{}: {line}: no {name}", at.display()));
                }
            }
        }
    }
    assert!(checked > 300, "{checked} names");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
