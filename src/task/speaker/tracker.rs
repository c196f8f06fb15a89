//! Who speaks now: smoothed scores, and an event only when the answer changes and stays changed.

use crate::publish::Verdict;
use crate::task::Policy;
use crate::task::smooth::{Answer, CONFIRM, Running};

/// Seconds without speech after which nobody speaks.
const RELEASE_S: f64 = 2.0;
/// Seconds of speech in pieces too short to score after which it is no longer known who speaks.
const STALE_S: f64 = 6.0;

/// An answer that came to stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Index of the enrolled person, when accepted.
    pub speaker: Option<usize>,
    /// Whether anybody speaks.
    pub speaking: bool,
    /// The decision on the best candidate.
    pub verdict: Verdict,
    /// Since when, seconds on the stream's clock.
    pub since_s: f64,
    /// Smoothed log-likelihood ratio of the best candidate; `None` when nobody is enrolled or speaks.
    pub llr: Option<f64>,
}

/// State of one stream.
#[derive(Debug, Clone)]
pub struct SpeakerTracker {
    policy: Policy,
    running: Vec<Running>,
    /// Who speaks, and how sure that is; nothing stands while nobody speaks.
    answer: Answer<(Option<usize>, Verdict)>,
    last_speech_s: f64,
    last_scored_s: f64,
}

impl SpeakerTracker {
    /// A tracker over as many enrolled people as each score slice will hold.
    pub fn new(people: usize, policy: Policy) -> Self {
        Self {
            policy,
            running: vec![Running::default(); people],
            answer: Answer::default(),
            last_speech_s: 0.0,
            last_scored_s: 0.0,
        }
    }

    /// Takes a window of speech: a log-likelihood ratio a person, the span of its utterance, and whether the utterance
    /// is `fresh` (another person may speak than before). Returns the new answer when it changed.
    pub fn speech(&mut self, llrs: &[f64], start_s: f64, end_s: f64, fresh: bool) -> Option<Turn> {
        self.last_speech_s = end_s;
        self.last_scored_s = end_s;
        let best = self
            .running
            .iter_mut()
            .zip(llrs)
            .map(|(running, &llr)| running.add(llr, fresh))
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        // Without enrolled people every voice is a stranger's.
        let verdict = best.map_or(Verdict::Reject, |(_, llr)| self.policy.verdict(llr));
        let speaker = best.filter(|_| verdict == Verdict::Accept).map(|(i, _)| i);
        // A clear answer after nobody spoke stands at once; replacing a standing one, or a shrug, takes confirmation.
        let first = self.answer.standing().is_none() && verdict != Verdict::Inconclusive;
        let since_s =
            self.answer
                .propose((speaker, verdict), start_s, if first { 1 } else { CONFIRM })?;
        Some(Turn {
            speaker,
            speaking: true,
            verdict,
            since_s,
            llr: best.map(|(_, llr)| llr),
        })
    }

    /// Takes a window that ends at `end_s` and holds nothing to score: silence, or speech until `speech_end_s` in pieces too
    /// short. Returns the new answer when it changed.
    pub fn unscored(&mut self, end_s: f64, speech_end_s: Option<f64>) -> Option<Turn> {
        self.last_speech_s = speech_end_s.map_or(self.last_speech_s, |s| s.max(self.last_speech_s));
        let speaks = end_s - self.last_speech_s < RELEASE_S && end_s - self.last_scored_s < STALE_S;
        if speaks || !self.answer.clear() {
            return None;
        }
        self.running.fill(Running::default());
        let verdict = Verdict::Inconclusive;
        Some(Turn {
            speaker: None,
            speaking: false,
            verdict,
            since_s: self.last_speech_s,
            llr: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decision;

    fn tracker(people: usize) -> SpeakerTracker {
        SpeakerTracker::new(people, Policy::new(&Decision::default()))
    }

    #[test]
    fn a_clear_voice_is_named_at_once_and_only_once() {
        let mut t = tracker(2);
        let turn = t.speech(&[4.0, -4.0], 0.2, 3.0, true).unwrap();
        assert_eq!(
            (turn.speaker, turn.verdict, turn.since_s),
            (Some(0), Verdict::Accept, 0.2)
        );
        assert_eq!(t.speech(&[5.0, -4.0], 1.0, 4.0, false), None);
    }

    #[test]
    fn one_bad_window_changes_nothing() {
        let mut t = tracker(2);
        t.speech(&[6.0, -6.0], 0.0, 3.0, true).unwrap();
        assert_eq!(t.speech(&[-8.0, -6.0], 1.0, 4.0, false), None);
        assert_eq!(t.speech(&[6.0, -6.0], 2.0, 5.0, false), None);
        assert_eq!(t.speech(&[6.0, -6.0], 3.0, 6.0, false), None);
    }

    #[test]
    fn a_new_person_after_a_pause_is_named_with_the_time_of_the_first_window() {
        let mut t = tracker(2);
        t.speech(&[6.0, -6.0], 0.0, 3.0, true).unwrap();
        assert_eq!(t.speech(&[-6.0, 6.0], 4.1, 6.0, true), None);
        let turn = t.speech(&[-6.0, 6.0], 4.1, 7.0, false).unwrap();
        assert_eq!((turn.speaker, turn.since_s), (Some(1), 4.1));
    }

    #[test]
    fn a_stranger_is_rejected_and_silence_ends_the_turn() {
        let mut t = tracker(1);
        let turn = t.speech(&[-5.0], 0.0, 3.0, true).unwrap();
        assert_eq!((turn.speaker, turn.verdict), (None, Verdict::Reject));
        assert_eq!(t.unscored(4.0, None), None);
        let turn = t.unscored(5.0, None).unwrap();
        assert!(!turn.speaking);
        assert_eq!(turn.since_s, 3.0);
        assert_eq!(t.unscored(6.0, None), None);
    }

    #[test]
    fn short_sentences_keep_a_turn_but_not_for_ever() {
        let mut t = tracker(1);
        t.speech(&[5.0], 0.0, 3.0, true).unwrap();
        for end_s in [4.0, 5.0, 6.0, 7.0, 8.0] {
            assert_eq!(t.unscored(end_s, Some(end_s - 0.1)), None);
        }
        let turn = t.unscored(9.0, Some(8.9)).unwrap();
        assert!(!turn.speaking);
        assert_eq!(turn.since_s, 8.9);
    }

    #[test]
    fn doubt_needs_confirmation() {
        let mut t = tracker(1);
        assert_eq!(t.speech(&[0.1], 0.0, 3.0, true), None);
        assert_eq!(
            t.speech(&[0.1], 0.0, 4.0, false).unwrap().verdict,
            Verdict::Inconclusive
        );
    }

    #[test]
    fn with_nobody_enrolled_a_voice_is_a_stranger() {
        let turn = tracker(0).speech(&[], 0.0, 3.0, true).unwrap();
        assert_eq!((turn.verdict, turn.llr), (Verdict::Reject, None));
    }
}
