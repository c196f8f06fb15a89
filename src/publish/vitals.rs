//! What is told at regular intervals, so that silence is told from trouble: level and lag of a stream, health of the node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Body, Event, SCHEMA};

/// The retained message about how a stream does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamVitals {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The daemon.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// When it was made, RFC 3339 UTC.
    pub time: String,
    /// Windows analysed since the last such message.
    pub windows: u64,
    /// Mean level of these, dB relative to full scale; `null` without any.
    pub level_dbfs: Option<f64>,
    /// Mean share of speech in them, 0 to 1; `null` without any.
    pub speech: Option<f64>,
    /// The longest time from the end of a window to its event, milliseconds; `null` without any.
    pub lag_ms: Option<f64>,
    /// Samples (at 16 kHz) lost since the last such message.
    pub lost_samples: u64,
}

/// The retained message about how a daemon does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeVitals {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The daemon.
    pub node: String,
    /// When it was made, RFC 3339 UTC.
    pub time: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Streams of which anything is known.
    pub streams: u64,
    /// Those whose source is up.
    pub streams_up: u64,
    /// The longest lag of any of them, milliseconds; `null` without windows.
    pub lag_ms: Option<f64>,
    /// Events that wait for the broker's acknowledgement.
    pub pending: u64,
    /// Events lost since the start: no room in memory or outbox, too old, refused by the broker, or that could not be
    /// published at all.
    pub lost: u64,
    /// Times that the broker accepted us since the start.
    pub connections: u64,
    /// Commands refused since the start.
    pub commands_refused: u64,
    /// Answers to commands that were not sent since the start: commands came faster than the connection takes answers.
    pub answers_dropped: u64,
    /// `true`: something needs a person, and `problem` says what.
    pub trouble: bool,
    /// For people; `null` when all is well.
    pub problem: Option<String>,
}

/// Gathers one interval of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    windows: u64,
    energy: f64,
    speech: f64,
    lag_ms: f64,
    lost_samples: u64,
}

impl Gathered {
    /// Takes an event of the stream in.
    pub(super) fn take(&mut self, event: &Event) {
        match &event.body {
            Body::Window {
                level_dbfs, speech, ..
            } => {
                self.windows += 1;
                self.energy += 10f64.powf(level_dbfs / 10.0);
                self.speech += speech;
                self.lag_ms = self.lag_ms.max(event.lag_ms);
            }
            Body::Gap { samples, .. } => {
                self.lost_samples = self.lost_samples.saturating_add(*samples);
            }
            _ => {}
        }
    }

    /// What was gathered, and starts anew.
    pub(super) fn tell(&mut self, node: &str, stream: &str, time: String) -> StreamVitals {
        let Self {
            windows,
            energy,
            speech,
            lag_ms,
            lost_samples,
        } = std::mem::take(self);
        // A tenth of a decibel, a thousandth, a millisecond: more is noise.
        let mean = |sum: f64| (windows > 0).then(|| sum / windows as f64);
        let rounded = |value: f64, steps: f64| (value * steps).round() / steps;
        let level = mean(energy).map(|e| rounded(10.0 * e.max(1e-12).log10(), 10.0));
        StreamVitals {
            schema: SCHEMA,
            node: node.into(),
            stream: stream.into(),
            time,
            windows,
            level_dbfs: level.filter(|l| l.is_finite()),
            speech: mean(speech)
                .map(|s| rounded(s, 1000.0))
                .filter(|s| s.is_finite()),
            lag_ms: (windows > 0)
                .then_some(lag_ms.round())
                .filter(|l| l.is_finite()),
            lost_samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::event::tests::samples;

    #[test]
    fn an_interval_is_gathered_and_forgotten() {
        let mut gathered = Gathered::default();
        samples().iter().for_each(|e| gathered.take(e));
        let told = gathered.tell("home", "kitchen", "t".into());
        // Windows of −120 and −21.5 dB: half the energy of the latter.
        assert_eq!((told.windows, told.level_dbfs), (2, Some(-24.5)));
        assert_eq!((told.speech, told.lag_ms), (Some(0.465), Some(312.0)));
        assert_eq!(told.lost_samples, u64::MAX);
        let told = gathered.tell("home", "kitchen", "t".into());
        assert_eq!(
            (told.windows, told.level_dbfs, told.lag_ms),
            (0, None, None)
        );
        assert_eq!(told.lost_samples, 0);
    }
}
