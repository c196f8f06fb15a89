//! `earwitness eval speaker`: trials of two segments each; with spoofs among them, of three classes.

use serde_json::{Map, Value, json};

use crate::metrics::{Class, DetCurve, MetricError, Trials, Units, det_plot, histogram};

use super::super::{Failure, Outcome, Output};
use super::figures::{Figures, Group, head};
use super::speaker_list::{Label, SpeakerList, Trial, Unit};
use super::speaker_score::{Score, score};
use super::spoofing::{SpoofCosts, Spoofing};
use super::{Common, Detection, write};

/// Arguments of `eval speaker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    detection: Detection,
    /// Prior probability of a target, for minDCF and actDCF.
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    prior: f64,
    /// What the bootstrap draws where the list names no speakers.
    #[arg(long, value_enum, default_value_t = Unit::Path)]
    unit: Unit,
    /// Only trials of this group; may be given several times.
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// What scores a trial; without it both heads if the list has spoofs, else the speaker head.
    #[arg(long, value_enum, conflicts_with = "given")]
    pub score: Option<Score>,
    /// Score only the newest utterance of each segment, as the daemon does of a window; trials without speech are left out.
    #[arg(long, conflicts_with = "given")]
    pub spoken: bool,
    /// Hear each segment as a stream brings it, after so many seconds of its recording (round from its end where the segment
    /// starts too early): the encoder goes on from there, if it can.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["given", "spoken"])]
    pub streamed: Option<f64>,
    #[command(flatten)]
    pub spoof_costs: SpoofCosts,
}

/// A trial and its log-likelihood ratio.
pub type Scored<'a> = (&'a Trial, f64);

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let common = &args.common;
    let cost = args.detection.cost(args.prior)?;
    let spoof_cost = args.spoof_costs.checked()?;
    let mut list = SpeakerList::read(&common.list, common.given, args.unit)?;
    if !args.group.is_empty() {
        let wanted = |t: &Trial| args.group.iter().any(|g| g == list.groups.name(t.group));
        list.trials = list.trials.iter().filter(|t| wanted(t)).cloned().collect();
    }
    let (scores, scored_by) = score(&args, &list, &spoof_cost)?;
    let all: Vec<Scored> = list
        .trials
        .iter()
        .zip(scores)
        .filter_map(|(trial, score)| Some((trial, score?)))
        .collect();

    let how = common.resampling();
    let people: Vec<Scored> = all
        .iter()
        .filter(|t| t.0.label != Label::Spoof)
        .copied()
        .collect();
    let pooled = trials(&people).map_err(|e| common.wrong(e))?;
    let overall = Group::Figures(Figures::of(&pooled, &units(&people), &cost, how));
    let groups: Vec<(&str, Vec<Scored>)> = list
        .groups
        .sorted()
        .into_iter()
        .map(|(name, g)| {
            (
                name,
                people.iter().filter(|t| t.0.group == g).copied().collect(),
            )
        })
        .filter(|(_, trials): &(_, Vec<Scored>)| !trials.is_empty())
        .collect();
    let measured: Vec<(&str, Group)> = groups
        .iter()
        .map(|(name, of)| (*name, Group::of(trials(of), &units(of), &cost, how)))
        .collect();
    let spoofing = match people.len() < all.len() {
        true => {
            Some(Spoofing::of(&list, &all, &cost, &spoof_cost, how).map_err(|e| common.wrong(e))?)
        }
        false => None,
    };

    if let Some(path) = &common.scores {
        write(path, &scored_list(&list, &all))?;
    }
    if let Some(path) = &args.detection.det {
        let title = common.title("Speaker verification");
        write(path, &det(&title, &all, &pooled, &groups))?;
    }
    if let Some(path) = &args.detection.histogram {
        let title = common.title("Speaker verification");
        write(path, &spread(&title, &all, cost.threshold()))?;
    }

    let unscored = list.trials.len() - all.len();
    if output.is_json() {
        let groups: Map<String, Value> = measured
            .iter()
            .map(|(name, group)| ((*name).to_owned(), json!(group)))
            .collect();
        output.record(&json!({
            "task": "speaker", "list": common.list, "scored_by": scored_by, "trials": all.len(), "unscored": unscored,
            "cost": super::describe(&cost), "overall": overall, "groups": groups, "spoofing": spoofing,
        }))?;
        return Ok(Outcome::Success);
    }
    let mut rows = vec![overall.row("all")];
    if measured.len() > 1 {
        rows.extend(measured.iter().map(|(name, group)| group.row(name)));
    }
    rows.extend(spoofing.iter().flat_map(Spoofing::rows));
    output.table(&head("targets", "others"), &rows)?;
    output.line(super::told(&cost, "target"))?;
    if unscored > 0 {
        output.line(format_args!(
            "{unscored} trial(s) without speech were left out"
        ))?;
    }
    if let Some(spoofing) = &spoofing {
        output.line(spoofing.told())?;
    }
    Ok(Outcome::Success)
}

/// The DET plot: all, each group where there are several, and targets against spoofs where there are any.
fn det(title: &str, all: &[Scored], pooled: &Trials, groups: &[(&str, Vec<Scored>)]) -> String {
    let apart = groups
        .iter()
        .filter_map(|(name, of)| Some((*name, trials(of).ok()?)));
    let apart: Vec<(&str, Trials)> = apart.collect();
    let mut curves = vec![DetCurve {
        name: "all",
        trials: pooled,
    }];
    if apart.len() > 1 {
        curves.extend(apart.iter().map(|(name, trials)| DetCurve { name, trials }));
    }
    let spoofs = targets_against_spoofs(all).ok();
    curves.extend(spoofs.iter().map(|trials| DetCurve {
        name: "targets against spoofs",
        trials,
    }));
    det_plot(title, "Non-targets accepted", "Targets rejected", &curves)
}

/// The histogram of each class that is there.
fn spread(title: &str, all: &[Scored], threshold: f64) -> String {
    let scores = [Label::Target, Label::Nontarget, Label::Spoof].map(|label| {
        let of = all.iter().filter(|t| t.0.label == label);
        (label.word(), of.map(|t| t.1).collect::<Vec<_>>())
    });
    let present = scores.iter().filter(|(_, scores)| !scores.is_empty());
    let classes: Vec<Class> = present
        .map(|(name, scores)| Class { name, scores })
        .collect();
    histogram(title, &classes, threshold)
}

/// Targets against non-targets.
fn trials(of: &[Scored]) -> Result<Trials, MetricError> {
    let trials = Trials::new(
        of.iter()
            .map(|(t, score)| (*score, t.label == Label::Target)),
    );
    trials.map_err(|e| e.named("target", "non-target"))
}

/// Targets against spoofs.
pub fn targets_against_spoofs(all: &[Scored]) -> Result<Trials, MetricError> {
    let of = all.iter().filter(|t| t.0.label != Label::Nontarget);
    let trials = Trials::new(of.map(|(t, score)| (*score, t.label == Label::Target)));
    trials.map_err(|e| e.named("target", "spoof"))
}

fn units(of: &[Scored]) -> Units {
    Units::pairs(of.iter().map(|(t, _)| t.units))
}

/// The list with everything that was left out, and the scores.
fn scored_list(list: &SpeakerList, all: &[Scored]) -> String {
    let lines = all.iter().map(|(t, score)| {
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{score}\n",
            list.paths.name(t.a.0),
            t.a.1,
            list.paths.name(t.b.0),
            t.b.1,
            t.label.word(),
            list.groups.name(t.group),
            list.units.name(t.units.0),
            list.units.name(t.units.1),
        )
    });
    lines.collect()
}
