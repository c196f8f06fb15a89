//! Cosine scores of an embedding against every enrolled person, calibrated.

use crate::model::Calibration;

/// An enrolled person as the matcher sees one.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The enrolled name.
    pub name: String,
    /// Embedding, L2 norm 1.
    pub embedding: Vec<f32>,
}

/// Scores embeddings against a fixed list of candidates.
#[derive(Debug, Clone)]
pub struct Matcher {
    candidates: Vec<Candidate>,
    calibration: Calibration,
}

impl Matcher {
    /// A matcher over `candidates`, whose embeddings have the dimension of those that will be scored.
    pub fn new(candidates: Vec<Candidate>, calibration: Calibration) -> Self {
        Self {
            candidates,
            calibration,
        }
    }

    /// The enrolled names, in the order of [`Matcher::scores`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.candidates.iter().map(|c| c.name.as_str())
    }

    /// How many people are enrolled.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether nobody is enrolled.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Cosine and log-likelihood ratio (nats) of `embedding` against each candidate.
    pub fn scores(&self, embedding: &[f32]) -> Vec<(f64, f64)> {
        self.candidates
            .iter()
            .map(|candidate| {
                let cosine = cosine(&candidate.embedding, embedding);
                (cosine, self.calibration.llr(cosine))
            })
            .collect()
    }
}

/// Cosine similarity of two vectors of equal length; 0 when one has no length.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x), f64::from(y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 {
        0.0
    } else {
        dot / (aa * bb).sqrt()
    }
}

/// Mean of unit vectors, brought back to unit length; `None` for no vectors or a mean of zero.
pub fn centroid(embeddings: &[Vec<f32>]) -> Option<Vec<f32>> {
    let dim = embeddings.first()?.len();
    let mut sum = vec![0.0f64; dim];
    for embedding in embeddings {
        for (s, &x) in sum.iter_mut().zip(embedding) {
            *s += f64::from(x);
        }
    }
    let norm = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    (norm > 0.0).then(|| sum.iter().map(|s| (s / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_of_the_angle_alone() {
        assert!((cosine(&[1.0, 0.0], &[3.0, 3.0]) - 0.5f64.sqrt()).abs() < 1e-7);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }

    #[test]
    fn a_centroid_has_unit_length() {
        let mean = centroid(&[vec![1.0, 0.0], vec![0.0, 1.0]]).unwrap();
        assert!((mean[0] - 0.5f32.sqrt()).abs() < 1e-6 && (mean[1] - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(centroid(&[]), None);
        assert_eq!(centroid(&[vec![1.0], vec![-1.0]]), None);
    }

    #[test]
    fn scores_keep_the_order_of_the_candidates() {
        let matcher = Matcher::new(
            vec![
                Candidate {
                    name: "ann".into(),
                    embedding: vec![1.0, 0.0],
                },
                Candidate {
                    name: "bob".into(),
                    embedding: vec![0.0, 1.0],
                },
            ],
            Calibration {
                slope: 10.0,
                offset: -5.0,
            },
        );
        let scores = matcher.scores(&[1.0, 0.0]);
        assert_eq!(scores, vec![(1.0, 5.0), (0.0, -5.0)]);
        assert_eq!(matcher.names().collect::<Vec<_>>(), ["ann", "bob"]);
    }
}
