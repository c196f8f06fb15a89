//! Lists of speaker trials: two segments and whether one person speaks in both.

use std::path::{Path, PathBuf};

use super::list::{ListError, Mistake, Names, number, read, score};

/// What a trial is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// One person in both segments.
    Target,
    /// Two people.
    Nontarget,
    /// One person, but forged in the second segment.
    Spoof,
}

impl Label {
    /// As a list writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Nontarget => "nontarget",
            Self::Spoof => "spoof",
        }
    }
}

/// What the bootstrap draws where a list names no speakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    /// Files.
    Path,
    /// Folders: in many a corpus each holds the files of one speaker.
    Folder,
}

/// Where a segment starts: the number of its path, and the sample at 16 kHz.
pub type Segment = (usize, u64);

/// A line of the list.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The line, counted from 1.
    pub line: usize,
    /// Enrolment.
    pub a: Segment,
    /// Test.
    pub b: Segment,
    /// The truth.
    pub label: Label,
    /// Number of the group.
    pub group: usize,
    /// Numbers of the bootstrap's units on both sides.
    pub units: (usize, usize),
    /// The score, where the list brings one.
    pub given: Option<f64>,
}

/// A list, its names by number.
#[derive(Debug, Clone, Default)]
pub struct SpeakerList {
    /// In the order of the list.
    pub trials: Vec<Trial>,
    /// Paths as the list writes them.
    pub paths: Names,
    /// Groups.
    pub groups: Names,
    /// Speakers, files or folders.
    pub units: Names,
}

impl SpeakerList {
    /// Reads `path_a start_a path_b start_b label [group [speaker_a speaker_b]]`, with a score as last column if `given`.
    pub fn read(path: &Path, given: bool, unit: Unit) -> Result<Self, ListError> {
        let mut list = Self::default();
        read(path, |line, row| list.add(line, row, given, unit))?;
        Ok(list)
    }

    fn add(&mut self, line: usize, row: &[&str], given: bool, unit: Unit) -> Result<(), Mistake> {
        let (columns, given) = match (given, row.split_last()) {
            (true, Some((last, columns))) => (columns, Some(*last)),
            _ => (row, None),
        };
        let &[a, start_a, b, start_b, label, ref rest @ ..] = columns else {
            return Err(Mistake::columns(wanted(given.is_some()), row));
        };
        let (group, units) = match *rest {
            [] => (source(a), [self::unit(a, unit), self::unit(b, unit)]),
            [group] => (group, [self::unit(a, unit), self::unit(b, unit)]),
            [group, left, right] => (group, [left.to_owned(), right.to_owned()]),
            _ => return Err(Mistake::columns(wanted(given.is_some()), row)),
        };
        let label = match label {
            "1" | "target" => Label::Target,
            "0" | "nontarget" => Label::Nontarget,
            "spoof" => Label::Spoof,
            other => {
                let labels = "1 or target, 0 or nontarget, or spoof as the label";
                return Err(Mistake::new(labels, other));
            }
        };
        let start = |column| number(column, "the first sample of a segment, a whole number ≥ 0");
        let trial = Trial {
            line,
            a: (self.paths.number(a), start(start_a)?),
            b: (self.paths.number(b), start(start_b)?),
            label,
            group: self.groups.row(group)?,
            units: (self.units.number(&units[0]), self.units.number(&units[1])),
            given: given.map(score).transpose()?,
        };
        self.trials.push(trial);
        Ok(())
    }
}

fn wanted(given: bool) -> &'static str {
    match given {
        false => "path_a start_a path_b start_b label [group [speaker_a speaker_b]]",
        true => "path_a start_a path_b start_b label [group [speaker_a speaker_b]] score",
    }
}

/// The second folder of a path (`speech/librispeech/84/1.flac`: librispeech), or "all" where it has fewer.
fn source(path: &str) -> &str {
    let mut folders = path.split('/').filter(|part| !part.is_empty());
    match (folders.next(), folders.next(), folders.next()) {
        (Some(_), Some(second), Some(_)) => second,
        _ => "all",
    }
}

fn unit(path: &str, unit: Unit) -> String {
    let path = PathBuf::from(path);
    let unit = match unit {
        Unit::Path => Some(path.as_path()),
        Unit::Folder => path.parent(),
    };
    unit.map(|u| u.display().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(row: &str, given: bool) -> Result<SpeakerList, Mistake> {
        let mut list = SpeakerList::default();
        let row: Vec<_> = row.split_whitespace().collect();
        list.add(1, &row, given, Unit::Folder)?;
        Ok(list)
    }

    #[test]
    fn what_a_line_leaves_out_follows_from_the_path() {
        let list = add(
            "speech/libri/84/1.flac 960 speech/libri/85/2.flac 0 0",
            false,
        )
        .unwrap();
        assert_eq!(list.groups.name(0), "libri");
        assert_eq!(list.units.name(0), "speech/libri/84");
        assert_eq!((list.trials[0].a, list.trials[0].b), ((0, 960), (1, 0)));
        let list = add("a.wav 0 a.wav 5 spoof robots ann ann -2.5", true).unwrap();
        let trial = &list.trials[0];
        assert_eq!(
            (trial.units, trial.given, trial.label),
            ((0, 0), Some(-2.5), Label::Spoof)
        );
        assert_eq!(
            add("a.wav 0 b.wav 0 1", false).unwrap().groups.name(0),
            "all"
        );
    }

    #[test]
    fn each_column_is_checked() {
        for (row, given) in [
            ("a 0 b 0", false),
            ("a 0 b 0 1 g ann", false),
            ("a 0 b 0 1", true),
            ("a 0 b 0 yes", false),
            ("a -1 b 0 1", false),
            ("a 0 b 0 1 x", true),
        ] {
            assert!(add(row, given).is_err(), "{row}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_an_error_or_a_trial(words in prop::collection::vec("[ -~é/]{0,12}", 0..11), given: bool) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = SpeakerList::default().add(1, &words, given, Unit::Path);
        }
    }
}
