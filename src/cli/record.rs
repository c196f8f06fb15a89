//! A recording from a capture device, with its progress on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::audio::{Frontend, Output, Packet, SAMPLE_RATE, Signal, WIDE_RATE, open, wide};
use crate::config::Input;

use super::Failure;

/// How long a device may take to deliver its first sample, or to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest that is waited for samples at a time.
const WAIT: Duration = Duration::from_millis(100);
/// Seconds that may be recorded.
const SECONDS: std::ops::RangeInclusive<f64> = 3.0..=600.0;

/// Reads `20s` or `20`.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).trim();
    let (least, most) = SECONDS.into_inner();
    match number.parse() {
        Ok(seconds) if SECONDS.contains(&seconds) => Ok(seconds),
        _ => Err(format!("expected {least} to {most} seconds, such as 20s")),
    }
}

/// Records for so many seconds from a device (none: the system's default), of `channel` or all, mixed; at both rates where
/// `is_wide`. Samples that the device lost are silence.
pub(super) fn record(
    device: Option<String>,
    seconds: f64,
    channel: Option<u16>,
    is_wide: bool,
) -> Result<Signal, Failure> {
    let mut source = open(&Input::Mic { device })?;
    let mut narrow = Track::new(SAMPLE_RATE, channel);
    let mut broad = Track::new(WIDE_RATE, channel);
    let wanted = (seconds * f64::from(SAMPLE_RATE)) as usize;
    let mut progress = Progress::new(seconds);
    let (mut buffer, mut heard) = (Vec::new(), Instant::now());
    let mut reason = "it delivers nothing".to_owned();
    while narrow.samples.len() < wanted {
        let packet = source.next(&mut buffer, WAIT)?;
        match &packet {
            Packet::Audio { .. } => heard = Instant::now(),
            Packet::Down { reason: why } => reason.clone_from(why),
            Packet::End => return Err(Failure::runtime(anyhow!("the microphone ended"))),
            Packet::Format { .. } | Packet::Gap { .. } | Packet::Idle => (),
        }
        if heard.elapsed() > PATIENCE {
            return Err(Failure::runtime(anyhow!(
                "nothing came from the microphone for {} s: {reason}; `earwitness devices` lists what there is",
                PATIENCE.as_secs()
            )));
        }
        if is_wide {
            broad.push(&packet, &mut buffer.clone())?;
        }
        narrow.push(&packet, &mut buffer)?;
        progress.tell(narrow.samples.len() as f64 / wanted as f64);
    }
    progress.end();
    let mut signal = Signal::from(narrow.samples);
    signal.samples.truncate(wanted);
    if is_wide {
        signal.wide = broad.samples;
        signal.wide.resize(wide(wanted), 0.0);
    }
    Ok(signal)
}

/// What was recorded at one rate.
struct Track {
    frontend: Frontend,
    outputs: Vec<Output>,
    samples: Vec<f32>,
}

impl Track {
    fn new(rate: u32, channel: Option<u16>) -> Self {
        Self {
            frontend: Frontend::new("microphone", rate, channel),
            outputs: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn push(&mut self, packet: &Packet, buffer: &mut Vec<f32>) -> Result<(), Failure> {
        self.frontend.push(packet, buffer, &mut self.outputs)?;
        for output in self.outputs.drain(..) {
            match output {
                Output::Chunk(chunk) => self.samples.extend(chunk.samples),
                Output::Gap { samples, .. } => {
                    tracing::warn!(samples, "the microphone lost samples: they are silence");
                    // No gap is longer than what is recorded.
                    let lost = usize::try_from(samples).unwrap_or(0).min(600 * 24_000);
                    self.samples.resize(self.samples.len() + lost, 0.0);
                }
                Output::NewEpoch { .. } => (),
            }
        }
        Ok(())
    }
}

/// Per cent done: a line that changes on a terminal, else a line every tenth.
struct Progress {
    seconds: f64,
    told: Option<u32>,
    on_terminal: bool,
}

impl Progress {
    fn new(seconds: f64) -> Self {
        Self {
            seconds,
            told: None,
            on_terminal: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&mut self, share: f64) {
        let step = if self.on_terminal { 1 } else { 10 };
        let percent = (100.0 * share).min(100.0) as u32 / step * step;
        if self.told.is_some_and(|told| percent <= told) {
            return;
        }
        self.told = Some(percent);
        let left = self.seconds * (1.0 - share).max(0.0);
        let line = format!("speak: {percent:>3} % recorded, {left:.0} s to go");
        let mut stderr = anstream::stderr().lock();
        // Nobody is left to be told if standard error is closed.
        let _ = match self.on_terminal {
            true => write!(stderr, "\r{line}  ").and_then(|()| stderr.flush()),
            false => writeln!(stderr, "{line}"),
        };
    }

    fn end(&self) {
        if self.on_terminal {
            let _ = writeln!(anstream::stderr().lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_with_and_without_their_unit() {
        assert_eq!(seconds("20s"), Ok(20.0));
        assert_eq!(seconds("4.5"), Ok(4.5));
        for text in ["", "s", "2s", "601", "nan", "20m", "-5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
