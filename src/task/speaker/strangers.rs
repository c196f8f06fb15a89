//! People who are heard but not enrolled: each keeps a name of this session, found again by the voice.

use crate::task::recording::Gathered;

use super::scoring::{Scoring, Voice};

/// Strangers that are remembered; one more, and who was heard least recently is forgotten.
const MOST: usize = 8;
/// From which log-likelihood ratio (nats) on a voice is that of a stranger who was heard before. Chosen on dev sessions: who speaks
/// again is more likely than somebody new.
const SAME: f64 = -1.0;

/// The strangers of one stream, in the order in which they were last heard.
#[derive(Debug, Clone, Default)]
pub struct Strangers {
    known: Vec<Stranger>,
    named: usize,
}

#[derive(Debug, Clone)]
struct Stranger {
    number: usize,
    gathered: Gathered,
    voice: Voice,
}

impl Strangers {
    /// The stranger whose voice is most like this one, if one is.
    pub fn find(&self, scoring: &Scoring, voice: &Voice) -> Option<usize> {
        let scored = self.known.iter().map(|stranger| {
            let llr = scoring.compare(&stranger.voice, voice).llr;
            (stranger.number, llr)
        });
        scored
            .filter(|(_, llr)| *llr >= SAME)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(number, _)| number)
    }

    /// The number of somebody who was not heard before: 1, 2, 3 … through the session.
    pub fn next(&mut self) -> usize {
        self.named += 1;
        self.named
    }

    /// Gives the last number back: it was not somebody new after all.
    pub fn take_back(&mut self, number: usize) {
        if number == self.named {
            self.named -= 1;
        }
    }

    /// A turn of a stranger is over: keeps what was heard in it.
    pub fn heard(&mut self, scoring: &Scoring, number: usize, turn: &Gathered) {
        let at = self.known.iter().position(|s| s.number == number);
        let mut gathered = at
            .map(|at| self.known.remove(at).gathered)
            .unwrap_or_default();
        gathered.merge(turn);
        let evidence = gathered.evidence();
        // Without an embedding nobody is found again.
        if let Some(embedding) = evidence.embedding {
            let voice = scoring.voice(embedding, evidence.speech_s);
            self.known.push(Stranger {
                number,
                gathered,
                voice,
            });
        }
        if self.known.len() > MOST {
            self.known.remove(0);
        }
    }
}

/// What a stranger is called.
pub fn name(number: usize) -> String {
    format!("unknown-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Utterance;

    fn turn(embedding: [f32; 2]) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(&Utterance {
            start_s: 0.0,
            end_s: 3.0,
            began: true,
            embedding: embedding.to_vec(),
            newest: None,
            genuine: None,
            parts: Vec::new(),
        });
        gathered
    }

    #[test]
    fn who_was_heard_before_keeps_the_number() {
        let (scoring, mut strangers) = (Scoring::default(), Strangers::default());
        let voice = |e: [f32; 2]| scoring.voice(e.to_vec(), 3.0);
        assert_eq!(strangers.find(&scoring, &voice([1.0, 0.0])), None);
        let first = strangers.next();
        strangers.heard(&scoring, first, &turn([1.0, 0.0]));
        let second = strangers.next();
        strangers.heard(&scoring, second, &turn([-1.0, 0.0]));
        assert_eq!(strangers.find(&scoring, &voice([0.8, 0.6])), Some(1));
        assert_eq!(strangers.find(&scoring, &voice([-0.8, 0.6])), Some(2));
        assert_eq!(name(first), "unknown-1");
    }

    #[test]
    fn who_was_heard_least_recently_is_forgotten() {
        let (scoring, mut strangers) = (Scoring::default(), Strangers::default());
        let at = |k: usize| {
            let angle = k as f32 * 0.6;
            [angle.cos(), angle.sin()]
        };
        for k in 0..MOST {
            let number = strangers.next();
            strangers.heard(&scoring, number, &turn(at(k)));
        }
        strangers.heard(&scoring, 1, &turn(at(0)));
        let number = strangers.next();
        strangers.heard(&scoring, number, &turn(at(MOST)));
        let numbers: Vec<usize> = strangers.known.iter().map(|s| s.number).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 7, 8, 1, 9]);
    }
}
