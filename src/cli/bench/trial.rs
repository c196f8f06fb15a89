//! One pipeline, started, watched for a while and stopped.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::audio::{self, Opened, SAMPLE_RATE};
use crate::config::{Config, Stream};
use crate::model::{Device, Pack, Runtime, Took};
use crate::percentile::percentile;
use crate::pipeline::{Counters, Pipeline, PipelineError, Ready, Spare};
use crate::publish::{Body, Bus, Inbox, QUEUE, Sink, SinkError};
use crate::telemetry::{GpuMeter, Usage};

use super::super::Failure;

/// How long a pipeline is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// Not counted: the first windows are short, and streams may start one after another.
    pub warm_up: Duration,
    /// Counted; less if all sources end before.
    pub counted: Duration,
}

impl Watch {
    /// Counted from the start, for so many seconds.
    pub fn from_start(seconds: f64) -> Self {
        Self {
            warm_up: Duration::ZERO,
            counted: Duration::from_secs_f64(seconds),
        }
    }

    /// Counted once every stream of this configuration has started and holds a full window.
    pub fn warm(config: &Config, seconds: f64) -> Self {
        let window = &config.window;
        Self {
            warm_up: Duration::from_secs_f64(window.length_s + window.hop_s),
            ..Self::from_start(seconds)
        }
    }
}

/// What was seen meanwhile, over all streams.
#[derive(Debug)]
pub struct Seen {
    /// Windows analysed.
    pub windows: u64,
    /// Windows that reached the encoder.
    pub encoded: u64,
    /// Windows a run of the encoder.
    pub mean_batch: Option<f64>,
    /// Where the models really ran.
    pub provider: Device,
    /// How busy the GPU was, where `nvidia-smi` tells and the models run there.
    pub gpu_percent: Option<f64>,
    /// Seconds of audio that were lost.
    pub lost_s: f64,
    /// CPU time of the whole process; `None` where the system does not tell.
    pub cpu: Option<Duration>,
    /// Time on the clock.
    pub wall: Duration,
    /// Milliseconds of analysis for each window that reached the encoder.
    pub analysis_ms_per_encoded_window: f64,
    /// How long each model ran.
    pub models: BTreeMap<&'static str, Took>,
    /// Memory in use at the end, bytes.
    pub resident: Option<u64>,
    /// The most memory that was in use since the process began, bytes.
    pub resident_peak: Option<u64>,
    /// Where the furthest stream was at the end, seconds on its clock.
    pub furthest_s: f64,
    /// Milliseconds from the end of each window to its event.
    lags: Vec<f64>,
}

impl Seen {
    /// Mean number of cores kept busy.
    pub fn cores(&self) -> Option<f64> {
        let cpu = self.cpu?.as_secs_f64();
        (!self.wall.is_zero()).then(|| cpu / self.wall.as_secs_f64())
    }

    /// Milliseconds from the end of a window to its event that a share `q` of the windows keeps to; NaN without windows.
    pub fn lag_ms(&mut self, q: f64) -> f64 {
        percentile(&mut self.lags, q)
    }
}

/// Bytes for people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// What all trials run with.
pub struct Models {
    pub runtime: &'static Runtime,
    pub pack: Pack,
    /// Left by the trial before: a GPU's models are opened and warmed once.
    spare: RefCell<Option<Spare>>,
}

impl Models {
    pub fn new(runtime: &'static Runtime, pack: Pack) -> Self {
        Self {
            runtime,
            pack,
            spare: RefCell::default(),
        }
    }

    fn ready(&self, config: &Config) -> Result<Ready, PipelineError> {
        let ready = Ready::open_with(config, self.runtime, &self.pack, self.spare.take())?;
        self.spare.replace(ready.spare());
        Ok(ready)
    }
}

/// Runs a configuration on the sources that it names.
pub fn run(config: &Config, models: &Models, watch: Watch) -> Result<Seen, Failure> {
    run_from(config, models, watch, |_, stream| {
        audio::open(&stream.source)
    })
}

/// Runs a configuration on sources of the caller's own.
pub fn run_from(
    config: &Config,
    models: &Models,
    watch: Watch,
    open: impl FnMut(usize, &Stream) -> Opened,
) -> Result<Seen, Failure> {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let mut bus = Bus::new();
    bus.add("bench", QUEUE, Notebook(notes.clone()))
        .context("cannot start the measuring thread")?;
    let bus = Arc::new(bus);
    let ready = models.ready(config)?;
    let provider = ready.device();
    let gpu = match provider.is_gpu() {
        true => GpuMeter::start(config.models.device_id),
        false => None,
    };
    // The models are open, no stream runs yet: what is counted begins here.
    let mut before = Mark::now(&Counters::default());
    let pipeline = Pipeline::start_from(config, ready, &models.pack, bus.clone(), open)?;
    let counters = pipeline.counters();
    // They ran before, when they were proven.
    before.models = counters.models();
    if !watch.warm_up.is_zero() {
        wait(&pipeline, before.at + watch.warm_up);
        lock(&notes).lags.clear();
        before = Mark::now(&counters);
    }
    wait(&pipeline, before.at + watch.counted);
    // Before the stop, which discards what waits.
    let after = Mark::now(&counters);
    // Nor does the stop count, at which every stream's last window comes at once.
    let counted = match pipeline.has_ended() {
        true => usize::MAX,
        false => lock(&notes).lags.len(),
    };
    pipeline.stop(Duration::from_secs(1));
    bus.shutdown(Duration::from_secs(1));
    let mut notes = std::mem::take(&mut *lock(&notes));
    notes.lags.truncate(counted);
    let encoded = after.encoded - before.encoded;
    let runs = after.runs - before.runs;
    let usage = before.usage.zip(after.usage);
    Ok(Seen {
        windows: after.windows - before.windows,
        encoded,
        mean_batch: (runs > 0).then(|| encoded as f64 / runs as f64),
        provider,
        gpu_percent: gpu.and_then(GpuMeter::stop),
        lost_s: (after.lost_samples - before.lost_samples) as f64 / f64::from(SAMPLE_RATE),
        cpu: usage.map(|(before, after)| after.cpu.saturating_sub(before.cpu)),
        wall: after.at - before.at,
        analysis_ms_per_encoded_window: (after.busy_ns - before.busy_ns) as f64
            / 1e6
            / encoded.max(1) as f64,
        models: after.models_since(&before),
        resident: after.usage.and_then(|usage| usage.resident),
        resident_peak: after.usage.map(|usage| usage.resident_peak),
        furthest_s: notes.furthest_s,
        lags: notes.lags,
    })
}

fn wait(pipeline: &Pipeline, until: Instant) {
    while Instant::now() < until && !pipeline.has_ended() && !pipeline.has_failed() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Counters at one moment.
struct Mark {
    at: Instant,
    usage: Option<Usage>,
    windows: u64,
    encoded: u64,
    runs: u64,
    lost_samples: u64,
    busy_ns: u64,
    models: BTreeMap<&'static str, Took>,
}

impl Mark {
    fn now(counters: &Counters) -> Self {
        Self {
            at: Instant::now(),
            usage: Usage::now(),
            windows: counters.windows.load(Relaxed),
            encoded: counters.encoded.load(Relaxed),
            runs: counters.encoder_runs.load(Relaxed),
            lost_samples: counters.lost_samples.load(Relaxed),
            busy_ns: counters.busy_ns.load(Relaxed),
            models: counters.models(),
        }
    }

    fn models_since(&self, before: &Self) -> BTreeMap<&'static str, Took> {
        let known = |name| before.models.get(name).copied().unwrap_or_default();
        let models = self.models.iter();
        models
            .map(|(name, took)| (*name, *took - known(name)))
            .collect()
    }
}

/// What the events told.
#[derive(Default)]
struct Notes {
    lags: Vec<f64>,
    furthest_s: f64,
}

/// Takes notes of every window.
struct Notebook(Arc<Mutex<Notes>>);

impl Sink for Notebook {
    fn run(self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        while let Some(event) = inbox.recv() {
            if matches!(event.body, Body::Window { .. }) {
                let mut notes = lock(&self.0);
                notes.lags.push(event.lag_ms);
                notes.furthest_s = notes.furthest_s.max(event.end_s);
            }
        }
        Ok(())
    }
}

/// Notes are whole between two operations, whoever panicked.
fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}
