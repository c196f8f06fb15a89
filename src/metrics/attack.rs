//! Presentation attack detection as ISO/IEC 30107-3 reports it: attacks that pass, and bona fide presentations that do not.

/// Attack presentation classification error rate: the share of the attacks of one species whose score is at or above the
/// threshold; `None` without attacks. The standard reports each species, and the worst.
pub fn apcer(attacks: &[f64], threshold: f64) -> Option<f64> {
    let passed = attacks.iter().filter(|&&s| s >= threshold).count();
    (!attacks.is_empty()).then(|| passed as f64 / attacks.len() as f64)
}

/// Bona fide presentation classification error rate: the share of bona fide presentations whose score is below the threshold;
/// `None` without any. Of speakers: the share of targets that are rejected.
pub fn bpcer(bona_fide: &[f64], threshold: f64) -> Option<f64> {
    Some(1.0 - apcer(bona_fide, threshold)?)
}

/// The highest threshold at which no more than `share` of the bona fide presentations are rejected; `None` without any.
pub fn threshold_at_bpcer(bona_fide: &[f64], share: f64) -> Option<f64> {
    let mut scores = bona_fide.to_vec();
    scores.sort_by(f64::total_cmp);
    // 0.29 · 100 is 28.999… in binary, but 29 may go.
    let may_go = (share * scores.len() as f64 + 1e-9).floor() as usize;
    scores
        .get(may_go.min(scores.len().checked_sub(1)?))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_passes() {
        assert_eq!(apcer(&[0.0, 1.0, 2.0, 3.0], 1.0), Some(0.75));
        assert_eq!(bpcer(&[0.0, 1.0, 2.0, 3.0], 1.0), Some(0.25));
        assert_eq!((apcer(&[], 0.0), bpcer(&[], 0.0)), (None, None));
    }

    #[test]
    fn no_more_bona_fide_are_lost_than_allowed() {
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        for percent in [0.0, 0.05, 0.29, 0.999, 1.0] {
            let threshold = threshold_at_bpcer(&scores, percent).unwrap();
            let lost = bpcer(&scores, threshold).unwrap();
            assert!(lost <= percent + 1e-12, "{lost} > {percent}");
            assert_eq!(threshold, (percent * 100.0 + 1e-9).floor().min(99.0));
        }
        assert_eq!(threshold_at_bpcer(&[], 0.05), None);
        assert_eq!(threshold_at_bpcer(&[2.0, 2.0, 2.0], 0.5), Some(2.0));
    }
}
