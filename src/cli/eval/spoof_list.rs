//! Lists of files, bona fide or made by a named system.

use std::path::Path;

use super::list::{ListError, Mistake, Names, read, score};

/// A line of the list.
#[derive(Debug, Clone)]
pub struct File {
    /// The line, counted from 1.
    pub line: usize,
    /// Number of its path.
    pub path: usize,
    /// The truth.
    pub bona_fide: bool,
    /// Number of the system that made it, or of the source that it was recorded for.
    pub system: usize,
    /// Number of the bootstrap's unit.
    pub unit: usize,
    /// The score, where the list brings one.
    pub given: Option<f64>,
}

/// A list, its names by number.
#[derive(Debug, Clone, Default)]
pub struct SpoofList {
    /// In the order of the list.
    pub files: Vec<File>,
    /// Paths as the list writes them.
    pub paths: Names,
    /// Systems and sources.
    pub systems: Names,
    /// Files, or what the list names as the unit.
    pub units: Names,
}

impl SpoofList {
    /// Reads `path label system [unit]`, with a score as last column if `given`.
    pub fn read(path: &Path, given: bool) -> Result<Self, ListError> {
        let mut list = Self::default();
        read(path, |line, row| list.add(line, row, given))?;
        Ok(list)
    }

    fn add(&mut self, line: usize, row: &[&str], given: bool) -> Result<(), Mistake> {
        let (columns, given) = match (given, row.split_last()) {
            (true, Some((last, columns))) => (columns, Some(*last)),
            _ => (row, None),
        };
        let (path, label, system, unit) = match *columns {
            [path, label, system] => (path, label, system, path),
            [path, label, system, unit] => (path, label, system, unit),
            _ => {
                let wanted = match given {
                    None => "path label system [unit]",
                    Some(_) => "path label system [unit] score",
                };
                return Err(Mistake::columns(wanted, row));
            }
        };
        let bona_fide = match label {
            "1" | "bonafide" => true,
            "0" | "spoof" => false,
            other => {
                let labels = "1 or bonafide, or 0 or spoof as the label";
                return Err(Mistake::new(labels, other));
            }
        };
        self.files.push(File {
            line,
            path: self.paths.number(path),
            bona_fide,
            system: self.systems.row(system)?,
            unit: self.units.number(unit),
            given: given.map(score).transpose()?,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_read_and_checked() {
        let mut list = SpoofList::default();
        list.add(1, &["a.wav", "1", "page"], false).unwrap();
        list.add(2, &["b.wav", "spoof", "gan", "ann", "-0.5"], true)
            .unwrap();
        let file = &list.files[1];
        assert_eq!(
            (file.bona_fide, file.system, file.unit, file.given),
            (false, 1, 1, Some(-0.5))
        );
        assert_eq!(
            (list.files[0].bona_fide, list.units.name(0)),
            (true, "a.wav")
        );
        for row in [
            &["a.wav", "1"][..],
            &["a.wav", "2", "x"],
            &["a", "1", "b", "c", "d"],
        ] {
            assert!(list.add(3, row, false).is_err(), "{row:?}");
        }
        assert!(list.add(3, &["a.wav", "1", "x"], true).is_err());
    }

    proptest! {
        #[test]
        fn any_words_are_an_error_or_a_file(words in prop::collection::vec("[ -~é/]{0,12}", 0..7), given: bool) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = SpoofList::default().add(1, &words, given);
        }
    }
}
