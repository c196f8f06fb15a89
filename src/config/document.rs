//! A parsed file that remembers where each key stands, so that a problem found later can name its line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem};

/// The file's table with environment overrides laid over it, and the position of every key.
pub(super) struct Document<'t> {
    path: PathBuf,
    text: &'t str,
    /// What serde reads.
    pub(super) root: Spanned<DeTable<'t>>,
    /// Variables laid over the file. The value of variable `i` has the span `text.len() + 1 + i`, which lies behind the text.
    variables: Vec<String>,
}

/// Position of every key of a document by its path. A copy, because reading the values consumes the document.
pub(super) struct Positions {
    path: PathBuf,
    starts: Vec<usize>,
    text: String,
    variables: Vec<String>,
    keys: BTreeMap<String, KeyPosition>,
}

struct KeyPosition {
    key: Range<usize>,
    value: Range<usize>,
}

impl<'t> Document<'t> {
    /// Parses `text`; `path` is only named in problems.
    pub(super) fn parse(path: &Path, text: &'t str) -> Result<Self, Problem> {
        let root = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = line_and_column(&line_starts(text), text, at);
            Problem {
                place: Place::File {
                    path: path.to_path_buf(),
                    line,
                    column,
                },
                key: String::new(),
                message: format!("this is not TOML: {}", error.message()),
            }
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            text,
            root,
            variables: Vec::new(),
        })
    }

    /// Lays one environment value over the file. `keys` is the path of the value from the root.
    pub(super) fn lay_over(&mut self, variable: &str, keys: &[&str], value: DeValue<'t>) {
        let at = self.text.len() + 1 + self.variables.len();
        self.variables.push(variable.to_owned());
        let Some((last, tables)) = keys.split_last() else {
            return;
        };
        let mut table = self.root.get_mut();
        for name in tables {
            let key = Spanned::new(at..at, Cow::Owned((*name).to_owned()));
            let entry = table
                .entry(key)
                .or_insert_with(|| Spanned::new(at..at, DeValue::Table(DeTable::new())));
            // A scalar where a table belongs: left for serde, which names its line.
            let DeValue::Table(next) = entry.get_mut() else {
                return;
            };
            table = next;
        }
        // Removed first: an insertion would keep the old key and with it the position in the file.
        table.remove(*last);
        let key = Spanned::new(at..at, Cow::Owned((*last).to_owned()));
        table.insert(key, Spanned::new(at..at, value));
    }

    /// Where every key stands.
    pub(super) fn positions(&self) -> Positions {
        let mut keys = BTreeMap::new();
        index_table(self.root.get_ref(), "", &mut keys);
        Positions {
            path: self.path.clone(),
            starts: line_starts(self.text),
            text: self.text.to_owned(),
            variables: self.variables.clone(),
            keys,
        }
    }
}

impl Positions {
    /// A problem with the value of `key`; of a key that is not written, the nearest table around it is shown.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let mut shown = key;
        let at = loop {
            if let Some(position) = self.keys.get(shown) {
                break position.value.start;
            }
            match shown.rfind(['.', '[']) {
                Some(cut) => shown = &shown[..cut],
                None => break 0,
            }
        };
        Problem {
            place: self.place(at),
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// Whether `key` is written, in the file or a variable.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// A problem with `key` itself, not with its value.
    pub(super) fn problem_with_key(&self, key: &str, message: impl Into<String>) -> Problem {
        let at = self.keys.get(key).map_or(0, |position| position.key.start);
        Problem {
            place: self.place(at),
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// A problem that serde found.
    pub(super) fn serde_problem(&self, error: &toml::de::Error) -> Problem {
        let message = error
            .message()
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key")
            .replace("unknown variant", "unknown value");
        let at = error.span().map_or(0, |span| span.start);
        Problem {
            place: self.place(at),
            key: self.key_at(at).unwrap_or_default(),
            message,
        }
    }

    /// The deepest key at a position.
    fn key_at(&self, at: usize) -> Option<String> {
        self.keys
            .iter()
            .filter(|(_, position)| {
                position.key.start == at
                    || position.value.start == at
                    || position.value.contains(&at)
            })
            .max_by_key(|(key, _)| key.len())
            .map(|(key, _)| key.clone())
    }

    fn place(&self, at: usize) -> Place {
        if let Some(index) = at.checked_sub(self.text.len() + 1)
            && let Some(variable) = self.variables.get(index)
        {
            return Place::Environment {
                variable: variable.clone(),
            };
        }
        let (line, column) = line_and_column(&self.starts, &self.text, at);
        Place::File {
            path: self.path.clone(),
            line,
            column,
        }
    }
}

fn index_table(table: &DeTable<'_>, prefix: &str, keys: &mut BTreeMap<String, KeyPosition>) {
    for (key, value) in table.iter() {
        let path = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        index_value(value, &path, key.span(), keys);
    }
}

fn index_value(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    key: Range<usize>,
    keys: &mut BTreeMap<String, KeyPosition>,
) {
    match value.get_ref() {
        DeValue::Table(table) => index_table(table, path, keys),
        DeValue::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                index_value(value, &format!("{path}[{i}]"), value.span(), keys);
            }
        }
        _ => {}
    }
    let value = value.span();
    keys.insert(path.to_owned(), KeyPosition { key, value });
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.match_indices('\n').map(|(i, _)| i + 1))
        .collect()
}

fn line_and_column(starts: &[usize], text: &str, at: usize) -> (usize, usize) {
    let at = at.min(text.len());
    let line = starts.partition_point(|start| *start <= at).max(1);
    let start = starts.get(line - 1).copied().unwrap_or(0);
    let column = text.get(start..at).map_or(0, |head| head.chars().count());
    (line, column + 1)
}
