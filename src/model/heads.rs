//! The tables of `pack.toml` that each stand for one model behind the encoder, and the known answers that all have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::calibration::{Calibration, SpeakerCalibration};
use super::error::ModelError;
use super::manifest::unsupported;

/// The most classes of a sound head, or labels of a probe.
const CLASSES: usize = 1000;
/// Values of a known answer.
pub(super) const KNOWN_VALUES: usize = 8;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Speaker {
    pub file: String,
    pub sha256: String,
    pub dim: usize,
    pub calibration: SpeakerCalibration,
    pub cohort: Option<Cohort>,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

/// Embeddings of other people, against whom a score can be normalised.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cohort {
    pub file: String,
    pub sha256: String,
    /// Rows of the file, each `speaker.dim` little-endian f32.
    pub voices: usize,
    /// How many of the voices that are most like a side its scores are normalised against; without it they are not, and the
    /// calibration is of the cosine.
    pub top: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spoof {
    pub file: String,
    pub sha256: String,
    pub spectral_dim: usize,
    /// Names of the kinds of evidence that its score is the sum of, in the order of its output `parts`; empty where it has none.
    #[serde(default)]
    pub parts: Vec<String>,
    pub calibration: Calibration,
    pub short: Option<Short>,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

/// How short windows are judged, from which the timeline of a recording is made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Short {
    /// Length of the windows, 0.6 to 3.
    pub seconds: f64,
    /// Names of the kinds of evidence that the head's reading of them, its output `short`, is the sum of, in the order of its
    /// output `short_parts`; empty for a head that has no such reading: its score counts for them as well.
    #[serde(default)]
    pub parts: Vec<String>,
    /// From the score of one to a log-likelihood ratio.
    pub calibration: Calibration,
    /// Of the reading and its parts.
    pub(super) known_answer: Option<KnownAnswer>,
}

impl Short {
    fn check(&self, path: &Path) -> Result<(), ModelError> {
        if !(0.6..=3.0).contains(&self.seconds) {
            let key = "spoof.short.seconds";
            return Err(unsupported(path, key, self.seconds, "0.6 to 3"));
        }
        let key = "spoof.short.known_answer";
        match (&self.known_answer, self.parts.len()) {
            (None, 0) => Ok(()),
            (Some(_), 0) => Err(unsupported(path, key, "one", "none without parts")),
            (None, _) => Err(unsupported(path, key, "none", "one beside parts")),
            (Some(known), parts) => {
                names(&self.parts, "spoof.short.parts", path)?;
                fit(&self.parts, "spoof.short.parts", path)?;
                known.check(path, "spoof.short.known_answer.output", 1 + parts)
            }
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vad {
    pub file: String,
    pub sha256: String,
    pub threshold: f32,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sound {
    pub file: String,
    pub sha256: String,
    /// Names of the outputs, in their order.
    pub classes: Vec<String>,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

/// A head that answers one question about a whole window.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub file: String,
    pub sha256: String,
    pub kind: ProbeKind,
    /// Names of the outputs, in their order.
    pub labels: Vec<String>,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

/// How a probe's outputs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// One of the labels: probabilities that add up to 1.
    Choice,
    /// Each label for itself: independent probabilities.
    Tags,
    /// Quantities, as they are.
    Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownAnswer {
    /// The first eight values of the flattened output (fewer if it has fewer).
    pub output: Vec<f64>,
    /// By how much a value `v` may differ, times `max(1, |v|)`. Rounding to integers differs from one processor to the next.
    #[serde(default = "exact")]
    pub tolerance: f64,
}

fn exact() -> f64 {
    1e-3
}

impl KnownAnswer {
    /// Eight values, or `most` where the output has fewer.
    pub fn check(&self, path: &Path, key: &'static str, most: usize) -> Result<(), ModelError> {
        if !(0.0..=0.1).contains(&self.tolerance) {
            return Err(unsupported(
                path,
                "known_answer.tolerance",
                self.tolerance,
                "0 to 0.1",
            ));
        }
        let (found, expected) = (self.output.len(), KNOWN_VALUES.min(most));
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (format!("{found} values"), format!("{expected} values"));
        Err(unsupported(path, key, found, expected))
    }
}

/// Whether all parts can stand in a known answer, behind the score.
fn fit(parts: &[String], key: &'static str, path: &Path) -> Result<(), ModelError> {
    let (found, most) = (parts.len(), KNOWN_VALUES - 1);
    if found <= most {
        return Ok(());
    }
    let (found, expected) = (format!("{found} names"), format!("at most {most}"));
    Err(unsupported(path, key, found, expected))
}

impl Spoof {
    /// How short windows are judged: as those of the usual length, where the manifest does not say.
    pub fn short(&self, usual_s: f64) -> Short {
        let as_always = || Short {
            seconds: usual_s,
            parts: Vec::new(),
            calibration: self.calibration,
            known_answer: None,
        };
        self.short.clone().unwrap_or_else(as_always)
    }

    pub fn check(&self, path: &Path) -> Result<(), ModelError> {
        if !self.parts.is_empty() {
            names(&self.parts, "spoof.parts", path)?;
        }
        fit(&self.parts, "spoof.parts", path)?;
        if let Some(short) = &self.short {
            short.check(path)?;
        }
        let key = "spoof.known_answer.output";
        self.known_answer.check(path, key, 1 + self.parts.len())
    }
}

impl Sound {
    pub fn check(&self, path: &Path) -> Result<(), ModelError> {
        names(&self.classes, "sound.classes", path)?;
        let key = "sound.known_answer.output";
        self.known_answer.check(path, key, self.classes.len())
    }
}

impl Probe {
    pub fn check(&self, name: &str, path: &Path) -> Result<(), ModelError> {
        names(std::slice::from_ref(&name.to_owned()), "probes", path)?;
        names(&self.labels, "probes.labels", path)?;
        let key = "probes.known_answer.output";
        self.known_answer.check(path, key, self.labels.len())
    }
}

/// Names that can be part of a topic, an entity's id and a file's name.
fn names(names: &[String], key: &'static str, path: &Path) -> Result<(), ModelError> {
    let count = names.len();
    if !(1..=CLASSES).contains(&count) {
        let expected = format!("1 to {CLASSES} names");
        return Err(unsupported(path, key, format!("{count} names"), expected));
    }
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let named = (1..=64).contains(&name.len()) && name.chars().all(plain);
        if !named || !seen.insert(name) {
            let expected = "different names of a-z, 0-9 and _, at most 64 characters long";
            return Err(unsupported(path, key, format!("\"{name}\""), expected));
        }
    }
    Ok(())
}
