//! From a head's score to a log-likelihood ratio.

use serde::Deserialize;

/// Seconds of a comparison at which duration says nothing: 3 s on both sides. See [`SpeakerCalibration::llr`].
const EVEN_S: f64 = 1.5;
/// The most rows of [`SpeakerCalibration::false_accepts`].
const RATES: usize = 100;

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
    /// Log-likelihood ratio, natural logarithm, of a score: `Models::genuine` for the spoof head.
    pub fn llr(&self, score: f64) -> f64 {
        self.slope * score + self.offset
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { slope, offset } = *self;
        match slope.is_finite() && slope > 0.0 && offset.is_finite() {
            true => Ok(()),
            false => Err(format!("slope {slope}, offset {offset}")),
        }
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

/// How the speaker head's scores become log-likelihood ratios: affine, with terms that depend on how much was said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeakerCalibration {
    /// Nats a unit of score where both sides have 3 s of speech, > 0.
    pub slope: f64,
    /// Nats at score 0 there.
    pub offset: f64,
    /// How both change with the seconds of speech; without it they do not.
    pub duration: Option<DurationTerms>,
    /// `(share, llr)`: which log-likelihood ratio this share of held-out comparisons of strangers reaches; shares fall, ratios
    /// rise.
    #[serde(default)]
    pub false_accepts: Vec<(f64, f64)>,
}

/// The part of a calibration that depends on duration.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DurationTerms {
    /// Added to the slope for each unit of `q`.
    pub slope: f64,
    /// Added to the offset for each unit of `q`.
    pub offset: f64,
    /// The least `q` of the trials that it was fitted on: shorter comparisons count as this one.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl SpeakerCalibration {
    /// Log-likelihood ratio (nats) of a score of two sides with so many seconds of speech: `(slope + slope_q·q)·score + offset +
    /// offset_q·q` with `q = ln(h / 1.5 s)`, `h = a·b / (a + b)`. The noise of an embedding falls with its seconds, that of a
    /// comparison with `1/a + 1/b`. A quality measure in the calibration, as in Mandasari et al. 2013 ("Quality measure functions
    /// for calibration of speaker recognition systems in various duration conditions").
    pub fn llr(&self, score: f64, seconds: (f64, f64)) -> f64 {
        let (mut slope, mut offset) = (self.slope, self.offset);
        if let Some(terms) = &self.duration {
            let q = terms.quality(seconds);
            slope += terms.slope * q;
            offset += terms.offset * q;
        }
        slope * score + offset
    }

    /// The log-likelihood ratio (nats) that a stranger reaches with probability `rate`, inside (0, 1): by the held-out comparisons
    /// where the pack tells of them, interpolated in the logarithm of the rate. Below the least of them, and without any, what
    /// holds of every calibrated ratio: a stranger exceeds `t + ln k` at most a k-th as often as `t`, and `ln(1/rate)` at most with that rate.
    pub fn threshold(&self, rate: f64) -> f64 {
        let table = &self.false_accepts;
        let (Some(first), Some(last)) = (table.first(), table.last()) else {
            return -rate.ln();
        };
        if rate <= last.0 {
            return last.1 + (last.0 / rate).ln();
        }
        let pair = table.windows(2).find(|pair| rate >= pair[1].0);
        match pair {
            Some([high, low]) if rate < high.0 => {
                let part = (high.0 / rate).ln() / (high.0 / low.0).ln();
                high.1 + part * (low.1 - high.1)
            }
            _ => first.1,
        }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = Calibration {
            slope: self.slope,
            offset: self.offset,
        };
        plain.check()?;
        if let Some(terms) = &self.duration {
            terms.check(self.slope)?;
        }
        let table = &self.false_accepts;
        let in_range = |(rate, llr): &(f64, f64)| *rate > 0.0 && *rate < 1.0 && llr.is_finite();
        let falls = table
            .windows(2)
            .all(|p| p[1].0 < p[0].0 && p[1].1 >= p[0].1);
        match table.len() <= RATES && table.iter().all(in_range) && falls {
            true => Ok(()),
            false => Err(format!("false_accepts of {} rows", table.len())),
        }
    }
}

/// A score that is a log-likelihood ratio already.
impl Default for SpeakerCalibration {
    fn default() -> Self {
        let Calibration { slope, offset } = Calibration::default();
        Self {
            slope,
            offset,
            duration: None,
            false_accepts: Vec::new(),
        }
    }
}

impl DurationTerms {
    fn quality(&self, (a, b): (f64, f64)) -> f64 {
        // Without speech a side is as short as can be.
        let q = (a * b / (a + b) / EVEN_S).ln();
        if q.is_nan() {
            self.least
        } else {
            q.clamp(self.least, self.most)
        }
    }

    fn check(&self, slope: f64) -> Result<(), String> {
        let ends = [self.least, self.most];
        let rises = ends.iter().all(|q| slope + self.slope * q > 0.0);
        let finite = self.offset.is_finite() && ends.iter().all(|q| q.is_finite());
        match rises && finite && self.least <= self.most {
            true => Ok(()),
            false => Err(format!("{self:?} beside the slope {slope}")),
        }
    }
}

/// Calibration of both heads together, for one decision: is it this person, live. By default both are taken as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionCalibration {
    /// On the speaker's log-likelihood ratio.
    pub speaker: Calibration,
    /// On the spoof head's.
    pub genuine: Calibration,
}

impl FusionCalibration {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        self.speaker.check()?;
        self.genuine.check()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_duration() -> SpeakerCalibration {
        SpeakerCalibration {
            slope: 20.0,
            offset: -8.0,
            duration: Some(DurationTerms {
                slope: 4.0,
                offset: -2.0,
                least: -1.1,
                most: 1.0,
            }),
            false_accepts: vec![(0.1, 0.0), (0.01, 3.0)],
        }
    }

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

    #[test]
    fn much_speech_is_surer_than_little() {
        let calibration = by_duration();
        assert!((calibration.llr(0.4, (3.0, 3.0))).abs() < 1e-12);
        let sure = calibration.llr(0.9, (30.0, 3.0));
        let less = calibration.llr(0.9, (30.0, 1.0));
        assert!(sure > less, "{sure} {less}");
        assert_eq!(
            calibration.llr(0.9, (0.0, 0.0)),
            calibration.llr(0.9, (0.1, 0.1))
        );
    }

    #[test]
    fn a_rate_that_was_measured_has_its_ratio_and_a_rarer_one_no_less_than_the_bound() {
        let calibration = by_duration();
        assert_eq!(calibration.threshold(0.1), 0.0);
        assert_eq!(calibration.threshold(0.5), 0.0);
        assert!((calibration.threshold(0.01) - 3.0).abs() < 1e-12);
        assert!((calibration.threshold(0.1f64.powf(1.5)) - 1.5).abs() < 1e-9);
        assert!((calibration.threshold(0.001) - (3.0 + 10f64.ln())).abs() < 1e-9);
        assert!((SpeakerCalibration::default().threshold(0.01) - 100f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(by_duration().check(), Ok(()));
        let mut falls = by_duration();
        falls.duration = Some(DurationTerms {
            slope: 30.0,
            offset: 0.0,
            least: -1.1,
            most: 1.0,
        });
        assert!(falls.check().is_err());
        let mut disordered = by_duration();
        disordered.false_accepts.reverse();
        assert!(disordered.check().is_err());
    }

    proptest! {
        #[test]
        fn a_rarer_false_accept_takes_a_higher_ratio(a in 1e-6..0.999f64, b in 1e-6..0.999f64) {
            let (rare, often) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(by_duration().threshold(rare) >= by_duration().threshold(often));
        }
    }
}
