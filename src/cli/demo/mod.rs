//! `earwitness demo`: the main job on a bundled scene, with its own broker, checked against the ground truth.

mod listener;
mod report;
mod scene;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audio;
use crate::config::{Config, Input, Mqtt, Stream};
use crate::model::{Pack, Runtime, Wanted};
use crate::pipeline::{Analyser, Pipeline, Ready};
use crate::publish::broker::Embedded;
use crate::publish::mqtt::MqttSink;
use crate::publish::{Body, Bus, SourceState};
use crate::store::SpeakerStore;
use crate::task::recording::Evidence;
use crate::telemetry::{CpuMeter, Usage};
use anyhow::{Context, anyhow};

use super::{Failure, Outcome, Output, workbench};
use listener::{Arrival, Listener};
use report::Report;
use scene::Scene;

/// Id of the demo's only stream.
const STREAM: &str = "scene";

/// Show the whole pipeline on a bundled scene: two enrolled people, a stranger, a clone, music
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Playback speed: 1 is real time, 0 as fast as this machine can
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Port of the embedded MQTT broker on the loopback interface; 0: any free one
    #[arg(long, default_value_t = 18_830)]
    port: u16,
    /// Folder of the scene
    #[arg(long, default_value = "examples/scene")]
    scene: PathBuf,
}

/// Plays the scene and reports.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    if !(args.speed >= 0.0 && args.speed <= 100.0) {
        return Err(Failure::usage(anyhow!(
            "--speed: expected 0 to 100, found {}",
            args.speed
        )));
    }
    let scene = Scene::read(&args.scene.join("scene.json"))?;
    let folder = Scratch::new()?;
    let broker = Embedded::start(args.port)?;
    let port = broker.address().port();
    let config = config(&args, &folder.0, port);

    let runtime = Runtime::load(None)?;
    let pack = Pack::configured(&config.models)?;
    let people = enrol(&args.scene, &scene, &config, runtime, &pack)?;
    let mut report = Report::new(&scene, output);
    report.head(&people, &pack, runtime, port, args.speed)?;

    let listener = Listener::start(port, &Mqtt::default().prefix)?;
    let mqtt = config
        .mqtt
        .as_ref()
        .context("the demo publishes over MQTT")?;
    let ready = Ready::open(&config, runtime, &pack)?;
    let sink = MqttSink::new(mqtt, &config.node, &workbench::info(&pack, &ready))?;
    let mut bus = Bus::new();
    bus.add("mqtt", crate::publish::QUEUE, sink)
        .context("cannot start the MQTT thread")?;
    let bus = Arc::new(bus);

    let meter = CpuMeter::start();
    let began = Instant::now();
    let pipeline = Pipeline::start(&config, ready, &pack, bus.clone())?;
    let played = play(&pipeline, &listener, &mut report);
    let counters = pipeline.counters();
    pipeline.stop(Duration::from_secs(10));
    let cost = report::Cost {
        wall: began.elapsed(),
        cores: meter.and_then(|m| m.cores()),
        resident: Usage::now().and_then(|u| u.resident),
    };
    bus.shutdown(Duration::from_secs(1));
    listener.stop();
    played?;
    report.summary(&counters, &cost)?;
    Ok(Outcome::Success)
}

/// Prints what arrives until the scene has ended.
fn play(pipeline: &Pipeline, listener: &Listener, report: &mut Report) -> Result<(), Failure> {
    let mut silence = Instant::now();
    loop {
        match listener.arrivals.recv_timeout(Duration::from_millis(100)) {
            Ok(arrival) => {
                silence = Instant::now();
                let ended = ended(&arrival)?;
                report.event(arrival)?;
                if ended {
                    return Ok(());
                }
            }
            Err(_) if pipeline.has_failed() => {
                return Err(Failure::runtime(anyhow!(
                    "an engine worker died; the log above says why"
                )));
            }
            Err(_) if silence.elapsed() > Duration::from_secs(30) => {
                return Err(Failure::runtime(anyhow!(
                    "no event came over MQTT for 30 s; expected the scene's end"
                )));
            }
            Err(_) => (),
        }
    }
}

/// Whether this event says that the scene is over; a source that failed is an error.
fn ended(arrival: &Arrival) -> Result<bool, Failure> {
    match &arrival.event.body {
        Body::Source {
            state: SourceState::Ended,
            ..
        } => Ok(true),
        Body::Source {
            state: SourceState::Failed,
            reason,
        } => Err(Failure::runtime(anyhow!(
            "the scene cannot be played: {}",
            reason.as_deref().unwrap_or("no reason given")
        ))),
        _ => Ok(false),
    }
}

fn config(args: &Args, folder: &Path, port: u16) -> Config {
    let mut config = Config {
        node: "demo".into(),
        ..Config::default()
    };
    config.streams = vec![Stream {
        id: STREAM.into(),
        source: Input::File {
            path: args.scene.join("scene.flac"),
            speed: args.speed,
        },
        channel: None,
        sound: true,
    }];
    config.speaker.store = folder.join("speakers.redb");
    config.mqtt = Some(Mqtt {
        broker: format!("mqtt://127.0.0.1:{port}"),
        ..Mqtt::default()
    });
    config
}

/// Enrols the scene's people; returns their names.
fn enrol(
    folder: &Path,
    scene: &Scene,
    config: &Config,
    runtime: &Runtime,
    pack: &Pack,
) -> Result<Vec<String>, Failure> {
    let mut analyser = Analyser::open(
        runtime,
        pack,
        &config.models,
        &config.window,
        Wanted {
            spoof: config.spoof.enabled,
            ..Wanted::default()
        },
    )?;
    let store = SpeakerStore::open(&config.speaker)?;
    for (name, clips) in &scene.enrol {
        let mut recordings = Vec::new();
        for clip in clips {
            recordings.push(analyser.recording(
                &audio::decode(&folder.join(clip), None)?.into(),
                &config.window,
            )?);
        }
        let evidence = Evidence::of(recordings.iter().map(Vec::as_slice));
        let embedding = evidence
            .embedding
            .clone()
            .with_context(|| format!("no speech in the clips of {name}"))?;
        let sitting = crate::pipeline::sitting(&config.speaker, pack.hash(), &evidence, embedding);
        store.add(name, sitting, true)?;
    }
    Ok(scene.enrol.keys().cloned().collect())
}

/// A folder that goes when the demo does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("earwitness-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-over files of a demo are no reason to fail it.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
