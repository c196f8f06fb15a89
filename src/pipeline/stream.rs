//! The thread of one stream: source → frontend → segmenter → its worker's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::audio::{Frontend, Output, Packet, SAMPLE_RATE, Source};
use crate::config;
use crate::publish::{GapReason, SourceState};

use super::queue::{Job, Mark, Queue};
use super::segmenter::Segmenter;

/// How long one look at the source may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Everything that one stream thread owns.
pub struct StreamThread {
    /// Index of the stream, which its worker knows it by.
    pub index: usize,
    /// The configured id, for logs.
    pub id: String,
    /// What is read.
    pub source: Box<dyn Source>,
    /// Downmix, resampling, sample clock.
    pub frontend: Frontend,
    /// Where windows go.
    pub queue: Arc<Queue>,
    /// Set when the daemon stops.
    pub stop: Arc<AtomicBool>,
}

impl StreamThread {
    /// Reads the source to its end, its failure or the stop.
    pub fn run(mut self, window: &config::Window) {
        let mut segmenter = Segmenter::new(window);
        let mut interleaved = Vec::new();
        let mut outputs = Vec::new();
        let mut state = None;
        let end = loop {
            if self.stop.load(Ordering::Relaxed) {
                break None;
            }
            let packet = match self.source.next(&mut interleaved, POLL) {
                Ok(packet) => packet,
                Err(error) => break Some(error),
            };
            if let Err(error) = self.frontend.push(&packet, &mut interleaved, &mut outputs) {
                break Some(error);
            }
            self.tell(&packet, &mut state);
            let open = outputs
                .drain(..)
                .all(|output| self.take(output, &mut segmenter));
            if !open || packet == Packet::End {
                break None;
            }
        };
        if let Some(last) = segmenter.finish(Instant::now()) {
            self.send(Job::Window(last));
        }
        let (state, reason) = match end {
            None => (SourceState::Ended, None),
            Some(error) => {
                tracing::error!(stream = self.id, %error, "the source failed");
                (SourceState::Failed, Some(error.to_string()))
            }
        };
        self.send(Job::Mark(Mark::Source { state, reason }));
    }

    /// Reports that the source came or went.
    fn tell(&self, packet: &Packet, state: &mut Option<SourceState>) {
        let (new, reason) = match packet {
            Packet::Format { .. } | Packet::Audio { .. } => (SourceState::Up, None),
            Packet::Down { reason } => (SourceState::Down, Some(reason.clone())),
            _ => return,
        };
        if *state == Some(new) {
            return;
        }
        *state = Some(new);
        match &reason {
            Some(reason) => {
                tracing::warn!(stream = self.id, reason, "the source is down; trying again")
            }
            None => tracing::info!(stream = self.id, "the source is up"),
        }
        self.send(Job::Mark(Mark::Source { state: new, reason }));
    }

    /// False when nobody takes windows any more.
    fn take(&self, output: Output, segmenter: &mut Segmenter) -> bool {
        match output {
            Output::NewEpoch { epoch, .. } => {
                segmenter.restart(0);
                self.send(Job::Mark(Mark::Epoch(epoch)))
            }
            Output::Gap {
                first_sample,
                samples,
                ..
            } => {
                let at = first_sample + samples;
                segmenter.restart(at);
                self.send(Job::Mark(Mark::Lost {
                    samples,
                    at,
                    reason: GapReason::Overrun,
                }))
            }
            Output::Chunk(chunk) => {
                let mut open = true;
                segmenter.push(&chunk.samples, chunk.captured, |window| {
                    open &= self.send(Job::Window(window))
                });
                open
            }
        }
    }

    fn send(&self, job: Job) -> bool {
        self.queue.push(self.index, job, self.source.is_live())
    }
}

/// Milliseconds since 1970; 0 on a machine whose clock stands before that.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

const _: () = assert!(
    SAMPLE_RATE == 16_000,
    "windows, frames and packs are defined at 16 kHz"
);
