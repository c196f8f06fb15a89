//! The committed schema, reference page and example configurations agree with the types.
//! `EARWITNESS_BLESS=1 cargo test --test config` rewrites the first two.

use std::path::{Path, PathBuf};

use earwitness::config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a committed file with what the types say, or rewrites it.
fn in_step(path: &str, expected: &str) {
    let file = root().join(path);
    if std::env::var_os("EARWITNESS_BLESS").is_some() {
        std::fs::write(&file, expected).expect("the file can be written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{path} is behind the types: run EARWITNESS_BLESS=1 cargo test --test config"
    );
}

fn examples() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("configs"))
        .expect("configs/ is there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

#[test]
fn the_schema_is_in_step() {
    let schema = serde_json::to_string_pretty(&config::schema()).expect("a value serialises");
    in_step("schema/config.json", &(schema + "\n"));
}

#[test]
fn the_reference_page_is_in_step() {
    in_step("docs/configuration.md", &config::reference());
}

#[test]
fn the_reference_page_explains_every_key() {
    let page = config::reference();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let meaning = cells.last().expect("a last cell").trim();
        assert!(meaning.len() > 5, "no meaning: {line}");
        assert!(!cells[1].trim().is_empty(), "no type: {line}");
    }
}

#[test]
fn every_example_is_valid() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).expect("readable");
        if let Err(error) = config::load_with(&path, &text, std::iter::empty()) {
            panic!("{error}");
        }
        assert!(
            text.starts_with("#:schema ../schema/config.json\n"),
            "{path:?} does not name its schema"
        );
    }
}

#[test]
fn every_example_passes_the_schema_and_a_wrong_one_does_not() {
    let validator = jsonschema::validator_for(&config::schema()).expect("a valid schema");
    for path in examples() {
        let text = std::fs::read_to_string(&path).expect("readable");
        let value: serde_json::Value = toml::from_str(&text).expect("TOML");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{path:?}");
    }
    for wrong in [
        "noed = 'x'",
        "node = 'a b'",
        "[window]\nlength_s = 11",
        "[[stream]]\nid = 'a'\nsource = { kind = 'mic', path = 'x' }",
        "[[stream]]\nid = 'a'\nsource = { kind = 'stdin', pcm = { rate = 7 } }",
        "[speaker.decision]\nprior = 1.0",
        "[mqtt]\nbroker = 'localhost'",
    ] {
        let value: serde_json::Value = toml::from_str(wrong).expect("TOML");
        assert!(!validator.is_valid(&value), "{wrong}");
    }
}
