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
    }
}
