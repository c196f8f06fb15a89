//! How well scores tell classes apart: error rates, costs, calibration, intervals, and plots of them. Pure functions over
//! scores; no audio, no models and no files live here.
//!
//! A score is higher for the positive class (target, bona fide); a trial is accepted when its score is at or above the
//! threshold. Rates are shares from 0 to 1. Trials of equal score are accepted together, so that the order of a list never
//! counts.

mod attack;
mod bootstrap;
mod confusion;
mod cost;
mod det;
mod llr;
mod located;
mod plot;
mod svg;
mod trials;

pub use attack::{apcer, bpcer, threshold_at_bpcer};
pub use bootstrap::{Resampling, Units, eer_interval, interval};
pub use confusion::{ClassFigures, Confusion};
pub use cost::{ADcf, Cost, SpoofCost, a_dcf, act_dcf, min_dcf};
pub use det::{det_points, probit};
pub use llr::{cllr, min_cllr};
pub use located::Located;
pub use plot::{Class, DetCurve, det_plot, histogram};
pub use trials::{MetricError, Operating, Trials};
