//! How often one class is taken for another: accuracy, precision, recall and F1.

/// Counts of (true class, found class).
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// `[true][found]`.
    counts: Vec<Vec<f64>>,
}

/// How one class did. A ratio without anything to count is 0.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ClassFigures {
    /// Trials of this class.
    pub trials: f64,
    /// Share of what was found as this class that is of it.
    pub precision: f64,
    /// Share of this class that was found as such.
    pub recall: f64,
    /// Harmonic mean of both: `2·tp / (2·tp + fp + fn)`.
    pub f1: f64,
}

impl Confusion {
    /// Counts `(true class, found class, weight)` of `classes` classes; pairs beyond them are left out.
    pub fn of(classes: usize, trials: impl IntoIterator<Item = (usize, usize, f64)>) -> Self {
        let mut counts = vec![vec![0.0; classes]; classes];
        for (truth, found, weight) in trials {
            if let Some(count) = counts.get_mut(truth).and_then(|row| row.get_mut(found)) {
                *count += weight;
            }
        }
        Self { counts }
    }

    /// Counts, `[true][found]`.
    pub fn counts(&self) -> &[Vec<f64>] {
        &self.counts
    }

    /// Share of trials whose class was found; `None` without trials.
    pub fn accuracy(&self) -> Option<f64> {
        let total: f64 = self.counts.iter().flatten().sum();
        let right: f64 = (0..self.counts.len()).map(|i| self.counts[i][i]).sum();
        (total > 0.0).then(|| right / total)
    }

    /// One class.
    pub fn class(&self, class: usize) -> ClassFigures {
        let right = self.counts[class][class];
        let trials: f64 = self.counts[class].iter().sum();
        let found: f64 = self.counts.iter().map(|row| row[class]).sum();
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        ClassFigures {
            trials,
            precision: share(right, found),
            recall: share(right, trials),
            f1: share(2.0 * right, found + trials),
        }
    }

    /// Mean F1 over the classes that have trials, each class alike; `None` without trials.
    pub fn macro_f1(&self) -> Option<f64> {
        let classes = (0..self.counts.len()).map(|c| self.class(c));
        let present: Vec<f64> = classes.filter(|c| c.trials > 0.0).map(|c| c.f1).collect();
        (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_small_table() {
        // Of three of class 0 two are found, of one of class 1 one; class 2 has no trials, but was found once.
        let found = [(0, 0, 1.0), (0, 0, 1.0), (0, 2, 1.0), (1, 1, 1.0)];
        let confusion = Confusion::of(3, found);
        assert_eq!(confusion.accuracy(), Some(0.75));
        let first = confusion.class(0);
        assert_eq!(
            (first.precision, first.recall, first.f1),
            (1.0, 2.0 / 3.0, 0.8)
        );
        assert_eq!(confusion.class(2).f1, 0.0);
        assert_eq!(confusion.macro_f1(), Some(0.9));
        assert_eq!(confusion.counts()[0], [2.0, 0.0, 1.0]);
    }

    #[test]
    fn nothing_has_no_figures() {
        let nothing = Confusion::of(2, []);
        assert_eq!((nothing.accuracy(), nothing.macro_f1()), (None, None));
        assert_eq!(Confusion::of(1, [(5, 0, 1.0)]), Confusion::of(1, []));
    }
}
