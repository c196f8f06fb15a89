//! From a log-likelihood ratio to a verdict.

use crate::config::Decision;
use crate::publish::Verdict;

/// A Bayes decision: accept when the expected cost of accepting is the lower one, and say "inconclusive" near the
/// threshold `ln(C_fa · (1 − π) / (C_miss · π))` (Brümmer and du Preez, 2006).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    threshold: f64,
    margin: f64,
}

impl Policy {
    /// The policy that a prior and costs imply.
    pub fn new(decision: &Decision) -> Self {
        let Decision {
            prior,
            cost_miss,
            cost_false_accept,
            margin,
        } = *decision;
        Self {
            threshold: (cost_false_accept * (1.0 - prior) / (cost_miss * prior)).ln(),
            margin,
        }
    }

    /// The log-likelihood ratio (nats) at which both decisions cost the same.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The verdict on `llr`, in nats. A ratio that is not a number proves nothing.
    pub fn verdict(&self, llr: f64) -> Verdict {
        if llr >= self.threshold + self.margin {
            Verdict::Accept
        } else if llr <= self.threshold - self.margin {
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
}
