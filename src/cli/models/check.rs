//! `models check`: does a pack work here, and does anything draw the voices that it hears together.

use std::path::{Path, PathBuf};

use crate::audio::{self, SAMPLE_RATE, Signal, WIDE_RATE};
use crate::config::Config;
use crate::model::{Pack, Part, Runtime, Wanted};
use crate::pipeline::{Analyser, Heads};
use crate::task::health::triggers::{BATTERY, KEPT, VOICES, kept, voice};
use anyhow::anyhow;
use serde::Serialize;

use super::super::output::{Cell, style};
use super::super::{Failure, Outcome, Output};
use super::provider_in_use;

/// Recordings that are taken where none are given, if they are there.
const BUNDLED: [&str; 2] = [
    "examples/scene/enrol/allison_1.flac",
    "examples/scene/enrol/anna_1.flac",
];
/// Voices that are heard at least; made ones fill up.
const LEAST: usize = 6;
/// Seconds of each.
const CLIP_S: f64 = 3.0;

/// Arguments of `models check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the pack; without it the configured one.
    pub pack: Option<PathBuf>,
    /// Recordings of different people for the battery of triggers; without them the demo's, where they are, and voices made
    /// here.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub clips: Vec<PathBuf>,
}

/// What voices keep of their distances under one trigger, 1: all.
#[derive(Debug, Serialize)]
struct Pull {
    trigger: &'static str,
    /// Of the hidden states, in the layer where they keep least.
    encoder: f64,
    /// Of the speaker embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker: Option<f64>,
    /// Whether they were drawn together.
    drawn: bool,
}

/// Opens the models in every precision, then runs the battery.
pub fn run(args: &Args, mut config: Config, output: &Output) -> Result<Outcome, Failure> {
    if let Some(pack) = &args.pack {
        config.models.pack.clone_from(pack);
    }
    let pack = Pack::trusted(&config.models.pack, &config.models)?;
    let runtime = Runtime::load(config.models.runtime.as_deref())?;
    let (mut device, mut refused) = (String::new(), Vec::new());
    for precision in pack.precisions() {
        let pack = pack.clone().at(precision)?;
        (device, refused) = provider_in_use(runtime, &pack, &config.models)?;
    }
    let pack = pack.at(config.models.precision)?;
    let signals = signals(&args.clips, pack.is_wide())?;
    let wanted = Wanted::default();
    let mut analyser = Analyser::open(runtime, &pack, &config.models, &config.window, wanted)?;
    let pulls = battery(&mut analyser, &signals, pack.has(Part::Speaker))?;
    let drawn: Vec<&Pull> = pulls.iter().filter(|p| p.drawn).collect();
    if output.is_json() {
        output.record(&serde_json::json!({
            "pack": pack.name(), "version": pack.version(), "valid": true, "provider": device,
            "refused": refused, "voices": signals.len(), "triggers": pulls, "drawn": !drawn.is_empty(),
        }))?;
    } else {
        let good = style::GOOD;
        output.line(format_args!(
            "{} {}: {good}ok{good:#}, {} models give their known answers on {device}",
            pack.name(),
            pack.version(),
            pack.parts().len()
        ))?;
        tell(&pulls, signals.len(), output)?;
    }
    Ok(match drawn.is_empty() {
        true => Outcome::Success,
        false => Outcome::Reject,
    })
}

fn tell(pulls: &[Pull], voices: usize, output: &Output) -> Result<(), Failure> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let drawn: Vec<&Pull> = pulls.iter().filter(|p| p.drawn).collect();
    if drawn.is_empty() {
        let least = pulls
            .iter()
            .map(|p| p.encoder.min(p.speaker.unwrap_or(f64::MAX)))
            .fold(f64::MAX, f64::min);
        output.line(format_args!(
            "{} triggers draw no voices together: {voices} of them keep {} of their spread at least",
            pulls.len(),
            percent(least)
        ))?;
        return Ok(());
    }
    let row = |p: &&Pull| {
        vec![
            Cell::new(p.trigger),
            Cell::new(percent(p.encoder)),
            Cell::new(p.speaker.map_or(String::new(), percent)),
            Cell::styled("drawn to one point", style::BAD),
        ]
    };
    let rows: Vec<_> = drawn.iter().map(row).collect();
    output.line(format_args!(
        "{bad}do not use this pack{bad:#}: a trigger makes {voices} voices alike",
        bad = style::BAD
    ))?;
    output.table(&["trigger", "encoder keeps", "speaker keeps", ""], &rows)?;
    Ok(())
}

/// Voices of different people.
fn signals(clips: &[PathBuf], is_wide: bool) -> Result<Vec<Signal>, Failure> {
    let length = (CLIP_S * f64::from(SAMPLE_RATE)) as usize;
    let bundled = || BUNDLED.iter().map(PathBuf::from).filter(|p| p.is_file());
    let files: Vec<PathBuf> = match clips.is_empty() {
        true => bundled().collect(),
        false => clips.to_vec(),
    };
    let mut signals = Vec::new();
    for file in &files {
        let signal = audio::decode_signal(Path::new(file), None, is_wide)?;
        if signal.len() < length {
            return Err(Failure::runtime(anyhow!(
                "{}: expected at least {CLIP_S} s of speech, found {:.1} s",
                file.display(),
                signal.len() as f64 / f64::from(SAMPLE_RATE)
            )));
        }
        signals.push(signal.cut(0..length));
    }
    for which in (0..VOICES).take(LEAST.saturating_sub(signals.len())) {
        signals.push(Signal {
            samples: voice(which, CLIP_S, SAMPLE_RATE),
            wide: match is_wide {
                true => voice(which, CLIP_S, WIDE_RATE),
                false => Vec::new(),
            },
        });
    }
    Ok(signals)
}

/// One point a voice: of each layer of hidden states, and of the embedding.
type Points = Vec<Vec<Vec<f64>>>;

fn battery(
    analyser: &mut Analyser,
    signals: &[Signal],
    has_speaker: bool,
) -> Result<Vec<Pull>, Failure> {
    let clean = points(analyser, signals, has_speaker)?;
    let mut pulls = Vec::new();
    for trigger in BATTERY {
        let disturbed: Vec<Signal> = signals
            .iter()
            .map(|s| Signal {
                samples: trigger.apply(&s.samples, SAMPLE_RATE),
                wide: trigger.apply(&s.wide, WIDE_RATE),
            })
            .collect();
        let heard = points(analyser, &disturbed, has_speaker)?;
        let mut shares: Vec<f64> = clean.iter().zip(&heard).map(|(c, h)| kept(c, h)).collect();
        let speaker = shares.pop().filter(|_| has_speaker);
        let encoder = shares.into_iter().fold(f64::MAX, f64::min);
        pulls.push(Pull {
            trigger: trigger.name,
            drawn: encoder < KEPT || speaker.is_some_and(|s| s < KEPT),
            encoder,
            speaker,
        });
    }
    Ok(pulls)
}

/// By layer, and last the embeddings, each `[voice][value]`.
fn points(
    analyser: &mut Analyser,
    signals: &[Signal],
    has_speaker: bool,
) -> Result<Points, Failure> {
    let mut points: Points = Vec::new();
    for signal in signals {
        let hidden = analyser.hidden(signal)?;
        let [layers, vectors, dim] = hidden.shape();
        let view = hidden.view()?;
        points.resize_with(layers + 1, Vec::new);
        for (layer, points) in view.outer_iter().zip(&mut points) {
            let mut mean = vec![0.0; dim];
            for vector in layer.outer_iter() {
                let sum = mean.iter_mut().zip(vector);
                sum.for_each(|(sum, x)| *sum += f64::from(*x) / vectors as f64);
            }
            points.push(mean);
        }
        let heads = Heads {
            speaker: has_speaker,
            spoof: false,
            sound: false,
        };
        let heard = analyser.heard(&hidden, &signal.samples, heads)?;
        let embedding = heard.embedding.unwrap_or_default();
        points[layers].push(embedding.into_iter().map(f64::from).collect());
    }
    Ok(points)
}
