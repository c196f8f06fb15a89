//! Whether two sides are one voice: cosine, normalised against other people where the pack says so, calibrated by how much
//! was said. The one place that does it, whoever asks.

use ndarray::Array2;

use crate::dsp::dot;
use crate::model::{ModelError, Pack, SpeakerCalibration};

use super::matcher::cosine;

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// Embedding, L2 norm 1.
    pub embedding: Vec<f32>,
    /// Seconds of speech behind it.
    pub speech_s: f64,
    /// Mean and deviation of its cosines to the people of the cohort that are most like it.
    like: Option<(f64, f64)>,
}

/// How alike two sides are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Cosine similarity, −1 to 1.
    pub cosine: f64,
    /// Log-likelihood ratio (nats) of one voice against two.
    pub llr: f64,
}

/// Other people, of whom nobody here is one.
#[derive(Debug, Clone, PartialEq)]
struct Cohort {
    voices: Array2<f32>,
    top: usize,
}

/// Compares voices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scoring {
    calibration: SpeakerCalibration,
    cohort: Option<Cohort>,
}

impl Scoring {
    /// As the pack says.
    ///
    /// # Errors
    /// A pack without a speaker head, or whose cohort's file was changed.
    pub fn of(pack: &Pack) -> Result<Self, ModelError> {
        let calibration = pack.speaker_calibration()?.clone();
        let cohort = match pack.cohort_top() {
            Some(top) => pack.cohort()?.map(|voices| Cohort::new(voices, top)),
            None => None,
        };
        Ok(Self {
            calibration,
            cohort,
        })
    }

    /// Cosines with this calibration.
    pub fn plain(calibration: SpeakerCalibration) -> Self {
        Self {
            calibration,
            cohort: None,
        }
    }

    /// The calibration.
    pub fn calibration(&self) -> &SpeakerCalibration {
        &self.calibration
    }

    /// A side, ready for comparisons.
    pub fn voice(&self, embedding: Vec<f32>, speech_s: f64) -> Voice {
        let like = self.cohort.as_ref().map(|cohort| cohort.like(&embedding));
        Voice {
            embedding,
            speech_s,
            like,
        }
    }

    /// Compares two sides. With a cohort the score is the mean of the cosine in deviations from what each side's nearest of the
    /// cohort reach: adaptive symmetric normalisation (Matějka et al. 2017, "Analysis of score normalization in multilingual
    /// speaker recognition").
    pub fn compare(&self, a: &Voice, b: &Voice) -> Likeness {
        let cosine = cosine(&a.embedding, &b.embedding);
        let score = match (a.like, b.like) {
            (Some(a), Some(b)) => {
                let in_deviations = |(mean, deviation): (f64, f64)| (cosine - mean) / deviation;
                0.5 * (in_deviations(a) + in_deviations(b))
            }
            _ => cosine,
        };
        let llr = self.calibration.llr(score, (a.speech_s, b.speech_s));
        Likeness { cosine, llr }
    }
}

impl Cohort {
    /// Of voices of any length that is not zero; each is brought to length 1 once for all comparisons.
    fn new(mut voices: Array2<f32>, top: usize) -> Self {
        for mut voice in voices.outer_iter_mut() {
            let norm = voice
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            voice.mapv_inplace(|x| (f64::from(x) / norm.max(f64::MIN_POSITIVE)) as f32);
        }
        Self { voices, top }
    }

    fn like(&self, embedding: &[f32]) -> (f64, f64) {
        let norm = dot(embedding, embedding).sqrt().max(f64::MIN_POSITIVE);
        let mut cosines: Vec<f64> = self
            .voices
            .outer_iter()
            .filter_map(|voice| voice.as_slice().map(|v| dot(v, embedding) / norm))
            .collect();
        cosines.sort_by(|a, b| b.total_cmp(a));
        cosines.truncate(self.top);
        let count = cosines.len().max(1) as f64;
        let mean = cosines.iter().sum::<f64>() / count;
        let variance = cosines.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / count;
        // Voices that are all alike would make any difference infinite.
        (mean, variance.sqrt().max(1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cohort(top: usize) -> Scoring {
        Scoring {
            calibration: SpeakerCalibration::default(),
            cohort: Some(Cohort {
                voices: ndarray::array![[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0]],
                top,
            }),
        }
    }

    #[test]
    fn without_a_cohort_the_score_is_the_cosine() {
        let scoring = Scoring::default();
        let a = scoring.voice(vec![1.0, 0.0], 3.0);
        let b = scoring.voice(vec![0.6, 0.8], 3.0);
        let found = scoring.compare(&a, &b);
        assert!((found.cosine - 0.6).abs() < 1e-7 && found.llr == found.cosine);
    }

    #[test]
    fn a_side_counts_against_its_own_nearest() {
        let scoring = with_cohort(2);
        let a = scoring.voice(vec![1.0, 0.0], 3.0);
        // The nearest two have cosines 1 and 0.8: mean 0.9, deviation 0.1.
        let (mean, deviation) = a.like.unwrap();
        assert!((mean - 0.9).abs() < 1e-7 && (deviation - 0.1).abs() < 1e-7);
        let b = scoring.voice(vec![0.0, 1.0], 3.0);
        let (found, back) = (scoring.compare(&a, &b), scoring.compare(&b, &a));
        assert_eq!(found, back, "symmetric");
        // Of b the nearest have 0.8 and 0.6: mean 0.7, deviation 0.1.
        assert!((found.llr - 0.5 * (-9.0 - 7.0)).abs() < 1e-5, "{found:?}");
    }
}
