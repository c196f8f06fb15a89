//! Segments of recordings through the daemon's own decoding, features and models, each once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use crate::audio::{SAMPLE_RATE, Signal};
use crate::model::Wanted;
use crate::pipeline::{Heads, Heard};

use super::super::Failure;
use super::super::analysis::load;
use super::super::workbench::Workbench;
use super::list::Mistake;
use super::{Common, list};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What a segment may lack at the end of its file, samples: two decoders seldom agree on a file's length to the sample.
const SLACK: usize = 320;

/// What was heard in each segment, by file and first sample, and how many seconds of it are speech.
pub type Voices = HashMap<(usize, u64), (Heard, f64)>;

/// Opened models, and where the list's paths start.
pub struct Scorer {
    /// Calibrations, configuration.
    pub bench: Workbench,
    folder: PathBuf,
    /// The list, for messages.
    pub list: PathBuf,
    /// Samples a segment.
    pub length: usize,
}

/// A segment that has to be scored: the path's number, its first sample; and for whom: the first line that names it.
pub type Asked = BTreeMap<(usize, u64), (usize, Heads)>;

/// How a segment is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// All of it, by itself.
    Whole,
    /// Its newest utterance, by itself; segments without one are left out.
    Spoken,
    /// All of it, after so many samples of its recording.
    After(usize),
}

impl Scorer {
    /// Opens the models; of the heads that can be left out only those that are wanted.
    pub fn open(common: &Common, wanted: Wanted) -> Result<Self, Failure> {
        let mut config = load(common.config.as_deref())?;
        if let Some(pack) = &common.pack {
            config.models.pack.clone_from(pack);
        }
        config.models.allow_unsigned |= common.allow_unsigned;
        let bench = Workbench::with(config, common.channel, wanted)?;
        let length = match common.seconds {
            None => bench.pack.window_samples(),
            Some(s) if (0.5..=60.0).contains(&s) => (s * f64::from(SAMPLE_RATE)).round() as usize,
            Some(s) => {
                let wrong = anyhow!("--seconds: expected 0.5 to 60, found {s}");
                return Err(Failure::usage(wrong));
            }
        };
        let own = match common.list.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        Ok(Self {
            bench,
            folder: common.audio.as_deref().unwrap_or(own).to_owned(),
            list: common.list.clone(),
            length,
        })
    }

    /// What scored, for the report.
    pub fn describe(&self) -> Value {
        json!({
            "name": self.bench.pack.name(), "version": self.bench.pack.version(), "hash": self.bench.pack.hash(),
            "seconds": self.length as f64 / f64::from(SAMPLE_RATE),
        })
    }

    /// A file of the list, named on `line`.
    pub fn signal(&self, name: &str, line: usize) -> Result<Signal, Failure> {
        let path = self.folder.join(name);
        let found = self.bench.signal(&path);
        found.map_err(|failure| match failure {
            Failure::Runtime(error) => {
                Failure::Runtime(error.context(format!("{}, line {line}", self.list.display())))
            }
            other => other,
        })
    }

    /// A long run must not end at a file that was never there: `(number of its path, the first line that names it)`.
    pub fn check(
        &self,
        files: impl IntoIterator<Item = (usize, usize)>,
        paths: &list::Names,
    ) -> Result<(), Failure> {
        let mut known = HashSet::new();
        for (path, line) in files {
            let file = self.folder.join(paths.name(path));
            if known.insert(path) && !file.is_file() {
                let found = Mistake::new("an audio file", &file.display().to_string());
                return Err(anyhow!(
                    "{}, which is not there; paths start from {} (--audio)",
                    found.at(&self.list, line),
                    self.folder.display()
                )
                .into());
            }
        }
        Ok(())
    }

    /// Scores each segment that is asked for; beside each stands how many seconds of speech were scored.
    pub fn voices(
        &mut self,
        asked: &Asked,
        paths: &list::Names,
        hearing: Hearing,
    ) -> Result<Voices, Failure> {
        self.check(
            asked.iter().map(|(&(path, _), &(line, _))| (path, line)),
            paths,
        )?;
        let mut progress = Progress::new(asked.len(), "segments");
        let mut voices = HashMap::with_capacity(asked.len());
        let mut file: (Option<usize>, Signal) = (None, Signal::default());
        for (&(path, start), &(line, heads)) in asked {
            if file.0 != Some(path) {
                file = (Some(path), self.signal(paths.name(path), line)?);
            }
            let span = span(file.1.len(), start, self.length);
            let span = span.map_err(|m| m.at(&self.list, line))?;
            let analyser = self.bench.analyser();
            let seconds = span.len() as f64 / f64::from(SAMPLE_RATE);
            let voice = match hearing {
                Hearing::Whole => Some((analyser.segment(&file.1.cut(span), heads)?, seconds)),
                Hearing::After(before) => {
                    let signal = file.1.cut_after(span, before);
                    Some((analyser.streamed(&signal, before, heads)?, seconds))
                }
                Hearing::Spoken => analyser.utterance(file.1.cut(span))?.map(|u| {
                    let heard = Heard {
                        embedding: Some(u.embedding),
                        genuine: u.genuine,
                        sounds: None,
                    };
                    (heard, u.end_s - u.start_s)
                }),
            };
            voices.extend(voice.map(|voice| ((path, start), voice)));
            progress.step();
        }
        Ok(voices)
    }

    /// Raw scores of a file's windows: as long as the segments, one each half, the last one at the end where more than a sixth
    /// is left; a file shorter than one is repeated to its length.
    pub fn genuine(&mut self, signal: &Signal) -> Result<Vec<f64>, Failure> {
        let heads = Heads {
            speaker: false,
            spoof: true,
            sound: false,
        };
        let mut scores = Vec::new();
        for at in windows(signal.len(), self.length) {
            let window = match at + self.length <= signal.len() {
                true => signal.cut(at..at + self.length),
                false => signal.repeated(self.length),
            };
            let voice = self.bench.analyser().segment(&window, heads)?;
            scores.extend(voice.genuine.map(f64::from));
        }
        Ok(scores)
    }
}

/// The samples of a segment from `start` on, in a file of `there` samples.
pub fn span(there: usize, start: u64, length: usize) -> Result<Range<usize>, Mistake> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = start.saturating_add(length);
    if start < there && end <= there.saturating_add(SLACK) {
        return Ok(start..end.min(there));
    }
    let expected = format!("a file of at least {end} samples at 16 kHz");
    Err(Mistake::new(expected, &format!("{there} samples")))
}

/// First samples of the windows of as many samples.
pub fn windows(samples: usize, length: usize) -> Vec<usize> {
    let Some(last) = samples.checked_sub(length) else {
        return vec![0];
    };
    let mut starts: Vec<usize> = (0..=last).step_by((length / 2).max(1)).collect();
    if starts.last().is_some_and(|at| last - at > length / 6) {
        starts.push(last);
    }
    starts
}

/// Tells on the log how far a long run is.
pub struct Progress {
    of: usize,
    done: usize,
    what: &'static str,
    told: Instant,
}

impl Progress {
    /// `of` things to do.
    pub fn new(of: usize, what: &'static str) -> Self {
        Self {
            of,
            done: 0,
            what,
            told: Instant::now(),
        }
    }

    /// One of them is done.
    pub fn step(&mut self) {
        self.done += 1;
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            tracing::info!("scored {} of {} {}", self.done, self.of, self.what);
        }
    }
}

/// The mean; an error for none.
pub fn mean(scores: &[f64]) -> Result<f64, Failure> {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let found = mean.is_finite().then_some(mean);
    Ok(found.context("expected a score of each file, found none")?)
}

#[cfg(test)]
mod tests {
    use super::windows;

    #[test]
    fn windows_overlap_by_half_and_reach_the_end() {
        assert_eq!(windows(20_000, 48_000), [0]);
        assert_eq!(windows(48_000, 48_000), [0]);
        assert_eq!(windows(56_000, 48_000), [0]);
        assert_eq!(windows(56_001, 48_000), [0, 8_001]);
        assert_eq!(windows(72_000, 48_000), [0, 24_000]);
        assert_eq!(windows(100_000, 48_000), [0, 24_000, 48_000]);
        assert_eq!(windows(105_000, 48_000), [0, 24_000, 48_000, 57_000]);
    }
}
