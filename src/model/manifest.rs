//! `pack.toml` as types. Unknown keys are errors, but for the accuracy tables, which hold whatever was measured.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::calibration::FusionCalibration;
use super::error::ModelError;
use super::heads::{KnownAnswer, Probe, Sound, Speaker, Spoof, Vad};
use super::input::Input;
use crate::config::Precision;
use crate::dsp;

/// Layout of the manifest that this version reads.
const SCHEMA: u32 = 1;
/// The most voices of a cohort.
const COHORT: usize = 100_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    #[allow(
        dead_code,
        reason = "read by `Schema` before; here so that it is not an unknown key"
    )]
    schema: u32,
    pub name: String,
    pub version: String,
    pub licence: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub data: String,
    audio: Audio,
    fbank: Fbank,
    pub encoder: Encoder,
    pub speaker: Option<Speaker>,
    pub spoof: Option<Spoof>,
    pub fusion: Option<FusionCalibration>,
    pub vad: Vad,
    pub sound: Option<Sound>,
    #[serde(default)]
    pub probes: BTreeMap<String, Probe>,
}

/// Read on its own first, so that a later layout is named as such instead of by its first unknown key.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Audio {
    sample_rate: u32,
    window_samples: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fbank {
    mels: usize,
    low_hz: f64,
    high_hz: f64,
    window: usize,
    hop: usize,
    n_fft: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Encoder {
    pub file: String,
    pub sha256: String,
    pub layers: usize,
    pub dim: usize,
    frame_rate: f64,
    #[serde(default)]
    pub input: Input,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
    pub stream: Option<Going>,
    pub int8: Option<Variant>,
    pub fp16: Option<Variant>,
    pub health: Option<Health>,
}

/// What the pack is like on clean speech, to tell when it is not; see `docs/health.md`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Effective rank of sketches of hidden states, as they are.
    pub rankme: f64,
    /// Without their mean.
    pub rankme_centred: f64,
    /// How far the cosine to the true person moves among the neighbours of an honest recording: 5 % have a lower low quantile.
    pub speaker_neighbours: Option<f64>,
    /// The same of the log-likelihood ratio of a genuine voice, nats.
    pub spoof_neighbours: Option<f64>,
}

/// How an encoder goes on where a stream's last window ended; see `docs/pack.md`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Going {
    /// Hidden frames that it takes together: what was heard before is a whole number of them.
    pub group: usize,
    /// The most hidden frames that it looks back on.
    pub left: usize,
    /// Tails that it hands on,
    pub layers: usize,
    /// each of so many frames.
    pub tail: usize,
    /// Of the last `left` frames of a stretch that is one second longer.
    pub known_answer: KnownAnswer,
}

/// The same model with other numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub file: String,
    pub sha256: String,
    #[serde(default)]
    pub accuracy: BTreeMap<String, toml::Value>,
    pub known_answer: KnownAnswer,
}

impl Manifest {
    /// Parses and checks everything that can be checked without the files. `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let syntax = |e: toml::de::Error| ModelError::Manifest {
            path: path.into(),
            reason: e.to_string(),
        };
        let Schema { schema } = toml::from_str(text).map_err(syntax)?;
        if schema != SCHEMA {
            return Err(unsupported(path, "schema", schema, SCHEMA));
        }
        let manifest: Self = toml::from_str(text).map_err(syntax)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Puts the encoder of another precision in the place of the first. `path` is for messages.
    pub fn choose(&mut self, precision: Precision, path: &Path) -> Result<(), ModelError> {
        if precision == Precision::Fp32 {
            return Ok(());
        }
        let (key, expected, variant) = match precision {
            Precision::Int8 => (
                "encoder.int8",
                "an int8 encoder; or set models.precision to \"fp32\"",
                self.encoder.int8.take(),
            ),
            _ => (
                "encoder.fp16",
                "an fp16 encoder; or set models.precision to \"fp32\"",
                self.encoder.fp16.take(),
            ),
        };
        let Some(variant) = variant else {
            return Err(unsupported(path, key, "absent", expected));
        };
        self.encoder = Encoder {
            file: variant.file,
            sha256: variant.sha256,
            accuracy: variant.accuracy,
            known_answer: variant.known_answer,
            ..self.encoder.clone()
        };
        Ok(())
    }

    /// Samples of the windows that the heads were calibrated on.
    pub fn window_samples(&self) -> usize {
        self.audio.window_samples
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        if self.licence.trim().is_empty() {
            return Err(unsupported(
                path,
                "licence",
                "empty",
                "the licence of the weights",
            ));
        }
        let equal = [
            (
                "audio.sample_rate",
                f64::from(self.audio.sample_rate),
                f64::from(dsp::SAMPLE_RATE),
            ),
            ("fbank.mels", self.fbank.mels as f64, dsp::MELS as f64),
            ("fbank.low_hz", self.fbank.low_hz, dsp::LOW_HZ),
            ("fbank.high_hz", self.fbank.high_hz, dsp::HIGH_HZ),
            ("fbank.window", self.fbank.window as f64, dsp::WINDOW as f64),
            ("fbank.hop", self.fbank.hop as f64, dsp::HOP as f64),
            ("fbank.n_fft", self.fbank.n_fft as f64, dsp::N_FFT as f64),
        ];
        let input = &self.encoder.input;
        if let Err((key, found, expected)) = input.check() {
            return Err(unsupported(path, key, found, expected));
        }
        let rate = (
            "encoder.frame_rate",
            self.encoder.frame_rate,
            input.frame_rate(),
        );
        let spectral = self.spoof.as_ref().map(|s| {
            let found = s.spectral_dim as f64;
            ("spoof.spectral_dim", found, dsp::SPECTRAL_DIM as f64)
        });
        for (key, found, expected) in equal.into_iter().chain([rate]).chain(spectral) {
            if found != expected {
                return Err(unsupported(path, key, found, expected));
            }
        }
        let rate = dsp::SAMPLE_RATE as usize;
        let ranges = [
            (
                "audio.window_samples",
                self.audio.window_samples,
                rate..=10 * rate,
            ),
            ("encoder.layers", self.encoder.layers, 1..=64),
            ("encoder.dim", self.encoder.dim, 1..=4096),
        ];
        let going = self.encoder.stream.iter().flat_map(|s| {
            [
                ("encoder.stream.group", s.group, 1..=64),
                ("encoder.stream.left", s.left, s.group..=1000),
                ("encoder.stream.layers", s.layers, 1..=64),
                ("encoder.stream.tail", s.tail, 1..=1000),
            ]
        });
        let embedding = self
            .speaker
            .as_ref()
            .map(|s| ("speaker.dim", s.dim, 1..=4096));
        let cohort = self.speaker.as_ref().and_then(|s| s.cohort.as_ref());
        let cohort = cohort.into_iter().flat_map(|c| {
            // A deviation takes two.
            let top = c.top.map(|top| ("speaker.cohort.top", top, 2..=c.voices));
            [("speaker.cohort.voices", c.voices, 1..=COHORT)]
                .into_iter()
                .chain(top)
        });
        let ranges = ranges.into_iter().chain(embedding).chain(going);
        for (key, found, range) in ranges.chain(cohort) {
            if !range.contains(&found) {
                return Err(unsupported(
                    path,
                    key,
                    found,
                    format!("{} to {}", range.start(), range.end()),
                ));
            }
        }
        if let Some(health) = self.encoder.health {
            for (key, rank) in [
                ("encoder.health.rankme", health.rankme),
                ("encoder.health.rankme_centred", health.rankme_centred),
            ] {
                if !(1.0..=1e4).contains(&rank) {
                    return Err(unsupported(path, key, rank, "1 to 10000"));
                }
            }
            for (key, least) in [
                (
                    "encoder.health.speaker_neighbours",
                    health.speaker_neighbours,
                ),
                ("encoder.health.spoof_neighbours", health.spoof_neighbours),
            ] {
                if let Some(least) = least.filter(|l| !(-1e3..=1e3).contains(l)) {
                    return Err(unsupported(path, key, least, "-1000 to 1000"));
                }
            }
        }
        if let Some(stream) = &self.encoder.stream {
            let key = "encoder.stream.known_answer.output";
            stream.known_answer.check(path, key, usize::MAX)?;
            if !matches!(self.encoder.input, Input::LogMel {}) {
                let expected = "no such table beside [encoder.input]";
                return Err(unsupported(path, "encoder.stream", "present", expected));
            }
        }
        if !(0.0..=1.0).contains(&self.vad.threshold) {
            return Err(unsupported(
                path,
                "vad.threshold",
                self.vad.threshold,
                "0 to 1",
            ));
        }
        let speaker = self.speaker.as_ref().map(|s| s.calibration.check());
        let spoof = self.spoof.as_ref().map(|s| s.calibration.check());
        let short = self.spoof.as_ref().and_then(|s| s.short.as_ref());
        let short = short.map(|s| s.calibration.check());
        let fusion = self.fusion.as_ref().map(FusionCalibration::check);
        for (key, checked) in [
            ("speaker.calibration", speaker),
            ("spoof.calibration", spoof),
            ("spoof.short.calibration", short),
            ("fusion", fusion),
        ] {
            if let Some(Err(found)) = checked {
                let expected = "a finite slope > 0 at every duration, a finite offset, false accepts that get rarer";
                return Err(unsupported(path, key, found, expected));
            }
        }
        if let Some(spoof) = &self.spoof {
            spoof.check(path)?;
        }
        if let Some(sound) = &self.sound {
            sound.check(path)?;
        }
        for (name, probe) in &self.probes {
            probe.check(name, path)?;
        }
        for (key, variant) in [
            ("encoder.int8.known_answer.output", &self.encoder.int8),
            ("encoder.fp16.known_answer.output", &self.encoder.fp16),
        ] {
            if let Some(variant) = variant {
                variant.known_answer.check(path, key, usize::MAX)?;
            }
        }
        let speaker = self.speaker.as_ref().map(|s| (&s.known_answer, s.dim));
        for (key, answer) in [
            (
                "encoder.known_answer.output",
                Some((&self.encoder.known_answer, usize::MAX)),
            ),
            ("speaker.known_answer.output", speaker),
            (
                "vad.known_answer.output",
                Some((&self.vad.known_answer, usize::MAX)),
            ),
        ] {
            if let Some((answer, most)) = answer {
                answer.check(path, key, most)?;
            }
        }
        Ok(())
    }
}

pub(super) fn unsupported(
    path: &Path,
    key: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> ModelError {
    ModelError::Unsupported {
        path: path.into(),
        key,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
