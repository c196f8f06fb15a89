//! `earwitness tag`: what is heard on a recording, and when; of music, also its tempo and key.

use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;

use crate::dsp;
use crate::model::Wanted;
use crate::pipeline::probes;
use crate::task::sound::{SoundPolicy, SoundTracker};
use crate::task::{Scores, findings};

use super::output::Cell;
use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// A stretch in which a class is heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Span {
    class: String,
    start_s: f64,
    end_s: f64,
    /// Highest probability in a window of it.
    probability: f64,
    /// Beats a minute, of music that has a steady beat.
    #[serde(skip_serializing_if = "Option::is_none")]
    tempo_bpm: Option<f64>,
    /// Of music whose pitches make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The class whose stretches have a tempo and a key.
const MUSIC: &str = "music";

/// The classes as the daemon's events would tell them, each from its beginning to its end.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = args.analysis.config()?;
    let wanted = Wanted {
        sound: true,
        probes: true,
        ..Wanted::default()
    };
    let mut bench = Workbench::with(config, args.analysis.channel, wanted)?;
    let asked = probes(&bench.pack);
    let policy = SoundPolicy::new(bench.pack.sound_classes(), &bench.config.sound);
    if policy.is_none() && asked.is_empty() {
        return Err(Failure::usage(match bench.config.sound.enabled {
            true => anyhow!(
                "expected a pack with a sound head ([sound] in pack.toml) or probes, found neither in \"{}\"",
                bench.pack.name()
            ),
            false => anyhow!(
                "expected sound.enabled = true, found false; sounds are switched off in this configuration"
            ),
        }));
    }
    let signal = bench.signal(&args.file)?;
    let window = bench.config.window.clone();
    let scores = bench.analyser().recording(&signal, &window)?;
    let mut spans = policy
        .as_ref()
        .map_or_else(Vec::new, |policy| timeline(policy, &scores));
    for span in spans.iter_mut().filter(|s| s.class == MUSIC) {
        let at = |s: f64| ((s * f64::from(dsp::SAMPLE_RATE)) as usize).min(signal.len());
        let music = &signal.samples[at(span.start_s)..at(span.end_s)];
        span.tempo_bpm = dsp::tempo(music).map(|t| (10.0 * t.bpm).round() / 10.0);
        span.key = dsp::key(music).map(|k| k.to_string());
    }
    let answers = findings(&asked, &means(&scores));
    if output.is_json() {
        let windows: Vec<_> = scores
            .iter()
            .map(|s| {
                let best = s.sounds.as_ref().and_then(|sounds| sounds.best());
                let (class, probability) = best.unzip();
                let class = class.and_then(|c| Some(policy.as_ref()?.name(c)));
                json!({
                    "start_s": s.start_s, "end_s": s.end_s, "level_dbfs": s.level_dbfs,
                    "class": class, "probability": probability, "probes": findings(&asked, &s.probes),
                })
            })
            .collect();
        output.record(&json!({
            "pack": bench.pack.name(), "pack_version": bench.pack.version(), "timeline": spans, "windows": windows,
            "probes": answers,
        }))?;
        return Ok(Outcome::Success);
    }
    if !spans.is_empty() {
        let rows: Vec<Vec<Cell>> = spans.iter().map(Span::row).collect();
        output.table(&["when", "class", "at most", "music"], &rows)?;
    } else if policy.is_some() {
        output.line("nothing that the pack knows is heard")?;
    }
    if !answers.is_empty() {
        let rows: Vec<Vec<Cell>> = answers
            .iter()
            .map(|a| {
                let value = format!("{:.2}", a.value);
                vec![Cell::new(&a.probe), Cell::new(&a.label), Cell::new(value)]
            })
            .collect();
        output.table(&["probe", "answer", "value"], &rows)?;
    }
    Ok(Outcome::Success)
}

/// The probes' outputs, averaged over the windows that have any.
fn means(scores: &[Scores]) -> Vec<Vec<f32>> {
    let mut sums: Vec<Vec<f32>> = Vec::new();
    let heard = scores.iter().filter(|s| !s.probes.is_empty());
    let count = heard.clone().count() as f32;
    for probes in heard.map(|s| &s.probes) {
        sums.resize_with(probes.len(), Vec::new);
        for (sum, outputs) in sums.iter_mut().zip(probes) {
            sum.resize(outputs.len(), 0.0);
            for (sum, x) in sum.iter_mut().zip(outputs) {
                *sum += x / count;
            }
        }
    }
    sums
}

impl Span {
    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::new(format_args!("{:>7.1} –{:>7.1} s", self.start_s, self.end_s)),
            Cell::new(&self.class),
            Cell::new(format_args!("{:.0} %", 100.0 * self.probability)),
            Cell::new(self.music()),
        ]
    }

    /// Tempo and key in words; empty where there are none.
    fn music(&self) -> String {
        let tempo = self.tempo_bpm.map(|bpm| format!("{bpm:.0} bpm"));
        let both: Vec<String> = tempo.into_iter().chain(self.key.clone()).collect();
        both.join(", ")
    }
}

/// Beginnings and ends put together, in order of their beginning.
fn timeline(policy: &SoundPolicy, scores: &[Scores]) -> Vec<Span> {
    let mut tracker = SoundTracker::new(policy);
    let mut spans: Vec<(usize, Span)> = Vec::new();
    let mut end_s = 0.0;
    for window in scores {
        end_s = window.end_s;
        let sounds = window.sounds.as_ref();
        for change in tracker.window(policy, sounds, window.start_s, window.new_s) {
            let class = change.class;
            if change.on {
                spans.push((
                    class,
                    Span {
                        class: policy.name(class).to_owned(),
                        start_s: change.since_s,
                        end_s: f64::INFINITY,
                        probability: 0.0,
                        tempo_bpm: None,
                        key: None,
                    },
                ));
            } else if let Some((_, span)) = spans.iter_mut().rev().find(|(c, _)| *c == class) {
                span.end_s = change.since_s;
            }
        }
    }
    let mut spans: Vec<Span> = spans
        .into_iter()
        .map(|(class, mut span)| {
            span.end_s = span.end_s.min(end_s);
            let inside = scores
                .iter()
                .filter(|s| s.end_s > span.start_s && s.start_s < span.end_s);
            let heard = inside.filter_map(|s| s.sounds.as_ref()?.probabilities.get(class).copied());
            span.probability = f64::from(heard.fold(0.0, f32::max));
            span
        })
        .collect();
    spans.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    spans
}
