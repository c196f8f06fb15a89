//! How good scores are as log-likelihood ratios: Cllr, and what of it is left after the best monotone recalibration.

use super::trials::Trials;

/// The cost of log-likelihood ratios (Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection"),
/// in bits: `½·(mean over positives of log₂(1 + e^−llr) + mean over negatives of log₂(1 + e^llr))`. 0 is perfect, 1 says
/// nothing, more misleads.
pub fn cllr(trials: &Trials) -> f64 {
    let (mut positive, mut negative) = (0.0, 0.0);
    for (llr, is_positive) in trials.sorted() {
        match is_positive {
            true => positive += softplus(-llr),
            false => negative += softplus(llr),
        }
    }
    bits(trials, positive, negative)
}

/// Cllr after the recalibration that minimises it among all that keep the order: the pool-adjacent-violators algorithm on the
/// trials in order of score, whose blocks' odds are the likelihood ratios.
pub fn min_cllr(trials: &Trials) -> f64 {
    // Blocks of (score of the last trial, positives, negatives), with rising share of positives.
    let mut blocks: Vec<(f64, usize, usize)> = Vec::new();
    for (score, is_positive) in trials.sorted() {
        let one = (usize::from(is_positive), usize::from(!is_positive));
        match blocks.last_mut() {
            // Trials of one score can only get one ratio.
            Some(last) if last.0 == score => {
                last.1 += one.0;
                last.2 += one.1;
            }
            _ => blocks.push((score, one.0, one.1)),
        }
    }
    let mut pooled: Vec<(usize, usize)> = Vec::new();
    for (_, mut positives, mut negatives) in blocks {
        while let Some(&(p, n)) = pooled.last() {
            // The share before must be below this one's: p / (p + n) < positives / (positives + negatives).
            if (p as u128) * (negatives as u128) < (positives as u128) * (n as u128) {
                break;
            }
            positives += p;
            negatives += n;
            pooled.pop();
        }
        pooled.push((positives, negatives));
    }
    let odds = trials.negatives() as f64 / trials.positives() as f64;
    let (mut positive, mut negative) = (0.0, 0.0);
    for (positives, negatives) in pooled {
        let ratio = positives as f64 / negatives as f64 * odds;
        // A block of one class has a ratio of 0 or infinity, and no cost.
        if positives > 0 && negatives > 0 {
            positive += positives as f64 * (1.0 + 1.0 / ratio).ln();
            negative += negatives as f64 * (1.0 + ratio).ln();
        }
    }
    bits(trials, positive, negative)
}

fn bits(trials: &Trials, positive: f64, negative: f64) -> f64 {
    let mean = positive / trials.positives() as f64 + negative / trials.negatives() as f64;
    mean / (2.0 * std::f64::consts::LN_2)
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trials(list: &[(f64, bool)]) -> Trials {
        Trials::new(list.iter().copied()).unwrap()
    }

    #[test]
    fn nothing_said_is_one_bit() {
        let trials = trials(&[(0.0, true), (0.0, false)]);
        assert!((cllr(&trials) - 1.0).abs() < 1e-12);
        assert!((min_cllr(&trials) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn sure_and_right_is_free_and_sure_and_wrong_is_dear() {
        assert!(cllr(&trials(&[(800.0, true), (-800.0, false)])) < 1e-12);
        assert!(cllr(&trials(&[(-800.0, true), (800.0, false)])) > 1000.0);
        assert_eq!(min_cllr(&trials(&[(-8.0, true), (-9.0, false)])), 0.0);
    }

    proptest! {
        #[test]
        fn recalibration_never_harms(list in prop::collection::vec((-9i32..9, any::<bool>()), 2..40)) {
            if let Ok(trials) = Trials::new(list.iter().map(|&(s, y)| (f64::from(s), y))) {
                prop_assert!(min_cllr(&trials) <= cllr(&trials) + 1e-12);
                prop_assert!((0.0..=1.0 + 1e-12).contains(&min_cllr(&trials)));
            }
        }
    }
}
