//! `earwitness eval timeline`: recordings in which some stretches are synthetic, and what `detect` finds of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::metrics::Located;
use crate::model::Wanted;
use crate::publish::Verdict;
use crate::task::Policy;
use crate::task::timeline::{Glance, Segment};

use super::super::output::Cell;
use super::super::{Failure, Outcome, Output};
use super::scorer::{Progress, Scorer};
use super::timeline_list::TimelineList;
use super::{Common, write};

/// How near both borders are to be, seconds.
const NEAR_S: f64 = 0.5;

/// Arguments of `eval timeline`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recordings, one a line: docs/eval.md tells the columns.
    list: PathBuf,
    /// Folder that the list's paths start from; without it the list's own.
    #[arg(long, value_name = "FOLDER")]
    audio: Option<PathBuf>,
    /// The model pack; overrides the configuration.
    #[arg(long, value_name = "FOLDER")]
    pack: Option<PathBuf>,
    /// Configuration whose models and decision count; without it the defaults and EARWITNESS_…__… variables.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which channel of the recordings, counted from 0; without it all, mixed.
    #[arg(long, value_name = "N")]
    channel: Option<u16>,
    /// Trust a pack that nobody signed whose key is trusted; warned of.
    #[arg(long)]
    allow_unsigned: bool,
    /// Write what the spoof head says along the recordings, a line a window and tabs between: path, start and end of the piece, raw
    /// score, parts.
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
}

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let list = TimelineList::read(&args.list)?;
    let common = Common {
        list: args.list,
        given: false,
        audio: args.audio,
        seconds: None,
        pack: args.pack,
        config: args.config,
        channel: args.channel,
        rounds: 0,
        seed: 0,
        scores: None,
        allow_unsigned: args.allow_unsigned,
    };
    let wanted = Wanted {
        spoof: true,
        parts: true,
        short: true,
        ..Wanted::default()
    };
    let mut scorer = Scorer::open(&common, wanted)?;
    let files = list.recordings.iter().map(|r| (r.path, r.line));
    scorer.check(files, &list.paths)?;
    let policy = Policy::new(&scorer.bench.config.spoof.decision);
    let mut progress = Progress::new(list.recordings.len(), "recordings");
    let (mut all, mut systems) = (Located::default(), BTreeMap::<&str, Located>::new());
    let mut curves = String::new();
    for recording in &list.recordings {
        let path = list.paths.name(recording.path);
        let signal = scorer.signal(path, recording.line)?;
        let (glances, segments) = scorer.bench.timeline(&signal, &policy)?;
        let speech: Vec<Range<f64>> = glances.iter().map(|g| g.start_s..g.end_s).collect();
        let located = Located::of(&recording.fakes, &claims(&segments), &speech);
        all.add(&located);
        let system = list.systems.name(recording.system);
        systems.entry(system).or_default().add(&located);
        if args.curve.is_some() {
            curves.extend(glances.iter().map(|glance| line(path, glance)));
        }
        progress.step();
    }
    if let Some(path) = &args.curve {
        write(path, &curves)?;
    }
    if output.is_json() {
        let systems: BTreeMap<&str, Value> =
            systems.iter().map(|(n, l)| (*n, described(l))).collect();
        output.record(&json!({
            "task": "timeline", "list": common.list, "scored_by": scorer.describe(), "recordings": list.recordings.len(),
            "overall": described(&all), "systems": systems,
        }))?;
        return Ok(Outcome::Success);
    }
    let head = [
        "",
        "fakes",
        "found %",
        "both borders within 0.5 s %",
        "border error median s",
        "90 % s",
        "segment F1",
        "time F1",
        "false alarms an hour",
        "real speech min",
    ];
    let mut rows = vec![row("all", &all)];
    rows.extend(systems.iter().map(|(name, located)| row(name, located)));
    output.table(&head, &rows)?;
    Ok(Outcome::Success)
}

/// What the timeline calls synthetic.
fn claims(segments: &[Segment]) -> Vec<Range<f64>> {
    let synthetic = segments.iter().filter(|s| s.verdict == Verdict::Reject);
    synthetic.map(|s| s.start_s..s.end_s).collect()
}

fn line(path: &str, glance: &Glance) -> String {
    let parts: String = glance.parts.iter().map(|p| format!("\t{p}")).collect();
    format!(
        "{path}\t{:.2}\t{:.2}\t{}{parts}\n",
        glance.start_s, glance.end_s, glance.score
    )
}

fn described(l: &Located) -> Value {
    let percent = |share: Option<f64>| share.map(|s| 100.0 * s);
    json!({
        "fakes": l.fakes, "found_percent": percent(l.found_share()), "both_borders_within_half_a_second_percent": percent(l.within(NEAR_S)),
        "border_error_median_s": l.border_error(0.5), "border_error_90_percent_s": l.border_error(0.9),
        "segment_f1": l.segment_f1(), "time_f1": l.time_f1(),
        "claims": l.claims, "false_alarms": l.false_alarms, "false_alarms_an_hour": l.false_alarms_an_hour(),
        "real_speech_s": l.real_s, "fake_speech_s": l.fake_s,
    })
}

fn row(name: &str, l: &Located) -> Vec<Cell> {
    let number = |value: Option<f64>, digits: usize| {
        Cell::new(value.map_or("–".to_owned(), |v| format!("{v:.digits$}")))
    };
    let percent = |share: Option<f64>| number(share.map(|s| 100.0 * s), 1);
    vec![
        Cell::new(name),
        Cell::new(l.fakes),
        percent(l.found_share()),
        percent(l.within(NEAR_S)),
        number(l.border_error(0.5), 2),
        number(l.border_error(0.9), 2),
        number(l.segment_f1(), 3),
        number(l.time_f1(), 3),
        number(l.false_alarms_an_hour(), 1),
        Cell::new(format_args!("{:.1}", l.real_s / 60.0)),
    ]
}
