//! Wyoming, the server's side: a satellite connects and streams `audio-start`, `audio-chunk`, `audio-stop`. `describe` and
//! `ping` are answered, also on further connections; any other event is read over.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::config::Input;

use super::super::Packet;
use super::super::open::{Context, Kind, Opened};
use super::super::reader::Message;
use super::frames::{Event, Frames, write};
use super::server::{Peer, Said, Server};
use super::timeline::{Step, Timeline};
use super::{check_peer, integers};

pub(in super::super) const KIND: Kind = Kind {
    name: "wyoming",
    open: |input, context| match input {
        Input::Wyoming { listen } => Some(open(*listen, context)),
        _ => None,
    },
};

/// Timestamps that step by more than this many seconds tell of a loss. Below it are rounding and a sender's own jitter.
const TOLERANCE_S: f64 = 0.1;

fn open(listen: SocketAddr, context: &Context<'_>) -> Opened {
    let channel = context.channel;
    let server = Server::start(context.stream, listen, move || Satellite::new(channel))?;
    Ok(Box::new(server))
}

/// `rate`, `width` and `channels` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    rate: u32,
    width: usize,
    channels: u16,
}

/// One connection.
pub(super) struct Satellite {
    channel: Option<u16>,
    frames: Frames,
    /// Of the audio that flows.
    format: Option<Format>,
    /// Absent when the sender's timestamps are of no use.
    timeline: Option<Timeline>,
}

impl Satellite {
    pub(super) fn new(channel: Option<u16>) -> Self {
        Self {
            channel,
            frames: Frames::default(),
            format: None,
            timeline: None,
        }
    }

    fn handle(&mut self, event: &Event, said: &mut Said) -> Result<(), String> {
        match event.kind.as_str() {
            "describe" => said.reply.extend(write("info", &info())),
            "ping" => {
                let text = json!({ "text": event.data.get("text") });
                said.reply.extend(write("pong", &text));
            }
            "audio-start" => {
                let format = self.format_of(&event.data)?;
                self.begin(format, said);
            }
            "audio-chunk" => self.chunk(event, said)?,
            "audio-stop" if self.format.take().is_some() => {
                let reason = "the satellite stopped its audio".into();
                said.messages.push(Packet::Down { reason }.into());
            }
            _ => (),
        }
        Ok(())
    }

    fn begin(&mut self, format: Format, said: &mut Said) {
        self.format = Some(format);
        self.timeline = Some(Timeline::stamped(format.rate, TOLERANCE_S));
        said.messages.push(
            Packet::Format {
                rate: format.rate,
                channels: format.channels,
            }
            .into(),
        );
    }

    fn chunk(&mut self, event: &Event, said: &mut Said) -> Result<(), String> {
        let format = self.format_of(&event.data)?;
        let frame = format.width * usize::from(format.channels);
        if !event.payload.len().is_multiple_of(frame) {
            return Err(format!(
                "expected chunks of whole frames of {frame} bytes, found {} bytes",
                event.payload.len()
            ));
        }
        if self.format != Some(format) {
            self.begin(format, said);
        }
        if event.payload.is_empty() {
            return Ok(());
        }
        let stamp = event.data.get("timestamp").and_then(Value::as_f64);
        if let (Some(ms), Some(timeline)) = (stamp, &mut self.timeline) {
            match timeline.step(ms / 1e3, (event.payload.len() / frame) as u64) {
                Step::Steady => (),
                Step::Lost(frames) => said.messages.push(Packet::Gap { frames }.into()),
                Step::Broken => {
                    tracing::warn!(
                        timestamp = ms,
                        "a satellite's timestamps are no milliseconds that go on: losses on its way are not noticed until its next audio-start"
                    );
                    self.timeline = None;
                }
            }
        }
        said.messages.push(Message {
            packet: Packet::Audio {
                captured: Instant::now(),
            },
            samples: integers(&event.payload, format.width),
        });
        Ok(())
    }

    fn format_of(&self, data: &Map<String, Value>) -> Result<Format, String> {
        let number = |key: &str| {
            data.get(key)
                .and_then(Value::as_u64)
                .ok_or_else(|| format!("expected `{key}` with a whole number, found none"))
        };
        let (rate, width) = (number("rate")?, number("width")?);
        let channels = number("channels")?;
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        check_peer(rate, channels, self.channel)?;
        match width {
            2..=4 => Ok(Format {
                rate,
                width: width as usize,
                channels,
            }),
            _ => Err(format!(
                "expected a `width` of 2, 3 or 4 bytes a sample, found {width}"
            )),
        }
    }
}

impl Peer for Satellite {
    fn take(&mut self, bytes: &[u8], said: &mut Said) -> Result<(), String> {
        self.frames.push(bytes);
        while let Some(event) = self.frames.pop().map_err(|e| e.to_string())? {
            self.handle(&event, said)?;
        }
        Ok(())
    }

    fn refusal(&self, reason: &str) -> Vec<u8> {
        write("error", &json!({ "text": reason, "code": "refused" }))
    }

    fn leftover(&self) -> usize {
        self.frames.leftover()
    }

    fn format(&self) -> Option<(u32, u16)> {
        self.format.map(|f| (f.rate, f.channels))
    }
}

/// No service of the protocol: what is found out goes to MQTT and JSON lines, not back to the satellite.
fn info() -> Value {
    json!({ "asr": [], "tts": [], "handle": [], "intent": [], "wake": [], "mic": [], "snd": [] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(timestamp: &Value, format: (u32, u32, u32), payload: &[u8]) -> Vec<u8> {
        let (rate, width, channels) = format;
        let line = json!({
            "type": "audio-chunk",
            "data": { "rate": rate, "width": width, "channels": channels, "timestamp": timestamp },
            "payload_length": payload.len(),
        });
        [line.to_string().as_bytes(), b"\n", payload].concat()
    }

    fn packets(satellite: &mut Satellite, bytes: &[u8]) -> Result<Vec<Packet>, String> {
        let mut said = Said::default();
        satellite.take(bytes, &mut said)?;
        Ok(said.messages.into_iter().map(|m| m.packet).collect())
    }

    const MONO: (u32, u32, u32) = (16_000, 2, 1);

    #[test]
    fn timestamps_that_jump_are_a_gap_and_a_pause_without_is_none() {
        let mut satellite = Satellite::new(None);
        let audio = [0; 3_200];
        let heard = packets(&mut satellite, &chunk(&json!(5_000), MONO, &audio)).unwrap();
        assert!(matches!(
            heard[..],
            [
                Packet::Format {
                    rate: 16_000,
                    channels: 1
                },
                Packet::Audio { .. }
            ]
        ));
        let heard = packets(&mut satellite, &chunk(&json!(5_100), MONO, &audio)).unwrap();
        assert!(matches!(heard[..], [Packet::Audio { .. }]));
        let heard = packets(&mut satellite, &chunk(&json!(5_450), MONO, &audio)).unwrap();
        assert!(matches!(
            heard[..],
            [Packet::Gap { frames: 4_000 }, Packet::Audio { .. }]
        ));
        for none in [Value::Null, json!("later")] {
            let heard = packets(&mut satellite, &chunk(&none, MONO, &audio)).unwrap();
            assert!(matches!(heard[..], [Packet::Audio { .. }]));
        }
    }

    #[test]
    fn nanoseconds_are_not_taken_for_an_hour_lost() {
        let mut satellite = Satellite::new(None);
        for n in 0..20u64 {
            let heard = packets(
                &mut satellite,
                &chunk(&json!(n * 100_000_000), MONO, &[0; 3_200]),
            );
            let gaps = heard
                .unwrap()
                .iter()
                .filter(|p| matches!(p, Packet::Gap { .. }))
                .count();
            assert_eq!(gaps, 0);
        }
    }

    #[test]
    fn another_format_and_another_start_begin_anew() {
        let mut satellite = Satellite::new(None);
        let is_new = |heard: Vec<Packet>| matches!(heard[0], Packet::Format { .. });
        let mono = chunk(&Value::Null, MONO, &[0; 32]);
        assert!(is_new(packets(&mut satellite, &mono).unwrap()));
        assert!(!is_new(packets(&mut satellite, &mono).unwrap()));
        let stereo = chunk(&Value::Null, (48_000, 4, 2), &[0; 32]);
        assert!(is_new(packets(&mut satellite, &stereo).unwrap()));
        let stop = b"{\"type\":\"audio-stop\"}\n";
        assert!(matches!(
            packets(&mut satellite, stop).unwrap()[..],
            [Packet::Down { .. }]
        ));
        assert!(packets(&mut satellite, stop).unwrap().is_empty());
        assert!(is_new(packets(&mut satellite, &stereo).unwrap()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_was_expected() {
        let refused = |bytes: &[u8]| packets(&mut Satellite::new(Some(1)), bytes).unwrap_err();
        assert!(refused(b"{\"type\":\"audio-start\"}\n").contains("`rate`"));
        assert!(refused(&chunk(&Value::Null, (16_000, 1, 2), &[0; 4])).contains("`width`"));
        assert!(refused(&chunk(&Value::Null, (16_000, 2, 1), &[0; 4])).contains("channel 1"));
        assert!(refused(&chunk(&Value::Null, (0, 2, 2), &[0; 4])).contains("sample rate"));
        assert!(refused(&chunk(&Value::Null, (16_000, 2, 2), &[0; 5])).contains("whole frames"));
        assert!(refused(b"garbage\n").contains("JSON"));
    }

    #[test]
    fn describe_and_ping_are_answered_and_say_nothing_to_the_stream() {
        let mut said = Said::default();
        let asked = b"{\"type\":\"describe\"}\n{\"type\":\"ping\",\"data\":{\"text\":\"x\"}}\n{\"type\":\"transcribe\"}\n";
        Satellite::new(None).take(asked, &mut said).unwrap();
        assert!(said.messages.is_empty());
        let mut frames = Frames::default();
        frames.push(&said.reply);
        let info = frames.pop().unwrap().unwrap();
        assert_eq!(
            (info.kind.as_str(), &info.data["asr"]),
            ("info", &json!([]))
        );
        let pong = frames.pop().unwrap().unwrap();
        assert_eq!(
            (pong.kind.as_str(), &pong.data["text"]),
            ("pong", &json!("x"))
        );
    }
}
