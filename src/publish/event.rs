//! The versioned event schema. `schema/event.json` is generated from these types and tested for drift.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the payload layout; raised when a consumer would have to change.
pub const SCHEMA: u32 = 1;

/// One finding, with the times that it speaks of on the stream's sample clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Unique for ever; lets a consumer drop duplicates.
    pub id: EventId,
    /// Wall-clock time at which the event was made, RFC 3339 UTC with milliseconds.
    pub time: String,
    /// Start of what it speaks of, seconds since the epoch of the stream began.
    pub start_s: f64,
    /// End of what it speaks of.
    pub end_s: f64,
    /// From the capture of the last sample spoken of to the making of this event, in milliseconds.
    pub lag_ms: f64,
    /// What was found; its fields stand beside these ones, `type` says which they are.
    #[serde(flatten)]
    pub body: Body,
}

/// `(node, stream, epoch, sequence)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct EventId {
    /// The daemon.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// When this stream's sample clock started, in Unix milliseconds: a restart or a rebuilt device starts a new one.
    pub epoch: u64,
    /// Counts up from 0 within an epoch.
    pub sequence: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// One analysed window: the raw material. Published at QoS 0.
    Window {
        /// Level of the window, dB relative to full scale (RMS of a full-scale sine is −3). Finite: digital silence
        /// is a floor such as −120, since JSON has no −∞.
        level_dbfs: f64,
        /// Share of samples at full scale.
        clipped: f64,
        /// Share of speech, 0 to 1.
        speech: f64,
        /// Best match among enrolled people; absent without speech or enrolled people.
        speaker: Option<SpeakerFinding>,
        /// Absent without speech or when detection is off.
        spoof: Option<SpoofFinding>,
        /// The most probable class of sounds; absent in silence, or where sounds are not told apart.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        sound: Option<SoundFinding>,
        /// What the pack's probes say of it; absent where it has none.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        probes: Vec<ProbeFinding>,
    },
    /// Who is speaking changed (smoothed over windows).
    Speaker {
        /// Who speaks now: an enrolled name; absent with `speaking = true`: nobody known.
        speaker: Option<String>,
        /// Whether anybody speaks.
        speaking: bool,
        /// Since when, seconds on the stream's clock.
        since_s: f64,
        /// Accept: it is `speaker`; reject: a stranger; inconclusive: cannot tell.
        verdict: Verdict,
        /// Log-likelihood ratio of the best match among enrolled people, natural logarithm, of all that was said in this turn;
        /// absent when nobody speaks or is enrolled.
        llr: Option<f64>,
        /// Of a stranger: a name of this session, `unknown-1`, the same whenever this voice is heard. Never an enrolled one:
        /// `speaker` is absent beside it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stranger: Option<String>,
        /// Seconds of speech behind the decision, each counted once; absent when nobody speaks.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        speech_s: Option<f64>,
        /// Of an enrolled person: the decision on speaker and voice together; absent where detection is off.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        fused: Option<FusedFinding>,
    },
    /// Whether the voice is real changed (smoothed over windows).
    Spoof {
        /// Accept: bona fide; reject: synthetic or replayed by a machine; inconclusive: cannot tell.
        verdict: Verdict,
        /// Smoothed log-likelihood ratio of bona fide against spoof, natural logarithm.
        llr: f64,
        /// Since when, seconds on the stream's clock.
        since_s: f64,
        /// Which evidence spoke; absent where the pack's head does not tell.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        parts: Vec<SpoofPart>,
    },
    /// A class of sounds began or ended. Several may be on at once.
    Sound {
        /// Its name in the model pack.
        class: String,
        /// Whether it is heard now.
        on: bool,
        /// Its probability in the window that settled it, 0 to 1.
        probability: f64,
        /// Since when, seconds on the stream's clock.
        since_s: f64,
    },
    /// The health of the stream, or of what hears it, changed.
    Health {
        /// What of it.
        part: HealthPart,
        /// Whether it is in order now.
        ok: bool,
        /// What was measured. Microphone: seconds without movement, 0 when it moves; band: where speech ends, Hz; encoder: share
        /// of the pack's effective rank.
        value: f64,
        /// What it was held against, in the same unit. Band: the widest so far.
        expected: f64,
        /// Since when, seconds on the stream's clock.
        since_s: f64,
    },
    /// Audio or windows were lost.
    Gap {
        /// Lost samples at 16 kHz.
        samples: u64,
        /// Where.
        reason: GapReason,
    },
    /// The source came, went or ended.
    Source {
        /// Its state now.
        state: SourceState,
        /// What a person would want to read.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
}

/// Why an event has no JSON form.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// JSON has no NaN and no infinity; serde would write `null`, which no consumer's schema allows.
    #[error("event {kind} of stream {stream}: `{field}` is {value}, expected a finite number")]
    NotFinite {
        /// [`Body::kind`].
        kind: &'static str,
        /// [`EventId::stream`].
        stream: String,
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: f64,
    },
    /// serde's word; not reachable with these types.
    #[error("event cannot be written as JSON: {0}")]
    Json(String),
}

impl Event {
    /// One JSON object without line breaks.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`] when a number is NaN or infinite: such an event must not leave the process.
    pub fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        for (field, value) in self.numbers() {
            if !value.is_finite() {
                return Err(EncodeError::NotFinite {
                    kind: self.body.kind(),
                    stream: self.id.stream.clone(),
                    field,
                    value,
                });
            }
        }
        serde_json::to_vec(self).map_err(|e| EncodeError::Json(e.to_string()))
    }

    /// Every floating-point number that is serialised.
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut all = vec![
            ("start_s", self.start_s),
            ("end_s", self.end_s),
            ("lag_ms", self.lag_ms),
        ];
        match &self.body {
            Body::Window {
                level_dbfs,
                clipped,
                speech,
                speaker,
                spoof,
                sound,
                probes,
            } => {
                all.extend(probes.iter().map(|p| ("probes.value", p.value)));
                all.extend(sound.as_ref().map(|s| ("sound.probability", s.probability)));
                all.extend([
                    ("level_dbfs", *level_dbfs),
                    ("clipped", *clipped),
                    ("speech", *speech),
                ]);
                if let Some(s) = speaker {
                    all.extend([("speaker.cosine", s.cosine), ("speaker.llr", s.llr)]);
                }
                if let Some(s) = spoof {
                    all.push(("spoof.llr", s.llr));
                }
            }
            Body::Speaker {
                since_s,
                llr,
                speech_s,
                fused,
                ..
            } => {
                all.push(("since_s", *since_s));
                all.extend(llr.map(|v| ("llr", v)));
                all.extend(speech_s.map(|v| ("speech_s", v)));
                all.extend(fused.map(|f| ("fused.llr", f.llr)));
            }
            Body::Spoof {
                llr,
                since_s,
                parts,
                ..
            } => {
                all.extend([("llr", *llr), ("since_s", *since_s)]);
                all.extend(parts.iter().map(|p| ("parts.llr", p.llr)));
            }
            Body::Sound {
                probability,
                since_s,
                ..
            } => all.extend([("probability", *probability), ("since_s", *since_s)]),
            Body::Health {
                value,
                expected,
                since_s,
                ..
            } => all.extend([
                ("value", *value),
                ("expected", *expected),
                ("since_s", *since_s),
            ]),
            Body::Gap { .. } | Body::Source { .. } => {}
        }
        all
    }
}

impl Body {
    /// The serialised `type`, also the last level of the event's topic.
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Window { .. } => "window",
            Body::Speaker { .. } => "speaker",
            Body::Spoof { .. } => "spoof",
            Body::Sound { .. } => "sound",
            Body::Health { .. } => "health",
            Body::Gap { .. } => "gap",
            Body::Source { .. } => "source",
        }
    }
}

/// Decision on a log-likelihood ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The target hypothesis holds.
    Accept,
    /// It does not.
    Reject,
    /// The evidence does not suffice.
    Inconclusive,
}

/// Best match of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpeakerFinding {
    /// The enrolled person with the highest score.
    pub name: String,
    /// Cosine similarity, −1 to 1.
    pub cosine: f64,
    /// Calibrated log-likelihood ratio, natural logarithm.
    pub llr: f64,
    /// The decision on this window alone.
    pub verdict: Verdict,
}

/// This person, live, against someone else or a forgery: speaker and voice in one decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FusedFinding {
    /// Log-likelihood ratio, natural logarithm, at the shares of the two that the configured costs imply.
    pub llr: f64,
    /// The decision on it.
    pub verdict: Verdict,
}

/// Bona fide or spoof, one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpoofFinding {
    /// Calibrated log-likelihood ratio of bona fide against spoof, natural logarithm.
    pub llr: f64,
    /// The decision on this window alone.
    pub verdict: Verdict,
}

/// One kind of evidence for or against a voice being real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpoofPart {
    /// Its name in the model pack.
    pub name: String,
    /// What it adds to the smoothed log-likelihood ratio, natural logarithm; below 0 it speaks for spoof.
    pub llr: f64,
}

/// The most probable class of sounds of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SoundFinding {
    /// Its name in the model pack.
    pub class: String,
    /// Its probability, 0 to 1.
    pub probability: f64,
}

/// One answer of a probe to one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeFinding {
    /// Its name in the model pack.
    pub probe: String,
    /// Which of its labels.
    pub label: String,
    /// Its probability, 0 to 1, or the quantity that it names.
    pub value: f64,
}

/// Whose health.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HealthPart {
    /// The frequencies that reach us: a codec or a line that cuts more off than before.
    Band,
    /// The encoder: its hidden states use few dimensions.
    Encoder,
    /// The microphone or its driver: the samples stand still or repeat.
    Microphone,
}

/// Where audio or windows were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Before it reached us: the capture ring or the device overran, or the network lost it.
    Overrun,
    /// The engine fell behind and the oldest windows were dropped.
    EngineBehind,
}

/// State of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Audio flows.
    Up,
    /// Not delivering; tries again by itself.
    Down,
    /// Came to its end.
    Ended,
    /// Cannot go on; `reason` says why.
    Failed,
}

#[cfg(test)]
#[path = "event_tests.rs"]
pub(crate) mod tests;
