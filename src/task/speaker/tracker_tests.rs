use proptest::prelude::*;

use super::*;
use crate::config::Decision;
use crate::model::SpeakerCalibration;
use crate::task::Newest;
use crate::task::speaker::Candidate;

/// Voices a right angle apart; a cosine of 0.5 proves nothing.
fn matcher(people: usize) -> Matcher {
    let scoring = Scoring::plain(SpeakerCalibration {
        slope: 10.0,
        offset: -5.0,
        ..SpeakerCalibration::default()
    });
    let person = |i: usize| Candidate {
        name: format!("p{i}"),
        embedding: voice_of(i),
        speech_s: 20.0,
    };
    Matcher::new((0..people).map(person).collect(), scoring)
}

const VOICES: usize = 12;

fn voice_of(i: usize) -> Vec<f32> {
    (0..VOICES)
        .map(|k| if k == i { 1.0 } else { 0.0 })
        .collect()
}

fn between(a: usize, b: usize, of_b: f32) -> Vec<f32> {
    let (x, y) = (1.0 - of_b, of_b);
    let norm = (x * x + y * y).sqrt();
    let mut mix = voice_of(a);
    mix[a] = x / norm;
    mix[b] += y / norm;
    mix
}

fn said(start_s: f64, end_s: f64, embedding: Vec<f32>) -> Utterance {
    Utterance {
        start_s,
        end_s,
        began: false,
        embedding,
        newest: None,
        genuine: None,
        parts: Vec::new(),
    }
}

struct Stream {
    matcher: Matcher,
    tracker: SpeakerTracker,
}

impl Stream {
    fn of(people: usize) -> Self {
        Self {
            matcher: matcher(people),
            tracker: SpeakerTracker::new(Policy::new(&Decision::default())),
        }
    }

    fn hears(&mut self, start_s: f64, end_s: f64, who: Vec<f32>, fresh: bool) -> Option<Turn> {
        self.takes(&said(start_s, end_s, who), fresh)
    }

    fn takes(&mut self, utterance: &Utterance, fresh: bool) -> Option<Turn> {
        self.tracker
            .speech(&self.matcher, utterance, fresh, |_, _| None)
    }

    fn silence(&mut self, end_s: f64) -> Option<Turn> {
        let scoring = self.matcher.scoring().clone();
        self.tracker.unscored(&scoring, end_s, None)
    }
}

#[test]
fn a_clear_voice_is_named_at_once_and_only_once() {
    let mut s = Stream::of(2);
    let turn = s.hears(0.2, 3.0, voice_of(0), true).unwrap();
    assert_eq!(
        (turn.speaker, turn.verdict, turn.since_s),
        (Some(0), Verdict::Accept, 0.2)
    );
    assert!((turn.speech_s - 2.8).abs() < 1e-12 && (turn.llr.unwrap() - 5.0).abs() < 1e-6);
    assert_eq!(s.hears(1.0, 4.0, voice_of(0), false), None);
}

#[test]
fn one_bad_window_changes_nothing() {
    let mut s = Stream::of(2);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    assert_eq!(s.hears(1.0, 4.0, between(0, 5, 0.634), false), None);
    assert_eq!(s.hears(2.0, 5.0, voice_of(0), false), None);
    assert_eq!(s.hears(3.0, 6.0, voice_of(0), false), None);
}

#[test]
fn a_new_person_after_a_pause_is_named_with_the_time_of_the_first_window() {
    let mut s = Stream::of(2);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    let turn = s.hears(4.1, 6.0, voice_of(1), true).unwrap();
    assert_eq!((turn.speaker, turn.since_s), (Some(1), 4.1));
}

#[test]
fn a_new_person_without_a_pause_resets_the_evidence() {
    let mut s = Stream::of(2);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    for k in 1..5 {
        let at = f64::from(k);
        assert_eq!(s.hears(at, at + 3.0, voice_of(0), false), None);
    }
    // From 7 s on it is another voice. The window is not unlike the first one's, its end is.
    let mut mixed = said(5.0, 8.0, between(0, 1, 0.3));
    mixed.newest = Some(Newest {
        start_s: 6.5,
        embedding: between(0, 1, 0.7),
    });
    let turn = s.takes(&mixed, false).unwrap();
    assert_eq!((turn.speaker, turn.since_s), (Some(1), 6.5));
    assert!((turn.speech_s - 1.5).abs() < 1e-12, "{turn:?}");
    let mut later = said(6.0, 9.0, between(0, 1, 0.6));
    later.newest = Some(Newest {
        start_s: 7.5,
        embedding: voice_of(1),
    });
    assert_eq!(s.takes(&later, false), None);
    let (gathered, _) = s.tracker.turn.as_ref().unwrap();
    assert!((gathered.speech_s() - 2.5).abs() < 1e-12);
    let mean = gathered.evidence().embedding.unwrap();
    assert!(
        mean[1] > 0.97,
        "of the first voice only what was in the first end: {mean:?}"
    );
}

#[test]
fn a_doubtful_window_changes_the_turn_only_when_the_next_one_agrees() {
    let mut s = Stream::of(2);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    // A ratio of 0 is neither.
    let doubtful = || between(0, 5, 0.634);
    assert_eq!(s.hears(1.0, 4.0, doubtful(), false), None);
    assert_eq!(s.hears(2.0, 5.0, voice_of(0), false), None);
    assert_eq!(s.hears(3.0, 6.0, doubtful(), false), None);
    let turn = s.hears(4.0, 7.0, voice_of(1), false).unwrap();
    assert_eq!((turn.speaker, turn.since_s), (Some(1), 3.0));
    assert!(
        (turn.llr.unwrap() - 5.0).abs() < 1e-6,
        "the doubtful one does not count"
    );
}

#[test]
fn a_stranger_is_rejected_and_silence_ends_the_turn() {
    let mut s = Stream::of(1);
    let turn = s.hears(0.0, 3.0, voice_of(3), true).unwrap();
    assert_eq!((turn.speaker, turn.verdict), (None, Verdict::Reject));
    assert_eq!(turn.stranger, Some(1));
    assert_eq!(s.silence(4.0), None);
    let turn = s.silence(5.0).unwrap();
    assert!(!turn.speaking);
    assert_eq!(turn.since_s, 3.0);
    assert_eq!(s.silence(6.0), None);
}

#[test]
fn strangers_keep_their_numbers_through_the_session() {
    let mut s = Stream::of(1);
    let mut at = 0.0;
    let mut numbers = Vec::new();
    for who in [3, 4, 0, 3, 5, 4] {
        let turn = s.hears(at, at + 3.0, voice_of(who), true).unwrap();
        numbers.push(turn.stranger);
        at += 6.0;
        s.silence(at);
    }
    assert_eq!(numbers, [Some(1), Some(2), None, Some(1), Some(3), Some(2)]);
}

#[test]
fn short_sentences_keep_a_turn_but_not_for_ever() {
    let mut s = Stream::of(1);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    let scoring = s.matcher.scoring().clone();
    for end_s in [4.0, 5.0, 6.0, 7.0, 8.0] {
        assert_eq!(s.tracker.unscored(&scoring, end_s, Some(end_s - 0.1)), None);
    }
    let turn = s.tracker.unscored(&scoring, 9.0, Some(8.9)).unwrap();
    assert!(!turn.speaking);
    assert_eq!(turn.since_s, 8.9);
}

#[test]
fn doubt_needs_confirmation() {
    let mut s = Stream::of(1);
    assert_eq!(s.hears(0.0, 3.0, between(0, 5, 0.63), true), None);
    let turn = s.hears(1.0, 4.0, between(0, 5, 0.63), false).unwrap();
    assert_eq!(turn.verdict, Verdict::Inconclusive);
}

#[test]
fn what_was_decided_stands_while_nothing_else_is_proven() {
    let mut s = Stream::of(1);
    s.hears(0.0, 3.0, voice_of(0), true).unwrap();
    for k in 1..9 {
        let at = f64::from(k);
        let turn = s.hears(at, at + 3.0, between(0, 5, 0.55), false);
        assert_eq!(turn, None, "at {at}");
    }
}

#[test]
fn with_nobody_enrolled_a_voice_is_a_stranger() {
    let turn = Stream::of(0).hears(0.0, 3.0, voice_of(0), true).unwrap();
    assert_eq!(
        (turn.verdict, turn.llr, turn.stranger),
        (Verdict::Reject, None, Some(1))
    );
}

#[test]
fn the_fused_decision_is_told_and_told_again_when_it_changes() {
    let mut s = Stream::of(1);
    let mut told = |at: f64, verdict| {
        let utterance = said(at, at + 3.0, voice_of(0));
        let fused = FusedFinding { llr: 0.0, verdict };
        s.tracker
            .speech(&s.matcher, &utterance, false, |_, _| Some(fused))
    };
    let turn = told(0.0, Verdict::Inconclusive).unwrap();
    assert_eq!(turn.fused.unwrap().verdict, Verdict::Inconclusive);
    assert_eq!(told(1.0, Verdict::Reject), None);
    let turn = told(2.0, Verdict::Reject).unwrap();
    assert_eq!(turn.speaker, Some(0));
    assert_eq!(turn.fused.unwrap().verdict, Verdict::Reject);
}

proptest! {
    /// Whatever is heard: a stranger's name never stands beside an enrolled one, the same answer is not told twice, times do
    /// not run backwards, and seconds are not counted twice.
    #[test]
    fn answers_are_consistent(
        heard in prop::collection::vec((0usize..VOICES, 0.0f32..1.0, 0usize..VOICES, any::<bool>(), 0usize..4), 1..60),
        people in 0usize..4,
    ) {
        let mut s = Stream::of(people);
        let (mut at, mut last) = (0.0, None);
        let windows = heard.len();
        for (a, mix, b, fresh, pause) in heard {
            let who = if a == b { voice_of(a) } else { between(a, b, mix) };
            at += 1.0;
            let turn = match pause {
                3 => { at += 2.0; s.silence(at + 3.0) }
                _ => s.hears(at, at + 3.0, who, fresh),
            };
            let Some(turn) = turn else { continue };
            prop_assert!(turn.speaker.is_none() || turn.stranger.is_none());
            prop_assert_eq!(turn.speaker.is_some(), turn.verdict == Verdict::Accept);
            prop_assert_eq!(turn.stranger.is_some(), turn.verdict == Verdict::Reject);
            prop_assert!(turn.since_s <= at + 3.0 && turn.speech_s <= at + 3.0 - turn.since_s + 1e-9 || !turn.speaking);
            let answer = (turn.speaker, turn.stranger, turn.speaking);
            prop_assert_ne!(Some(answer), last);
            last = Some(answer);
            // A number for each turn at most.
            prop_assert!(turn.stranger.is_none_or(|number| (1..=windows).contains(&number)));
        }
    }
}
