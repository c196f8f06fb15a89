//! Where in a recording the voice is real and where it is synthetic: the curve of short windows, cut where the answer changes.
//!
//! Two states, real and synthetic, and the cheapest way through them (Viterbi 1967): staying costs nothing but what a window says
//! against the state, changing has a price, which is lower at a pause, since people cut between words. Each stretch of one
//! state then gets its own answer from all that was heard in it.

use std::ops::Range;

use crate::model::Calibration;
use crate::publish::Verdict;
use crate::task::Policy;

/// What the spoof head says of a piece of speech.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// Where the piece starts.
    pub start_s: f64,
    /// Where it ends.
    pub end_s: f64,
    /// Raw score, higher = bona fide.
    pub score: f64,
    /// What that is the sum of; empty where the pack does not say.
    pub parts: Vec<f64>,
}

/// A stretch of speech with one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Where it starts, seconds.
    pub start_s: f64,
    /// Where it ends.
    pub end_s: f64,
    /// Log-likelihood ratio of bona fide against spoof, nats: the mean over its speech.
    pub llr: f64,
    /// Accept: real; reject: synthetic.
    pub verdict: Verdict,
    /// What each kind of evidence adds to `llr`, nats; empty where the pack does not say.
    pub parts: Vec<f64>,
}

impl Segment {
    /// Probability that it is synthetic, at even odds.
    pub fn synthetic(&self) -> f64 {
        1.0 / (1.0 + self.llr.exp())
    }
}

/// Prices of a path, nats. Chosen on the dev list of `models/recipes/spoof/partial.py`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of a change of state within an utterance.
    pub change: f64,
    /// Of a change at a pause.
    pub change_at_pause: f64,
    /// What a second of speech adds for each nat that is said of it: windows overlap, and a voice is not heard anew in each.
    pub second: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            change: 6.0,
            change_at_pause: 3.0,
            second: 3.0,
        }
    }
}

/// One window never outweighs the rest: nats.
const CAP: f64 = 6.0;
/// Silence that no segment reaches across, seconds.
const SILENCE_S: f64 = 2.0;

/// The segments of a recording, in order and apart; together they hold every piece of speech, and only pauses beside.
pub fn timeline(
    glances: &[Glance],
    calibration: Calibration,
    policy: &Policy,
    prices: &Prices,
) -> Vec<Segment> {
    let heard: Vec<Heard> = glances.iter().map(|g| Heard::of(g, calibration)).collect();
    let mut segments: Vec<(Range<usize>, Segment)> = Vec::new();
    for run in runs(&heard, &path(&heard, prices)) {
        let segment = Segment::of(&heard[run.clone()], policy);
        match segments.last_mut() {
            // Two states may both be unclear.
            Some((last, before))
                if before.verdict == segment.verdict
                    && segment.start_s - before.end_s < SILENCE_S =>
            {
                last.end = run.end;
                *before = Segment::of(&heard[last.clone()], policy);
            }
            _ => segments.push((run, segment)),
        }
    }
    segments.into_iter().map(|(_, segment)| segment).collect()
}

/// A glance, calibrated.
struct Heard {
    start_s: f64,
    end_s: f64,
    llr: f64,
    parts: Vec<f64>,
}

impl Heard {
    fn of(glance: &Glance, calibration: Calibration) -> Self {
        let llr = calibration.llr(glance.score);
        let scale = CAP / llr.abs().max(CAP);
        let parts = calibration.shares(&glance.parts).into_iter();
        Self {
            start_s: glance.start_s,
            end_s: glance.end_s,
            llr: scale * llr,
            parts: parts.map(|part| scale * part).collect(),
        }
    }

    fn seconds(&self) -> f64 {
        self.end_s - self.start_s
    }
}

impl Segment {
    /// Of pieces, at least one.
    fn of(run: &[Heard], policy: &Policy) -> Self {
        let seconds: f64 = run.iter().map(Heard::seconds).sum();
        let mean = |value: &dyn Fn(&Heard) -> f64| -> f64 {
            run.iter().map(|h| h.seconds() * value(h)).sum::<f64>() / seconds
        };
        let llr = mean(&|h| h.llr);
        let parts = 0..run[0].parts.len();
        Self {
            start_s: run[0].start_s,
            end_s: run[run.len() - 1].end_s,
            llr,
            verdict: policy.verdict(llr),
            parts: parts
                .map(|i| mean(&|h| h.parts.get(i).copied().unwrap_or_default()))
                .collect(),
        }
    }
}

/// Runs of one state without a long silence in them.
fn runs(heard: &[Heard], synthetic: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in 0..heard.len() {
        let goes_on = at > 0
            && synthetic[at] == synthetic[at - 1]
            && heard[at].start_s - heard[at - 1].end_s < SILENCE_S;
        match runs.last_mut() {
            Some(last) if goes_on => last.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// The cheapest way through the two states: whether each piece is synthetic.
fn path(heard: &[Heard], prices: &Prices) -> Vec<bool> {
    // Cost of the best way that ends in each state, and for each piece whether that way came from the other one.
    let mut cost = [0.0f64; 2];
    let mut changed: Vec<[bool; 2]> = Vec::with_capacity(heard.len());
    for (at, here) in heard.iter().enumerate() {
        let change = match at.checked_sub(1).map(|before| &heard[before]) {
            None => f64::INFINITY,
            Some(before) if here.start_s > before.end_s => prices.change_at_pause,
            Some(_) => prices.change,
        };
        let from_other = [cost[1] + change < cost[0], cost[0] + change < cost[1]];
        let against = prices.second * here.seconds() * here.llr / 2.0;
        cost = [
            cost[0].min(cost[1] + change) - against,
            cost[1].min(cost[0] + change) + against,
        ];
        changed.push(from_other);
    }
    let mut state = cost[1] < cost[0];
    let mut states: Vec<bool> = changed
        .iter()
        .rev()
        .map(|from_other| {
            let here = state;
            state ^= from_other[usize::from(here)];
            here
        })
        .collect();
    states.reverse();
    states
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Decision;

    const PLAIN: Calibration = Calibration {
        slope: 1.0,
        offset: 0.0,
    };

    fn policy() -> Policy {
        Policy::new(&Decision::default())
    }

    /// Pieces of 0.2 s; a NaN is a pause of that length.
    fn glances(scores: &[f64]) -> Vec<Glance> {
        let pieces = scores.iter().enumerate().filter(|(_, s)| !s.is_nan());
        let glance = |(i, score): (usize, &f64)| Glance {
            start_s: 0.2 * i as f64,
            end_s: 0.2 * (i + 1) as f64,
            score: *score,
            parts: vec![0.75 * score, 0.25 * score],
        };
        pieces.map(glance).collect()
    }

    fn found(scores: &[f64]) -> Vec<(f64, f64, Verdict)> {
        let segments = timeline(&glances(scores), PLAIN, &policy(), &Prices::default());
        let rounded = |s: f64| (10.0 * s).round() / 10.0;
        let all = segments.iter();
        all.map(|s| (rounded(s.start_s), rounded(s.end_s), s.verdict))
            .collect()
    }

    fn scores(runs: &[(usize, f64)]) -> Vec<f64> {
        let runs = runs.iter();
        runs.flat_map(|&(n, score)| std::iter::repeat_n(score, n))
            .collect()
    }

    #[test]
    fn a_synthetic_sentence_is_cut_out_at_its_ends() {
        let all = scores(&[(20, 4.0), (15, -5.0), (20, 4.0)]);
        let want = [
            (0.0, 4.0, Verdict::Accept),
            (4.0, 7.0, Verdict::Reject),
            (7.0, 11.0, Verdict::Accept),
        ];
        assert_eq!(found(&all), want);
    }

    #[test]
    fn one_odd_window_is_no_segment() {
        let all = scores(&[(20, 3.0), (1, -6.0), (20, 3.0)]);
        assert_eq!(found(&all), [(0.0, 8.2, Verdict::Accept)]);
    }

    #[test]
    fn a_change_is_sooner_believed_at_a_pause() {
        let weak = [
            (20, 3.0),
            (2, f64::NAN),
            (10, -1.1),
            (2, f64::NAN),
            (20, 3.0),
        ];
        assert_eq!(found(&scores(&weak)).len(), 3);
        let without: Vec<_> = weak.into_iter().filter(|(_, s)| !s.is_nan()).collect();
        assert_eq!(found(&scores(&without)).len(), 1);
    }

    #[test]
    fn a_long_silence_ends_a_segment_and_a_pause_does_not() {
        let all = scores(&[
            (10, 3.0),
            (4, f64::NAN),
            (10, 3.0),
            (15, f64::NAN),
            (5, 3.0),
        ]);
        let want = [(0.0, 4.8, Verdict::Accept), (7.8, 8.8, Verdict::Accept)];
        assert_eq!(found(&all), want);
    }

    #[test]
    fn what_is_not_sure_is_unclear_and_parts_add_up() {
        let segments = timeline(
            &glances(&scores(&[(10, 0.2)])),
            Calibration {
                slope: 2.0,
                offset: -0.3,
            },
            &policy(),
            &Prices::default(),
        );
        assert_eq!(
            (segments.len(), segments[0].verdict),
            (1, Verdict::Inconclusive)
        );
        let sum: f64 = segments[0].parts.iter().sum();
        assert!((sum - segments[0].llr).abs() < 1e-9 && (segments[0].llr - 0.1).abs() < 1e-9);
        assert!((segments[0].synthetic() - 1.0 / (1.0 + 0.1f64.exp())).abs() < 1e-12);
        assert!(timeline(&[], PLAIN, &policy(), &Prices::default()).is_empty());
    }

    proptest! {
        #[test]
        fn segments_tile_the_speech_in_order(scores in prop::collection::vec(prop_oneof![-9.0f64..9.0, Just(f64::NAN)], 0..120)) {
            let glances = glances(&scores);
            let segments = timeline(&glances, PLAIN, &policy(), &Prices::default());
            for pair in segments.windows(2) {
                prop_assert!(pair[0].end_s <= pair[1].start_s);
                prop_assert!(pair[0].verdict != pair[1].verdict || pair[1].start_s - pair[0].end_s >= SILENCE_S);
            }
            for segment in &segments {
                prop_assert!(glances.iter().any(|g| g.start_s == segment.start_s));
                prop_assert!(glances.iter().any(|g| g.end_s == segment.end_s));
                prop_assert!(segment.llr.abs() <= CAP + 1e-9 && (0.0..=1.0).contains(&segment.synthetic()));
            }
            for glance in &glances {
                let holds = |s: &&Segment| s.start_s <= glance.start_s && glance.end_s <= s.end_s;
                prop_assert_eq!(segments.iter().filter(holds).count(), 1);
            }
        }
    }
}
