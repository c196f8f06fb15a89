//! Topology: wires sources to tasks to sinks from a configuration; supervision, backpressure, shutdown. No algorithm
//! lives here.

mod analyser;
mod curve;
mod engine;
mod enrol;
mod memory;
mod queue;
mod ready;
mod registrar;
mod roll;
mod segmenter;
mod standing;
mod stream;
mod warm_up;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::audio::{self, Frontend, SAMPLE_RATE, SourceError, WIDE_RATE};
use crate::config::{self, Config};
use crate::model::{Device, ModelError, Pack, Part};
use crate::publish::Bus;
use crate::store::{Enrolment, SpeakerStore, StoreError};
use crate::task::enrol::Gate;
use crate::task::health::HealthPolicy;
use crate::task::sound::SoundPolicy;
use crate::task::speaker::{Matcher, Scoring};
use crate::task::{Fusion, Judge, Policy, Probe};

pub use analyser::{Analyser, Asked, Heads, Heard};
pub use curve::Shape;
pub use engine::Counters;
pub use enrol::Desk;
pub use memory::StreamMemory;
pub use ready::{CPU_BATCH, Ready, Spare};
pub use registrar::sitting;
pub use roll::candidates;
pub use segmenter::{Segmenter, Window};
pub use standing::Standing;
pub use warm_up::{Warm, warm_up};

/// A running daemon's analysis: one thread a stream, one worker an inference thread.
pub struct Pipeline {
    streams: Vec<JoinHandle<bool>>,
    engine: engine::Engine,
    registrar: Option<registrar::Registrar>,
    watch: Option<watch::Watch>,
    stop: Arc<AtomicBool>,
    device: Device,
}

/// Why a pipeline could not start.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The models.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The enrolled people.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A source that can never work, whatever comes.
    #[error("stream \"{stream}\": {source}")]
    Source {
        /// The configured id.
        stream: String,
        /// What is wrong with it.
        source: SourceError,
    },
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The decisions that a configuration, a pack and the enrolled people imply, on a stream.
pub fn judge(config: &Config, pack: &Pack) -> Result<Judge, PipelineError> {
    judge_of(config, pack, SpeakerStore::load(&config.speaker)?)
}

/// The same with people who were read from the store before.
fn judge_of(
    config: &Config,
    pack: &Pack,
    enrolments: Vec<Enrolment>,
) -> Result<Judge, PipelineError> {
    let people = candidates(enrolments, pack.hash());
    // Without the head nobody is known and nothing is scored.
    let scoring = match pack.has(Part::Speaker) {
        true => Scoring::of(pack)?,
        false => Scoring::default(),
    };
    let speaker = Policy::sequential(&config.speaker.decision);
    let spoof = Policy::new(&config.spoof.decision);
    Ok(Judge {
        matcher: Matcher::new(people, scoring),
        speaker,
        fusion: Fusion::new(pack.fusion(), &speaker, &spoof),
        spoof_calibration: pack.spoof_calibration().unwrap_or_default(),
        spoof_parts: pack.spoof_parts().to_vec(),
        spoof,
        sound: SoundPolicy::new(pack.sound_classes(), &config.sound),
        probes: probes(pack),
        health: HealthPolicy::new(&config.health, pack.health().map(|h| h.rankme_centred)),
    })
}

/// The pack's probes, in the order in which they answer.
pub fn probes(pack: &Pack) -> Vec<Probe> {
    let probe = |(name, kind, labels): (&str, _, &[String])| Probe {
        name: name.to_owned(),
        kind,
        labels: labels.to_vec(),
    };
    pack.probes().map(probe).collect()
}

impl Pipeline {
    /// Opens sources and starts to analyse. Sources that may come later (devices, commands) are waited for
    /// while the pipeline runs; whatever can never work is an error here.
    pub fn start(
        config: &Config,
        ready: Ready,
        pack: &Pack,
        bus: Arc<Bus>,
    ) -> Result<Self, PipelineError> {
        let open = |_, stream: &config::Stream| {
            audio::open_in(&stream.source, &audio::Context::new(config, stream))
        };
        Self::start_from(config, ready, pack, bus, open)
    }

    /// The same with sources of the caller's own: `open` is asked once a stream, in order, with its index.
    pub fn start_from(
        config: &Config,
        ready: Ready,
        pack: &Pack,
        bus: Arc<Bus>,
        mut open: impl FnMut(usize, &config::Stream) -> audio::Opened,
    ) -> Result<Self, PipelineError> {
        let calibrated_s = pack.window_samples() as f64 / f64::from(SAMPLE_RATE);
        if (config.window.length_s - calibrated_s).abs() > 0.01 {
            tracing::warn!(
                "window.length_s is {}, but this pack's scores are calibrated on {calibrated_s} s: verdicts are less sure than they say",
                config.window.length_s
            );
        }
        if !pack.has(Part::Speaker) {
            tracing::warn!(
                pack = pack.name(),
                "this pack has no speaker head: nothing is said of who speaks"
            );
        }
        let device = ready.device();
        let mut sources = Vec::new();
        for (index, stream) in config.streams.iter().enumerate() {
            let source = open(index, stream).map_err(|source| PipelineError::Source {
                stream: stream.id.clone(),
                source,
            })?;
            sources.push((stream, source));
        }
        let engine = engine::Engine::start(
            &config.node,
            &config.streams,
            ready.analysers,
            engine::Rules {
                judge: ready.judge.clone(),
                desk: ready.desk.clone(),
                controls: ready.controls.clone(),
            },
            config.window.queue,
            ready.batching,
            bus,
        )?;
        let registrar = match ready.takes_people {
            true => {
                let spoof = Policy::new(&config.spoof.decision);
                let gate = Gate::new(pack, spoof)?;
                let (desk, roll) = (ready.desk.clone(), ready.roll.clone());
                let hash = pack.hash();
                Some(registrar::Registrar::start(
                    desk,
                    roll,
                    &config.speaker,
                    hash,
                    gate,
                )?)
            }
            false => None,
        };
        let watch = match pack.has(Part::Speaker) {
            true => Some(watch::Watch::start(ready.roll.clone())?),
            false => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut streams = Vec::new();
        for (index, (stream, source)) in sources.into_iter().enumerate() {
            let thread = stream::StreamThread {
                index,
                id: stream.id.clone(),
                source,
                frontend: Frontend::new(&stream.id, SAMPLE_RATE, stream.channel),
                wide: pack
                    .is_wide()
                    .then(|| Frontend::new(&stream.id, WIDE_RATE, stream.channel)),
                queue: engine.queue(),
                stop: stop.clone(),
                told: None,
                heard: Instant::now(),
                mute: stream::Mute::new(ready.controls.clone()),
            };
            let window = config.window.clone();
            streams.push(
                std::thread::Builder::new()
                    .name(format!("stream-{}", stream.id))
                    .spawn(move || thread.run(&window))?,
            );
        }
        Ok(Self {
            streams,
            engine,
            registrar,
            watch,
            stop,
            device,
        })
    }

    /// Where the models really run.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What has been done so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.engine.counters().clone()
    }

    /// Whether every source has come to its end and all that they delivered is analysed.
    pub fn has_ended(&self) -> bool {
        if !self.have_sources_ended() {
            return false;
        }
        self.engine.close();
        self.engine.has_ended()
    }

    /// Whether a worker died: nothing that follows would be analysed.
    pub fn has_failed(&self) -> bool {
        !self.have_sources_ended() && self.engine.has_died()
    }

    fn have_sources_ended(&self) -> bool {
        self.streams.iter().all(JoinHandle::is_finished)
    }

    /// Stops the sources, analyses what they delivered, at most until `grace` is over. Returns how many sources had failed.
    pub fn stop(self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        self.stop.store(true, Ordering::Relaxed);
        // A stream that waits for a place in its queue goes on as soon as there is one, so all threads end here, in
        // the time of one poll and one window; past the deadline the queues close and free them.
        while Instant::now() < deadline && !self.streams.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.engine.stop(deadline);
        drop(self.watch);
        if let Some(registrar) = self.registrar {
            registrar.stop();
        }
        let mut failed = 0;
        for stream in self.streams {
            match stream.join() {
                Ok(true) => (),
                Ok(false) => failed += 1,
                Err(_) => {
                    failed += 1;
                    tracing::error!(
                        "a stream's thread panicked; its source was not read to its end"
                    );
                }
            }
        }
        failed
    }
}
