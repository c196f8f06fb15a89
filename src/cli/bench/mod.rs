//! `earwitness bench`: what the daemon costs and how fast it answers on this machine; or how fast the features are.
//!
//! Each measurement is a file here and starts pipelines of its own. They say what they found and what the bar is; none of
//! them fails for missing it, since a machine that does something else meanwhile would be to blame as often as we.

mod features;
mod idle;
mod load;
mod machine;
mod memory;
mod playback;
mod streams;
mod throughput;
mod trial;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::audio::decode;
use crate::config::{self, Config, Input, Precision, Provider, Stream};
use crate::model::{Pack, Runtime};

use super::{Analysis, Failure, Outcome, Output};
use playback::Playback;
use trial::{Seen, Watch};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure; without it everything.
    #[arg(long, value_delimiter = ',', value_enum)]
    measure: Vec<Measurement>,
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
    /// Per cent of the machine's cores that are in use when the latency at load is measured.
    #[arg(long, value_name = "PER CENT", default_value_t = 70, value_parser = clap::value_parser!(u8).range(1..=100))]
    load: u8,
    /// How often a file is run through for the throughput, and a verdict is given; the best counts, since other programs can only
    /// slow one down.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// What the streams play. Those whose number is tried play it in real time and all in step, which is the worst case:
    /// it should be at least as long as a try.
    #[arg(long, default_value = "examples/scene/scene.flac")]
    audio: PathBuf,
    /// Streams begin at places of the audio and at moments of a hop of their own, as microphones do, instead of all in step;
    /// what comes before all of them hold a full window does not count.
    #[arg(long, conflicts_with = "features")]
    spread: bool,
    /// Measure the speed of each feature on one core instead, on the first minute of the audio.
    #[arg(long, conflicts_with_all = ["streams", "seconds", "load", "rounds", "measure", "save"])]
    features: bool,
    /// Write all results to this file as well, as one JSON object.
    #[arg(long, value_name = "FILE.json")]
    save: Option<PathBuf>,
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
    /// Sets of sessions, each with a thread; overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), conflicts_with = "features")]
    workers: Option<u16>,
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
        models.workers = self.workers.map_or(models.workers, usize::from);
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// How many streams of speech it keeps up with.
    Streams,
    /// Seconds of audio for each second of one core, of a file at full speed.
    Throughput,
    /// Time from the end of a window to its event when most of the machine is in use.
    Load,
    /// What a silent stream costs.
    Idle,
    /// Memory of each further stream.
    Memory,
    /// How long a person's verdict on ten seconds of speech takes.
    Verdict,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Throughput => "throughput",
            Self::Load => "load",
            Self::Idle => "idle",
            Self::Memory => "memory",
            Self::Verdict => "verdict",
        }
    }
}

/// What all measurements need.
struct Bench<'a> {
    args: &'a Args,
    config: Config,
    models: trial::Models,
}

impl Bench<'_> {
    /// The configuration with this many streams of the audio.
    fn config_of(&self, streams: usize, speed: f64) -> Config {
        let stream = |i| Stream {
            id: format!("bench-{i}"),
            source: Input::File {
                path: self.args.audio.clone(),
                speed,
            },
            channel: self.args.analysis.channel,
            sound: true,
        };
        Config {
            streams: (0..streams).map(stream).collect(),
            ..self.config.clone()
        }
    }

    /// The same for streams that are made up, which are mono.
    fn config_of_mono(&self, streams: usize) -> Config {
        let mut config = self.config_of(streams, 1.0);
        config.streams.iter_mut().for_each(|s| s.channel = None);
        config
    }

    /// Watches streams that play `audio` over and over, none in step with another, once each holds a full window.
    fn run_spread(
        &self,
        audio: &Arc<[f32]>,
        streams: usize,
        seconds: f64,
    ) -> Result<Seen, Failure> {
        let config = self.config_of_mono(streams);
        let watch = Watch::warm(&config, seconds);
        let hop = Duration::from_secs_f64(config.window.hop_s);
        let mut start = None;
        trial::run_from(&config, &self.models, watch, |index, _| {
            let start = *start.get_or_insert_with(Instant::now);
            Ok(Box::new(Playback::new(audio.clone(), index, start, hop)))
        })
    }

    /// The audio that streams play, 16 kHz mono.
    fn audio(&self) -> Result<Arc<[f32]>, Failure> {
        Ok(decode(&self.args.audio, self.args.analysis.channel)?.into())
    }
}

/// Runs what was asked for.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    if args.features {
        features::run(&args.audio, output)?;
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
    let bench = Bench {
        args: &args,
        models: trial::Models::new(
            Runtime::load(config.models.runtime.as_deref())?,
            Pack::configured(&config.models)?,
        ),
        config,
    };
    let mut results = Map::new();
    results.insert("machine".into(), value(&machine::Machine::here())?);
    let asked = match args.measure.is_empty() {
        true => Measurement::value_variants(),
        false => &args.measure,
    };
    for &measurement in asked {
        let result = match measurement {
            Measurement::Streams => value(&streams::measure(&bench, output)?),
            Measurement::Throughput => value(&throughput::measure(&bench, output)?),
            Measurement::Load => value(&load::measure(&bench, output)?),
            Measurement::Idle => value(&idle::measure(&bench, output)?),
            Measurement::Memory => value(&memory::measure(&bench, output)?),
            Measurement::Verdict => value(&verdict::measure(&bench, output)?),
        };
        results.insert(measurement.name().into(), result?);
    }
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(&results).map_err(Failure::runtime)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Outcome::Success)
}

fn value(result: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(result).map_err(Failure::runtime)
}

/// A result and the most that it may be, for people.
fn against(text: impl std::fmt::Display, bar: impl std::fmt::Display, meets: bool) -> String {
    use super::style::{FAINT, WARN};

    match meets {
        true => format!("{text} {FAINT}(at most {bar}){FAINT:#}"),
        false => format!("{text} {WARN}(more than {bar}){WARN:#}"),
    }
}
