//! Everything decided about one stream, window by window: scores in, event bodies out.

use std::sync::Arc;

use crate::model::Calibration;
use crate::publish::{Body, SoundFinding, SpeakerFinding, SpoofFinding, SpoofPart};
use crate::task::health::{HealthPolicy, HealthTracker, Measured};
use crate::task::sound::{SoundPolicy, SoundTracker, Sounds};
use crate::task::speaker::{Matcher, SpeakerTracker, stranger_name};
use crate::task::spoof::SpoofTracker;
use crate::task::{Fusion, Policy, Probe, findings};

/// What the engine measured on one window. Times are seconds on the stream's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Where the window starts.
    pub start_s: f64,
    /// Where the window ends.
    pub end_s: f64,
    /// Where the audio starts that no window before it held.
    pub new_s: f64,
    /// RMS level, dB relative to full scale.
    pub level_dbfs: f64,
    /// Share of samples at full scale.
    pub clipped: f64,
    /// Share of speech, 0 to 1.
    pub speech: f64,
    /// The newest utterance in it, when there is enough of it to score.
    pub utterance: Option<Utterance>,
    /// Where its last speech ends, when there is enough speech in it, be it in pieces.
    pub speech_end_s: Option<f64>,
    /// What else is heard; `None` below the silence floor, and where nobody asks.
    pub sounds: Option<Sounds>,
    /// Outputs of each of the pack's probes; none where it has none, below the silence floor, and where nobody asks.
    pub probes: Vec<Vec<f32>>,
    /// What it says of the health of the stream and of the encoder.
    pub health: Measured,
}

/// A scored utterance (or the part of one that the window holds).
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// Where it starts.
    pub start_s: f64,
    /// Where it ends.
    pub end_s: f64,
    /// Whether a pause came before it inside the window.
    pub began: bool,
    /// Speaker embedding, L2 norm 1; empty where the pack has no speaker head.
    pub embedding: Vec<f32>,
    /// The same of its end alone, where that is asked for and it is longer: who began to speak just now is not mixed with
    /// who spoke before.
    pub newest: Option<Newest>,
    /// Raw score of the spoof head, higher = bona fide; `None` when detection is off.
    pub genuine: Option<f32>,
    /// What that score is the sum of; empty where the pack does not say.
    pub parts: Vec<f32>,
}

/// The end of an utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// Where it starts.
    pub start_s: f64,
    /// Speaker embedding, L2 norm 1.
    pub embedding: Vec<f32>,
}

impl Utterance {
    /// Its end alone, as an utterance; all of it where nothing else is known.
    pub fn end(&self) -> Self {
        let Some(newest) = &self.newest else {
            return self.clone();
        };
        Self {
            start_s: newest.start_s,
            embedding: newest.embedding.clone(),
            newest: None,
            ..self.clone()
        }
    }
}

/// What all streams share: enrolled people, calibrations, policies.
#[derive(Debug, Clone)]
pub struct Judge {
    /// Scores against enrolled people.
    pub matcher: Matcher,
    /// Decision on a speaker's log-likelihood ratio, of a window and of a turn.
    pub speaker: Policy,
    /// Decision on both heads together.
    pub fusion: Fusion,
    /// Calibration of the spoof head.
    pub spoof_calibration: Calibration,
    /// Names of what the spoof head's score is the sum of; none where the pack does not say.
    pub spoof_parts: Vec<String>,
    /// Decision on the spoof head's log-likelihood ratio.
    pub spoof: Policy,
    /// Classes of sounds and when they count; `None` where the pack has none or they are switched off.
    pub sound: Option<SoundPolicy>,
    /// The pack's probes.
    pub probes: Vec<Probe>,
    /// When something is out of order; `None` where nothing is watched.
    pub health: Option<HealthPolicy>,
}

/// Decision state of one stream.
#[derive(Debug, Clone)]
pub struct StreamDecider {
    judge: Arc<Judge>,
    speaker: SpeakerTracker,
    spoof: SpoofTracker,
    sound: Option<SoundTracker>,
    health: Option<HealthTracker>,
    last_utterance_end_s: f64,
}

impl StreamDecider {
    /// A stream about which nothing is known; `sound`: whether sounds are told apart on it.
    pub fn new(judge: Arc<Judge>, sound: bool) -> Self {
        let speaker = SpeakerTracker::new(judge.speaker);
        let spoof = SpoofTracker::new(judge.spoof);
        let policy = judge.sound.as_ref().filter(|_| sound);
        let sound = policy.map(SoundTracker::new);
        let health = judge.health.map(HealthTracker::new);
        Self {
            judge,
            speaker,
            spoof,
            sound,
            health,
            last_utterance_end_s: f64::NEG_INFINITY,
        }
    }

    /// Decides by this from the next window on. What was gathered of an utterance was weighed by other rules and is forgotten;
    /// sounds and health go on, or what is on would never be told to have ended.
    pub fn judge_by(&mut self, judge: Arc<Judge>) {
        self.speaker.restart(judge.speaker);
        self.spoof = SpoofTracker::new(judge.spoof);
        self.judge = judge;
    }

    /// Takes the next window. The first body is the window itself, what changed follows.
    pub fn window(&mut self, scores: &Scores) -> Vec<Body> {
        let mut window = WindowFindings::default();
        let mut changes = Vec::new();
        match &scores.utterance {
            Some(utterance) => self.speech(utterance, &mut window, &mut changes),
            None => {
                let scoring = self.judge.matcher.scoring();
                let (end_s, speech_end_s) = (scores.end_s, scores.speech_end_s);
                if let Some(turn) = self.speaker.unscored(scoring, end_s, speech_end_s) {
                    self.spoof.silence();
                    changes.push(self.turn(turn));
                }
            }
        }
        let heard = self.sound(scores, &mut changes);
        if let Some(health) = &mut self.health {
            let found = health.window(scores.new_s, scores.end_s, &scores.health);
            changes.extend(found.into_iter().map(Body::from));
        }
        let mut bodies = vec![Body::Window {
            level_dbfs: scores.level_dbfs,
            clipped: scores.clipped,
            speech: scores.speech,
            speaker: window.speaker,
            spoof: window.spoof,
            sound: heard,
            probes: findings(&self.judge.probes, &scores.probes),
        }];
        bodies.append(&mut changes);
        bodies
    }

    fn speech(
        &mut self,
        utterance: &Utterance,
        window: &mut WindowFindings,
        changes: &mut Vec<Body>,
    ) {
        let fresh = utterance.began && utterance.start_s > self.last_utterance_end_s;
        self.last_utterance_end_s = utterance.end_s;

        let judge = self.judge.clone();
        let length_s = utterance.end_s - utterance.start_s;
        let voice = judge
            .matcher
            .scoring()
            .voice(utterance.embedding.clone(), length_s);
        window.speaker = judge
            .matcher
            .names()
            .zip(judge.matcher.scores(&voice))
            .max_by(|(_, a), (_, b)| a.llr.total_cmp(&b.llr))
            .map(|(name, likeness)| SpeakerFinding {
                name: name.to_owned(),
                cosine: likeness.cosine,
                llr: likeness.llr,
                verdict: judge.speaker.verdict(likeness.llr),
            });
        let turn = self
            .speaker
            .speech(&judge.matcher, utterance, fresh, |llr, evidence| {
                let genuine = judge.spoof_calibration.llr(evidence.genuine?);
                Some(judge.fusion.decide(llr, genuine))
            });
        changes.extend(turn.map(|turn| self.turn(turn)));
        // Another voice may be real where the last one was not.
        let fresh = fresh || self.speaker.has_begun();

        if let Some(genuine) = utterance.genuine {
            let llr = self.judge.spoof_calibration.llr(f64::from(genuine));
            window.spoof = Some(SpoofFinding {
                llr,
                verdict: self.judge.spoof.verdict(llr),
            });
            let parts: Vec<f64> = utterance.parts.iter().map(|p| f64::from(*p)).collect();
            let parts = self.judge.spoof_calibration.shares(&parts);
            if let Some(standing) = self.spoof.speech(llr, &parts, utterance.start_s, fresh) {
                let parts = self.judge.spoof_parts.iter().zip(standing.parts);
                changes.push(Body::Spoof {
                    verdict: standing.verdict,
                    llr: standing.llr,
                    since_s: standing.since_s,
                    parts: parts
                        .map(|(name, llr)| SpoofPart {
                            name: name.clone(),
                            llr,
                        })
                        .collect(),
                });
            }
        }
    }

    fn sound(&mut self, scores: &Scores, changes: &mut Vec<Body>) -> Option<SoundFinding> {
        let (tracker, policy) = (self.sound.as_mut()?, self.judge.sound.as_ref()?);
        let sounds = scores.sounds.as_ref();
        for change in tracker.window(policy, sounds, scores.start_s, scores.new_s) {
            changes.push(Body::Sound {
                class: policy.name(change.class).to_owned(),
                on: change.on,
                probability: change.probability,
                since_s: change.since_s,
            });
        }
        let (class, probability) = sounds?.best()?;
        Some(SoundFinding {
            class: policy.name(class).to_owned(),
            probability: f64::from(probability),
        })
    }

    fn turn(&self, turn: crate::task::speaker::Turn) -> Body {
        Body::Speaker {
            speaker: turn
                .speaker
                .and_then(|i| self.judge.matcher.names().nth(i))
                .map(str::to_owned),
            stranger: turn.stranger.map(stranger_name),
            speaking: turn.speaking,
            since_s: turn.since_s,
            verdict: turn.verdict,
            llr: turn.llr,
            speech_s: turn.speaking.then_some(turn.speech_s),
            fused: turn.fused,
        }
    }
}

#[derive(Default)]
struct WindowFindings {
    speaker: Option<SpeakerFinding>,
    spoof: Option<SpoofFinding>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decision;
    use crate::model::SpeakerCalibration;
    use crate::publish::Verdict;
    use crate::task::speaker::{Candidate, Scoring};

    fn decider() -> StreamDecider {
        hearing(true)
    }

    fn hearing(sound: bool) -> StreamDecider {
        let policy = Policy::new(&Decision::default());
        let judge = Arc::new(Judge {
            matcher: Matcher::new(
                vec![Candidate {
                    name: "ann".into(),
                    embedding: vec![1.0, 0.0],
                    speech_s: 20.0,
                }],
                Scoring::plain(SpeakerCalibration {
                    slope: 10.0,
                    offset: -5.0,
                    ..SpeakerCalibration::default()
                }),
            ),
            speaker: policy,
            fusion: Fusion::new(Default::default(), &policy, &policy),
            spoof_calibration: Calibration {
                slope: 1.0,
                offset: 0.0,
            },
            spoof_parts: vec!["ssl".into(), "fine".into()],
            spoof: policy,
            sound: SoundPolicy::new(&["music".into(), "rain".into()], &Default::default()),
            probes: Vec::new(),
            health: None,
        });
        StreamDecider::new(judge, sound)
    }

    fn scores(end_s: f64, utterance: Option<(&[f32], f32)>) -> Scores {
        Scores {
            start_s: end_s - 3.0,
            end_s,
            new_s: end_s - 1.0,
            level_dbfs: -20.0,
            clipped: 0.0,
            speech: if utterance.is_some() { 1.0 } else { 0.0 },
            speech_end_s: None,
            sounds: None,
            probes: Vec::new(),
            health: Measured::default(),
            utterance: utterance.map(|(embedding, genuine)| Utterance {
                start_s: end_s - 3.0,
                end_s,
                began: false,
                embedding: embedding.to_vec(),
                newest: None,
                genuine: Some(genuine),
                parts: vec![0.75 * genuine, 0.25 * genuine],
            }),
        }
    }

    #[test]
    fn a_real_person_comes_and_goes() {
        let mut decider = decider();
        let bodies = decider.window(&scores(3.0, Some((&[1.0, 0.0], 4.0))));
        assert!(matches!(&bodies[0], Body::Window { speaker: Some(s), .. } if s.name == "ann"));
        assert!(
            matches!(&bodies[1], Body::Speaker { speaker: Some(s), speaking: true, .. } if s == "ann")
        );
        let bodies = decider.window(&scores(4.0, Some((&[1.0, 0.0], 4.0))));
        assert!(matches!(
            bodies[1],
            Body::Spoof {
                verdict: Verdict::Accept,
                ..
            }
        ));
        assert_eq!(decider.window(&scores(5.0, None)).len(), 1);
        let bodies = decider.window(&scores(6.0, None));
        assert!(matches!(
            bodies[1],
            Body::Speaker {
                speaking: false,
                ..
            }
        ));
    }

    #[test]
    fn what_was_told_by_other_rules_ends_all_the_same() {
        let mut decider = decider();
        let music = |end_s, utterance| Scores {
            sounds: Some(Sounds {
                probabilities: vec![0.9, 0.2],
            }),
            ..scores(end_s, utterance)
        };
        let ann = Some((&[1.0, 0.0][..], 4.0));
        decider.window(&music(3.0, ann));
        decider.window(&music(4.0, ann));
        // Somebody else is enrolled meanwhile, and ann falls silent.
        let judge = Arc::new((*decider.judge).clone());
        decider.judge_by(judge);
        let mut bodies = decider.window(&scores(7.0, None));
        bodies.extend(decider.window(&scores(8.0, None)));
        let stopped = |b: &Body| {
            matches!(
                b,
                Body::Speaker {
                    speaking: false,
                    ..
                }
            )
        };
        let faded = |b: &Body| matches!(b, Body::Sound { on: false, .. });
        assert_eq!(
            bodies.iter().filter(|b| stopped(b)).count(),
            1,
            "{bodies:?}"
        );
        assert_eq!(bodies.iter().filter(|b| faded(b)).count(), 1, "{bodies:?}");
    }

    #[test]
    fn sounds_come_and_go_without_speech_where_they_are_asked_for() {
        let music = |end_s| Scores {
            sounds: Some(Sounds {
                probabilities: vec![0.9, 0.2],
            }),
            ..scores(end_s, None)
        };
        let mut decider = decider();
        let bodies = decider.window(&music(3.0));
        assert!(
            matches!(&bodies[0], Body::Window { sound: Some(s), .. } if s.class == "music" && bodies.len() == 1)
        );
        let bodies = decider.window(&music(4.0));
        assert!(
            matches!(&bodies[1], Body::Sound { class, on: true, since_s, .. } if class == "music" && *since_s == 2.0)
        );
        assert_eq!(decider.window(&scores(5.0, None)).len(), 1);
        let bodies = decider.window(&scores(6.0, None));
        assert!(matches!(bodies[1], Body::Sound { on: false, .. }));

        let mut deaf = hearing(false);
        deaf.window(&music(3.0));
        let bodies = deaf.window(&music(4.0));
        assert!(matches!(&bodies[..], [Body::Window { sound: None, .. }]));
    }

    #[test]
    fn a_clone_is_the_person_and_synthetic() {
        let mut decider = decider();
        decider.window(&scores(3.0, Some((&[1.0, 0.0], -4.0))));
        let bodies = decider.window(&scores(4.0, Some((&[1.0, 0.0], -4.0))));
        let parts = bodies.iter().find_map(|b| match b {
            Body::Spoof {
                verdict: Verdict::Reject,
                parts,
                ..
            } => Some(parts.iter().map(|p| (p.name.as_str(), p.llr)).collect()),
            _ => None,
        });
        assert_eq!(parts, Some(vec![("ssl", -3.0), ("fine", -1.0)]));
    }
}
