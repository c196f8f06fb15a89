//! One answer from two: is it the person, and is the voice real.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weaker_evidence_decides() {
        let ln2 = std::f64::consts::LN_2;
        assert!((fused_llr(0.0, 0.0, 0.5)).abs() < 1e-12);
        assert!((fused_llr(900.0, -3.0, 0.5) - (ln2 - 3.0)).abs() < 1e-9);
        assert!((fused_llr(-3.0, 900.0, 0.5) - (ln2 - 3.0)).abs() < 1e-9);
        assert!(fused_llr(5.0, 5.0, 0.3) > fused_llr(5.0, 4.0, 0.3));
        assert!(fused_llr(800.0, 800.0, 0.9).is_finite());
    }
}
