//! The figures that every task has, for programs and in a table.

use serde::Serialize;

use crate::metrics::{
    Cost, MetricError, Resampling, Trials, Units, act_dcf, cllr, eer_interval, min_cllr, min_dcf,
};

use super::super::output::Cell;

/// Heading of the columns of [`Group::row`], by the names of what is to be accepted and rejected.
pub fn head<'a>(positives: &'a str, negatives: &'a str) -> [&'a str; 9] {
    [
        "", positives, negatives, "EER %", "95 %", "minDCF", "actDCF", "Cllr", "min Cllr",
    ]
}

/// What is known of one set of trials.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Trials to be accepted: targets, bona fide.
    pub positives: usize,
    /// Trials to be rejected.
    pub negatives: usize,
    /// Equal error rate.
    pub eer_percent: f64,
    /// Lower end of its 95 % interval.
    pub eer_low_percent: Option<f64>,
    /// Upper end.
    pub eer_high_percent: Option<f64>,
    /// At the stated prior and costs.
    pub min_dcf: f64,
    /// At the threshold that they imply.
    pub act_dcf: f64,
    /// Bits.
    pub cllr: f64,
    /// Bits.
    pub min_cllr: f64,
}

impl Figures {
    /// Measures.
    pub fn of(trials: &Trials, units: &Units, cost: &Cost, how: Resampling) -> Self {
        let interval = eer_interval(trials, units, how);
        Self {
            positives: trials.positives(),
            negatives: trials.negatives(),
            eer_percent: 100.0 * trials.eer(),
            eer_low_percent: interval.map(|i| 100.0 * i.0),
            eer_high_percent: interval.map(|i| 100.0 * i.1),
            min_dcf: min_dcf(trials, cost),
            act_dcf: act_dcf(trials, cost),
            cllr: cllr(trials),
            min_cllr: min_cllr(trials),
        }
    }

    fn cells(&self) -> Vec<Cell> {
        let interval = match (self.eer_low_percent, self.eer_high_percent) {
            (Some(low), Some(high)) => format!("{low:.2} – {high:.2}"),
            _ => "–".to_owned(),
        };
        vec![
            Cell::new(self.positives),
            Cell::new(self.negatives),
            Cell::new(format_args!("{:.2}", self.eer_percent)),
            Cell::new(interval),
            Cell::new(format_args!("{:.3}", self.min_dcf)),
            Cell::new(format_args!("{:.3}", self.act_dcf)),
            Cell::new(format_args!("{:.3}", self.cllr)),
            Cell::new(format_args!("{:.3}", self.min_cllr)),
        ]
    }
}

/// The figures of a group, or why there are none: a group may lack a class that the whole list has.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Group {
    /// Measured.
    Figures(Figures),
    /// Not measured.
    Missing {
        /// Why.
        missing: String,
    },
}

impl Group {
    /// Measures a group.
    pub fn of(
        trials: Result<Trials, MetricError>,
        units: &Units,
        cost: &Cost,
        how: Resampling,
    ) -> Self {
        match trials {
            Ok(trials) => Self::Figures(Figures::of(&trials, units, cost, how)),
            Err(error) => Self::Missing {
                missing: error.to_string(),
            },
        }
    }

    /// A row of the table.
    pub fn row(&self, name: &str) -> Vec<Cell> {
        let mut row = vec![Cell::new(name)];
        match self {
            Self::Figures(figures) => row.extend(figures.cells()),
            Self::Missing { missing } => row.push(Cell::new(missing)),
        }
        row
    }
}
