//! `earwitness tag`: what is heard on a recording, and when.

use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;

use crate::model::Wanted;
use crate::task::Scores;
use crate::task::sound::{SoundPolicy, SoundTracker};

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
}

/// The classes as the daemon's events would tell them, each from its beginning to its end.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = args.analysis.config()?;
    let wanted = Wanted {
        spoof: false,
        sound: true,
    };
    let mut bench = Workbench::with(config, args.analysis.channel, wanted)?;
    let policy = SoundPolicy::new(bench.pack.sound_classes(), &bench.config.sound).ok_or_else(|| {
        Failure::usage(match bench.config.sound.enabled {
            true => anyhow!(
                "expected a pack with a sound head ([sound] in pack.toml), found none in \"{}\"",
                bench.pack.name()
            ),
            false => anyhow!("expected sound.enabled = true, found false; sounds are switched off in this configuration"),
        })
    })?;
    let scores = bench.scores(&args.file)?;
    let spans = timeline(&policy, &scores);
    let windows: Vec<_> = scores
        .iter()
        .map(|s| {
            let best = s.sounds.as_ref().and_then(|sounds| sounds.best());
            let (class, probability) = best.unzip();
            json!({
                "start_s": s.start_s, "end_s": s.end_s, "level_dbfs": s.level_dbfs,
                "class": class.map(|c| policy.name(c)), "probability": probability,
            })
        })
        .collect();
    if output.is_json() {
        output.record(&json!({
            "pack": bench.pack.name(), "pack_version": bench.pack.version(), "timeline": spans, "windows": windows,
        }))?;
    } else if spans.is_empty() {
        output.line("nothing that the pack knows is heard")?;
    } else {
        let rows: Vec<Vec<Cell>> = spans
            .iter()
            .map(|span| {
                vec![
                    Cell::new(format_args!("{:>7.1} –{:>7.1} s", span.start_s, span.end_s)),
                    Cell::new(&span.class),
                    Cell::new(format_args!("{:.0} %", 100.0 * span.probability)),
                ]
            })
            .collect();
        output.table(&["when", "class", "at most"], &rows)?;
    }
    Ok(Outcome::Success)
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
