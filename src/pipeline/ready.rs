//! Everything that a pipeline needs before its first source is opened: the models, opened and warm, and what they decide.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Precision, Verb};
use crate::model::{Device, Execution, GPU_LEAST, Pack, Part, Runtime, Wanted};
use crate::publish::control::Controls;
use crate::store::SpeakerStore;

use super::analyser::Analyser;
use super::enrol::Desk;
use super::queue::Batching;
use super::roll::Roll;
use super::standing::Standing;
use super::{PipelineError, judge_of, warm_up};

/// Windows that run together at most on a GPU unless the configuration says otherwise.
const GPU_MOST: usize = 32;
/// On a CPU, of what waits anyway: a quarter of an encoder's time there is reading its weights, once a run.
pub const CPU_BATCH: usize = 4;
/// Workers on a GPU: while one's batch runs others make features and launch what runs next. They share sessions, so that more of them
/// take no memory there.
const GPU_WORKERS: usize = 4;

/// Models that are open, proven and warm.
pub struct Ready {
    pub(super) analysers: Vec<Analyser>,
    pub(super) judge: Arc<Standing>,
    pub(super) roll: Arc<Roll>,
    pub(super) desk: Arc<Desk>,
    /// Whether people may be enrolled and forgotten while the daemon runs.
    pub(super) takes_people: bool,
    pub(super) batching: Batching,
    pub(super) controls: Arc<Controls>,
    device: Device,
    refused: Vec<String>,
}

impl Ready {
    /// Opens the models that a configuration implies, on a CPU once a worker; on a GPU workers share them. What
    /// `models.provider = "auto"` means is settled by the first worker; the others take the same or fail.
    pub fn open(config: &Config, runtime: &Runtime, pack: &Pack) -> Result<Self, PipelineError> {
        Self::open_with(config, runtime, pack, None)
    }

    /// The same with the models of another pipeline of this pack and this configuration, but for its streams.
    pub fn open_with(
        config: &Config,
        runtime: &Runtime,
        pack: &Pack,
        spare: Option<Spare>,
    ) -> Result<Self, PipelineError> {
        let store = SpeakerStore::open(&config.speaker)?;
        let enrolments = store.list()?;
        let judge = judge_of(config, pack, enrolments.clone())?;
        let wanted = Wanted {
            spoof: config.spoof.enabled,
            parts: config.spoof.enabled,
            short: false,
            sound: judge.sound.is_some() && config.streams.iter().any(|s| s.sound),
            probes: config.streams.iter().any(|s| s.sound),
        };
        if pack.has(Part::Speaker) && judge.matcher.is_empty() {
            tracing::warn!(store = %config.speaker.store.display(), "nobody is enrolled: every voice will be a stranger's");
        }
        let mut execution = Execution::from(&config.models);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared_out = |device| {
            let workers = workers(config, device, cores);
            let batching = batching(config, device, pack.precision(), workers);
            (workers, batching)
        };
        // Its sessions are for batches of some sizes.
        let fits = |spare: &Spare| spare.most == shared_out(spare.warm.device()).1.most;
        let warm = spare.filter(fits).map(|spare| spare.warm);
        let is_warm = warm.is_some();
        let first = match warm {
            Some(warm) => warm,
            None => Analyser::open(runtime, pack, execution.clone(), &config.window, wanted)?,
        };
        let (device, refused) = (first.device(), first.refused().to_vec());
        execution.provider = device.provider();
        let (workers, batching) = shared_out(device);
        let of_streams = |analyser: Analyser| {
            let mut analyser = analyser.following_turns();
            if device.is_gpu() {
                analyser = analyser.filled_up(batching.most);
            }
            match judge.health {
                Some(_) => analyser.watching(),
                None => analyser,
            }
        };
        let first = if is_warm { first } else { of_streams(first) };
        let analysers = match device.is_gpu() {
            true => {
                let warm = match is_warm {
                    true => first,
                    false => warmed_up(first, config, pack)?,
                };
                let others: Vec<_> = (1..workers).map(|_| warm.beside()).collect();
                std::iter::once(warm).chain(others).collect()
            }
            false => side_by_side(workers, first, || -> Result<_, PipelineError> {
                let execution = execution.clone();
                let next = Analyser::open(runtime, pack, execution, &config.window, wanted)?;
                Ok(of_streams(next))
            })?,
        };
        let judge = Arc::new(Standing::new(judge));
        Ok(Self {
            analysers,
            roll: Arc::new(Roll::new(store, enrolments, pack.hash(), judge.clone())),
            judge,
            desk: Arc::new(Desk::new(config.streams.len())),
            takes_people: pack.has(Part::Speaker) && takes_people(config),
            batching,
            controls: Arc::new(Controls::new(config)),
            device,
            refused,
        })
    }

    /// What can be changed while the pipeline runs.
    pub fn controls(&self) -> Arc<Controls> {
        self.controls.clone()
    }

    /// Where people are enrolled and forgotten while the pipeline runs; nowhere unless a command may do so.
    pub fn desk(&self) -> Option<Arc<Desk>> {
        self.takes_people.then(|| self.desk.clone())
    }

    /// Where the models really run.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Models for another pipeline after this one, which share its sessions; none on a CPU, where workers share none. To open and to warm
    /// them takes a GPU half a minute.
    pub fn spare(&self) -> Option<Spare> {
        let warm = self.analysers.first().filter(|_| self.device.is_gpu())?;
        Some(Spare {
            warm: warm.beside(),
            most: self.batching.most,
        })
    }

    /// Why they do not run on what would have been better; empty where it was not tried or works.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }
}

/// See [`Ready::spare`].
pub struct Spare {
    warm: Analyser,
    most: usize,
}

/// All shapes are run once.
fn warmed_up(
    mut analyser: Analyser,
    config: &Config,
    pack: &Pack,
) -> Result<Analyser, PipelineError> {
    let warm = warm_up(&mut analyser, &config.window, pack.is_wide())?;
    let (device, lengths) = (analyser.device(), warm.lengths.len());
    let seconds = warm.took.as_secs_f64();
    tracing::info!(%device, lengths, seconds, "warmed up");
    Ok(analyser)
}

/// As many analysers as there are workers, of which the first is open; the others are opened at once.
fn side_by_side<A: Send, E: Send>(
    workers: usize,
    first: A,
    open: impl Fn() -> Result<A, E> + Sync,
) -> Result<Vec<A>, E> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(&open)).collect();
        let others = others.into_iter().map(|other| match other.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(Ok(first)).chain(others).collect()
    })
}

fn takes_people(config: &Config) -> bool {
    let Some(mqtt) = &config.mqtt else {
        return false;
    };
    let mut verbs = mqtt.commands.clients.values().flatten();
    verbs.any(|verb| matches!(verb, Verb::Enrol | Verb::Forget))
}

fn workers(config: &Config, device: Device, cores: usize) -> usize {
    let asked = match (config.models.workers, device.is_gpu()) {
        (0, true) => GPU_WORKERS.min(cores),
        (0, false) => cores,
        (asked, _) => asked,
    };
    asked.min(config.streams.len()).max(1)
}

fn batching(config: &Config, device: Device, precision: Precision, workers: usize) -> Batching {
    let wait = Duration::from_millis(config.models.batch_wait_ms);
    let (most, wait) = match (config.models.batch, device.is_gpu()) {
        (0, true) => (config.streams.len().clamp(GPU_LEAST, GPU_MOST), wait),
        (0, false) => (CPU_BATCH, Duration::ZERO),
        (asked, _) => (asked, wait),
    };
    let most = match precision {
        // It takes one scale from all that runs together: a window's score would depend on the others.
        Precision::Int8 => {
            if config.models.batch > 1 {
                tracing::warn!(
                    "models.batch is {most}, but int8 windows are not independent of each other: each runs alone"
                );
            }
            1
        }
        Precision::Fp32 | Precision::Fp16 => most,
    };
    Batching {
        most,
        enough: most,
        wait,
        shared: (!device.is_gpu()).then_some(workers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, Stream};

    fn config(streams: usize) -> Config {
        let stream = |i| Stream {
            id: format!("s{i}"),
            source: Input::Mic { device: None },
            channel: None,
            sound: true,
        };
        Config {
            streams: (0..streams).map(stream).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn a_gpu_has_few_workers_with_large_batches_and_a_cpu_many_with_small_ones() {
        let config = config(64);
        assert_eq!(workers(&config, Device::Cpu, 8), 8);
        assert_eq!(workers(&config, Device::Cuda, 8), 4);
        assert_eq!(workers(&config, Device::Cuda, 2), 2);
        let most = |device, precision| batching(&config, device, precision, 2).most;
        assert_eq!(most(Device::Cpu, Precision::Fp32), 4);
        assert_eq!(most(Device::Cpu, Precision::Int8), 1);
        assert!(
            batching(&config, Device::Cpu, Precision::Fp32, 2)
                .wait
                .is_zero()
        );
        assert_eq!(most(Device::TensorRt, Precision::Fp16), 32);
        assert_eq!(most(Device::Cuda, Precision::Int8), 1);
        let few = |streams| batching(&self::config(streams), Device::Cuda, Precision::Fp32, 2).most;
        assert_eq!(
            [1, 12, 400].map(few),
            [8, 12, 32],
            "as many as there can be"
        );
    }

    #[test]
    fn what_is_configured_counts_on_every_device() {
        let mut config = config(3);
        (config.models.workers, config.models.batch) = (5, 7);
        config.models.batch_wait_ms = 3;
        for device in [Device::Cpu, Device::Cuda] {
            assert_eq!(workers(&config, device, 8), 3, "one a stream at most");
            let found = batching(&config, device, Precision::Fp32, 3);
            assert_eq!((found.most, found.wait), (7, Duration::from_millis(3)));
        }
        assert_eq!(batching(&config, Device::Cpu, Precision::Int8, 3).most, 1);
    }
}
