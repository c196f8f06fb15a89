//! `earwitness eval spoof`: files, bona fide or made by a named system.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::metrics::{
    Class, Cost, DetCurve, MetricError, Resampling, Trials, Units, apcer, bpcer, det_plot,
    histogram, threshold_at_bpcer,
};

use crate::model::Wanted;

use super::super::output::Cell;
use super::super::{Failure, Outcome, Output};
use super::figures::{Figures, Group, head};
use super::scorer::{Progress, Scorer, mean};
use super::spoof_list::{File, SpoofList};
use super::{Common, Detection, write};

/// Arguments of `eval spoof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    detection: Detection,
    /// Prior probability of bona fide speech, for minDCF, actDCF and the threshold of APCER and BPCER.
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    prior: f64,
    /// Only files of this system or source; may be given several times.
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
}

/// A file and its log-likelihood ratio.
type Scored<'a> = (&'a File, f64);

/// A system or source against all of the other class.
#[derive(Debug, Serialize)]
struct System {
    #[serde(flatten)]
    figures: Group,
    /// Share of errors at the threshold: APCER of an attack, BPCER of a source.
    errors_percent: f64,
    /// The same at the threshold at which 5 % of all bona fide files are rejected.
    errors_at_5_percent_bpcer_percent: f64,
}

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let common = &args.common;
    let cost = args.detection.cost(args.prior)?;
    let mut list = SpoofList::read(&common.list, common.given)?;
    if !args.group.is_empty() {
        let wanted = |f: &File| args.group.iter().any(|g| g == list.systems.name(f.system));
        list.files = list.files.iter().filter(|f| wanted(f)).cloned().collect();
    }
    let (scores, scored_by) = score(common, &list)?;
    let all: Vec<Scored> = list.files.iter().zip(scores).collect();
    let how = common.resampling();
    let pooled = trials(&all).map_err(|e| common.wrong(e))?;
    let overall = Group::Figures(Figures::of(&pooled, &units(&all), &cost, how));

    let of = |bona_fide: bool| -> Vec<f64> {
        all.iter()
            .filter(|f| f.0.bona_fide == bona_fide)
            .map(|f| f.1)
            .collect()
    };
    let (genuine, attacks) = (of(true), of(false));
    let at_5 = threshold_at_bpcer(&genuine, 0.05).unwrap_or(f64::INFINITY);
    let thresholds = [cost.threshold(), at_5];
    let sources = systems(&list, &all, true, thresholds, &cost, how);
    let species = systems(&list, &all, false, thresholds, &cost, how);
    let worst = |i: usize| {
        let errors = species
            .iter()
            .map(|(_, s)| [s.errors_percent, s.errors_at_5_percent_bpcer_percent][i]);
        errors.fold(0.0, f64::max)
    };
    let detection = json!({
        "threshold": thresholds[0], "bpcer_percent": bpcer(&genuine, thresholds[0]).map(|r| 100.0 * r),
        "apcer_percent": apcer(&attacks, thresholds[0]).map(|r| 100.0 * r), "apcer_worst_percent": worst(0),
        "threshold_at_5_percent_bpcer": at_5,
        "apcer_at_5_percent_bpcer_percent": apcer(&attacks, at_5).map(|r| 100.0 * r), "apcer_worst_at_5_percent_bpcer_percent": worst(1),
    });

    if let Some(path) = &common.scores {
        write(path, &scored_list(&list, &all))?;
    }
    if let Some(path) = &args.detection.det {
        write(
            path,
            &det(&common.title("Spoof detection"), &list, &all, &pooled),
        )?;
    }
    if let Some(path) = &args.detection.histogram {
        let classes = [("bona fide", &genuine), ("spoof", &attacks)];
        let classes = classes.map(|(name, scores)| Class { name, scores });
        let title = common.title("Spoof detection");
        write(path, &histogram(&title, &classes, thresholds[0]))?;
    }

    if output.is_json() {
        let map = |of: &[(&str, System)]| -> Map<String, Value> {
            of.iter()
                .map(|(name, system)| ((*name).to_owned(), json!(system)))
                .collect()
        };
        output.record(&json!({
            "task": "spoof", "list": common.list, "scored_by": scored_by, "trials": all.len(), "cost": super::describe(&cost),
            "overall": overall, "detection": detection, "bona_fide": map(&sources), "attacks": map(&species),
        }))?;
        return Ok(Outcome::Success);
    }
    let mut heading = head("bona fide", "attacks").to_vec();
    heading.extend(["errors %", "at BPCER 5 %"]);
    let mut rows = vec![overall.row("all")];
    rows.extend(
        sources
            .iter()
            .map(|(name, system)| system.row(&format!("bona fide {name}"))),
    );
    rows.extend(species.iter().map(|(name, system)| system.row(name)));
    output.table(&heading, &rows)?;
    output.line(super::told(&cost, "bona fide"))?;
    output.line(format_args!(
        "errors: of an attack its APCER (accepted), of bona fide its BPCER (rejected); the worst attack: {:.1} %, {:.1} % at BPCER 5 %",
        worst(0),
        worst(1)
    ))?;
    Ok(Outcome::Success)
}

impl System {
    fn row(&self, name: &str) -> Vec<Cell> {
        let mut row = self.figures.row(name);
        row.push(Cell::new(format_args!("{:.1}", self.errors_percent)));
        row.push(Cell::new(format_args!(
            "{:.1}",
            self.errors_at_5_percent_bpcer_percent
        )));
        row
    }
}

/// The DET plot: all, and each attack against all bona fide files.
fn det(title: &str, list: &SpoofList, all: &[Scored], pooled: &Trials) -> String {
    let systems = list.systems.sorted().into_iter();
    let apart: Vec<(&str, Trials)> = systems
        .filter_map(|(name, system)| Some((name, trials(&against(all, system)?).ok()?)))
        .collect();
    let mut curves = vec![DetCurve {
        name: "all",
        trials: pooled,
    }];
    curves.extend(apart.iter().map(|(name, trials)| DetCurve { name, trials }));
    det_plot(title, "Attacks accepted", "Bona fide rejected", &curves)
}

/// A log-likelihood ratio of each file, and what gave them, for the report.
fn score(common: &Common, list: &SpoofList) -> Result<(Vec<f64>, Value), Failure> {
    if common.given {
        return Ok((
            list.files.iter().filter_map(|f| f.given).collect(),
            Value::Null,
        ));
    }
    let mut scorer = Scorer::open(
        common,
        Wanted {
            spoof: true,
            ..Wanted::default()
        },
    )?;
    let calibration = scorer.bench.pack.spoof_calibration()?;
    scorer.check(list.files.iter().map(|f| (f.path, f.line)), &list.paths)?;
    let mut progress = Progress::new(list.files.len(), "files");
    let mut scores = Vec::with_capacity(list.files.len());
    for file in &list.files {
        let signal = scorer.signal(list.paths.name(file.path), file.line)?;
        scores.push(calibration.llr(mean(&scorer.genuine(&signal)?)?));
        progress.step();
    }
    Ok((scores, scorer.describe()))
}

/// The systems or sources of one class, each against all of the other.
fn systems<'a>(
    list: &'a SpoofList,
    all: &[Scored],
    bona_fide: bool,
    [threshold, at_5]: [f64; 2],
    cost: &Cost,
    how: Resampling,
) -> Vec<(&'a str, System)> {
    let mut systems = Vec::new();
    for (name, number) in list.systems.sorted() {
        let mine = |f: &&Scored| f.0.bona_fide == bona_fide && f.0.system == number;
        let scores: Vec<f64> = all.iter().filter(mine).map(|f| f.1).collect();
        let rate = if bona_fide { bpcer } else { apcer };
        let (Some(errors), Some(errors_at_5)) = (rate(&scores, threshold), rate(&scores, at_5))
        else {
            continue;
        };
        let of = |f: &&Scored| f.0.bona_fide != bona_fide || f.0.system == number;
        let of: Vec<Scored> = all.iter().filter(of).copied().collect();
        let figures = Group::of(trials(&of), &units(&of), cost, how);
        systems.push((
            name,
            System {
                figures,
                errors_percent: 100.0 * errors,
                errors_at_5_percent_bpcer_percent: 100.0 * errors_at_5,
            },
        ));
    }
    systems
}

/// All bona fide files and the attacks of one system; `None` for a source.
fn against<'a>(all: &[Scored<'a>], system: usize) -> Option<Vec<Scored<'a>>> {
    let of = |f: &&Scored| f.0.bona_fide || f.0.system == system;
    let of: Vec<_> = all.iter().filter(of).copied().collect();
    of.iter().any(|f| !f.0.bona_fide).then_some(of)
}

fn trials(of: &[Scored]) -> Result<Trials, MetricError> {
    let trials = Trials::new(of.iter().map(|(file, score)| (*score, file.bona_fide)));
    trials.map_err(|e| e.named("bona fide", "spoof"))
}

fn units(of: &[Scored]) -> Units {
    Units::singles(of.iter().map(|(file, _)| file.unit))
}

fn scored_list(list: &SpoofList, all: &[Scored]) -> String {
    let lines = all.iter().map(|(file, score)| {
        let label = if file.bona_fide { "bonafide" } else { "spoof" };
        let (path, system) = (list.paths.name(file.path), list.systems.name(file.system));
        format!(
            "{path}\t{label}\t{system}\t{}\t{score}\n",
            list.units.name(file.unit)
        )
    });
    lines.collect()
}
