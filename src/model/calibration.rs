//! From a head's score to a log-likelihood ratio.

use serde::Deserialize;

/// `llr = slope · score + offset` (natural logarithm), fitted by logistic regression on held-out trials.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Nats a unit of score, > 0: a higher score is more evidence for the target.
    pub slope: f64,
    /// Nats at score 0.
    pub offset: f64,
}

impl Calibration {
    /// Log-likelihood ratio, natural logarithm, of a score: cosine for the speaker head, `Models::genuine` for spoof.
    pub fn llr(&self, score: f64) -> f64 {
        self.slope * score + self.offset
    }

    /// What each part of a score adds to its log-likelihood ratio: of parts that add up to the score, shares that add up to
    /// the ratio.
    pub fn shares(&self, parts: &[f64]) -> Vec<f64> {
        let offset = self.offset / parts.len() as f64;
        parts
            .iter()
            .map(|part| self.slope * part + offset)
            .collect()
    }
}

/// A score that is a log-likelihood ratio already.
impl Default for Calibration {
    fn default() -> Self {
        Self {
            slope: 1.0,
            offset: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llr_is_affine() {
        let calibration = Calibration {
            slope: 20.0,
            offset: -8.0,
        };
        assert_eq!(calibration.llr(0.4), 0.0);
        assert_eq!(calibration.llr(1.0), 12.0);
        assert_eq!(calibration.shares(&[0.5, -0.1]), [6.0, -6.0]);
        assert!(calibration.shares(&[]).is_empty());
    }
}
