//! The way out of a capture callback: a wait-free ring of samples, a ring of marks beside it, a few atomics.
//!
//! [`CaptureWriter::write`] is the whole body of the callback. It takes no lock, allocates nothing, logs nothing and
//! cannot panic; `tests/callback_allocations.rs` watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpal::{FromSample, Sample};
use rtrb::{Consumer, Producer, RingBuffer};

/// Seconds of audio that fit while the reader is away.
const RING_S: usize = 4;
/// Limits of the ring in samples: enough for slow odd devices, at most 64 MiB for wide fast ones.
const RING: (usize, usize) = (16_384, 16 << 20);
/// Callbacks that fit while the reader is away: 4 s of 1 ms periods.
const MARKS: usize = 4_096;

/// One callback's worth, put into the mark ring after its samples.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Frames lost before it.
    lost: u64,
    /// Frames of it in the sample ring.
    frames: usize,
    captured: Instant,
}

/// What the audio system reported besides samples; set from its threads, read by ours.
#[derive(Debug, Default)]
pub struct Health {
    /// Callbacks so far: the heartbeat.
    beats: AtomicU64,
    /// Overruns inside the driver.
    xruns: AtomicU64,
    /// Frames lost for want of room in the ring or inside the driver.
    lost: AtomicU64,
    /// The fault that makes a rebuild necessary, as its number; 0 for none.
    fault: AtomicU8,
}

/// Why a stream has to be built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The device went away.
    Gone = 1,
    /// Its format or route changed.
    Changed = 2,
    /// Anything else that the audio system reports as an error.
    Backend = 3,
}

impl Fault {
    /// For people.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Gone => "the device was disconnected",
            Self::Changed => "the device changed its format or route",
            Self::Backend => "the audio system reported an error",
        }
    }
}

impl Health {
    /// Callbacks so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }

    /// Overruns that the driver reported.
    #[must_use]
    pub fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Acquire)
    }

    /// Frames lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// The driver overran: the next callback works out how much is missing.
    pub fn xrun(&self) {
        self.xruns.fetch_add(1, Ordering::AcqRel);
    }

    /// The stream is broken.
    pub fn fail(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::Release);
    }

    /// The fault, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Fault::Gone),
            2 => Some(Fault::Changed),
            _ => Some(Fault::Backend),
        }
    }
}

/// The callback's end.
pub struct CaptureWriter {
    samples: Producer<f32>,
    marks: Producer<Mark>,
    health: Arc<Health>,
    channels: usize,
    rate: f64,
    lost: u64,
    xruns: u64,
    last: Option<Instant>,
}

/// The stream thread's end.
pub struct CaptureReader {
    samples: Consumer<f32>,
    marks: Consumer<Mark>,
    health: Arc<Health>,
    channels: usize,
    gap_told: bool,
}

/// What [`CaptureReader::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Samples were appended; the last was captured then.
    Audio(Instant),
    /// Frames were lost before what comes next.
    Gap(u64),
    /// Nothing.
    Empty,
}

/// A ring for a stream at `rate` Hz with `channels` interleaved channels (0 is taken as 1).
#[must_use]
pub fn capture_ring(rate: u32, channels: u16) -> (CaptureWriter, CaptureReader) {
    let channels = usize::from(channels.max(1));
    let wanted = (rate as usize)
        .saturating_mul(channels)
        .saturating_mul(RING_S);
    ring_of(rate, channels, wanted.clamp(RING.0, RING.1))
}

fn ring_of(rate: u32, channels: usize, size: usize) -> (CaptureWriter, CaptureReader) {
    let (samples, samples_out) = RingBuffer::new(size);
    let (marks, marks_out) = RingBuffer::new(MARKS);
    let health = Arc::new(Health::default());
    let writer = CaptureWriter {
        samples,
        marks,
        health: health.clone(),
        channels,
        rate: f64::from(rate.max(1)),
        lost: 0,
        xruns: 0,
        last: None,
    };
    let reader = CaptureReader {
        samples: samples_out,
        marks: marks_out,
        health,
        channels,
        gap_told: false,
    };
    (writer, reader)
}

impl CaptureWriter {
    /// What the error callback and the watchdog share with this writer.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Takes one callback's interleaved samples. `waited` is how long the first of them lay in the driver.
    ///
    /// A block that does not fit is lost as a whole and counted; the reader learns of it at the right place.
    pub fn write<T>(&mut self, data: &[T], waited: Duration)
    where
        T: Sample,
        f32: FromSample<T>,
    {
        let now = Instant::now();
        let frames = data.len() / self.channels;
        let length = frames as f64 / self.rate;
        let captured = now
            .checked_sub(waited)
            .and_then(|first| first.checked_add(Duration::from_secs_f64(length)))
            .map_or(now, |t| t.min(now));
        self.after_xrun(captured, length);
        self.last = Some(captured);
        self.health.beats.fetch_add(1, Ordering::AcqRel);
        if frames == 0 {
            return;
        }
        let whole = frames * self.channels;
        let room = !self.marks.is_full();
        match self.samples.write_chunk_uninit(whole) {
            Ok(chunk) if room => {
                chunk.fill_from_iter(data.iter().map(|x| f32::from_sample(*x)));
                let mark = Mark {
                    lost: std::mem::take(&mut self.lost),
                    frames,
                    captured,
                };
                // There was room a moment ago, and nobody else writes.
                let _ = self.marks.push(mark);
            }
            _ => self.lose(frames as u64),
        }
    }

    /// After an overrun inside the driver nobody says how much is missing: the clock does.
    fn after_xrun(&mut self, captured: Instant, length: f64) {
        let xruns = self.health.xruns.load(Ordering::Acquire);
        if xruns == self.xruns {
            return;
        }
        self.xruns = xruns;
        if let Some(last) = self.last {
            let passed = captured.saturating_duration_since(last).as_secs_f64();
            self.lose(((passed - length).max(0.0) * self.rate) as u64);
        }
    }

    fn lose(&mut self, frames: u64) {
        self.lost += frames;
        self.health.lost.fetch_add(frames, Ordering::AcqRel);
    }
}

impl CaptureReader {
    /// What the writer shares.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Appends everything up to the next loss to `samples`, or says how much was lost. Never waits.
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Read {
        let mut last = None;
        while let Ok(&mark) = self.marks.peek() {
            if mark.lost > 0 && !self.gap_told {
                if last.is_some() {
                    break;
                }
                self.gap_told = true;
                return Read::Gap(mark.lost);
            }
            // The samples went in before their mark.
            let Ok(chunk) = self.samples.read_chunk(mark.frames * self.channels) else {
                break;
            };
            let (a, b) = chunk.as_slices();
            samples.extend_from_slice(a);
            samples.extend_from_slice(b);
            chunk.commit_all();
            let _ = self.marks.pop();
            self.gap_told = false;
            last = Some(mark.captured);
        }
        last.map_or(Read::Empty, Read::Audio)
    }
}

#[cfg(test)]
mod tests;
