//! `earwitness bench`: how many streams of speech this machine keeps up with, or how fast the features are.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::json;

use crate::config::{self, Config, Input, Precision, Provider, Stream};
use crate::model::{Pack, Runtime};
use crate::percentile::percentile;
use crate::pipeline::{Pipeline, Ready};
use crate::publish::{Body, Bus, Inbox, QUEUE, Sink, SinkError};
use crate::telemetry::{CpuMeter, GpuMeter};

use super::output::Cell;
use super::{Analysis, Failure, Outcome, Output, bench_features};

/// A window whose findings come later than this is of no use to somebody who waits at a door.
const TOO_LATE_MS: f64 = 1_000.0;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers of streams to try, in order; stops after the first that the machine does not keep up with.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,8,16,24,32,48,64,96,128"
    )]
    streams: Vec<usize>,
    /// Seconds a try.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// What every stream plays, in real time and all in step, which is the worst case. At least as long as a try.
    #[arg(long, default_value = "examples/scene/scene.flac")]
    audio: PathBuf,
    /// Measure the speed of each feature on one core instead, on the first minute of the audio.
    #[arg(long, conflicts_with_all = ["streams", "seconds"])]
    features: bool,
    /// Where the models run; overrides the configuration.
    #[arg(long, value_enum, conflicts_with = "features")]
    provider: Option<Provider>,
    /// Numbers of the encoder's weights; overrides the configuration.
    #[arg(long, value_enum, conflicts_with = "features")]
    precision: Option<Precision>,
    /// Which of several GPUs; overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=63), conflicts_with = "features")]
    device_id: Option<u16>,
    /// Windows that run together at most, 1 to 256; overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), conflicts_with = "features")]
    batch: Option<u16>,
    #[command(flatten)]
    analysis: Analysis,
}

impl Args {
    /// Lays the options over what a configuration says of models.
    fn lay_over(&self, models: &mut config::Models) {
        models.provider = self.provider.unwrap_or(models.provider);
        models.precision = self.precision.unwrap_or(models.precision);
        models.device_id = self.device_id.unwrap_or(models.device_id);
        models.batch = self.batch.map_or(models.batch, usize::from);
    }
}

/// One try.
#[derive(Debug, serde::Serialize)]
struct Try {
    streams: usize,
    /// Where the models really ran.
    provider: String,
    windows: u64,
    encoded: u64,
    /// Windows a run of the encoder.
    mean_batch: Option<f64>,
    lost_s: f64,
    lag_median_ms: f64,
    lag_p99_ms: f64,
    cores: Option<f64>,
    /// Where `nvidia-smi` tells, and the models run there.
    gpu_percent: Option<f64>,
    analysis_ms_per_encoded_window: f64,
    keeps_up: bool,
}

/// Prints a line a try, and the least number of streams that was too many.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    if args.features {
        bench_features::run(&args.audio, output)?;
        return Ok(Outcome::Success);
    }
    let mut config = args.analysis.config()?;
    args.lay_over(&mut config.models);
    if !(1.0..=3600.0).contains(&args.seconds) {
        return Err(Failure::usage(anyhow!(
            "--seconds: expected 1 to 3600, found {}",
            args.seconds
        )));
    }
    if args.streams.contains(&0) {
        return Err(Failure::usage(anyhow!(
            "--streams: expected numbers of at least 1, found 0"
        )));
    }
    let runtime = Runtime::load(config.models.runtime.as_deref())?;
    let pack = Pack::load(&config.models.pack)?.at(config.models.precision)?;
    let mut tries = Vec::new();
    for &streams in &args.streams {
        config.streams = (0..streams)
            .map(|i| Stream {
                id: format!("bench-{i}"),
                source: Input::File {
                    path: args.audio.clone(),
                    speed: 1.0,
                },
                channel: None,
                sound: true,
            })
            .collect();
        let result = attempt(&config, args.seconds, runtime, &pack)?;
        if output.is_json() {
            output.record(&result)?;
        }
        let enough = !result.keeps_up;
        tries.push(result);
        if enough {
            break;
        }
    }
    summary(&tries, output)?;
    Ok(Outcome::Success)
}

fn attempt(config: &Config, seconds: f64, runtime: &Runtime, pack: &Pack) -> Result<Try, Failure> {
    let lags = Arc::new(Mutex::new(Vec::new()));
    let mut bus = Bus::new();
    bus.add("bench", QUEUE, Lags(lags.clone()))
        .context("cannot start the measuring thread")?;
    let bus = Arc::new(bus);
    let ready = Ready::open(config, runtime, pack)?;
    let device = ready.device();
    let pipeline = Pipeline::start(config, ready, pack, bus.clone())?;
    let meter = CpuMeter::start();
    let gpu = match device.is_gpu() {
        true => GpuMeter::start(config.models.device_id),
        false => None,
    };
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until && !pipeline.has_ended() && !pipeline.has_failed() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let cores = meter.and_then(|m| m.cores());
    let gpu_percent = gpu.and_then(GpuMeter::stop);
    let counters = pipeline.counters();
    // Read before the stop, which discards what waits.
    let (windows, encoded) = (
        counters.windows.load(Relaxed),
        counters.encoded.load(Relaxed),
    );
    let (lost, busy) = (
        counters.lost_samples.load(Relaxed),
        counters.busy_ns.load(Relaxed),
    );
    let mean_batch = counters.mean_batch();
    pipeline.stop(Duration::from_secs(1));
    bus.shutdown(Duration::from_secs(1));
    let mut lags = std::mem::take(&mut *lags.lock().unwrap_or_else(PoisonError::into_inner));
    let (median, p99) = (percentile(&mut lags, 0.5), percentile(&mut lags, 0.99));
    Ok(Try {
        streams: config.streams.len(),
        provider: device.to_string(),
        windows,
        encoded,
        mean_batch,
        lost_s: lost as f64 / f64::from(crate::audio::SAMPLE_RATE),
        lag_median_ms: median,
        lag_p99_ms: p99,
        cores,
        gpu_percent,
        analysis_ms_per_encoded_window: busy as f64 / 1e6 / encoded.max(1) as f64,
        keeps_up: lost == 0 && p99 <= TOO_LATE_MS,
    })
}

fn summary(tries: &[Try], output: &Output) -> Result<(), Failure> {
    let most = tries.iter().filter(|t| t.keeps_up).map(|t| t.streams).max();
    let too_many = tries.iter().find(|t| !t.keeps_up).map(|t| t.streams);
    if output.is_json() {
        return output
            .record(&json!({ "type": "summary", "keeps_up": most, "too_many": too_many }));
    }
    let rows: Vec<Vec<Cell>> = tries
        .iter()
        .map(|t| {
            vec![
                Cell::new(t.streams),
                Cell::new(&t.provider),
                Cell::new(t.windows),
                Cell::new(t.encoded),
                Cell::new(t.mean_batch.map_or("-".to_owned(), |b| format!("{b:.1}"))),
                Cell::new(format!("{:.1}", t.lost_s)),
                Cell::new(format!("{:.0}", t.lag_median_ms)),
                Cell::new(format!("{:.0}", t.lag_p99_ms)),
                Cell::new(t.cores.map_or("?".to_owned(), |c| format!("{c:.2}"))),
                Cell::new(t.gpu_percent.map_or("-".to_owned(), |g| format!("{g:.0}"))),
                Cell::new(format!("{:.0}", t.analysis_ms_per_encoded_window)),
                Cell::new(if t.keeps_up { "yes" } else { "no" }),
            ]
        })
        .collect();
    let head = [
        "streams",
        "on",
        "windows",
        "encoded",
        "batch",
        "lost s",
        "lag p50 ms",
        "lag p99 ms",
        "cores",
        "gpu %",
        "ms/window",
        "keeps up",
    ];
    output.table(&head, &rows)?;
    output.line(match (most, too_many) {
        (Some(most), Some(too_many)) => {
            format!("keeps up with {most} streams of speech, not with {too_many}")
        }
        (Some(most), None) => {
            format!("keeps up with {most} streams of speech, the most that were tried")
        }
        (None, _) => "does not keep up with any number of streams that was tried".to_owned(),
    })
}

/// Collects the lag of every window.
struct Lags(Arc<Mutex<Vec<f64>>>);

impl Sink for Lags {
    fn run(self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        while let Some(event) = inbox.recv() {
            if matches!(event.body, Body::Window { .. }) {
                self.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event.lag_ms);
            }
        }
        Ok(())
    }
}
