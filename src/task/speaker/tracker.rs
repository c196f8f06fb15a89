//! Who speaks now: evidence gathers as long as one voice speaks, and an event falls when the answer changes.

use crate::publish::{FusedFinding, Verdict};
use crate::task::recording::{Evidence, Gathered};
use crate::task::smooth::{Answer, CONFIRM};
use crate::task::{Policy, Utterance};

use super::matcher::Matcher;
use super::scoring::{Scoring, Voice};
use super::strangers::Strangers;

/// Seconds without speech after which nobody speaks.
const RELEASE_S: f64 = 2.0;
/// Seconds of speech in pieces too short to score after which it is no longer known who speaks.
const STALE_S: f64 = 6.0;
/// Log-likelihood ratio (nats) of one voice against two from which on what was said last belongs to the turn. Chosen on dev
/// sessions, as the next one.
const SAME: f64 = 0.5;
/// Up to which ratio it is another voice for sure; between both it takes a second window.
const OTHER: f64 = -1.0;

/// An answer that came to stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Index of the enrolled person, when accepted.
    pub speaker: Option<usize>,
    /// Number of the stranger, when rejected: the same voice has the same number.
    pub stranger: Option<usize>,
    /// Whether anybody speaks.
    pub speaking: bool,
    /// The decision on the best candidate.
    pub verdict: Verdict,
    /// Since when, seconds on the stream's clock.
    pub since_s: f64,
    /// Log-likelihood ratio (nats) of the best candidate, of all that was said in this turn; `None` when nobody is enrolled or
    /// speaks.
    pub llr: Option<f64>,
    /// Seconds of speech behind it.
    pub speech_s: f64,
    /// Of an accepted person, speaker and voice together; `None` where detection is off.
    pub fused: Option<FusedFinding>,
}

/// Who it is, as far as that is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Person(usize),
    Stranger(usize),
    Unclear,
}

/// State of one stream.
#[derive(Debug, Clone)]
pub struct SpeakerTracker {
    policy: Policy,
    /// What was said in this turn, and its voice; `None`: nobody speaks.
    turn: Option<(Gathered, Voice)>,
    since_s: f64,
    /// What is not like the turn, until it is clear whether somebody else began to speak; and whether a pause came before it.
    doubt: Option<(Utterance, bool)>,
    /// What was decided in this turn.
    decided: Option<Who>,
    /// The stranger who got a new number in this turn.
    newcomer: Option<usize>,
    strangers: Strangers,
    /// Whether the standing answer is on this turn.
    told: bool,
    /// Who speaks, and whether it is them and live; nothing stands while nobody speaks.
    answer: Answer<(Who, Option<Verdict>)>,
    /// Whether an answer that was told by other rules is the last word yet.
    outlived: bool,
    last_speech_s: f64,
    last_scored_s: f64,
}

impl SpeakerTracker {
    /// A tracker of a stream on which nobody has spoken.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            turn: None,
            since_s: 0.0,
            doubt: None,
            decided: None,
            newcomer: None,
            strangers: Strangers::default(),
            told: false,
            answer: Answer::default(),
            outlived: false,
            last_speech_s: 0.0,
            last_scored_s: 0.0,
        }
    }

    /// Decides by other rules, or about other people, from now on: what was gathered was weighed by the old ones. Strangers keep
    /// their names, and whoever was told to speak is told to have stopped.
    pub fn restart(&mut self, policy: Policy) {
        *self = Self {
            strangers: std::mem::take(&mut self.strangers),
            outlived: self.answer.clear() | self.outlived,
            last_speech_s: self.last_speech_s,
            last_scored_s: self.last_scored_s,
            ..Self::new(policy)
        };
    }

    /// Takes a window of speech. `fresh`: a pause came before its utterance, another person may speak than before; `fuse`
    /// makes one decision of a person's log-likelihood ratio and the evidence on the voice. Returns the new answer when it
    /// changed.
    pub fn speech(
        &mut self,
        matcher: &Matcher,
        utterance: &Utterance,
        fresh: bool,
        fuse: impl Fn(f64, &Evidence) -> Option<FusedFinding>,
    ) -> Option<Turn> {
        self.last_speech_s = utterance.end_s;
        self.last_scored_s = utterance.end_s;
        self.follow(matcher.scoring(), utterance, fresh);
        let (gathered, voice) = self.turn.as_ref()?;
        let (evidence, voice) = (gathered.evidence(), voice.clone());
        let best = matcher
            .scores(&voice)
            .into_iter()
            .map(|likeness| likeness.llr)
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        // Without enrolled people every voice is a stranger's.
        let verdict = best.map_or(Verdict::Reject, |(_, llr)| self.policy.verdict(llr));
        let who = match (verdict, best) {
            (Verdict::Accept, Some((person, _))) => Who::Person(person),
            (Verdict::Inconclusive, _) => self.decided.unwrap_or(Who::Unclear),
            _ => Who::Stranger(self.stranger(matcher.scoring(), &voice)),
        };
        if !matches!(who, Who::Stranger(_)) {
            self.no_newcomer();
        }
        // What was decided once stands while the evidence says nothing else.
        self.decided = Some(who).filter(|who| *who != Who::Unclear);
        let llr = match who {
            Who::Person(person) => matcher.scores(&voice).get(person).map(|l| l.llr),
            _ => best.map(|(_, llr)| llr),
        };
        let fused = match (who, llr) {
            (Who::Person(_), Some(llr)) => fuse(llr, &evidence),
            _ => None,
        };
        // The first clear answer of a turn stands at once; another one, or a shrug, takes confirmation.
        let at_once = who != Who::Unclear && !self.told;
        let confirm = if at_once { 1 } else { CONFIRM };
        let answer = (who, fused.map(|f| f.verdict));
        let stood = self.answer.propose(answer, self.since_s, confirm);
        self.told |= self
            .answer
            .standing()
            .is_some_and(|(standing, _)| *standing == who);
        stood?;
        self.outlived = false;
        Some(Turn {
            speaker: match who {
                Who::Person(person) => Some(person),
                _ => None,
            },
            stranger: match who {
                Who::Stranger(number) => Some(number),
                _ => None,
            },
            speaking: true,
            verdict: match who {
                Who::Person(_) => Verdict::Accept,
                Who::Stranger(_) => Verdict::Reject,
                Who::Unclear => Verdict::Inconclusive,
            },
            since_s: self.since_s,
            llr,
            speech_s: evidence.speech_s,
            fused,
        })
    }

    /// Whether the newest window began the turn: what was gathered of another voice counts no more.
    pub fn has_begun(&self) -> bool {
        let turn = self.turn.as_ref();
        turn.is_some_and(|(gathered, _)| gathered.windows() == 1)
    }

    /// Takes a window that ends at `end_s` and holds nothing to score: silence, or speech until `speech_end_s` in pieces too
    /// short. Returns the new answer when it changed.
    pub fn unscored(
        &mut self,
        scoring: &Scoring,
        end_s: f64,
        speech_end_s: Option<f64>,
    ) -> Option<Turn> {
        self.last_speech_s = speech_end_s.map_or(self.last_speech_s, |s| s.max(self.last_speech_s));
        let speaks = end_s - self.last_speech_s < RELEASE_S && end_s - self.last_scored_s < STALE_S;
        if speaks {
            return None;
        }
        self.end(scoring);
        let told = self.answer.clear() | std::mem::take(&mut self.outlived);
        told.then_some(Turn {
            speaker: None,
            stranger: None,
            speaking: false,
            verdict: Verdict::Inconclusive,
            since_s: self.last_speech_s,
            llr: None,
            speech_s: 0.0,
            fused: None,
        })
    }

    /// Adds the utterance to the turn, or begins another one with it.
    fn follow(&mut self, scoring: &Scoring, utterance: &Utterance, fresh: bool) {
        let end = utterance.end();
        let newest = scoring.voice(end.embedding.clone(), end.end_s - end.start_s);
        let llr = self
            .turn
            .as_ref()
            .map(|(_, voice)| scoring.compare(voice, &newest).llr);
        // Right after a pause nobody else is in it; later on its beginning may be somebody else's.
        let pure = if fresh { utterance.clone() } else { end };
        let doubt = self.doubt.take();
        match llr {
            None => self.begin(scoring, utterance.start_s, &[utterance]),
            // Of a turn that began inside this window only the end.
            Some(llr) if llr >= SAME && utterance.start_s < self.since_s => {
                self.gather(scoring, &pure);
            }
            Some(llr) if llr >= SAME => self.gather(scoring, utterance),
            Some(llr) => match doubt {
                Some((first, true)) => {
                    self.end(scoring);
                    self.begin(scoring, first.start_s, &[&first, &pure]);
                }
                // Both voices may be in what was doubtful.
                Some((first, false)) => {
                    self.end(scoring);
                    self.begin(scoring, first.start_s, &[&pure]);
                }
                None if llr <= OTHER => {
                    self.end(scoring);
                    self.begin(scoring, pure.start_s, &[&pure]);
                }
                None => self.doubt = Some((pure, fresh)),
            },
        }
    }

    /// A turn begins, of which this is known.
    fn begin(&mut self, scoring: &Scoring, since_s: f64, utterances: &[&Utterance]) {
        let mut gathered = Gathered::default();
        utterances.iter().for_each(|u| gathered.add(u));
        let voice = voice(scoring, &gathered);
        self.turn = Some((gathered, voice));
        self.since_s = since_s;
        self.decided = None;
        self.told = false;
    }

    fn gather(&mut self, scoring: &Scoring, utterance: &Utterance) {
        if let Some((gathered, known)) = &mut self.turn {
            gathered.add(utterance);
            *known = voice(scoring, gathered);
        }
    }

    /// The turn is over; of a stranger it is kept what was heard.
    fn end(&mut self, scoring: &Scoring) {
        if let (Some((gathered, _)), Some(Who::Stranger(number))) = (self.turn.take(), self.decided)
        {
            self.strangers.heard(scoring, number, &gathered);
        }
        self.turn = None;
        self.doubt = None;
        self.decided = None;
        self.newcomer = None;
    }

    /// The number of the stranger whose turn it is. A newcomer who turns out to be somebody heard before gets that number.
    fn stranger(&mut self, scoring: &Scoring, voice: &Voice) -> usize {
        let standing = match self.decided {
            Some(Who::Stranger(number)) => Some(number),
            _ => None,
        };
        if standing.is_some() && self.newcomer.is_none() {
            return standing.unwrap_or_default();
        }
        match (self.strangers.find(scoring, voice), standing) {
            (Some(known), _) => {
                self.no_newcomer();
                known
            }
            (None, Some(standing)) => standing,
            (None, None) => {
                let number = self.strangers.next();
                self.newcomer = Some(number);
                number
            }
        }
    }

    fn no_newcomer(&mut self) {
        if let Some(number) = self.newcomer.take() {
            self.strangers.take_back(number);
        }
    }
}

fn voice(scoring: &Scoring, gathered: &Gathered) -> Voice {
    let evidence = gathered.evidence();
    scoring.voice(evidence.embedding.unwrap_or_default(), evidence.speech_s)
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
