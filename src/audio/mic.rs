//! A capture device as a source: starts without it, attaches when it comes, rebuilds after errors, silence of the
//! callback and unplugging.
//!
//! A supervisor thread owns the device, because opening and closing may block for as long as a driver likes; the stream
//! thread only reads the ring. What talks to the audio system is a [`Backend`], so that the state machine is tested with
//! one that breaks on command; the real one is in `mic/backend.rs`.

mod backend;
mod pattern;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::config::Input;

use super::backoff::Backoff;
use super::capture::{CaptureReader, Health, Read};
use super::open::Kind;
use super::{Packet, Source, SourceError};

pub(super) use backend::host;

pub(super) const KIND: Kind = Kind {
    name: "mic",
    open: |input, _| match input {
        Input::Mic { device } => {
            let backend = backend::CpalBackend::new(device.clone());
            Some(Mic::start(backend, Timing::default()).map(|mic| Box::new(mic) as Box<dyn Source>))
        }
        _ => None,
    },
};

/// How often the ring is looked at. The callback wakes nobody: that would be a system call in it.
const POLL: Duration = Duration::from_millis(5);

/// How long dropping a microphone waits for the driver before it leaves the supervisor to finish by itself.
const LET_GO: Duration = Duration::from_millis(500);

/// What opens a capture stream and keeps it running until the handle is dropped.
trait Backend: Send + 'static {
    /// Dropping it stops the stream.
    type Handle;
    /// Opens the device and starts it; the error is for people.
    fn open(&mut self) -> Result<Live<Self::Handle>, String>;
}

/// A running capture stream.
struct Live<H> {
    handle: H,
    rate: u32,
    channels: u16,
    reader: CaptureReader,
    health: Arc<Health>,
}

/// Times of the supervisor.
#[derive(Debug, Clone)]
struct Timing {
    backoff: Backoff,
    /// Without a callback for this long the stream is dead, whatever the driver says.
    silence: Duration,
    /// A stream that ran for this long was healthy: the next failure waits the shortest time.
    healthy: Duration,
    tick: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(10)),
            silence: Duration::from_secs(3),
            healthy: Duration::from_secs(10),
            tick: Duration::from_millis(100),
        }
    }
}

enum Event {
    Up {
        rate: u32,
        channels: u16,
        reader: CaptureReader,
    },
    Down(String),
}

struct Mic {
    events: Receiver<Event>,
    pending: Option<Event>,
    reader: Option<CaptureReader>,
    stop: Arc<AtomicBool>,
    /// Closes when the supervisor has ended.
    ended: Receiver<()>,
}

impl Mic {
    fn start<B: Backend>(backend: B, timing: Timing) -> Result<Self, SourceError> {
        let (sender, events) = bounded(4);
        let (alive, ended) = bounded::<()>(0);
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor {
            events: sender,
            stop: stop.clone(),
            timing,
            told: None,
        };
        std::thread::Builder::new()
            .name("mic".into())
            .spawn(move || {
                supervisor.run(backend);
                drop(alive);
            })
            .map_err(|e| SourceError::io("the capture thread", e))?;
        Ok(Self {
            events,
            pending: None,
            reader: None,
            stop,
            ended,
        })
    }

    fn apply(&mut self, event: Event) -> Packet {
        match event {
            Event::Up {
                rate,
                channels,
                reader,
            } => {
                self.reader = Some(reader);
                Packet::Format { rate, channels }
            }
            Event::Down(reason) => {
                self.reader = None;
                Packet::Down { reason }
            }
        }
    }
}

impl Source for Mic {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.reader.as_mut().map(|r| r.read(samples)) {
                Some(Read::Audio(captured)) => return Ok(Packet::Audio { captured }),
                Some(Read::Gap(frames)) => return Ok(Packet::Gap { frames }),
                Some(Read::Empty) | None => {}
            }
            // Only now, with the ring read to its end, may the stream change under it.
            if let Some(event) = self.pending.take() {
                return Ok(self.apply(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Packet::Idle);
            }
            match self.events.recv_timeout(left.min(POLL)) {
                Ok(event) => self.pending = Some(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SourceError::unusable(
                        "microphone",
                        "expected the capture thread to run, found it ended; restart the daemon and report this",
                    ));
                }
            }
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Drop for Mic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A stuck driver must not hold up a shutdown.
        let _ = self.ended.recv_timeout(LET_GO);
    }
}

struct Supervisor {
    events: Sender<Event>,
    stop: Arc<AtomicBool>,
    timing: Timing,
    /// The last reason told, so that each retry does not repeat it.
    told: Option<String>,
}

impl Supervisor {
    fn run<B: Backend>(mut self, mut backend: B) {
        while !self.stopped() {
            match backend.open() {
                Ok(live) => {
                    let started = Instant::now();
                    self.told = None;
                    let Live {
                        handle,
                        rate,
                        channels,
                        reader,
                        health,
                    } = live;
                    self.send(Event::Up {
                        rate,
                        channels,
                        reader,
                    });
                    if let Some(reason) = self.watch(&health) {
                        // Told before the handle is dropped: a dead driver may never return from that.
                        self.down(reason);
                    }
                    drop(handle);
                    if started.elapsed() >= self.timing.healthy {
                        self.timing.backoff.reset();
                    }
                }
                Err(reason) => self.down(reason),
            }
            let until = Instant::now() + self.timing.backoff.delay();
            while !self.stopped() && Instant::now() < until {
                std::thread::sleep(self.timing.tick);
            }
        }
    }

    /// Returns why the stream must be built anew, or nothing when we are to stop.
    fn watch(&self, health: &Health) -> Option<String> {
        let (mut beats, mut heard) = (0, Instant::now());
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(fault) = health.fault() {
                return Some(format!("{}; trying again", fault.reason()));
            }
            if health.beats() != beats {
                (beats, heard) = (health.beats(), Instant::now());
            } else if heard.elapsed() >= self.timing.silence {
                return Some(format!(
                    "the device delivered nothing for {:.1} s; opening it again",
                    heard.elapsed().as_secs_f64()
                ));
            }
            std::thread::sleep(self.timing.tick);
        }
    }

    fn down(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "microphone is down");
            self.told = Some(reason.clone());
            self.send(Event::Down(reason));
        }
    }

    fn send(&self, mut event: Event) {
        while !self.stopped() {
            match self.events.send_timeout(event, self.timing.tick) {
                Err(SendTimeoutError::Timeout(back)) => event = back,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
