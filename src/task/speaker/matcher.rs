//! Scores of a voice against every enrolled person, and the geometry of embeddings.

use super::scoring::{Likeness, Scoring, Voice};
use crate::dsp::dot;

/// An enrolled person as the matcher sees one.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The enrolled name.
    pub name: String,
    /// Embedding, L2 norm 1.
    pub embedding: Vec<f32>,
    /// Seconds of speech behind it.
    pub speech_s: f64,
}

/// Scores voices against a fixed list of candidates.
#[derive(Debug, Clone)]
pub struct Matcher {
    names: Vec<String>,
    voices: Vec<Voice>,
    scoring: Scoring,
}

impl Matcher {
    /// A matcher over `candidates`, whose embeddings have the dimension of those that will be scored.
    pub fn new(candidates: Vec<Candidate>, scoring: Scoring) -> Self {
        let (mut names, mut voices) = (Vec::new(), Vec::new());
        for candidate in candidates {
            names.push(candidate.name);
            voices.push(scoring.voice(candidate.embedding, candidate.speech_s));
        }
        Self {
            names,
            voices,
            scoring,
        }
    }

    /// The enrolled names, in the order of [`Matcher::scores`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// How many people are enrolled.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody is enrolled.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How voices are compared.
    pub fn scoring(&self) -> &Scoring {
        &self.scoring
    }

    /// `voice` against each candidate.
    pub fn scores(&self, voice: &Voice) -> Vec<Likeness> {
        let voices = self.voices.iter();
        voices
            .map(|candidate| self.scoring.compare(candidate, voice))
            .collect()
    }
}

/// Cosine similarity of two vectors of equal length; 0 when one has no length.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (aa, bb) = (dot(a, a), dot(b, b));
    if aa == 0.0 || bb == 0.0 {
        0.0
    } else {
        dot(a, b) / (aa * bb).sqrt()
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
    use crate::model::SpeakerCalibration;

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
        let person = |name: &str, embedding: [f32; 2]| Candidate {
            name: name.into(),
            embedding: embedding.to_vec(),
            speech_s: 10.0,
        };
        let scoring = Scoring::plain(SpeakerCalibration {
            slope: 10.0,
            offset: -5.0,
            ..SpeakerCalibration::default()
        });
        let people = vec![person("ann", [1.0, 0.0]), person("bob", [0.0, 1.0])];
        let matcher = Matcher::new(people, scoring);
        assert_eq!(matcher.names().collect::<Vec<_>>(), ["ann", "bob"]);
        let voice = matcher.scoring().voice(vec![0.6, 0.8], 3.0);
        let scores = matcher.scores(&voice);
        assert!((scores[0].llr - 1.0).abs() < 1e-6 && (scores[1].llr - 3.0).abs() < 1e-6);
        assert!((scores[1].cosine - 0.8).abs() < 1e-7);
    }
}
