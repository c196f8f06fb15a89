//! A rotation of embeddings that belongs to one record of one installation.
//!
//! Templates are stored rotated. Cosines between vectors rotated alike are kept, but a template that leaks from here
//! matches nothing elsewhere, and not even the other records here; with a new key it becomes another one.

use zeroize::Zeroizing;

use super::secret::{self, SealError};

/// An orthogonal map: stages of a permutation and plane rotations of neighbours, the shape of a fast Fourier transform
/// with random angles. Twice as many stages as pairs need to reach each other, `2⌈log2 dim⌉`.
pub(super) struct Rotation {
    stages: Vec<Stage>,
}

struct Stage {
    /// Where each place takes its number from.
    order: Zeroizing<Vec<u32>>,
    /// Cosine and sine of each pair's angle.
    turns: Zeroizing<Vec<[f64; 2]>>,
}

impl Rotation {
    /// The rotation of this key in `dim` dimensions.
    pub(super) fn new(key: &[u8; 32], dim: usize) -> Result<Self, SealError> {
        let stages = 2 * dim.next_power_of_two().ilog2() as usize;
        let words = stages * (dim + dim / 2);
        let bytes = secret::stream(key, 4 * words)?;
        let mut words = bytes
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        let mut word = || words.next().unwrap_or_default();
        let stages = (0..stages)
            .map(|_| {
                let mut order = Zeroizing::new((0..dim as u32).collect::<Vec<_>>());
                // Fisher and Yates; the word is scaled to 0..=i, uneven by less than 2⁻¹⁹.
                for i in (0..dim).rev() {
                    let j = (u64::from(word()) * (i as u64 + 1)) >> 32;
                    order.swap(i, j as usize);
                }
                let mut turns = Zeroizing::new(Vec::with_capacity(dim / 2));
                for _ in 0..dim / 2 {
                    let angle = std::f64::consts::TAU * f64::from(word()) / 2f64.powi(32);
                    turns.push([angle.cos(), angle.sin()]);
                }
                Stage { order, turns }
            })
            .collect();
        Ok(Self { stages })
    }

    /// Rotates a vector of the rotation's dimension.
    pub(super) fn apply(&self, vector: &[f32]) -> Zeroizing<Vec<f32>> {
        let mut now = wide(vector);
        let mut next = now.clone();
        for stage in &self.stages {
            for (to, &from) in next.iter_mut().zip(stage.order.iter()) {
                *to = now[from as usize];
            }
            for (pair, &[cos, sin]) in next.chunks_exact_mut(2).zip(stage.turns.iter()) {
                (pair[0], pair[1]) = (cos * pair[0] - sin * pair[1], sin * pair[0] + cos * pair[1]);
            }
            std::mem::swap(&mut now, &mut next);
        }
        narrow(&now)
    }

    /// Rotates it back.
    pub(super) fn undo(&self, vector: &[f32]) -> Zeroizing<Vec<f32>> {
        let mut now = wide(vector);
        let mut next = now.clone();
        for stage in self.stages.iter().rev() {
            for (pair, &[cos, sin]) in now.chunks_exact_mut(2).zip(stage.turns.iter()) {
                (pair[0], pair[1]) = (cos * pair[0] + sin * pair[1], cos * pair[1] - sin * pair[0]);
            }
            for (&from, &to) in now.iter().zip(stage.order.iter()) {
                next[to as usize] = from;
            }
            std::mem::swap(&mut now, &mut next);
        }
        narrow(&now)
    }
}

fn wide(vector: &[f32]) -> Zeroizing<Vec<f64>> {
    Zeroizing::new(vector.iter().copied().map(f64::from).collect())
}

fn narrow(vector: &[f64]) -> Zeroizing<Vec<f32>> {
    Zeroizing::new(vector.iter().map(|&x| x as f32).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::speaker::cosine;

    fn vectors(dim: usize) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(-1f32..1.0, dim).prop_filter("long enough", |v| {
            v.iter().map(|x| x * x).sum::<f32>() > 1e-3
        })
    }

    fn unit(v: &[f32]) -> Vec<f32> {
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / norm).collect()
    }

    proptest! {
        #[test]
        fn cosines_are_kept_and_the_way_back_is_exact(
            key in any::<[u8; 32]>(),
            (a, b) in (1usize..300).prop_flat_map(|dim| (vectors(dim), vectors(dim))),
        ) {
            let (a, b) = (unit(&a), unit(&b));
            let rotation = Rotation::new(&key, a.len()).unwrap();
            let (ra, rb) = (rotation.apply(&a), rotation.apply(&b));
            prop_assert!((cosine(&a, &b) - cosine(&ra, &rb)).abs() < 1e-6);
            let back = rotation.undo(&ra);
            for (x, y) in back.iter().zip(&a) {
                prop_assert!((x - y).abs() < 1e-6);
            }
        }
    }

    /// Cosines of a vector with its rotation and of two rotations under keys that differ are those of random vectors: mean 0,
    /// standard deviation 1/√dim. A vector of one coordinate is the hardest to spread.
    #[test]
    fn a_rotated_vector_is_like_a_random_one() {
        let dim = 192;
        let mut axis = vec![0.0; dim];
        axis[5] = 1.0;
        let dense: Vec<f32> = unit(&(0..dim).map(|i| (i as f32).sin()).collect::<Vec<_>>());
        for vector in [axis, dense] {
            let rotated: Vec<_> = (0..400u32)
                .map(|n| {
                    let mut key = [0; 32];
                    key[..4].copy_from_slice(&n.to_le_bytes());
                    Rotation::new(&key, dim).unwrap().apply(&vector)
                })
                .collect();
            let against: Vec<f64> = rotated.iter().map(|r| cosine(r, &vector)).collect();
            let among: Vec<f64> = rotated.windows(2).map(|w| cosine(&w[0], &w[1])).collect();
            for cosines in [against, among] {
                let n = cosines.len() as f64;
                let mean = cosines.iter().sum::<f64>() / n;
                let deviation = (cosines.iter().map(|c| c * c).sum::<f64>() / n).sqrt();
                let expected = 1.0 / (dim as f64).sqrt();
                assert!(mean.abs() < 4.0 * expected / n.sqrt(), "{mean}");
                assert!(
                    (deviation / expected - 1.0).abs() < 0.2,
                    "{deviation} {expected}"
                );
            }
        }
    }
}
