//! Lists of segments and what is heard in them.

use std::path::Path;

use crate::audio::SAMPLE_RATE;

use super::list::{ListError, Mistake, Names, number, read};

/// A line of the list.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The line, counted from 1.
    pub line: usize,
    /// Number of its path.
    pub path: usize,
    /// First sample at 16 kHz.
    pub start: u64,
    /// Samples.
    pub length: usize,
    /// Number of its label.
    pub label: usize,
    /// Number of the label that a system gave, where the list brings one.
    pub given: Option<usize>,
}

/// A list, its names by number.
#[derive(Debug, Clone, Default)]
pub struct SoundList {
    /// In the order of the list.
    pub segments: Vec<Segment>,
    /// Paths as the list writes them.
    pub paths: Names,
    /// Labels, true and given ones.
    pub labels: Names,
}

impl SoundList {
    /// Reads `path start_s seconds label`, with a found label as last column if `given`.
    pub fn read(path: &Path, given: bool) -> Result<Self, ListError> {
        let mut list = Self::default();
        read(path, |line, row| list.add(line, row, given))?;
        Ok(list)
    }

    fn add(&mut self, line: usize, row: &[&str], given: bool) -> Result<(), Mistake> {
        let (path, start, seconds, label, found) = match (row, given) {
            (&[path, start, seconds, label], false) => (path, start, seconds, label, None),
            (&[path, start, seconds, label, found], true) => {
                (path, start, seconds, label, Some(found))
            }
            (_, false) => return Err(Mistake::columns("path start_s seconds label", row)),
            (_, true) => return Err(Mistake::columns("path start_s seconds label found", row)),
        };
        self.segments.push(Segment {
            line,
            path: self.paths.number(path),
            start: samples(start, "the start in seconds, 0 to 14400", 0.0..=14_400.0)?,
            length: samples(seconds, "a length of 0.1 to 600 seconds", 0.1..=600.0)? as usize,
            label: self.labels.row(label)?,
            given: found.map(|found| self.labels.row(found)).transpose()?,
        });
        Ok(())
    }
}

fn samples(
    column: &str,
    expected: &str,
    range: std::ops::RangeInclusive<f64>,
) -> Result<u64, Mistake> {
    let seconds: f64 = number(column, expected)?;
    match range.contains(&seconds) {
        true => Ok((seconds * f64::from(SAMPLE_RATE)).round() as u64),
        false => Err(Mistake::new(expected, column)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_read_and_checked() {
        let mut list = SoundList::default();
        list.add(1, &["a.wav", "1.5", "5", "rain"], false).unwrap();
        list.add(2, &["a.wav", "0", "0.5", "rain", "dog"], true)
            .unwrap();
        let segment = &list.segments[0];
        assert_eq!(
            (segment.start, segment.length, segment.given),
            (24_000, 80_000, None)
        );
        assert_eq!(list.segments[1].given, Some(1));
        for (row, given) in [
            (&["a.wav", "0", "5"][..], false),
            (&["a.wav", "0", "5", "rain"], true),
            (&["a.wav", "-1", "5", "rain"], false),
            (&["a.wav", "0", "nan", "rain"], false),
            (&["a.wav", "0", "1e9", "rain"], false),
        ] {
            assert!(list.add(3, row, given).is_err(), "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_an_error_or_a_segment(words in prop::collection::vec("[ -~é/]{0,12}", 0..7), given: bool) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = SoundList::default().add(1, &words, given);
        }
    }
}
