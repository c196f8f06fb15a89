//! From a log-likelihood ratio to a verdict.

use crate::config::Decision;
use crate::model::SpeakerCalibration;
use crate::publish::Verdict;

/// Two bounds on a log-likelihood ratio: from the upper one on it is accepted, up to the lower one rejected, between them
/// nothing is proven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    accept: f64,
    reject: f64,
}

impl Policy {
    /// The Bayes decision that a prior and costs imply: accept when the expected cost of accepting is the lower one, and say
    /// "inconclusive" within the margin around the threshold `ln(C_fa · (1 − π) / (C_miss · π))` (Brümmer and du Preez, 2006).
    pub fn new(decision: &Decision) -> Self {
        let Decision {
            prior,
            cost_miss,
            cost_false_accept,
            margin,
            ..
        } = *decision;
        let threshold = (cost_false_accept * (1.0 - prior) / (cost_miss * prior)).ln();
        Self {
            accept: threshold + margin,
            reject: threshold - margin,
        }
    }

    /// The decision on one comparison. With `target_far` the upper bound is the ratio that so many strangers reach
    /// ([`SpeakerCalibration::threshold`]). With `target_frr` the lower one is `ln target_frr`, which at most so many of the
    /// right people fall short of if ratios are calibrated; without, it lies two margins below the upper one.
    pub fn fixed(decision: &Decision, calibration: &SpeakerCalibration) -> Self {
        let Some(far) = decision.target_far else {
            return Self::new(decision);
        };
        let accept = calibration.threshold(far);
        let reject = match decision.target_frr {
            Some(frr) => frr.ln(),
            None => accept - 2.0 * decision.margin,
        };
        Self {
            accept,
            reject: reject.min(accept),
        }
    }

    /// The decision that may fall at any time while evidence gathers. With `target_far` the bounds are those of the sequential
    /// probability ratio test, `ln((1 − frr) / far)` and `ln(frr / (1 − far))` (Wald 1945): whoever looks again and again errs more often
    /// than who looks once, but a likelihood ratio reaches `1/far` on a stranger with probability `far` at most, however
    /// often it is looked at (Ville's inequality). Without `target_frr` it is as large as `target_far`.
    pub fn sequential(decision: &Decision) -> Self {
        let Some(far) = decision.target_far else {
            return Self::new(decision);
        };
        let frr = decision.target_frr.unwrap_or(far);
        Self {
            accept: ((1.0 - frr) / far).ln(),
            reject: (frr / (1.0 - far)).ln(),
        }
    }

    /// The log-likelihood ratio (nats) in the middle between both bounds: where both decisions cost the same.
    pub fn threshold(&self) -> f64 {
        0.5 * (self.accept + self.reject)
    }

    /// From which ratio on it is accepted, in nats.
    pub fn accept(&self) -> f64 {
        self.accept
    }

    /// Up to which ratio it is rejected, in nats.
    pub fn reject(&self) -> f64 {
        self.reject
    }

    /// The verdict on `llr`, in nats. A ratio that is not a number proves nothing.
    pub fn verdict(&self, llr: f64) -> Verdict {
        if llr >= self.accept {
            Verdict::Accept
        } else if llr <= self.reject {
            Verdict::Reject
        } else {
            Verdict::Inconclusive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(prior: f64, cost_miss: f64, cost_false_accept: f64, margin: f64) -> Decision {
        Decision {
            prior,
            cost_miss,
            cost_false_accept,
            margin,
            ..Decision::default()
        }
    }

    fn rates(far: f64, frr: Option<f64>) -> Decision {
        Decision {
            target_far: Some(far),
            target_frr: frr,
            ..Decision::default()
        }
    }

    #[test]
    fn flat_prior_and_equal_costs_put_the_threshold_at_zero() {
        let policy = Policy::new(&decision(0.5, 1.0, 1.0, 0.5));
        assert_eq!(policy.threshold(), 0.0);
        assert_eq!(policy.verdict(0.5), Verdict::Accept);
        assert_eq!(policy.verdict(-0.5), Verdict::Reject);
        assert_eq!(policy.verdict(0.49), Verdict::Inconclusive);
        assert_eq!(policy.verdict(f64::NAN), Verdict::Inconclusive);
    }

    #[test]
    fn a_rare_target_and_a_dear_false_accept_raise_the_threshold() {
        // NIST SRE 2016's point: prior 0.01, costs 1 and 1: ln 99.
        let policy = Policy::new(&decision(0.01, 1.0, 1.0, 0.0));
        assert!((policy.threshold() - 99f64.ln()).abs() < 1e-12);
        assert!(Policy::new(&decision(0.01, 1.0, 10.0, 0.0)).threshold() > policy.threshold());
    }

    #[test]
    fn a_stated_rate_is_the_bound_of_acceptance() {
        let calibration = SpeakerCalibration {
            false_accepts: vec![(0.1, 0.0), (0.01, 3.0)],
            ..SpeakerCalibration::default()
        };
        let policy = Policy::fixed(&rates(0.01, None), &calibration);
        assert_eq!(policy.verdict(3.0), Verdict::Accept);
        assert_eq!(policy.verdict(2.9), Verdict::Inconclusive);
        assert_eq!(policy.verdict(3.0 - 1.7), Verdict::Reject);
        let both = Policy::fixed(&rates(0.01, Some(0.05)), &calibration);
        assert_eq!(both.verdict(-2.9), Verdict::Inconclusive);
        assert_eq!(both.verdict(-3.0), Verdict::Reject);
        // Bounds that would cross meet.
        let crossed = Policy::fixed(&rates(0.1, Some(0.9)), &calibration);
        assert_eq!(crossed.verdict(-0.2), Verdict::Reject);
        assert_eq!(crossed.verdict(0.0), Verdict::Accept);
        let costs = Decision::default();
        assert_eq!(Policy::fixed(&costs, &calibration), Policy::new(&costs));
    }

    #[test]
    fn who_looks_again_and_again_asks_for_more() {
        let policy = Policy::sequential(&rates(0.01, Some(0.05)));
        assert!((policy.accept() - 95f64.ln()).abs() < 1e-12);
        assert_eq!(policy.verdict((0.05f64 / 0.99).ln()), Verdict::Reject);
        let even = Policy::sequential(&rates(0.01, None));
        assert!(even.threshold().abs() < 1e-12);
    }

    /// The promise of Wald's bounds, on the textbook case: Gaussian observations of known means.
    #[test]
    fn a_sequential_test_errs_no_more_than_stated() {
        let policy = Policy::sequential(&rates(0.05, Some(0.1)));
        let mut state = 7u64;
        let mut uniform = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 33) as f64 + 0.5) / (1u64 << 31) as f64
        };
        let mut normal =
            || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let mut errors = |mean: f64, wrong: Verdict| {
            let runs = 4000;
            let count = (0..runs).filter(|_| {
                let mut llr = 0.0;
                loop {
                    // ln N(x; ½, 1) − ln N(x; −½, 1) = x.
                    llr += mean + normal();
                    match policy.verdict(llr) {
                        Verdict::Inconclusive => continue,
                        verdict => break verdict == wrong,
                    }
                }
            });
            count.count() as f64 / f64::from(runs)
        };
        let (accepted, rejected) = (errors(-0.5, Verdict::Accept), errors(0.5, Verdict::Reject));
        // 3 standard deviations of 4000 runs.
        assert!(accepted <= 0.05 + 0.0104, "{accepted}");
        assert!(rejected <= 0.1 + 0.0143, "{rejected}");
        assert!(
            accepted > 0.01 && rejected > 0.02,
            "no test that never errs: {accepted} {rejected}"
        );
    }
}
