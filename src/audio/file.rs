//! An audio file as a source: paced like a microphone, or as fast as the reader takes it.

use std::time::{Duration, Instant};

use crate::config::Input;

use super::decode::{Block, Decoder};
use super::open::{Kind, Opened};
use super::{Packet, Source, SourceError};

pub(super) const KIND: Kind = Kind {
    name: "file",
    open: |input, _| match input {
        Input::File { path, speed } => Some(open(path, *speed)),
        _ => None,
    },
};

/// Wall-clock length of a paced packet: what a sound card would deliver at a time.
const PERIOD_S: f64 = 0.02;

/// Fastest paced playback; beyond it `speed = 0` is what is meant.
const FASTEST: f64 = 1_000.0;

fn open(path: &std::path::Path, speed: f64) -> Opened {
    let what = path.display().to_string();
    if !(0.0..=FASTEST).contains(&speed) {
        return Err(SourceError::unusable(
            what,
            format!(
                "expected a speed from 0 (as fast as possible) to {FASTEST}, found {speed}; 1 is real time"
            ),
        ));
    }
    let decoder = Decoder::open(path)?;
    let (rate, channels) = decoder.format();
    Ok(Box::new(FileSource {
        decoder,
        speed,
        rate,
        channels,
        announced: false,
        buffer: Vec::new(),
        at: 0,
        start: None,
        played: 0,
        ended: false,
    }))
}

/// At the end of a damaged file one [`Packet::Down`] says what is wrong with it before [`Packet::End`]; what decodes was
/// delivered before.
struct FileSource {
    decoder: Decoder,
    speed: f64,
    rate: u32,
    channels: u16,
    announced: bool,
    /// Decoded, not yet handed out from `at` on.
    buffer: Vec<f32>,
    at: usize,
    /// When frame 0 was due.
    start: Option<Instant>,
    played: u64,
    ended: bool,
}

impl FileSource {
    /// When the frame before `frame` is due.
    fn due(&mut self, frame: u64) -> Instant {
        let start = *self.start.get_or_insert_with(Instant::now);
        let after = frame as f64 / (f64::from(self.rate) * self.speed);
        start + Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX / 4)
    }

    fn hand_out(&mut self, samples: &mut Vec<f32>, deadline: Instant) -> Packet {
        let width = usize::from(self.channels);
        let left = (self.buffer.len() - self.at) / width;
        let mut captured = Instant::now();
        let mut frames = left;
        if self.is_live() {
            let period = (f64::from(self.rate) * self.speed * PERIOD_S) as usize;
            frames = left.min(period.max(1));
            captured = self.due(self.played + frames as u64);
            let until = captured.min(deadline);
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            if captured > deadline {
                return Packet::Idle;
            }
        }
        let end = self.at + frames * width;
        samples.extend_from_slice(&self.buffer[self.at..end]);
        self.at = end;
        self.played += frames as u64;
        Packet::Audio { captured }
    }

    fn announce(&mut self, rate: u32, channels: u16) -> Packet {
        // A new rate in the middle of a chained file: the schedule goes on from here.
        if self.is_live() && self.start.is_some() {
            self.start = Some(self.due(self.played));
        }
        (self.rate, self.channels, self.played) = (rate, channels, 0);
        Packet::Format { rate, channels }
    }
}

impl Source for FileSource {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        let deadline = Instant::now() + timeout;
        if !self.announced {
            self.announced = true;
            return Ok(self.announce(self.rate, self.channels));
        }
        if self.ended {
            return Ok(Packet::End);
        }
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
            match self.decoder.next(&mut self.buffer)? {
                Block::Format { rate, channels } => return Ok(self.announce(rate, channels)),
                Block::Lost(frames) => {
                    self.played += frames;
                    return Ok(Packet::Gap { frames });
                }
                Block::Audio => {}
                Block::End => {
                    self.ended = true;
                    if let Some(reason) = self.decoder.damage() {
                        tracing::warn!(%reason, "damaged audio file");
                        return Ok(Packet::Down { reason });
                    }
                    return Ok(Packet::End);
                }
            }
        }
        Ok(self.hand_out(samples, deadline))
    }

    fn is_live(&self) -> bool {
        self.speed > 0.0
    }
}
