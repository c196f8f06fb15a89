//! The thread of one stream: source → frontend → segmenter → its worker's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::audio::{Frontend, Output, Packet, SAMPLE_RATE, SilenceWatch, Source};
use crate::config;
use crate::publish::{GapReason, SourceState};

use super::queue::{Job, Mark, Queue};
use super::segmenter::Segmenter;

/// How long one look at the source may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Seconds of digital silence after which a person should look.
const DEAD_S: u64 = 30;

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
        let mut watch = SilenceWatch::new(DEAD_S * u64::from(SAMPLE_RATE));
        let mut interleaved = Vec::new();
        let mut outputs = Vec::new();
        let mut repaired = 0;
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
            self.tell_repairs(&mut repaired);
            let open = outputs
                .drain(..)
                .all(|output| self.take(output, &mut segmenter, &mut watch));
            if let Packet::Down { reason } = &packet {
                tracing::warn!(stream = self.id, reason, "the source is down");
                self.tell(SourceState::Down, Some(reason.clone()));
            }
            if !open || packet == Packet::End {
                break None;
            }
        };
        if let Some(last) = segmenter.finish(Instant::now()) {
            self.send(Job::Window(last));
        }
        match end {
            None => self.tell(SourceState::Ended, None),
            Some(error) => {
                tracing::error!(stream = self.id, %error, "the source failed");
                self.tell(SourceState::Failed, Some(error.to_string()))
            }
        };
    }

    /// False when nobody takes windows any more.
    fn take(&self, output: Output, segmenter: &mut Segmenter, watch: &mut SilenceWatch) -> bool {
        match output {
            Output::NewEpoch {
                epoch,
                rate,
                channels,
            } => {
                segmenter.restart(0);
                tracing::info!(stream = self.id, rate, channels, "the source is up");
                self.send(Job::Mark(Mark::Epoch(epoch))) && self.tell(SourceState::Up, None)
            }
            Output::Gap {
                first_sample,
                samples,
                ..
            } => {
                let at = first_sample + samples;
                segmenter.restart(at);
                tracing::warn!(stream = self.id, samples, "audio was lost on its way in");
                self.send(Job::Mark(Mark::Lost {
                    samples,
                    at,
                    reason: GapReason::Overrun,
                }))
            }
            Output::Chunk(chunk) => {
                match watch.push(&chunk.samples) {
                    Some(true) => tracing::warn!(
                        stream = self.id,
                        "digital silence for {DEAD_S} s: muted, or a cable or driver is at fault"
                    ),
                    Some(false) => tracing::info!(stream = self.id, "sound again"),
                    None => (),
                }
                let mut open = true;
                segmenter.push(&chunk.samples, chunk.captured, |window| {
                    open &= self.send(Job::Window(window));
                });
                open
            }
        }
    }

    /// Logs broken samples: at the first, and then ever more rarely.
    fn tell_repairs(&self, told: &mut u64) {
        let repaired = self.frontend.repaired();
        if repaired > 2 * *told {
            *told = repaired;
            tracing::warn!(
                stream = self.id,
                repaired,
                "samples that are no numbers or far beyond full scale were replaced; is the sample format right?"
            );
        }
    }

    fn tell(&self, state: SourceState, reason: Option<String>) -> bool {
        self.send(Job::Mark(Mark::Source { state, reason }))
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
