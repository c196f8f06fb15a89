//! Lists of recordings in which some stretches are synthetic.

use std::ops::Range;
use std::path::Path;

use super::list::{ListError, Mistake, Names, number, read};

/// A line of the list.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The line, counted from 1.
    pub line: usize,
    /// Number of its path.
    pub path: usize,
    /// Number of the system that made what is synthetic in it, or of the source of what is real.
    pub system: usize,
    /// What is synthetic, seconds, in order.
    pub fakes: Vec<Range<f64>>,
}

/// A list, its names by number.
#[derive(Debug, Clone, Default)]
pub struct TimelineList {
    /// In the order of the list.
    pub recordings: Vec<Recording>,
    /// Paths as the list writes them.
    pub paths: Names,
    /// Systems and sources.
    pub systems: Names,
}

impl TimelineList {
    /// Reads `path system [start_s end_s]…`.
    pub fn read(path: &Path) -> Result<Self, ListError> {
        let mut list = Self::default();
        read(path, |line, row| list.add(line, row))?;
        Ok(list)
    }

    fn add(&mut self, line: usize, row: &[&str]) -> Result<(), Mistake> {
        let (Some((path, system)), times) = (row.first().zip(row.get(1)), row.get(2..)) else {
            return Err(Mistake::columns("path system [start_s end_s]…", row));
        };
        let times = times.unwrap_or(&[]);
        if times.len() % 2 == 1 {
            return Err(Mistake::columns("path system [start_s end_s]…", row));
        }
        let mut fakes: Vec<Range<f64>> = Vec::new();
        for pair in times.chunks(2) {
            let expected = "seconds from 0 up, each start and end later than the one before";
            let (start, end): (f64, f64) = (number(pair[0], expected)?, number(pair[1], expected)?);
            let before = fakes.last().map_or(0.0, |f| f.end);
            if !(start >= before && end > start && end.is_finite()) {
                return Err(Mistake::new(expected, &pair.join(" ")));
            }
            fakes.push(start..end);
        }
        self.recordings.push(Recording {
            line,
            path: self.paths.number(path),
            system: self.systems.row(system)?,
            fakes,
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
        let mut list = TimelineList::default();
        list.add(1, &["a.wav", "bonafide"]).unwrap();
        list.add(2, &["b.wav", "gan", "1.5", "3", "4", "5.25"])
            .unwrap();
        assert!(list.recordings[0].fakes.is_empty());
        assert_eq!(list.recordings[1].fakes, [1.5..3.0, 4.0..5.25]);
        for row in [
            &["a.wav"][..],
            &["a.wav", "gan", "1.5"],
            &["a.wav", "gan", "x", "2"],
            &["a.wav", "gan", "3", "2"],
            &["a.wav", "gan", "-1", "2"],
            &["a.wav", "gan", "1", "inf"],
            &["a.wav", "gan", "NaN", "2"],
            &["a.wav", "gan", "1", "3", "2", "4"],
        ] {
            assert!(list.add(3, row).is_err(), "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_an_error_or_a_recording(words in prop::collection::vec("[ -~é/]{0,12}", 0..7)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = TimelineList::default().add(1, &words);
        }
    }
}
