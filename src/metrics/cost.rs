//! Detection costs: minDCF and actDCF at a stated prior and costs, and the a-DCF of verification under spoofing.

use super::trials::{MetricError, Trials};

/// What a decision costs, and how often there is something to accept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Prior probability of the positive class, inside (0, 1).
    pub prior: f64,
    /// Cost of rejecting a positive, > 0.
    pub miss: f64,
    /// Cost of accepting a negative, > 0.
    pub false_accept: f64,
}

impl Cost {
    /// The log-likelihood ratio (nats) from which accepting is the cheaper decision: `ln(C_fa·(1 − π) / (C_miss·π))`.
    pub fn threshold(&self) -> f64 {
        (self.false_accept * (1.0 - self.prior) / (self.miss * self.prior)).ln()
    }

    /// Expected cost at these errors, over that of the better of "accept all" and "reject all":
    /// `(C_miss·π·P_miss + C_fa·(1 − π)·P_fa) / min(C_miss·π, C_fa·(1 − π))`, the normalised detection cost function of NIST's
    /// speaker recognition evaluations.
    pub fn of(&self, miss: f64, false_accept: f64) -> f64 {
        let (m, f) = (
            self.miss * self.prior,
            self.false_accept * (1.0 - self.prior),
        );
        (m * miss + f * false_accept) / m.min(f)
    }
}

/// The cost at the best threshold for these very trials: what the scores could do if calibration were perfect.
pub fn min_dcf(trials: &Trials, cost: &Cost) -> f64 {
    let costs = trials
        .curve()
        .into_iter()
        .map(|p| cost.of(p.miss, p.false_accept));
    costs.fold(f64::INFINITY, f64::min)
}

/// The cost at the threshold that the prior and costs imply, the scores taken as log-likelihood ratios.
pub fn act_dcf(trials: &Trials, cost: &Cost) -> f64 {
    let threshold = cost.threshold();
    let (mut missed, mut accepted) = (0, 0);
    for (score, positive) in trials.sorted() {
        match (positive, score >= threshold) {
            (true, false) => missed += 1,
            (false, true) => accepted += 1,
            _ => {}
        }
    }
    let share = |count: usize, of: usize| count as f64 / of as f64;
    cost.of(
        share(missed, trials.positives()),
        share(accepted, trials.negatives()),
    )
}

/// Priors and costs of verification under spoofing, where a negative is another person or a forged target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpoofCost {
    /// Prior probabilities of target, non-target and spoof trials; they add up to 1.
    pub priors: [f64; 3],
    /// Costs of rejecting a target, of accepting a non-target, of accepting a spoof; > 0.
    pub costs: [f64; 3],
}

impl Default for SpoofCost {
    /// The setting of the metric's reference implementation: priors 0.9, 0.05, 0.05, costs 1, 10, 20.
    fn default() -> Self {
        Self {
            priors: [0.9, 0.05, 0.05],
            costs: [1.0, 10.0, 20.0],
        }
    }
}

impl SpoofCost {
    fn products(&self) -> [f64; 3] {
        std::array::from_fn(|i| self.priors[i] * self.costs[i])
    }

    /// The log-likelihood ratio (nats) of target against either negative from which accepting is cheaper:
    /// `ln((C_non·π_non + C_spf·π_spf) / (C_miss·π_tar))`.
    pub fn threshold(&self) -> f64 {
        let [target, nontarget, spoof] = self.products();
        ((nontarget + spoof) / target).ln()
    }

    /// The same of bona fide against spoof alone: `ln(C_spf·π_spf / (C_miss·π_tar))`.
    pub fn spoof_threshold(&self) -> f64 {
        let [target, _, spoof] = self.products();
        (spoof / target).ln()
    }

    /// The share of spoofs in what a false accept is expected to cost.
    pub fn spoof_share(&self) -> f64 {
        let [_, nontarget, spoof] = self.products();
        spoof / (nontarget + spoof)
    }

    /// `C_miss·π_tar·P_miss + C_non·π_non·P_fa,non + C_spf·π_spf·P_fa,spf`, over the cheaper of "accept all" and "reject all".
    pub fn of(&self, miss: f64, nontarget_accepted: f64, spoof_accepted: f64) -> f64 {
        let [target, nontarget, spoof] = self.products();
        (target * miss + nontarget * nontarget_accepted + spoof * spoof_accepted)
            / target.min(nontarget + spoof)
    }
}

/// The architecture-agnostic detection cost function, normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ADcf {
    /// At the best threshold for these trials.
    pub minimum: f64,
    /// That threshold; infinite where accepting nothing is best.
    pub threshold: f64,
    /// At the threshold that priors and costs imply, the scores taken as log-likelihood ratios.
    pub actual: f64,
}

/// The a-DCF (Shim et al. 2024, "a-DCF: an architecture agnostic metric with application to spoofing-robust speaker
/// verification"): one score a trial, one threshold, three classes.
///
/// # Errors
/// [`MetricError`] without trials of a class, or for scores that are no numbers.
pub fn a_dcf(
    targets: &[f64],
    nontargets: &[f64],
    spoofs: &[f64],
    cost: &SpoofCost,
) -> Result<ADcf, MetricError> {
    let against = |negatives: &[f64], name| {
        let negatives = negatives.iter().map(|&s| (s, false));
        Trials::new(targets.iter().map(|&s| (s, true)).chain(negatives))
            .map_err(|e| e.named("target", name))
    };
    against(nontargets, "non-target")?;
    against(spoofs, "spoof")?;

    let classes = [targets, nontargets, spoofs];
    let mut all: Vec<(f64, usize)> = classes
        .iter()
        .enumerate()
        .flat_map(|(class, scores)| scores.iter().map(move |&s| (s, class)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let of = |below: [usize; 3]| {
        let share = |class: usize| below[class] as f64 / classes[class].len() as f64;
        cost.of(share(0), 1.0 - share(1), 1.0 - share(2))
    };
    let mut below = [0; 3];
    let (mut minimum, mut threshold) = (f64::INFINITY, f64::INFINITY);
    let mut at = 0;
    while at < all.len() {
        let here = all[at].0;
        if of(below) < minimum {
            (minimum, threshold) = (of(below), here);
        }
        while at < all.len() && all[at].0 == here {
            below[all[at].1] += 1;
            at += 1;
        }
    }
    if of(below) < minimum {
        (minimum, threshold) = (of(below), f64::INFINITY);
    }
    let decided = cost.threshold();
    let below = std::array::from_fn(|i| classes[i].iter().filter(|&&s| s < decided).count());
    Ok(ADcf {
        minimum,
        threshold,
        actual: of(below),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVEN: Cost = Cost {
        prior: 0.5,
        miss: 1.0,
        false_accept: 1.0,
    };

    fn trials(positive: &[f64], negative: &[f64]) -> Trials {
        let positive = positive.iter().map(|&s| (s, true));
        Trials::new(positive.chain(negative.iter().map(|&s| (s, false)))).unwrap()
    }

    #[test]
    fn a_shift_costs_only_what_is_decided() {
        let off = trials(&[-1.0, -2.0], &[-4.0, -5.0]);
        assert_eq!(min_dcf(&off, &EVEN), 0.0);
        assert_eq!(act_dcf(&off, &EVEN), 1.0);
    }

    #[test]
    fn no_threshold_is_worse_than_the_better_of_all_and_nothing() {
        let rare = Cost {
            prior: 0.05,
            ..EVEN
        };
        assert_eq!(min_dcf(&trials(&[0.0], &[1.0]), &rare), 1.0);
        assert!((rare.threshold() - 19f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_spoof_that_passes_costs_its_prior_and_cost() {
        let cost = SpoofCost::default();
        let found = a_dcf(&[3.0, 4.0], &[-3.0, -4.0], &[5.0, -5.0], &cost).unwrap();
        // Half of the spoofs accepted: 20 · 0.05 · 0.5 over the 0.9 of rejecting all.
        assert!((found.minimum - 0.5 / 0.9).abs() < 1e-12, "{found:?}");
        assert_eq!((found.threshold, found.actual), (3.0, found.minimum));
        assert!((cost.threshold() - (1.5f64 / 0.9).ln()).abs() < 1e-12);
        assert!((cost.spoof_share() - 2.0 / 3.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn only_the_order_of_scores_counts_for_the_minimum(list in prop::collection::vec((-9i32..9, any::<bool>()), 2..60), prior in 0.01..0.99) {
            let cost = Cost { prior, ..EVEN };
            let of = |bend: fn(f64) -> f64| {
                Trials::new(list.iter().map(|&(s, y)| (bend(f64::from(s)), y))).map(|t| (min_dcf(&t, &cost), act_dcf(&t, &cost)))
            };
            if let (Ok(given), Ok(bent)) = (of(|s| s), of(|s| s.powi(3) * 7.0 - 1.0)) {
                prop_assert_eq!(given.0, bent.0);
                prop_assert!((0.0..=1.0 + 1e-12).contains(&given.0));
                // Both count the same errors, but round them differently.
                prop_assert!(given.1 >= given.0 - 1e-12 && bent.1 >= bent.0 - 1e-12);
            }
        }
    }

    #[test]
    fn a_class_that_is_missing_is_named() {
        let error = a_dcf(&[1.0], &[0.0], &[], &SpoofCost::default())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "expected trials of both classes, found 1 target and 0 spoof"
        );
    }
}
