//! Trial lists: lines of columns, and what is wrong with a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest line, bytes: two paths of the file system's limit and some.
const LINE_LIMIT: u64 = 16 << 10;
/// The most trials of a list.
const TRIALS_LIMIT: usize = 2_000_000;
/// The most groups, systems or labels: each is a row of the report.
const ROWS_LIMIT: usize = 1000;

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("cannot read the list {}: {source}", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not as its kind of list wants it.
    #[error("{}, line {line}: expected {expected}, found {found}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// It holds no trial.
    #[error("{}: expected a trial a line, found none", path.display())]
    Empty {
        /// The list.
        path: PathBuf,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    expected: String,
    found: String,
}

impl Mistake {
    /// Says what was expected, and what is there (cut, where it is long).
    pub fn new(expected: impl Into<String>, found: &str) -> Self {
        let cut: String = found.chars().take(80).collect();
        let dots = if cut.len() < found.len() { "…" } else { "" };
        Self {
            expected: expected.into(),
            found: format!("\"{cut}{dots}\""),
        }
    }

    /// The wrong number of columns.
    pub fn columns(expected: &str, row: &[&str]) -> Self {
        Self {
            expected: expected.to_owned(),
            found: format!("{} column(s)", row.len()),
        }
    }

    /// The same as a mistake in a line of a list.
    pub fn at(self, path: &Path, line: usize) -> ListError {
        ListError::Line {
            path: path.into(),
            line,
            expected: self.expected,
            found: self.found,
        }
    }
}

/// Reads a list, one row a call of `row`: columns are what white space separates, or tabs alone where a line holds one. Empty
/// lines and those that start with `#` are passed over.
pub fn read(
    path: &Path,
    row: impl FnMut(usize, &[&str]) -> Result<(), Mistake>,
) -> Result<(), ListError> {
    let failed = |source| ListError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    rows(BufReader::new(file), path, row)
}

fn rows(
    mut from: impl BufRead,
    path: &Path,
    mut row: impl FnMut(usize, &[&str]) -> Result<(), Mistake>,
) -> Result<(), ListError> {
    let (mut bytes, mut line, mut trials) = (Vec::new(), 0, 0);
    loop {
        bytes.clear();
        line += 1;
        let read = from.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| ListError::Read {
            path: path.into(),
            source,
        })?;
        if read == 0 {
            break;
        }
        let wrong = |mistake: Mistake| mistake.at(path, line);
        if read as u64 == LINE_LIMIT {
            return Err(wrong(Mistake::new(
                format!("a line of at most {LINE_LIMIT} bytes"),
                &String::from_utf8_lossy(&bytes),
            )));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| wrong(Mistake::new("UTF-8", &String::from_utf8_lossy(&bytes))))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = match text.contains('\t') {
            true => text.split('\t').map(str::trim).collect(),
            false => text.split_whitespace().collect(),
        };
        trials += 1;
        if trials > TRIALS_LIMIT {
            return Err(wrong(Mistake::new(
                format!("at most {TRIALS_LIMIT} trials"),
                text,
            )));
        }
        row(line, &columns).map_err(wrong)?;
    }
    match trials {
        0 => Err(ListError::Empty { path: path.into() }),
        _ => Ok(()),
    }
}

/// A number in a column.
pub fn number<T: std::str::FromStr>(column: &str, expected: &str) -> Result<T, Mistake> {
    column.parse().map_err(|_| Mistake::new(expected, column))
}

/// A score in a column.
pub fn score(column: &str) -> Result<f64, Mistake> {
    let expected = "a finite score as the last column (--given)";
    let score: f64 = number(column, expected)?;
    match score.is_finite() {
        true => Ok(score),
        false => Err(Mistake::new(expected, column)),
    }
}

/// Names by number, each kept once, in order of appearance.
#[derive(Debug, Clone, Default)]
pub struct Names {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    /// The number of a name, new or not.
    pub fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The number of a name that has a row of its own in the report.
    pub fn row(&mut self, name: &str) -> Result<usize, Mistake> {
        let number = self.number(name);
        match number < ROWS_LIMIT {
            true => Ok(number),
            false => Err(Mistake::new(
                format!("at most {ROWS_LIMIT} different groups, systems or labels"),
                &format!("one more, {name}"),
            )),
        }
    }

    /// The name of a number.
    pub fn name(&self, number: usize) -> &str {
        self.names.get(number).map_or("", String::as_str)
    }

    /// All of them, in alphabetical order, with their numbers.
    pub fn sorted(&self) -> Vec<(&str, usize)> {
        let mut sorted: Vec<_> = self.names.iter().map(String::as_str).zip(0..).collect();
        sorted.sort_unstable();
        sorted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Vec<(usize, Vec<String>)>, ListError> {
        let mut all = Vec::new();
        rows(bytes, Path::new("list.txt"), |line, row| {
            all.push((line, row.iter().map(|c| (*c).to_owned()).collect()));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn columns_are_words_or_what_tabs_separate() {
        let found = parse(b"# head\na  b\r\n\n a b\tc \n").unwrap();
        assert_eq!(found[0], (2, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(found[1], (4, vec!["a b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn mistakes_name_the_line() {
        let error = rows(&b"a\nb\n"[..], Path::new("list.txt"), |_, row| {
            number::<u64>(row[0], "a number").map(|_| ())
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "list.txt, line 1: expected a number, found \"a\""
        );
        let error = parse(b"fine\n\xff\n").unwrap_err().to_string();
        assert!(
            error.starts_with("list.txt, line 2: expected UTF-8"),
            "{error}"
        );
        assert!(
            parse(b"\n# nothing\n")
                .unwrap_err()
                .to_string()
                .contains("found none")
        );
        let long = vec![b'x'; 20_000];
        assert!(
            parse(&long)
                .unwrap_err()
                .to_string()
                .contains("at most 16384 bytes")
        );
        assert!(score("nan").is_err() && score("inf").is_err() && score("-1e3").is_ok());
    }

    #[test]
    fn rows_of_a_report_are_bounded() {
        let mut names = Names::default();
        assert!((0..1000).all(|i| names.row(&i.to_string()) == Ok(i)));
        assert!(names.row("7").is_ok() && names.row("1000").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_rows(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
