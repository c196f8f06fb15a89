//! Verification under spoofing: what forged targets cost.

use anyhow::anyhow;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::metrics::{
    Cost, MetricError, Resampling, SpoofCost, Trials, Units, a_dcf, apcer, threshold_at_bpcer,
};

use super::super::Failure;
use super::super::output::Cell;
use super::figures::{Figures, Group};
use super::speaker::{Scored, targets_against_spoofs};
use super::speaker_list::{Label, SpeakerList};

/// Priors and costs of the a-DCF.
#[derive(Debug, clap::Args)]
pub struct SpoofCosts {
    /// Prior probabilities of target, non-target and spoof for the a-DCF, as 0.9,0.05,0.05.
    #[arg(long, value_name = "P,P,P", value_delimiter = ',')]
    priors: Vec<f64>,
    /// Costs of rejecting a target, accepting a non-target and accepting a spoof for the a-DCF, as 1,10,20.
    #[arg(long, value_name = "C,C,C", value_delimiter = ',')]
    costs: Vec<f64>,
}

impl SpoofCosts {
    /// The defaults where nothing is given.
    pub fn checked(&self) -> Result<SpoofCost, Failure> {
        let three = |name: &str, given: &[f64], default: [f64; 3], total: Option<f64>| {
            if given.is_empty() {
                return Ok(default);
            }
            let positive = given.iter().all(|v| v.is_finite() && *v > 0.0);
            let sum: f64 = given.iter().sum();
            match <[f64; 3]>::try_from(given) {
                Ok(three) if positive && total.is_none_or(|t| (sum - t).abs() < 1e-6) => Ok(three),
                _ => Err(Failure::usage(anyhow!(
                    "{name}: expected three numbers above 0{}, found {given:?}",
                    if total.is_some() {
                        " that add up to 1"
                    } else {
                        ""
                    }
                ))),
            }
        };
        let default = SpoofCost::default();
        Ok(SpoofCost {
            priors: three("--priors", &self.priors, default.priors, Some(1.0))?,
            costs: three("--costs", &self.costs, default.costs, None)?,
        })
    }
}

/// The figures of a list with spoofs.
#[derive(Debug, Serialize)]
pub struct Spoofing {
    spoofs: usize,
    priors: [f64; 3],
    costs: [f64; 3],
    a_dcf_min: f64,
    /// None where accepting nothing is best.
    a_dcf_min_threshold: Option<f64>,
    a_dcf_actual: f64,
    a_dcf_actual_threshold: f64,
    nontargets_accepted_at_5_percent_misses: f64,
    spoofs_accepted_at_5_percent_misses: f64,
    /// All targets against all spoofs.
    overall: Group,
    /// All targets against the spoofs of each group.
    groups: Map<String, Value>,
    #[serde(skip)]
    rows: Vec<Vec<Cell>>,
}

impl Spoofing {
    /// Measures.
    pub fn of(
        list: &SpeakerList,
        all: &[Scored],
        cost: &Cost,
        spoof_cost: &SpoofCost,
        how: Resampling,
    ) -> Result<Self, MetricError> {
        let scores = |label| -> Vec<f64> {
            all.iter()
                .filter(|t| t.0.label == label)
                .map(|t| t.1)
                .collect()
        };
        let (targets, spoofs) = (scores(Label::Target), scores(Label::Spoof));
        let nontargets = scores(Label::Nontarget);
        let a_dcf = a_dcf(&targets, &nontargets, &spoofs, spoof_cost)?;
        let units = |of: &[Scored]| {
            let sided = of.iter().filter(|t| t.0.label != Label::Nontarget);
            Units::pairs(sided.map(|(t, _)| t.units))
        };
        let overall = targets_against_spoofs(all)?;
        let overall = Group::Figures(Figures::of(&overall, &units(all), cost, how));
        let mut rows = vec![overall.row("targets, all spoofs")];
        let mut groups = Map::new();
        for (name, group) in list.groups.sorted() {
            let of = |t: &&Scored| t.0.label == Label::Target || t.0.group == group;
            let of: Vec<Scored> = all.iter().filter(of).copied().collect();
            if of.iter().any(|t| t.0.label == Label::Spoof) {
                let trials: Result<Trials, _> = targets_against_spoofs(&of);
                let measured = Group::of(trials, &units(&of), cost, how);
                rows.push(measured.row(&format!("targets, spoofs of {name}")));
                groups.insert(name.to_owned(), json!(measured));
            }
        }
        let at = threshold_at_bpcer(&targets, 0.05).unwrap_or(f64::INFINITY);
        let accepted = |of: &[f64]| 100.0 * apcer(of, at).unwrap_or(0.0);
        Ok(Self {
            spoofs: spoofs.len(),
            priors: spoof_cost.priors,
            costs: spoof_cost.costs,
            a_dcf_min: a_dcf.minimum,
            a_dcf_min_threshold: a_dcf.threshold.is_finite().then_some(a_dcf.threshold),
            a_dcf_actual: a_dcf.actual,
            a_dcf_actual_threshold: spoof_cost.threshold(),
            nontargets_accepted_at_5_percent_misses: accepted(&nontargets),
            spoofs_accepted_at_5_percent_misses: accepted(&spoofs),
            overall,
            groups,
            rows,
        })
    }

    /// Rows of the table: all spoofs, and those of each group where there are several.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell>> + '_ {
        let some = if self.groups.len() > 1 {
            self.rows.len()
        } else {
            1
        };
        self.rows.iter().take(some).cloned()
    }

    /// For people.
    pub fn told(&self) -> String {
        format!(
            "a-DCF {:.3} at best, {:.3} at {:.2} nats (priors {:?}, costs {:?})\n\
             where 5 % of targets are rejected, {:.1} % of non-targets and {:.1} % of spoofs are accepted",
            self.a_dcf_min,
            self.a_dcf_actual,
            self.a_dcf_actual_threshold,
            self.priors,
            self.costs,
            self.nontargets_accepted_at_5_percent_misses,
            self.spoofs_accepted_at_5_percent_misses
        )
    }
}
