//! The last known state of a stream, assembled from its events: what a consumer that connects later wants to know first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Body, Event, EventId, HealthPart, SCHEMA, SourceState, Verdict};
use super::time::rfc3339_millis;

/// The retained message of one stream. Every field is always present; `null` means: not known or does not apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamState {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The daemon.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// When the stream's present sample clock started, Unix milliseconds.
    pub epoch: u64,
    /// State of the source.
    pub source: Option<SourceState>,
    /// What a person would want to read about it.
    pub source_reason: Option<String>,
    /// Whether anybody speaks.
    pub speaking: Option<bool>,
    /// Who speaks: an enrolled name.
    pub speaker: Option<String>,
    /// Which stranger speaks: a name of this session, `unknown-1`.
    #[serde(default)]
    pub stranger: Option<String>,
    /// Accept: it is `speaker`; reject: a stranger; inconclusive: cannot tell. `null` while nobody speaks.
    pub speaker_verdict: Option<Verdict>,
    /// Log-likelihood ratio of the above, natural logarithm.
    pub speaker_llr: Option<f64>,
    /// Since when the above holds, RFC 3339 UTC.
    pub speaker_since: Option<String>,
    /// Accept: bona fide; reject: synthetic; inconclusive: cannot tell.
    pub spoof_verdict: Option<Verdict>,
    /// Log-likelihood ratio of the above, natural logarithm.
    pub spoof_llr: Option<f64>,
    /// Since when the above holds, RFC 3339 UTC.
    pub spoof_since: Option<String>,
    /// Classes of sounds that are heard now, in alphabetical order.
    #[serde(default)]
    pub sounds: Vec<String>,
    /// What is out of order now, in alphabetical order.
    #[serde(default)]
    pub unhealthy: Vec<HealthPart>,
    /// Samples (at 16 kHz) lost in this epoch.
    pub lost_samples: u64,
    /// When the last event that is told here was made; windows are not.
    pub last_event: String,
}

impl StreamState {
    /// Nothing known yet about the stream of `id`.
    pub fn new(id: &EventId) -> Self {
        Self {
            schema: SCHEMA,
            node: id.node.clone(),
            stream: id.stream.clone(),
            epoch: id.epoch,
            source: None,
            source_reason: None,
            speaking: None,
            speaker: None,
            stranger: None,
            speaker_verdict: None,
            speaker_llr: None,
            speaker_since: None,
            spoof_verdict: None,
            spoof_llr: None,
            spoof_since: None,
            sounds: Vec::new(),
            unhealthy: Vec::new(),
            lost_samples: 0,
            last_event: String::new(),
        }
    }

    /// Takes in one event of this stream; `true` when the state has to be published again. Windows change nothing:
    /// they come every hop, and a retained message is for what lasts.
    pub fn apply(&mut self, event: &Event) -> bool {
        if matches!(event.body, Body::Window { .. }) {
            return false;
        }
        if event.id.epoch != self.epoch {
            self.epoch = event.id.epoch;
            self.lost_samples = 0;
            self.forget();
        }
        match &event.body {
            Body::Window { .. } => {}
            Body::Speaker {
                speaker,
                speaking,
                since_s,
                verdict,
                llr,
                stranger,
                ..
            } => {
                self.stranger = stranger.clone();
                self.speaking = Some(*speaking);
                self.speaker = speaker.clone();
                self.speaker_verdict = speaking.then_some(*verdict);
                self.speaker_llr = *llr;
                self.speaker_since = Some(self.clock(*since_s));
            }
            Body::Spoof {
                verdict,
                llr,
                since_s,
                ..
            } => {
                self.spoof_verdict = Some(*verdict);
                self.spoof_llr = Some(*llr);
                self.spoof_since = Some(self.clock(*since_s));
            }
            Body::Sound { class, on, .. } => match (self.sounds.binary_search(class), on) {
                (Err(at), true) => self.sounds.insert(at, class.clone()),
                (Ok(at), false) => {
                    self.sounds.remove(at);
                }
                _ => {}
            },
            Body::Health { part, ok, .. } => match (self.unhealthy.binary_search(part), ok) {
                (Err(at), false) => self.unhealthy.insert(at, *part),
                (Ok(at), true) => {
                    self.unhealthy.remove(at);
                }
                _ => {}
            },
            Body::Gap { samples, .. } => {
                self.lost_samples = self.lost_samples.saturating_add(*samples);
            }
            Body::Source { state, reason } => {
                self.source = Some(*state);
                self.source_reason = reason.clone();
                // A verdict about a source that is not heard would go stale unnoticed.
                if *state != SourceState::Up {
                    self.forget();
                }
            }
        }
        self.last_event = event.time.clone();
        true
    }

    fn forget(&mut self) {
        *self = Self {
            source: self.source,
            source_reason: self.source_reason.take(),
            lost_samples: self.lost_samples,
            last_event: std::mem::take(&mut self.last_event),
            ..Self::new(&EventId {
                node: std::mem::take(&mut self.node),
                stream: std::mem::take(&mut self.stream),
                epoch: self.epoch,
                sequence: 0,
            })
        };
    }

    /// Wall-clock time of a second on the stream's clock.
    fn clock(&self, seconds: f64) -> String {
        // `as` saturates: a negative or absurd time gives an end of the range, not a panic.
        rfc3339_millis(self.epoch.saturating_add((seconds * 1000.0).round() as u64))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::publish::event::tests::samples;

    /// The states after each prefix of the sample events.
    pub(crate) fn states() -> Vec<StreamState> {
        let mut state = StreamState::new(&samples()[0].id);
        let mut all = vec![state.clone()];
        for event in samples() {
            state.apply(&event);
            all.push(state.clone());
        }
        all
    }

    #[test]
    fn the_last_finding_of_each_kind_stands() {
        let mut state = StreamState::new(&samples()[0].id);
        let changed: Vec<bool> = samples().iter().map(|e| state.apply(e)).collect();
        let window = |i| i == 2 || i == 3;
        assert!(
            changed
                .iter()
                .enumerate()
                .all(|(i, changed)| *changed != window(i))
        );
        assert_eq!(state.sounds, ["dog_bark"]);
        assert_eq!(state.unhealthy, [HealthPart::Band]);
        assert_eq!(state.source, Some(SourceState::Down));
        assert_eq!((state.speaking, state.speaker_verdict), (Some(false), None));
        assert_eq!(state.spoof_verdict, Some(Verdict::Reject));
        // epoch 1 790 000 000 123 ms + 2.5 s
        assert_eq!(
            state.spoof_since.as_deref(),
            Some("2026-09-21T14:13:22.623Z")
        );
        assert_eq!(state.last_event, "2026-11-23T08:30:00.250Z");
    }

    #[test]
    fn a_source_that_goes_takes_its_verdicts_with_it() {
        let events = samples();
        let mut state = StreamState::new(&events[0].id);
        state.apply(&events[4]);
        assert_eq!(state.speaker.as_deref(), Some("alice"));
        state.apply(&events[1]);
        assert_eq!((&state.speaker, state.speaking), (&None, None));
        assert_eq!(state.source_reason.as_deref(), Some("unplugged"));
        assert_eq!(
            (state.node.as_str(), state.stream.as_str()),
            ("home", "kitchen")
        );
    }

    #[test]
    fn a_new_epoch_starts_afresh() {
        let events = samples();
        let mut state = StreamState::new(&events[0].id);
        events.iter().for_each(|e| {
            state.apply(e);
        });
        let mut restart = events[0].clone();
        restart.id.epoch += 60_000;
        state.apply(&restart);
        assert_eq!((state.lost_samples, state.spoof_verdict), (0, None));
        assert_eq!(state.epoch, restart.id.epoch);
    }
}
