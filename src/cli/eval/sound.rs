//! `earwitness eval sound`: segments with one label each, and which of the list's labels the sound head gives them.

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use crate::audio::{SAMPLE_RATE, Signal};
use crate::metrics::{Confusion, Units, interval};
use crate::model::Wanted;
use crate::pipeline::Heads;

use super::super::output::Cell;
use super::super::{Failure, Outcome, Output};
use super::list::Mistake;
use super::scorer::{Progress, Scorer, span, windows};
use super::sound_list::{Segment, SoundList};
use super::{Common, write};

/// Arguments of `eval sound`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let common = &args.common;
    let list = SoundList::read(&common.list, common.given)?;
    let (found, scored_by) = match common.given {
        true => (
            list.segments.iter().filter_map(|s| s.given).collect(),
            Value::Null,
        ),
        false => best(common, &list)?,
    };
    let labels = list.labels.sorted();
    let count = |weight: &dyn Fn(usize) -> f64| {
        let pairs = list.segments.iter().zip(&found).enumerate();
        let pairs = pairs.map(|(i, (segment, found))| (segment.label, *found, weight(i)));
        Confusion::of(labels.len(), pairs)
    };
    let confusion = count(&|_| 1.0);
    // A file's segments sound alike: files are what an interval draws.
    let units = Units::singles(list.segments.iter().map(|s| s.path));
    let intervals = [Confusion::accuracy, Confusion::macro_f1].map(|measure| {
        interval(
            list.segments.len(),
            &units,
            common.resampling(),
            |weights| measure(&count(&|i| weights[i])),
        )
    });
    let (accuracy, macro_f1) = (confusion.accuracy(), confusion.macro_f1());

    if let Some(path) = &common.scores {
        write(path, &found_list(&list, &found))?;
    }
    if output.is_json() {
        let classes: Map<String, Value> = labels
            .iter()
            .map(|&(name, label)| (name.to_owned(), json!(confusion.class(label))))
            .collect();
        let row = |truth: usize| -> Map<String, Value> {
            let counts = labels
                .iter()
                .map(|&(name, found)| (name, confusion.counts()[truth][found]));
            counts
                .filter(|c| c.1 > 0.0)
                .map(|(name, n)| (name.to_owned(), json!(n)))
                .collect()
        };
        let counts: Map<String, Value> = labels
            .iter()
            .map(|&(name, label)| (name.to_owned(), json!(row(label))))
            .collect();
        output.record(&json!({
            "task": "sound", "list": common.list, "scored_by": scored_by, "trials": list.segments.len(),
            "accuracy": accuracy, "accuracy_low": intervals[0].map(|i| i.0), "accuracy_high": intervals[0].map(|i| i.1),
            "macro_f1": macro_f1, "macro_f1_low": intervals[1].map(|i| i.0), "macro_f1_high": intervals[1].map(|i| i.1),
            "classes": classes, "confusion": counts,
        }))?;
        return Ok(Outcome::Success);
    }
    let rows: Vec<Vec<Cell>> = labels
        .iter()
        .map(|&(name, label)| {
            let class = confusion.class(label);
            let mut row = vec![Cell::new(name), Cell::new(class.trials)];
            row.extend(
                [class.precision, class.recall, class.f1]
                    .map(|v| Cell::new(format_args!("{v:.3}"))),
            );
            row.push(Cell::new(taken_for(&confusion, &labels, label)));
            row
        })
        .collect();
    output.table(
        &[
            "class",
            "segments",
            "precision",
            "recall",
            "F1",
            "taken for",
        ],
        &rows,
    )?;
    for (name, value, interval) in [
        ("accuracy", accuracy, intervals[0]),
        ("macro F1", macro_f1, intervals[1]),
    ] {
        let interval = interval.map_or(String::new(), |(low, high)| {
            format!(" ({low:.3} – {high:.3})")
        });
        output.line(format_args!("{name} {:.3}{interval}", value.unwrap_or(0.0)))?;
    }
    Ok(Outcome::Success)
}

/// The list, and what was found.
fn found_list(list: &SoundList, found: &[usize]) -> String {
    let seconds = |samples: f64| samples / f64::from(SAMPLE_RATE);
    let lines = list.segments.iter().zip(found).map(|(s, found)| {
        format!(
            "{}\t{}\t{}\t{}\t{}\n",
            list.paths.name(s.path),
            seconds(s.start as f64),
            seconds(s.length as f64),
            list.labels.name(s.label),
            list.labels.name(*found)
        )
    });
    lines.collect()
}

/// The class that this one is most often taken for.
fn taken_for(confusion: &Confusion, labels: &[(&str, usize)], truth: usize) -> String {
    let others = labels.iter().filter(|(_, found)| *found != truth);
    let most = others
        .max_by(|a, b| confusion.counts()[truth][a.1].total_cmp(&confusion.counts()[truth][b.1]));
    match most.map(|(name, found)| (name, confusion.counts()[truth][*found])) {
        Some((name, count)) if count > 0.0 => format!("{name} ({count})"),
        _ => String::new(),
    }
}

/// The most probable of the list's labels for each segment, and what found it, for the report.
fn best(common: &Common, list: &SoundList) -> Result<(Vec<usize>, Value), Failure> {
    let wanted = Wanted {
        sound: true,
        ..Wanted::default()
    };
    let mut scorer = Scorer::open(common, wanted)?;
    let classes = scorer.bench.pack.sound_classes().to_vec();
    if classes.is_empty() {
        let pack = scorer.bench.pack.name();
        return Err(Failure::usage(anyhow!(
            "expected a pack with a sound head ([sound] in pack.toml), found none in \"{pack}\""
        )));
    }
    // Numbers of the labels by output; an output that no line names is no answer.
    let mut answers: Vec<Option<usize>> = vec![None; classes.len()];
    for segment in &list.segments {
        let name = list.labels.name(segment.label);
        match classes.iter().position(|class| class == name) {
            Some(class) => answers[class] = Some(segment.label),
            None => {
                let expected = format!("a class of the pack ({})", classes.join(", "));
                return Err(Mistake::new(expected, name)
                    .at(&scorer.list, segment.line)
                    .into());
            }
        }
    }
    scorer.check(list.segments.iter().map(|s| (s.path, s.line)), &list.paths)?;
    let mut progress = Progress::new(list.segments.len(), "segments");
    let mut found = vec![0; list.segments.len()];
    // In the order of the files, so that each is decoded once.
    let mut order: Vec<usize> = (0..list.segments.len()).collect();
    order.sort_by_key(|&i| list.segments[i].path);
    let mut file: (Option<usize>, Signal) = (None, Signal::default());
    for i in order {
        let segment = &list.segments[i];
        if file.0 != Some(segment.path) {
            let signal = scorer.signal(list.paths.name(segment.path), segment.line)?;
            file = (Some(segment.path), signal);
        }
        let sounds = sounds(&mut scorer, &file.1, segment)?;
        let named = answers
            .iter()
            .zip(&sounds)
            .filter_map(|(label, p)| Some((*p, (*label)?)));
        let best = named.max_by(|a, b| a.0.total_cmp(&b.0));
        found[i] = best.map_or(segment.label, |(_, label)| label);
        progress.step();
    }
    Ok((found, scorer.describe()))
}

/// Mean probabilities over a segment's windows.
fn sounds(scorer: &mut Scorer, signal: &Signal, segment: &Segment) -> Result<Vec<f64>, Failure> {
    let heads = Heads {
        speaker: false,
        spoof: false,
        sound: true,
    };
    let span = span(signal.len(), segment.start, segment.length);
    let span = span.map_err(|m| m.at(&scorer.list, segment.line))?;
    let audio = signal.cut(span);
    let starts = windows(audio.len(), scorer.length);
    let mut sums: Vec<f64> = Vec::new();
    for at in &starts {
        let end = (at + scorer.length).min(audio.len());
        let heard = scorer
            .bench
            .analyser()
            .segment(&audio.cut(*at..end), heads)?;
        let probabilities = heard.sounds.unwrap_or_default();
        sums.resize(probabilities.len(), 0.0);
        for (sum, p) in sums.iter_mut().zip(probabilities) {
            *sum += f64::from(p) / starts.len() as f64;
        }
    }
    Ok(sums)
}
