//! The thread of one stream: source → frontend → segmenter → the engine's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::audio::{Frontend, Output, Packet, SAMPLE_RATE, SilenceWatch, Source, SourceError};
use crate::config;
use crate::publish::control::Controls;
use crate::publish::{GapReason, SourceState};

use super::queue::{Job, Mark, Queue};
use super::segmenter::Segmenter;

/// How long one look at the source may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Seconds of digital silence after which a person should look.
const DEAD_S: u64 = 30;

/// Everything that one stream thread owns.
pub struct StreamThread {
    /// Index of the stream, which the engine knows it by.
    pub index: usize,
    /// The configured id, for logs.
    pub id: String,
    /// What is read.
    pub source: Box<dyn Source>,
    /// Downmix, resampling, sample clock.
    pub frontend: Frontend,
    /// The same at 24 kHz, where the encoder asks for it.
    pub wide: Option<Frontend>,
    /// Where windows go.
    pub queue: Arc<Queue>,
    /// Set when the daemon stops.
    pub stop: Arc<AtomicBool>,
    /// What was last told about the source; nothing at first.
    pub told: Option<SourceState>,
    /// When the newest audio was captured.
    pub heard: Instant,
    /// Whether anything is heard at all.
    pub mute: Mute,
}

/// A muted stream is one whose source is down: what comes from it is dropped unheard, and when it is listened to again, its
/// sample clock starts anew.
pub struct Mute {
    controls: Arc<Controls>,
    muted: bool,
    format: Option<Packet>,
}

impl Mute {
    /// Not muted yet.
    pub fn new(controls: Arc<Controls>) -> Self {
        Self {
            controls,
            muted: false,
            format: None,
        }
    }

    /// What is left of a packet of the `index`-th stream and its samples.
    fn pass(&mut self, index: usize, packet: Packet, samples: &mut Vec<f32>) -> Packet {
        if let Packet::Format { .. } = packet {
            self.format = Some(packet.clone());
        }
        let muted = self.controls.of(index).is_some_and(|s| s.muted);
        match packet {
            Packet::Audio { .. } if muted != self.muted => {
                self.muted = muted;
                samples.clear();
                let reason = "muted by a command".to_owned();
                let again = self.format.clone().unwrap_or(Packet::Idle);
                if muted {
                    Packet::Down { reason }
                } else {
                    again
                }
            }
            Packet::Format { .. } | Packet::Audio { .. } | Packet::Gap { .. } if self.muted => {
                samples.clear();
                Packet::Idle
            }
            other => other,
        }
    }
}

impl StreamThread {
    /// Reads the source to its end, its failure or the stop. False when it failed.
    pub fn run(mut self, window: &config::Window) -> bool {
        let mut segmenter = Segmenter::new(window).wide(self.wide.is_some());
        let mut interleaved = Vec::new();
        let mut outputs = Vec::new();
        let (mut twice, mut wide) = (Vec::new(), Vec::new());
        let mut repaired = false;
        let mut watch = SilenceWatch::new(DEAD_S * u64::from(SAMPLE_RATE));
        let end = loop {
            if self.stop.load(Ordering::Relaxed) {
                break End::Stopped;
            }
            let packet = match self.source.next(&mut interleaved, POLL) {
                Ok(packet) => packet,
                Err(error) => break End::Failed(error),
            };
            let packet = self.mute.pass(self.index, packet, &mut interleaved);
            if let Some(frontend) = &mut self.wide {
                twice.clone_from(&interleaved);
                if let Err(error) = frontend.push(&packet, &mut twice, &mut wide) {
                    break End::Failed(error);
                }
            }
            if let Err(error) = self.frontend.push(&packet, &mut interleaved, &mut outputs) {
                break End::Failed(error);
            }
            if !repaired && self.frontend.repaired() > 0 {
                repaired = true;
                tracing::warn!(
                    stream = self.id,
                    "samples were not numbers in ±16 and were replaced; check the source's format"
                );
            }
            let open = self.hand_on(&mut outputs, &mut wide, &mut segmenter, &mut watch);
            if let Packet::Down { reason } = &packet {
                self.flush(&mut segmenter);
                self.tell(SourceState::Down, Some(reason));
            }
            if packet == Packet::End {
                break End::Reached;
            }
            if !open {
                break End::Stopped;
            }
        };
        self.flush(&mut segmenter);
        let failed = matches!(end, End::Failed(_));
        let (state, reason) = match end {
            End::Reached => (SourceState::Ended, None),
            // Not "ended": there would have been more.
            End::Stopped => (SourceState::Down, Some("earwitness was stopped".to_owned())),
            End::Failed(error) => {
                tracing::error!(stream = self.id, %error, "the source failed");
                (SourceState::Failed, Some(error.to_string()))
            }
        };
        self.send(Job::Mark(Mark::Source { state, reason }));
        !failed
    }

    /// Hands both rates of what was heard to the segmenter. Both frontends see the same breaks in the same order: nothing at
    /// 24 kHz may cross one. False when nobody takes windows any more.
    fn hand_on(
        &mut self,
        outputs: &mut Vec<Output>,
        wide: &mut Vec<Output>,
        segmenter: &mut Segmenter,
        watch: &mut SilenceWatch,
    ) -> bool {
        let mut wide = wide.drain(..).peekable();
        let open = outputs.drain(..).all(|output| {
            // First, so that the windows of this chunk can be cut with it.
            while let Some(Output::Chunk(chunk)) = wide.next_if(|o| matches!(o, Output::Chunk(_))) {
                segmenter.push_wide(&chunk.samples);
            }
            if !matches!(output, Output::Chunk(_)) {
                wide.next();
            }
            self.take(output, segmenter, watch)
        });
        for output in wide {
            if let Output::Chunk(chunk) = output {
                segmenter.push_wide(&chunk.samples);
            }
        }
        open
    }

    /// Reports that the source came or went.
    fn tell(&mut self, state: SourceState, reason: Option<&String>) {
        if self.told == Some(state) {
            return;
        }
        self.told = Some(state);
        match reason {
            Some(reason) => tracing::warn!(stream = self.id, reason, "the source is down"),
            None => tracing::info!(stream = self.id, "the source is up"),
        }
        let reason = reason.cloned();
        self.send(Job::Mark(Mark::Source { state, reason }));
    }

    /// What was heard and waits for the rest of its hop is analysed now: nothing follows it without a break.
    fn flush(&self, segmenter: &mut Segmenter) {
        segmenter.finish(self.heard, |last| {
            self.send(Job::Window(last));
        });
    }

    /// False when nobody takes windows any more.
    fn take(
        &mut self,
        output: Output,
        segmenter: &mut Segmenter,
        watch: &mut SilenceWatch,
    ) -> bool {
        match output {
            Output::NewEpoch { epoch, .. } => {
                self.flush(segmenter);
                segmenter.restart(0);
                let open = self.send(Job::Mark(Mark::Epoch(epoch)));
                // Only now, so that it is numbered with the audio that it speaks of.
                self.tell(SourceState::Up, None);
                open
            }
            Output::Gap {
                first_sample,
                samples,
                ..
            } => {
                let at = first_sample + samples;
                self.flush(segmenter);
                segmenter.restart(at);
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
                self.heard = chunk.captured;
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

/// Why a stream's thread ends.
enum End {
    /// The source came to its end.
    Reached,
    /// The daemon stops.
    Stopped,
    /// The source cannot go on.
    Failed(SourceError),
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

#[cfg(test)]
mod tests {
    use super::super::queue::Batching;
    use super::*;

    /// Delivers a packet of silence a call until its last word.
    struct Scripted(Option<Result<Packet, SourceError>>);

    impl Source for Scripted {
        fn next(&mut self, samples: &mut Vec<f32>, _: Duration) -> Result<Packet, SourceError> {
            match self.0.take() {
                Some(last) => last,
                None => {
                    samples.extend([0.0; 160]);
                    std::thread::sleep(Duration::from_millis(1));
                    Ok(Packet::Audio {
                        captured: Instant::now(),
                    })
                }
            }
        }

        fn is_live(&self) -> bool {
            true
        }
    }

    /// The last word on a stream whose source says `last`, or of one that is told to stop; and what its thread returns.
    fn end_of(last: Option<Result<Packet, SourceError>>) -> (bool, SourceState, Option<String>) {
        let queue = Arc::new(Queue::new(4));
        let thread = StreamThread {
            index: 0,
            id: "test".into(),
            stop: Arc::new(AtomicBool::new(last.is_none())),
            source: Box::new(Scripted(last)),
            frontend: Frontend::new("test", SAMPLE_RATE, None),
            wide: None,
            queue: queue.clone(),
            told: None,
            heard: Instant::now(),
            mute: Mute::new(Arc::new(Controls::new(&config::Config::default()))),
        };
        let fine = thread.run(&config::Window::default());
        let one = Batching {
            most: 1,
            enough: 1,
            wait: Duration::ZERO,
            shared: None,
        };
        let job = queue
            .take(&one)
            .and_then(|mut taken| taken.jobs.pop_front());
        match job {
            Some((0, Job::Mark(Mark::Source { state, reason }))) => (fine, state, reason),
            _ => panic!("expected word of the source"),
        }
    }

    #[test]
    fn a_muted_stream_is_one_whose_source_is_down() {
        let mut config = config::Config::default();
        config.streams.push(config::Stream {
            id: "a".into(),
            source: config::Input::Mic { device: None },
            channel: None,
            sound: true,
        });
        let controls = Arc::new(Controls::new(&config));
        let mut mute = Mute::new(controls.clone());
        let set = |muted| {
            let mut settings = controls.settings("a").unwrap();
            settings.muted = muted;
            assert!(controls.set("a", settings));
        };
        let format = Packet::Format {
            rate: 16_000,
            channels: 1,
        };
        let audio = Packet::Audio {
            captured: Instant::now(),
        };
        let mut pass = |packet: &Packet| {
            let mut samples = vec![0.5; 160];
            let left = mute.pass(0, packet.clone(), &mut samples);
            (left, samples.len())
        };
        assert_eq!(pass(&format).0, format);
        assert_eq!(pass(&audio), (audio.clone(), 160));
        set(true);
        assert!(matches!(pass(&audio), (Packet::Down { .. }, 0)));
        assert_eq!(pass(&audio), (Packet::Idle, 0));
        assert_eq!(pass(&Packet::Gap { frames: 7 }).0, Packet::Idle);
        assert_eq!(pass(&Packet::End).0, Packet::End);
        set(false);
        // The resampler has to be made anew.
        assert_eq!(pass(&audio), (format, 0));
        assert_eq!(pass(&audio), (audio, 160));
    }

    #[test]
    fn a_stream_tells_an_end_from_a_stop_and_from_a_failure() {
        assert_eq!(
            end_of(Some(Ok(Packet::End))),
            (true, SourceState::Ended, None)
        );
        let (fine, state, reason) = end_of(Some(Err(SourceError::unusable("tape", "torn"))));
        assert_eq!((fine, state), (false, SourceState::Failed));
        assert_eq!(reason.as_deref(), Some("tape: torn"));
        let (fine, state, reason) = end_of(None);
        assert_eq!((fine, state), (true, SourceState::Down));
        assert!(reason.is_some_and(|r| r.contains("stopped")));
    }
}
