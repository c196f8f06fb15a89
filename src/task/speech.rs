//! Which part of a window is worth scoring: the newest utterance in it.
//!
//! A window that straddles a change of turn would mix two voices. People leave a pause when the turn changes, so the
//! heads get only what was said since the last pause.

use std::ops::Range;

/// Pause that ends an utterance, in 20 ms frames: longer than a plosive's closure or a breath, shorter than most
/// gaps between turns.
const PAUSE: usize = 20;

/// Speech in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Speech {
    /// Share of the window's frames that are speech, 0 to 1.
    pub share: f64,
    /// The newest utterance, in 20 ms frames from the start of the window; empty without speech.
    pub utterance: Range<usize>,
    /// Whether a pause lies between the utterance and the start of the window: the utterance began inside it.
    pub began: bool,
    /// Frames since the last speech.
    pub silence: usize,
}

/// Finds the newest utterance in speech probabilities a frame (20 ms).
pub fn newest_utterance(probabilities: &[f32], threshold: f32) -> Speech {
    let is_speech = |i: usize| probabilities[i] >= threshold;
    let frames = probabilities.len();
    let count = (0..frames).filter(|&i| is_speech(i)).count();
    let Some(last) = (0..frames).rev().find(|&i| is_speech(i)) else {
        return Speech {
            share: 0.0,
            utterance: 0..0,
            began: false,
            silence: frames,
        };
    };
    let mut start = last;
    let mut pause = 0;
    let mut began = false;
    for i in (0..last).rev() {
        if is_speech(i) {
            start = i;
            pause = 0;
        } else {
            pause += 1;
            if pause == PAUSE {
                began = true;
                break;
            }
        }
    }
    Speech {
        share: count as f64 / frames as f64,
        utterance: start..last + 1,
        began,
        silence: frames - 1 - last,
    }
}

/// Utterances in speech probabilities a frame (20 ms), in order: between two lie at least `pause` frames without speech.
pub fn utterances(probabilities: &[f32], threshold: f32, pause: usize) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let spoken = probabilities.iter().enumerate();
    for (at, _) in spoken.filter(|(_, p)| **p >= threshold) {
        match all.last_mut() {
            Some(last) if at - last.end < pause => last.end = at + 1,
            _ => all.push(at..at + 1),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(frames, speech?)` runs to probabilities.
    fn frames(runs: &[(usize, bool)]) -> Vec<f32> {
        runs.iter()
            .flat_map(|&(n, s)| std::iter::repeat_n(if s { 0.9 } else { 0.1 }, n))
            .collect()
    }

    #[test]
    fn silence_holds_no_utterance() {
        let speech = newest_utterance(&frames(&[(149, false)]), 0.5);
        assert_eq!(
            speech,
            Speech {
                share: 0.0,
                utterance: 0..0,
                began: false,
                silence: 149
            }
        );
        assert!(newest_utterance(&[], 0.5).utterance.is_empty());
    }

    #[test]
    fn utterances_lie_between_pauses() {
        let all = frames(&[
            (5, false),
            (10, true),
            (9, false),
            (3, true),
            (10, false),
            (2, true),
        ]);
        assert_eq!(utterances(&all, 0.5, 10), [5..27, 37..39]);
        assert_eq!(utterances(&all, 0.5, 9), [5..15, 24..27, 37..39]);
        assert!(utterances(&[0.1; 50], 0.5, 10).is_empty());
    }

    #[test]
    fn a_short_closure_does_not_split_an_utterance() {
        let speech = newest_utterance(&frames(&[(60, true), (10, false), (79, true)]), 0.5);
        assert_eq!(speech.utterance, 0..149);
        assert!(!speech.began);
    }

    #[test]
    fn only_what_follows_the_last_pause_counts() {
        let speech = newest_utterance(
            &frames(&[(40, true), (50, false), (49, true), (10, false)]),
            0.5,
        );
        assert_eq!(speech.utterance, 90..139);
        assert!(speech.began);
        assert_eq!(speech.silence, 10);
        assert!((speech.share - 89.0 / 149.0).abs() < 1e-12);
    }
}
