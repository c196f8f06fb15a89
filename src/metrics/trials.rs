//! Trials of two classes in the order of their scores, the errors at each threshold, and the equal error rate.

/// Why a metric cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// A class is empty: there is nothing to tell apart.
    #[error(
        "expected trials of both classes, found {positives} {positive} and {negatives} {negative}"
    )]
    OneClass {
        /// Trials of the class that is to be accepted.
        positives: usize,
        /// Its name.
        positive: &'static str,
        /// Trials of the class that is to be rejected.
        negatives: usize,
        /// Its name.
        negative: &'static str,
    },
    /// A score is no number that could be compared.
    #[error("expected finite scores, found {found} as the score of trial {trial} (counted from 0)")]
    NotFinite {
        /// Which.
        trial: usize,
        /// The score.
        found: f64,
    },
}

impl MetricError {
    /// The same with the classes' own names.
    #[must_use]
    pub fn named(self, positive: &'static str, negative: &'static str) -> Self {
        match self {
            Self::OneClass {
                positives,
                negatives,
                ..
            } => Self::OneClass {
                positives,
                positive,
                negatives,
                negative,
            },
            other => other,
        }
    }
}

/// The errors at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operating {
    /// Scores at or above it are accepted; infinite where nothing is.
    pub threshold: f64,
    /// Share of positives that are rejected.
    pub miss: f64,
    /// Share of negatives that are accepted.
    pub false_accept: f64,
}

/// Trials of two classes, sorted by score.
#[derive(Debug, Clone)]
pub struct Trials {
    /// Ascending.
    scores: Vec<f64>,
    positive: Vec<bool>,
    /// Where each stood in the list that it came from.
    origin: Vec<usize>,
    positives: usize,
}

impl Trials {
    /// Sorts a list of `(score, whether it is of the positive class)`.
    ///
    /// # Errors
    /// [`MetricError::OneClass`] without trials of both, [`MetricError::NotFinite`] for a score that is none.
    pub fn new(list: impl IntoIterator<Item = (f64, bool)>) -> Result<Self, MetricError> {
        let list: Vec<_> = list.into_iter().collect();
        if let Some(trial) = list.iter().position(|(score, _)| !score.is_finite()) {
            let found = list[trial].0;
            return Err(MetricError::NotFinite { trial, found });
        }
        let positives = list.iter().filter(|(_, positive)| *positive).count();
        let negatives = list.len() - positives;
        if positives == 0 || negatives == 0 {
            return Err(MetricError::OneClass {
                positives,
                positive: "positive",
                negatives,
                negative: "negative",
            });
        }
        let mut origin: Vec<usize> = (0..list.len()).collect();
        origin.sort_by(|&a, &b| list[a].0.total_cmp(&list[b].0));
        Ok(Self {
            scores: origin.iter().map(|&i| list[i].0).collect(),
            positive: origin.iter().map(|&i| list[i].1).collect(),
            origin,
            positives,
        })
    }

    /// How many trials there are.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Never: trials of both classes are there.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many are of the positive class.
    pub fn positives(&self) -> usize {
        self.positives
    }

    /// How many are of the negative class.
    pub fn negatives(&self) -> usize {
        self.len() - self.positives
    }

    /// `(score, whether positive)`, ascending by score.
    pub fn sorted(&self) -> impl Iterator<Item = (f64, bool)> + '_ {
        self.scores
            .iter()
            .copied()
            .zip(self.positive.iter().copied())
    }

    /// The errors at every threshold that makes a difference, from "accept all" to "accept nothing".
    pub fn curve(&self) -> Vec<Operating> {
        let mut points = Vec::new();
        self.walk(|_| 1.0, |point| points.push(point));
        points
    }

    /// The equal error rate: of the steps of the error curve the one at which misses and false accepts are closest, and there
    /// the mean of both (the first, if two are as close).
    pub fn eer(&self) -> f64 {
        self.equal(|_| 1.0).unwrap_or(0.5)
    }

    /// The same with each trial counted `weights[i]` times, `i` its place in the list that [`Trials::new`] got; `None` when a
    /// class has no weight left.
    pub fn weighted_eer(&self, weights: &[f64]) -> Option<f64> {
        self.equal(|i| weights.get(i).copied().unwrap_or(0.0))
    }

    fn equal(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut closest, mut rate) = (f64::INFINITY, 0.0);
        let counted = self.walk(weight, |point| {
            let apart = (point.miss - point.false_accept).abs();
            if apart < closest {
                (closest, rate) = (apart, (point.miss + point.false_accept) / 2.0);
            }
        });
        counted.then_some(rate)
    }

    /// Shows every step; says whether both classes had weight (without, it shows nothing).
    fn walk(&self, weight: impl Fn(usize) -> f64, mut visit: impl FnMut(Operating)) -> bool {
        let (mut positive, mut negative) = (0.0, 0.0);
        for (&i, &is_positive) in self.origin.iter().zip(&self.positive) {
            *(if is_positive {
                &mut positive
            } else {
                &mut negative
            }) += weight(i);
        }
        if positive <= 0.0 || negative <= 0.0 {
            return false;
        }
        let (mut missed, mut rejected) = (0.0, 0.0);
        let mut at = 0;
        while at < self.len() {
            let threshold = self.scores[at];
            visit(Operating {
                threshold,
                miss: missed / positive,
                false_accept: 1.0 - rejected / negative,
            });
            while at < self.len() && self.scores[at] == threshold {
                let weight = weight(self.origin[at]);
                *(if self.positive[at] {
                    &mut missed
                } else {
                    &mut rejected
                }) += weight;
                at += 1;
            }
        }
        visit(Operating {
            threshold: f64::INFINITY,
            miss: 1.0,
            false_accept: 0.0,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trials(positive: &[f64], negative: &[f64]) -> Trials {
        let positive = positive.iter().map(|&s| (s, true));
        Trials::new(positive.chain(negative.iter().map(|&s| (s, false)))).unwrap()
    }

    #[test]
    fn classes_apart_have_no_error_and_swapped_ones_nothing_else() {
        assert_eq!(trials(&[2.0, 3.0], &[0.0, 1.0]).eer(), 0.0);
        assert_eq!(trials(&[0.0, 1.0], &[2.0, 3.0]).eer(), 1.0);
        assert_eq!(
            trials(&[1.0, 3.0, 4.0, 5.0], &[0.0, 0.5, 0.7, 2.0]).eer(),
            0.25
        );
    }

    #[test]
    fn a_system_that_says_the_same_to_all_is_a_coin() {
        assert_eq!(trials(&[1.0, 1.0], &[1.0]).eer(), 0.5);
    }

    #[test]
    fn the_curve_goes_from_accepting_all_to_nothing() {
        let curve = trials(&[1.0, 2.0], &[1.0]).curve();
        let errors: Vec<_> = curve
            .iter()
            .map(|p| (p.threshold, p.miss, p.false_accept))
            .collect();
        assert_eq!(
            errors,
            [(1.0, 0.0, 1.0), (2.0, 0.5, 0.0), (f64::INFINITY, 1.0, 0.0)]
        );
    }

    #[test]
    fn weights_count_trials_several_times() {
        let once = trials(&[1.0, 3.0, 3.0, 4.0], &[0.0, 2.0, 2.0]);
        let weighted = trials(&[1.0, 3.0, 4.0], &[0.0, 2.0]);
        assert_eq!(
            weighted.weighted_eer(&[1.0, 2.0, 1.0, 1.0, 2.0]),
            Some(once.eer())
        );
        assert_eq!(weighted.weighted_eer(&[0.0, 0.0, 0.0, 1.0, 1.0]), None);
    }

    #[test]
    fn one_class_and_no_numbers_are_told() {
        let error = Trials::new([(1.0, true), (2.0, true)])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "expected trials of both classes, found 2 positive and 0 negative"
        );
        assert!(Trials::new([]).is_err());
        let error = Trials::new([(1.0, true), (f64::NAN, false)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("NaN") && error.contains("trial 1"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn only_the_order_of_scores_counts(list in prop::collection::vec((-9i32..9, any::<bool>()), 2..60)) {
            let given = Trials::new(list.iter().map(|&(s, y)| (f64::from(s), y)));
            let bent = Trials::new(list.iter().rev().map(|&(s, y)| ((f64::from(s) / 3.0).exp() - 40.0, y)));
            match (given, bent) {
                (Ok(given), Ok(bent)) => {
                    prop_assert_eq!(given.eer(), bent.eer());
                    prop_assert!((0.0..=1.0).contains(&given.eer()));
                }
                (given, bent) => prop_assert!(given.is_err() && bent.is_err()),
            }
        }
    }
}
