//! RankMe (arXiv 2210.02885): how many dimensions the vectors of a window really use, `exp(−Σ p ln p)` over their singular
//! values, `p = σ / Σσ + 1e-7`. The Gram matrix goes along with the window in f64, so that a new vector costs one update and
//! one downdate, and the eigenvalues are taken only when somebody asks. What the vectors have in common would hide a collapse;
//! so there is a second figure without their mean.

use std::collections::VecDeque;

use super::eigen::eigenvalues;

/// Effective ranks of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranks {
    /// Of the vectors as they are.
    pub raw: f64,
    /// Of what they are beside their mean.
    pub centred: f64,
}

/// A sliding window of vectors.
#[derive(Debug, Clone)]
pub struct RankMe {
    dim: usize,
    capacity: usize,
    window: VecDeque<Vec<f32>>,
    /// Lower half of the sum of `z zᵀ`, row by row.
    gram: Vec<f64>,
    sum: Vec<f64>,
}

impl RankMe {
    /// An empty window of `capacity` vectors of `dim` values.
    pub fn new(dim: usize, capacity: usize) -> Self {
        Self {
            dim,
            capacity: capacity.max(1),
            window: VecDeque::with_capacity(capacity),
            gram: vec![0.0; dim * dim],
            sum: vec![0.0; dim],
        }
    }

    /// Takes a vector; the oldest goes when the window is full. One of another length, or with what is no number, is left out.
    pub fn push(&mut self, vector: &[f32]) {
        if vector.len() != self.dim || !vector.iter().all(|x| x.is_finite()) {
            return;
        }
        let mut place = match self.is_full() {
            true => self.window.pop_front().unwrap_or_default(),
            false => Vec::new(),
        };
        if !place.is_empty() {
            self.add(&place, -1.0);
        }
        place.clear();
        place.extend_from_slice(vector);
        self.add(&place, 1.0);
        self.window.push_back(place);
    }

    /// Whether each further vector takes the place of another.
    pub fn is_full(&self) -> bool {
        self.window.len() == self.capacity
    }

    /// Forgets all vectors.
    pub fn clear(&mut self) {
        self.window.clear();
        self.gram.fill(0.0);
        self.sum.fill(0.0);
    }

    /// The ranks of what is in the window; O(dim³).
    pub fn ranks(&self) -> Ranks {
        Ranks {
            raw: rank(&eigenvalues(self.gram.clone(), self.dim)),
            centred: self.centred(),
        }
    }

    /// The second of them alone.
    pub fn centred(&self) -> f64 {
        let (n, count) = (self.dim, self.window.len().max(1) as f64);
        let centred = (0..n * n).map(|at| {
            let (i, j) = (at / n, at % n);
            self.gram[at] - self.sum[i] * self.sum[j] / count
        });
        rank(&eigenvalues(centred.collect(), n))
    }

    /// How much of the vectors is not their mean: its share of their squares, 0 to 1. Ranks do not depend on it: what is left
    /// beside a mean may be next to nothing, and still point everywhere.
    pub fn spread(&self) -> f64 {
        let all: f64 = (0..self.dim).map(|i| self.gram[i * self.dim + i]).sum();
        let count = self.window.len().max(1) as f64;
        let mean = self.sum.iter().map(|s| s * s).sum::<f64>() / count;
        match all > 0.0 {
            true => (1.0 - mean / all).max(0.0),
            false => 0.0,
        }
    }

    fn add(&mut self, vector: &[f32], sign: f64) {
        for (i, x) in vector.iter().enumerate() {
            let x = sign * f64::from(*x);
            self.sum[i] += x;
            let row = &mut self.gram[i * self.dim..][..=i];
            for (sum, y) in row.iter_mut().zip(vector) {
                *sum += x * f64::from(*y);
            }
        }
    }
}

/// The effective rank of vectors whose Gram matrix has these eigenvalues; 1 if there are none but zeros.
fn rank(eigenvalues: &[f64]) -> f64 {
    let singular: Vec<f64> = eigenvalues.iter().map(|e| e.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum <= f64::MIN_POSITIVE {
        return 1.0;
    }
    let entropy = |s: &f64| {
        let p = s / sum + 1e-7;
        -p * p.ln()
    };
    singular.iter().map(entropy).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tests/golden/rankme.py has, too: a vector of 24 values with a mean, of which the later ones count less.
    fn vector(i: usize) -> Vec<f32> {
        let value = |j: usize| {
            let wave = ((i * 24 + j) as f64 * 12.9898).sin() * 43758.5453;
            let noise = wave - wave.floor() - 0.5;
            (1.0 + noise / (1 + j) as f64) as f32
        };
        (0..24).map(value).collect()
    }

    #[test]
    fn ranks_are_those_of_numpy_after_any_number_of_downdates() {
        // Made by tests/golden/rankme.py: the last 120 of 1,000 vectors.
        const GOLDEN: (f64, f64) = (2.494219316, 14.137521024);
        let mut rankme = RankMe::new(24, 120);
        for i in 0..1_000 {
            rankme.push(&vector(i));
        }
        assert!(rankme.is_full());
        let ranks = rankme.ranks();
        assert!((ranks.raw - GOLDEN.0).abs() < 1e-5, "{ranks:?}");
        assert!((ranks.centred - GOLDEN.1).abs() < 1e-5, "{ranks:?}");
        // Long afterwards it is still what a fresh window of the same vectors says.
        (1_000..30_000).for_each(|i| rankme.push(&vector(i)));
        let mut fresh = RankMe::new(24, 120);
        (29_880..30_000).for_each(|i| fresh.push(&vector(i)));
        let (old, new) = (rankme.ranks(), fresh.ranks());
        assert!((old.raw - new.raw).abs() < 1e-6 && (old.centred - new.centred).abs() < 1e-6);
    }

    #[test]
    fn a_collapse_shows_in_the_centred_rank_first() {
        let mut rankme = RankMe::new(24, 120);
        (0..120).for_each(|i| rankme.push(&vector(i)));
        let healthy = rankme.ranks();
        for i in 0..120 {
            let line = f64::from(i) / 120.0;
            rankme.push(
                &(0..24)
                    .map(|j| (1.0 + line * f64::from(j)) as f32)
                    .collect::<Vec<_>>(),
            );
        }
        let fallen = rankme.ranks();
        assert!(
            fallen.centred < 1.1 && healthy.centred > 10.0,
            "{healthy:?} {fallen:?}"
        );
        rankme.push(&[f32::NAN; 24]);
        rankme.push(&[0.0; 3]);
        assert_eq!(rankme.ranks(), fallen);
        rankme.clear();
        assert_eq!(
            rankme.ranks(),
            Ranks {
                raw: 1.0,
                centred: 1.0
            }
        );
    }
}
