//! The bundled scene's ground truth, and how the daemon's answers compare with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::publish::{Body, Event, Verdict};
use anyhow::Context;
use serde::Deserialize;

/// Seconds after the end of a segment within which an answer about it still counts: one hop.
const GRACE_S: f64 = 1.0;

/// `scene.json`.
#[derive(Debug, Deserialize)]
pub struct Scene {
    /// Who is enrolled, from which clips.
    pub enrol: BTreeMap<String, Vec<PathBuf>>,
    /// In order, not overlapping.
    pub segments: Vec<Segment>,
}

/// One stretch of the scene.
#[derive(Debug, Clone, Deserialize)]
pub struct Segment {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// An enrolled name, `unknown` for a stranger; absent in music.
    pub speaker: Option<String>,
    /// Whether a machine made the voice; absent in music.
    pub synthetic: Option<bool>,
}

/// Where a voice comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// A person's throat.
    Real,
    /// A machine.
    Synthetic,
}

impl Voice {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Synthetic => "synthetic",
        }
    }
}

impl Segment {
    /// The truth about the voice.
    pub fn voice(&self) -> Option<Voice> {
        self.synthetic
            .map(|s| if s { Voice::Synthetic } else { Voice::Real })
    }
}

impl Scene {
    /// Reads the ground truth.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no scene", path.display()))
    }
}

/// What the daemon said of one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Who, in the words of the ground truth (`unknown`: a stranger); `None`: nobody or undecided.
    pub speaker: Option<String>,
    /// Real or synthetic; `None`: undecided.
    pub voice: Option<Voice>,
    /// Seconds from the segment's start until the answer on the speaker stood.
    pub speaker_after_s: Option<f64>,
    /// The same for the voice.
    pub voice_after_s: Option<f64>,
}

impl Heard {
    /// The answers that stood at the end of `segment`, from the stream's events in order.
    pub fn of(segment: &Segment, events: &[Event]) -> Self {
        let mut heard = Self {
            speaker: None,
            voice: None,
            speaker_after_s: None,
            voice_after_s: None,
        };
        for event in events.iter().filter(|e| e.end_s <= segment.end + GRACE_S) {
            let after = Some(event.end_s - segment.start).filter(|s| *s > 0.0);
            match &event.body {
                Body::Speaker {
                    speaker,
                    speaking,
                    verdict,
                    ..
                } => {
                    heard.speaker = match (speaking, verdict) {
                        (true, Verdict::Accept) => speaker.clone(),
                        (true, Verdict::Reject) => Some("unknown".to_owned()),
                        _ => None,
                    };
                    heard.speaker_after_s = after;
                    if !speaking {
                        (heard.voice, heard.voice_after_s) = (None, after);
                    }
                }
                Body::Spoof { verdict, .. } => {
                    heard.voice = match verdict {
                        Verdict::Accept => Some(Voice::Real),
                        Verdict::Reject => Some(Voice::Synthetic),
                        Verdict::Inconclusive => None,
                    };
                    heard.voice_after_s = after;
                }
                _ => (),
            }
        }
        heard
    }

    /// How good the answer on the speaker was.
    pub fn speaker_grade(&self, truth: &Segment) -> Grade {
        Grade::of(self.speaker.as_ref(), truth.speaker.as_ref())
    }

    /// How good the answer on the voice was.
    pub fn voice_grade(&self, truth: &Segment) -> Grade {
        Grade::of(self.voice, truth.voice())
    }
}

/// An answer beside the ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it was.
    Right,
    /// None where there was one to give: the evidence did not suffice.
    Undecided,
    /// Another than it was.
    Wrong,
}

impl Grade {
    fn of<T: PartialEq>(heard: Option<T>, truth: Option<T>) -> Self {
        match heard {
            heard if heard == truth => Self::Right,
            None => Self::Undecided,
            Some(_) => Self::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{EventId, SCHEMA};

    fn event(end_s: f64, body: Body) -> Event {
        let id = EventId {
            node: "n".into(),
            stream: "s".into(),
            epoch: 0,
            sequence: 0,
        };
        Event {
            schema: SCHEMA,
            id,
            time: String::new(),
            start_s: 0.0,
            end_s,
            lag_ms: 0.0,
            body,
        }
    }

    fn speaker(end_s: f64, name: Option<&str>, speaking: bool, verdict: Verdict) -> Event {
        let body = Body::Speaker {
            speaker: name.map(str::to_owned),
            speaking,
            since_s: 0.0,
            verdict,
            llr: None,
            stranger: None,
            speech_s: None,
            fused: None,
        };
        event(end_s, body)
    }

    fn segment(start: f64, end: f64, name: Option<&str>, synthetic: Option<bool>) -> Segment {
        Segment {
            start,
            end,
            speaker: name.map(str::to_owned),
            synthetic,
        }
    }

    #[test]
    fn the_answer_that_stands_at_the_end_counts() {
        let events = [
            speaker(2.0, Some("ann"), true, Verdict::Accept),
            event(
                4.0,
                Body::Spoof {
                    verdict: Verdict::Accept,
                    llr: 2.0,
                    since_s: 0.0,
                    parts: Vec::new(),
                },
            ),
            speaker(14.0, None, true, Verdict::Reject),
        ];
        let first = segment(0.5, 10.0, Some("ann"), Some(false));
        let heard = Heard::of(&first, &events);
        assert_eq!(heard.speaker_grade(&first), Grade::Right);
        assert_eq!(heard.voice_grade(&first), Grade::Right);
        assert_eq!(heard.speaker_after_s, Some(1.5));
        let second = segment(11.0, 20.0, Some("unknown"), Some(true));
        let heard = Heard::of(&second, &events);
        assert_eq!(heard.speaker_grade(&second), Grade::Right);
        assert_eq!(
            heard.voice_grade(&second),
            Grade::Wrong,
            "the answer on the voice is still the first segment's"
        );
    }

    #[test]
    fn music_is_right_when_nobody_is_said_to_speak() {
        let music = segment(20.0, 30.0, None, None);
        let mut events = vec![
            speaker(5.0, Some("ann"), true, Verdict::Accept),
            event(
                6.0,
                Body::Spoof {
                    verdict: Verdict::Reject,
                    llr: -2.0,
                    since_s: 0.0,
                    parts: Vec::new(),
                },
            ),
        ];
        let heard = Heard::of(&music, &events);
        assert_eq!(heard.speaker_grade(&music), Grade::Wrong);
        assert_eq!(heard.voice_grade(&music), Grade::Wrong);
        events.push(speaker(22.0, None, false, Verdict::Inconclusive));
        let heard = Heard::of(&music, &events);
        assert_eq!(heard.speaker_grade(&music), Grade::Right);
        assert_eq!(heard.voice_grade(&music), Grade::Right);
        let person = segment(20.0, 30.0, Some("ann"), Some(false));
        let heard = Heard::of(&person, &events);
        assert_eq!(heard.speaker_grade(&person), Grade::Undecided);
        assert_eq!(heard.voice_grade(&person), Grade::Undecided);
    }
}
