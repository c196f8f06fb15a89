//! Evidence over time: a running score, and an answer that changes only when the new one lasts.

/// Weight of the newest window in a running score. Windows overlap by two thirds, so half the weight on the newest
/// gives about one window length of memory.
const NEWEST: f64 = 0.5;
/// One window never outweighs the rest: a log-likelihood ratio beyond this (nats) is as sure as it gets.
pub const CAP: f64 = 8.0;
/// Windows running that must agree before a standing answer is replaced.
pub const CONFIRM: u32 = 2;

/// Exponentially weighted mean of log-likelihood ratios, in nats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Running(Option<f64>);

impl Running {
    /// Adds the newest ratio; `fresh` forgets what came before. Returns the mean.
    pub fn add(&mut self, llr: f64, fresh: bool) -> f64 {
        let llr = llr.clamp(-CAP, CAP);
        let mean = match self.0 {
            Some(old) if !fresh => NEWEST * llr + (1.0 - NEWEST) * old,
            _ => llr,
        };
        self.0 = Some(mean);
        mean
    }
}

/// A standing answer, and one that waits for confirmation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<A> {
    standing: Option<A>,
    pending: Option<(A, f64, u32)>,
}

impl<A> Default for Answer<A> {
    fn default() -> Self {
        Self {
            standing: None,
            pending: None,
        }
    }
}

impl<A: PartialEq> Answer<A> {
    /// Takes the answer of the newest window, which speaks of the time from `since_s`, and lets it stand once seen in
    /// `confirm` windows running. Returns since when it holds, if it came to stand just now.
    pub fn propose(&mut self, answer: A, since_s: f64, confirm: u32) -> Option<f64> {
        if self.standing.as_ref() == Some(&answer) {
            self.pending = None;
            return None;
        }
        let (since_s, seen) = match self.pending.take() {
            Some((waiting, since_s, seen)) if waiting == answer => (since_s, seen + 1),
            _ => (since_s, 1),
        };
        if seen < confirm {
            self.pending = Some((answer, since_s, seen));
            return None;
        }
        self.standing = Some(answer);
        Some(since_s)
    }

    /// The answer that stands.
    pub fn standing(&self) -> Option<&A> {
        self.standing.as_ref()
    }

    /// Forgets everything; says whether an answer stood.
    pub fn clear(&mut self) -> bool {
        self.pending = None;
        self.standing.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_score_halves_the_past() {
        let mut running = Running::default();
        assert_eq!(running.add(4.0, false), 4.0);
        assert_eq!(running.add(0.0, false), 2.0);
        assert_eq!(running.add(-100.0, true), -CAP);
    }

    #[test]
    fn an_answer_stands_once_it_lasts_and_is_told_once() {
        let mut answer = Answer::default();
        assert_eq!(answer.propose('a', 1.0, 2), None);
        assert_eq!(answer.propose('a', 2.0, 2), Some(1.0));
        assert_eq!(answer.propose('a', 3.0, 2), None);
        assert_eq!(answer.propose('b', 4.0, 2), None);
        assert_eq!(answer.propose('a', 5.0, 2), None);
        assert_eq!(
            answer.propose('b', 6.0, 2),
            None,
            "an interrupted run starts over"
        );
        assert_eq!(answer.propose('b', 7.0, 1), Some(6.0));
        assert!(answer.clear());
        assert_eq!(answer.standing(), None);
    }
}
