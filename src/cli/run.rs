//! `earwitness run`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, Config};
use crate::model::{Pack, Runtime};
use crate::pipeline::{Counters, Pipeline, Ready};
use crate::publish::mqtt::{Household, MqttSink};
use crate::publish::{Bus, Jsonl, QUEUE};
use crate::telemetry::systemd;
use anyhow::{Context, anyhow};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Failure, Outcome, Output, workbench};

/// What the analysis gets of the 2 s in which a stop has to be over, and what the sinks get.
const DRAIN: Duration = Duration::from_millis(1_000);
const DELIVER: Duration = Duration::from_millis(700);
/// When every source came to its end there is no hurry to deliver what was found, unless told to stop meanwhile.
const FINISH: Duration = Duration::from_secs(60);
/// How often signals are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Listen to the configured streams and publish what is found until told to stop
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long)]
    config: PathBuf,
}

/// Runs until SIGTERM or SIGINT, or until every source has ended.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    let config = config::load(&args.config)?;
    if config.streams.is_empty() {
        return Err(Failure::usage(anyhow!(
            "{}: expected at least one [[stream]], found none; configs/home.toml shows one",
            args.config.display()
        )));
    }
    let runtime = Runtime::load(config.models.runtime.as_deref())?;
    let pack = Pack::configured(&config.models)?;
    let ready = Ready::open(&config, runtime, &pack)?;
    let bus = Arc::new(bus(&config, &pack, &ready)?);
    // Before any thread starts, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot listen for signals")?;
    let pipeline = Pipeline::start(&config, ready, &pack, bus.clone())?;
    tracing::info!(
        node = config.node,
        streams = config.streams.len(),
        pack = pack.name(),
        pack_version = pack.version(),
        runtime = runtime.build(),
        device = %pipeline.device(),
        "listening"
    );
    systemd::ready();

    let watchdog = systemd::watchdog_interval();
    let mut alive = Instant::now();
    let ending = loop {
        if let Some(signal) = signals.pending().next() {
            break Ending::Told(signal);
        }
        if pipeline.has_ended() {
            break Ending::Sources;
        }
        if pipeline.has_failed() {
            break Ending::Failure;
        }
        if watchdog.is_some_and(|interval| alive.elapsed() >= interval) {
            alive = Instant::now();
            systemd::alive();
        }
        std::thread::sleep(TICK);
    };
    systemd::stopping();
    let counters = pipeline.counters();
    let failed = pipeline.stop(DRAIN);
    if matches!(ending, Ending::Sources) {
        let deadline = bus.close(FINISH);
        while !bus.has_ended() && Instant::now() < deadline && signals.pending().next().is_none() {
            std::thread::sleep(TICK);
        }
    }
    bus.shutdown(DELIVER);
    log_totals(&counters, &bus);
    match ending {
        Ending::Told(signal) => tracing::info!(signal, "stopped"),
        Ending::Sources if failed > 0 => {
            return Err(Failure::runtime(anyhow!(
                "{failed} of {} sources failed and the others have ended; the log above says why",
                config.streams.len()
            )));
        }
        Ending::Sources => tracing::info!("every source has ended"),
        Ending::Failure => {
            return Err(Failure::runtime(anyhow!(
                "an engine worker died; the log above says why"
            )));
        }
    }
    Ok(Outcome::Success)
}

enum Ending {
    Told(i32),
    Sources,
    Failure,
}

fn bus(config: &Config, pack: &Pack, ready: &Ready) -> Result<Bus, Failure> {
    let mut bus = Bus::new();
    if let Some(mqtt) = &config.mqtt {
        let mut household = Household::new(config, mqtt, pack.sound_classes(), ready.controls());
        if let Some(desk) = ready.desk()
            && let Some(news) = desk.news()
        {
            household = household.with_people(desk, news);
        }
        let info = workbench::info(pack, ready);
        let sink = MqttSink::new(mqtt, &config.node, &info)?.with(household)?;
        bus.add("mqtt", QUEUE, sink)
            .context("cannot start the MQTT thread")?;
    }
    if let Some(jsonl) = &config.jsonl {
        bus.add("jsonl", QUEUE, Jsonl::open(&jsonl.path)?)
            .context("cannot start the JSONL thread")?;
    }
    if config.mqtt.is_none() && config.jsonl.is_none() {
        tracing::warn!(
            "neither [mqtt] nor [jsonl] is configured: nobody will hear of what is found"
        );
    }
    Ok(bus)
}

fn log_totals(counters: &Counters, bus: &Bus) {
    use std::sync::atomic::Ordering::Relaxed;
    tracing::info!(
        windows = counters.windows.load(Relaxed),
        encoded = counters.encoded.load(Relaxed),
        failed = counters.failed.load(Relaxed),
        retried = counters.retried.load(Relaxed),
        mean_batch = counters.mean_batch(),
        lost_samples = counters.lost_samples.load(Relaxed),
        "analysed"
    );
    for sink in bus.counters() {
        tracing::info!(
            sink = sink.sink,
            queued = sink.queued,
            dropped = sink.dropped,
            "published"
        );
    }
}
