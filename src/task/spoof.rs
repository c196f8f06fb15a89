//! Whether the voice is real: smoothed evidence, and an event only when the answer changes and stays changed.

use crate::publish::Verdict;
use crate::task::Policy;
use crate::task::smooth::{Answer, CAP, CONFIRM, Running};

/// The answer that came to stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Accept: bona fide; reject: spoof.
    pub verdict: Verdict,
    /// Smoothed log-likelihood ratio of bona fide against spoof, in nats.
    pub llr: f64,
    /// Since when, seconds on the stream's clock.
    pub since_s: f64,
    /// What each kind of evidence adds to `llr`, nats.
    pub parts: Vec<f64>,
}

/// State of one stream.
#[derive(Debug, Clone)]
pub struct SpoofTracker {
    policy: Policy,
    running: Running,
    parts: Vec<Running>,
    answer: Answer<Verdict>,
}

impl SpoofTracker {
    /// A tracker without evidence.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            running: Running::default(),
            parts: Vec::new(),
            answer: Answer::default(),
        }
    }

    /// Takes the log-likelihood ratio of a window of speech whose utterance starts at `start_s`, and the parts that it is the
    /// sum of, where they are known. `fresh`: what was said before may have been another voice. Returns the new answer when it
    /// changed.
    pub fn speech(
        &mut self,
        llr: f64,
        parts: &[f64],
        start_s: f64,
        fresh: bool,
    ) -> Option<Standing> {
        // What is taken off the whole is taken off its parts.
        let scale = CAP / llr.abs().max(CAP);
        self.parts.resize_with(parts.len(), Running::default);
        let running = self.parts.iter_mut().zip(parts);
        let parts = running
            .map(|(r, part)| r.add(scale * part, fresh))
            .collect();
        let llr = self.running.add(llr, fresh);
        let verdict = self.policy.verdict(llr);
        let since_s = self.answer.propose(verdict, start_s, CONFIRM)?;
        Some(Standing {
            verdict,
            llr,
            since_s,
            parts,
        })
    }

    /// Nobody speaks: the next voice starts without a standing answer.
    pub fn silence(&mut self) {
        *self = Self::new(self.policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decision;

    fn tracker() -> SpoofTracker {
        SpoofTracker::new(Policy::new(&Decision::default()))
    }

    #[test]
    fn an_alarm_takes_two_windows_and_is_raised_once() {
        let mut t = tracker();
        assert_eq!(t.speech(-3.0, &[], 0.0, true), None);
        let standing = t.speech(-3.0, &[], 1.0, false).unwrap();
        assert_eq!((standing.verdict, standing.since_s), (Verdict::Reject, 0.0));
        assert_eq!(t.speech(-3.0, &[], 2.0, false), None);
    }

    #[test]
    fn a_clone_that_follows_a_person_after_a_pause_is_not_averaged_with_them() {
        let mut t = tracker();
        t.speech(8.0, &[], 0.0, true);
        t.speech(8.0, &[], 1.0, false);
        assert_eq!(t.speech(-2.0, &[], 5.0, true), None);
        assert_eq!(
            t.speech(-2.0, &[], 5.0, false).unwrap().verdict,
            Verdict::Reject
        );
    }

    #[test]
    fn parts_are_smoothed_as_their_sum_is() {
        let mut t = tracker();
        t.speech(-3.0, &[-4.0, 1.0], 0.0, true);
        let standing = t.speech(-16.0, &[-12.0, -4.0], 1.0, false).unwrap();
        assert_eq!((standing.llr, standing.parts), (-5.5, vec![-5.0, -0.5]));
    }

    #[test]
    fn after_silence_the_answer_is_given_anew() {
        let mut t = tracker();
        t.speech(-3.0, &[], 0.0, true);
        assert!(t.speech(-3.0, &[], 1.0, false).is_some());
        t.silence();
        t.speech(-3.0, &[], 9.0, true);
        assert_eq!(t.speech(-3.0, &[], 10.0, false).unwrap().since_s, 9.0);
    }
}
