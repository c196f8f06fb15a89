//! One answer from two: is it the person, and is the voice real.

use crate::model::FusionCalibration;
use crate::publish::{FusedFinding, Verdict};

use super::Policy;

/// The log-likelihood ratio (nats) of "this person, live" against "someone else, or a forgery", from that of the speaker head
/// (this person : someone else) and that of the spoof head (bona fide : spoof): `−ln((1 − ρ)·e^−speaker + ρ·e^−genuine)`, ρ the
/// share of forgeries among what must be rejected, inside (0, 1). The likelihood ratio against a mixture of two alternatives
/// (Todisco et al. 2018, "Integrated presentation attack detection and automatic speaker verification"); the weaker evidence
/// decides.
pub fn fused_llr(speaker: f64, genuine: f64, share: f64) -> f64 {
    let someone_else = (1.0 - share).ln() - speaker;
    let forged = share.ln() - genuine;
    let (high, low) = match someone_else >= forged {
        true => (someone_else, forged),
        false => (forged, someone_else),
    };
    -(high + (low - high).exp().ln_1p())
}

/// The decision on both heads together that follows from the decisions on each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    calibration: FusionCalibration,
    /// Share of forgeries in what a false accept is expected to cost.
    share: f64,
    speaker: Policy,
    spoof: Policy,
}

impl Fusion {
    /// From the policies of both. A policy's threshold `t` is what accepting its alternative costs, in nats. So accepting is the
    /// cheaper decision where `e^(t_s − speaker) + e^(t_g − genuine) ≤ 1`, which is the fused ratio at the ρ and the threshold that
    /// both costs imply. It is accepted where that holds of the bounds from which each policy accepts, rejected where it fails of those up to which
    /// each rejects: where one head is sure, the other's own decision is left.
    pub fn new(calibration: FusionCalibration, speaker: &Policy, spoof: &Policy) -> Self {
        // o_g / (o_s + o_g) of the two costs o.
        let share = 1.0 / (1.0 + (speaker.threshold() - spoof.threshold()).exp());
        Self {
            calibration,
            share: share.clamp(1e-12, 1.0 - 1e-12),
            speaker: *speaker,
            spoof: *spoof,
        }
    }

    /// The same calibration under other policies.
    pub fn under(&self, speaker: &Policy, spoof: &Policy) -> Self {
        Self::new(self.calibration, speaker, spoof)
    }

    /// The fused ratio of the ratios of both heads, and the decision on it.
    pub fn decide(&self, speaker: f64, genuine: f64) -> FusedFinding {
        let speaker = self.calibration.speaker.llr(speaker);
        let genuine = self.calibration.genuine.llr(genuine);
        // The fused ratio of even shares is this sum's negative logarithm, and ln 2 more.
        let left = |of: f64, other: f64| fused_llr(speaker - of, genuine - other, 0.5);
        let at = std::f64::consts::LN_2;
        let verdict = if left(self.speaker.accept(), self.spoof.accept()) >= at {
            Verdict::Accept
        } else if left(self.speaker.reject(), self.spoof.reject()) <= at {
            Verdict::Reject
        } else {
            Verdict::Inconclusive
        };
        let llr = fused_llr(speaker, genuine, self.share);
        FusedFinding { llr, verdict }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Decision;

    fn policy(cost_false_accept: f64) -> Policy {
        Policy::new(&Decision {
            cost_false_accept,
            ..Decision::default()
        })
    }

    #[test]
    fn the_weaker_evidence_decides() {
        let ln2 = std::f64::consts::LN_2;
        assert!((fused_llr(0.0, 0.0, 0.5)).abs() < 1e-12);
        assert!((fused_llr(900.0, -3.0, 0.5) - (ln2 - 3.0)).abs() < 1e-9);
        assert!((fused_llr(-3.0, 900.0, 0.5) - (ln2 - 3.0)).abs() < 1e-9);
        assert!(fused_llr(5.0, 5.0, 0.3) > fused_llr(5.0, 4.0, 0.3));
        assert!(fused_llr(800.0, 800.0, 0.9).is_finite());
    }

    #[test]
    fn where_one_head_is_sure_the_other_decides_alone() {
        let (speaker, spoof) = (policy(1.0), policy(20.0));
        let fusion = Fusion::new(FusionCalibration::default(), &speaker, &spoof);
        for llr in [-3.0, -1.0, 0.0, 0.8, 0.9, 2.0, 3.0, 4.0] {
            assert_eq!(
                fusion.decide(llr, 700.0).verdict,
                speaker.verdict(llr),
                "{llr}"
            );
            assert_eq!(
                fusion.decide(700.0, llr).verdict,
                spoof.verdict(llr),
                "{llr}"
            );
        }
        // Two that are each just enough are not enough together.
        assert_eq!(
            fusion.decide(0.86, spoof.accept() + 0.01).verdict,
            Verdict::Inconclusive
        );
    }

    proptest! {
        #[test]
        fn more_evidence_never_harms(a in -40.0..40.0f64, b in -40.0..40.0f64, more in 0.0..9.0f64, cost in 0.01..99.0f64) {
            let fusion = Fusion::new(FusionCalibration::default(), &policy(1.0), &policy(cost));
            prop_assert!(fusion.decide(a + more, b).llr >= fusion.decide(a, b).llr);
            prop_assert!(fusion.decide(a, b + more).llr >= fusion.decide(a, b).llr);
        }
    }
}
