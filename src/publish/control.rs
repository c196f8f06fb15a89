//! What can be changed while the daemon runs: a board between those who ask (commands) and those who do it (the pipeline).
//! No socket, no decision. What is changed here ends with the process; the configuration file is never written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::SCHEMA;
use crate::config::{Config, Decision};

/// Settings of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Nothing is heard of the stream: its audio is dropped before it is looked at.
    pub muted: bool,
    /// Prior, costs and margin of who speaks.
    pub speaker: Decision,
    /// The same of whether the voice is real.
    pub spoof: Decision,
}

/// The retained message of what a stream is set to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSettings {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The daemon.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// What it is set to.
    #[serde(flatten)]
    pub settings: Settings,
}

/// The board.
#[derive(Debug)]
pub struct Controls {
    streams: Vec<(String, Mutex<Slot>)>,
}

#[derive(Debug)]
struct Slot {
    settings: Settings,
    asked: bool,
}

impl Controls {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let slot = || Slot {
            settings: Settings {
                muted: false,
                speaker: config.speaker.decision,
                spoof: config.spoof.decision,
            },
            asked: false,
        };
        let streams = config.streams.iter();
        Self {
            streams: streams
                .map(|s| (s.id.clone(), Mutex::new(slot())))
                .collect(),
        }
    }

    /// Names of the streams, in the order of the configuration.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().map(|(id, _)| id.as_str())
    }

    /// What a stream is set to; `None`: there is no such stream.
    pub fn settings(&self, stream: &str) -> Option<Settings> {
        Some(self.named(stream)?.settings)
    }

    /// Sets a stream; `false`: there is no such stream. It counts from its next window on.
    pub fn set(&self, stream: &str, settings: Settings) -> bool {
        let slot = self.named(stream);
        slot.map(|mut slot| slot.settings = settings).is_some()
    }

    /// Asks that what stands be published once more with the next window; `false`: there is no such stream.
    pub fn ask(&self, stream: &str) -> bool {
        let slot = self.named(stream);
        slot.map(|mut slot| slot.asked = true).is_some()
    }

    /// What the `index`-th stream is set to; `None`: there is no such stream.
    pub fn of(&self, index: usize) -> Option<Settings> {
        Some(lock(&self.streams.get(index)?.1).settings)
    }

    /// Whether somebody asked since the last look.
    pub fn take_asked(&self, index: usize) -> bool {
        let slot = self.streams.get(index);
        slot.is_some_and(|(_, slot)| std::mem::take(&mut lock(slot).asked))
    }

    fn named(&self, stream: &str) -> Option<MutexGuard<'_, Slot>> {
        let (_, slot) = self.streams.iter().find(|(id, _)| id == stream)?;
        Some(lock(slot))
    }
}

/// Held for a moment only, and whole at any time.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, Stream};

    #[test]
    fn a_stream_is_changed_alone_and_asked_once() {
        let stream = |id: &str| Stream {
            id: id.into(),
            source: Input::Mic { device: None },
            channel: None,
            sound: true,
        };
        let config = Config {
            streams: vec![stream("a"), stream("b")],
            ..Config::default()
        };
        let controls = Controls::new(&config);
        let mut settings = controls.settings("b").unwrap();
        settings.muted = true;
        assert!(controls.set("b", settings) && !controls.set("c", settings));
        assert_eq!(controls.of(1), Some(settings));
        assert_eq!(controls.of(0).map(|s| s.muted), Some(false));
        assert!(controls.ask("a") && !controls.ask("c"));
        assert!(!controls.take_asked(1) && controls.take_asked(0) && !controls.take_asked(0));
    }
}
