//! Intervals by the bootstrap, which draws whole speakers (or files): trials that share one are not independent, and an
//! interval that drew trials would be too narrow.

use std::collections::HashMap;

use super::trials::Trials;

/// How often is drawn, and from which start of the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// Draws of a whole set of units.
    pub rounds: usize,
    /// The same seed gives the same interval.
    pub seed: u64,
}

/// Which unit stands on each side of a trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    /// By trial, numbers from 0.
    pub left: Vec<usize>,
    /// By trial; `None` where trials have one side only.
    pub right: Option<Vec<usize>>,
}

impl Units {
    /// Units of trials with two sides, under any numbers: they are numbered anew in order of appearance, so that what is not
    /// among these trials cannot be drawn.
    pub fn pairs(units: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut numbers = Renumber::default();
        let (left, right) = units
            .into_iter()
            .map(|(left, right)| (numbers.of(left), numbers.of(right)))
            .unzip();
        Self {
            left,
            right: Some(right),
        }
    }

    /// The same of trials with one side.
    pub fn singles(units: impl IntoIterator<Item = usize>) -> Self {
        let mut numbers = Renumber::default();
        Self {
            left: units.into_iter().map(|unit| numbers.of(unit)).collect(),
            right: None,
        }
    }

    fn count(&self) -> usize {
        let all = self.left.iter().chain(self.right.iter().flatten());
        all.max().map_or(0, |most| most + 1)
    }
}

#[derive(Default)]
struct Renumber(HashMap<usize, usize>);

impl Renumber {
    fn of(&mut self, number: usize) -> usize {
        let next = self.0.len();
        *self.0.entry(number).or_insert(next)
    }
}

/// The 95 % interval of the equal error rate; rounds that leave a class empty are passed over.
pub fn eer_interval(trials: &Trials, units: &Units, how: Resampling) -> Option<(f64, f64)> {
    interval(trials.len(), units, how, |weights| {
        trials.weighted_eer(weights)
    })
}

/// The 95 % interval of any measure of weighted trials: in each round as many units are drawn, with replacement, as there are; a
/// trial counts as often as the units on its sides were drawn (the product of both; once where both are the same). Rounds
/// without a measure are passed over; `None` when all are. The ends are the 2.5th and 97.5th percentile, interpolated linearly.
pub fn interval(
    trials: usize,
    units: &Units,
    how: Resampling,
    measure: impl Fn(&[f64]) -> Option<f64>,
) -> Option<(f64, f64)> {
    let count = units.count();
    let mut generator = SplitMix(how.seed);
    let mut drawn = vec![0.0f64; count];
    let mut weights = vec![0.0; trials];
    let mut rates = Vec::with_capacity(how.rounds);
    for _ in 0..how.rounds {
        drawn.fill(0.0);
        for _ in 0..count {
            drawn[generator.below(count)] += 1.0;
        }
        for (i, weight) in weights.iter_mut().enumerate() {
            let left = units.left.get(i).copied()?;
            let right = match &units.right {
                Some(right) => right.get(i).copied()?,
                None => left,
            };
            *weight = drawn[left] * if left == right { 1.0 } else { drawn[right] };
        }
        rates.extend(measure(&weights));
    }
    rates.sort_by(f64::total_cmp);
    Some((quantile(&rates, 0.025)?, quantile(&rates, 0.975)?))
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * at.fract())
}

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `n` − 1: the high word of the product with `n`, whose bias is below n / 2⁶⁴.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: Resampling = Resampling {
        rounds: 200,
        seed: 1,
    };

    /// `speakers` of which each has `each` target and non-target trials, every other speaker scored the wrong way round.
    fn list(speakers: usize, each: usize) -> (Trials, Units) {
        let mut scores = Vec::new();
        let mut left = Vec::new();
        for speaker in 0..speakers {
            for i in 0..2 * each {
                let target = i % 2 == 0;
                scores.push((f64::from(target == (speaker % 2 == 0)), target));
                left.push(speaker);
            }
        }
        (Trials::new(scores).unwrap(), Units { left, right: None })
    }

    #[test]
    fn more_trials_of_the_same_speakers_do_not_narrow_the_interval() {
        let (few, units) = list(10, 1);
        let a = eer_interval(&few, &units, HOW).unwrap();
        let (many, units) = list(10, 50);
        let b = eer_interval(&many, &units, HOW).unwrap();
        assert_eq!(a, b);
        assert!(a.0 < few.eer() && few.eer() < a.1, "{a:?}");
        let (wide, units) = list(200, 1);
        let c = eer_interval(&wide, &units, HOW).unwrap();
        assert!(c.1 - c.0 < (a.1 - a.0) / 2.0, "{a:?} {c:?}");
    }

    #[test]
    fn a_seed_is_repeatable_and_the_generator_is_the_published_one() {
        let (trials, units) = list(9, 2);
        assert_eq!(
            eer_interval(&trials, &units, HOW),
            eer_interval(&trials, &units, HOW)
        );
        // The first values of the reference implementation for seed 1234567.
        let mut generator = SplitMix(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn units_are_numbered_in_order_of_appearance() {
        let units = Units::pairs([(7, 3), (3, 9)]);
        assert_eq!((units.left, units.right), (vec![0, 1], Some(vec![1, 2])));
        assert_eq!(Units::singles([5, 5, 2]).left, [0, 0, 1]);
    }

    #[test]
    fn without_units_or_rounds_there_is_no_interval() {
        let (trials, units) = list(4, 1);
        assert_eq!(eer_interval(&trials, &Units::default(), HOW), None);
        assert_eq!(
            eer_interval(&trials, &units, Resampling { rounds: 0, seed: 0 }),
            None
        );
    }
}
