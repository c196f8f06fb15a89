//! The spoof head on short windows of a recording, close behind each other: the curve from which a timeline is made.

use std::ops::Range;

use crate::audio::{SAMPLE_RATE, Signal};
use crate::dsp::{HOP, WINDOW, fbank};
use crate::model::{Hidden, ModelError};
use crate::task::speech::utterances;
use crate::task::timeline::Glance;

use super::analyser::{Analyser, ENCODER_HOP, frame_s};

/// Stretches that are encoded at once, in frames of 20 ms: 10 s; windows belong to the one in which they begin.
const BLOCK: usize = 500;
/// What is encoded before a block, since an encoder looks back.
const BEFORE: usize = 50;
/// Pause that windows do not reach across, in frames: people cut where it is quiet, be it for a tenth of a second only, and a window
/// with both voices in it moves the border.
const PAUSE: usize = 5;
/// An utterance shorter than this is heard with what is around it.
const SHORTEST: usize = 30;
/// Windows that run together.
const TOGETHER: usize = 16;

/// Windows of a curve, in frames of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The longest that a window is; in a shorter utterance it is as long as that.
    pub length: usize,
    /// From one window's middle to the next one's.
    pub hop: usize,
}

impl Shape {
    /// Windows of so many seconds, one each fifth of a second.
    pub fn of(seconds: f64) -> Self {
        Self {
            length: (seconds * f64::from(SAMPLE_RATE)) as usize / ENCODER_HOP,
            hop: 10,
        }
    }
}

/// A piece of speech and the window that is to speak for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    speech: Range<usize>,
    window: Range<usize>,
}

impl Analyser {
    /// What the spoof head says along a recording, 16 kHz mono, of its speech alone; hidden states are made once. Empty without
    /// speech, or with less than 0.6 s of audio.
    pub fn curve(&mut self, signal: &Signal, shape: Shape) -> Result<Vec<Glance>, ModelError> {
        let speech = self.speech_along(signal)?;
        let frames = speech.len();
        let spoken = utterances(&speech, self.speech_threshold, PAUSE);
        let cells: Vec<Cell> = spoken
            .into_iter()
            .flat_map(|utterance| cells(utterance, frames, shape))
            .collect();
        let mut glances = Vec::with_capacity(cells.len());
        for block in cells.chunk_by(|a, b| a.window.start / BLOCK == b.window.start / BLOCK) {
            let begin = (block[0].window.start / BLOCK * BLOCK).saturating_sub(BEFORE);
            let ends = block.iter().map(|cell| cell.window.end);
            let end = ends.max().unwrap_or(begin);
            let hidden = self.hidden(&signal.cut(samples(&(begin..end), signal.len())))?;
            self.glance_at(signal, block, (&hidden, begin), &mut glances)?;
        }
        Ok(glances)
    }

    /// Scores the windows of a block of which the hidden states begin with frame `begin`.
    fn glance_at(
        &mut self,
        signal: &Signal,
        cells: &[Cell],
        (hidden, begin): (&Hidden, usize),
        glances: &mut Vec<Glance>,
    ) -> Result<(), ModelError> {
        // Near the ends of an utterance several cells have one window.
        let mut windows: Vec<Range<usize>> = cells.iter().map(|c| c.window.clone()).collect();
        windows.dedup();
        let mut opinions = Vec::with_capacity(windows.len());
        for windows in windows.chunks(TOGETHER) {
            let inside = |at: usize| frame_s(at - begin);
            let spans: Vec<Hidden> = windows
                .iter()
                .map(|w| hidden.span(inside(w.start)..inside(w.end)))
                .collect();
            let pieces = windows
                .iter()
                .map(|w| &signal.samples[samples(w, signal.len())]);
            let asked: Vec<_> = spans.iter().zip(pieces).collect();
            for (opinion, window) in self
                .models()
                .short_opinions(&asked)
                .into_iter()
                .zip(windows)
            {
                opinions.push((window.clone(), opinion?));
            }
        }
        let mut opinions = opinions.into_iter().peekable();
        for cell in cells {
            while opinions.peek().is_some_and(|(w, _)| *w != cell.window) {
                opinions.next();
            }
            if let Some((_, opinion)) = opinions.peek() {
                glances.push(Glance {
                    start_s: frame_s(cell.speech.start),
                    end_s: frame_s(cell.speech.end),
                    score: f64::from(opinion.score),
                    parts: opinion.parts.iter().map(|p| f64::from(*p)).collect(),
                });
            }
        }
        Ok(())
    }

    /// Speech probability of each 20 ms frame of a recording of any length.
    fn speech_along(&mut self, signal: &Signal) -> Result<Vec<f32>, ModelError> {
        let mut speech = Vec::with_capacity(signal.len() / ENCODER_HOP);
        while speech.len() * ENCODER_HOP < signal.len() {
            let begin = speech.len().saturating_sub(BEFORE);
            let end = speech.len() + BLOCK + BEFORE;
            let piece = &signal.samples[samples(&(begin..end), signal.len())];
            let features = fbank(piece);
            if features.nrows() < 2 {
                break;
            }
            let found = self.models().speech(features.view())?;
            let known = speech.len() - begin;
            let new = found.get(known..).unwrap_or(&[]);
            if new.is_empty() {
                break;
            }
            speech.extend_from_slice(&new[..new.len().min(BLOCK)]);
        }
        Ok(speech)
    }
}

/// Samples under frames, as far as there are any.
fn samples(frames: &Range<usize>, length: usize) -> Range<usize> {
    let end = (frames.end * ENCODER_HOP + WINDOW - HOP).min(length);
    (frames.start * ENCODER_HOP).min(end)..end
}

/// An utterance in cells of a hop, each with its window: around it, but within the utterance.
fn cells(utterance: Range<usize>, frames: usize, shape: Shape) -> Vec<Cell> {
    let length = utterance
        .len()
        .max(SHORTEST)
        .min(shape.length.max(SHORTEST));
    if frames < SHORTEST {
        return Vec::new();
    }
    // Where windows may lie: a short utterance is heard with what is around it.
    let missing = length.saturating_sub(utterance.len());
    let first = utterance
        .start
        .saturating_sub(missing / 2)
        .min(frames - length.min(frames));
    let room = first..(utterance.end).max(first + length);
    let count = (utterance.len() + shape.hop / 2) / shape.hop.max(1);
    let edge = |i: usize| match i == count.max(1) {
        true => utterance.end,
        false => utterance.start + i * shape.hop,
    };
    let cell = |i| {
        let speech = edge(i)..edge(i + 1);
        let middle = usize::midpoint(speech.start, speech.end);
        let start = middle
            .saturating_sub(length / 2)
            .clamp(room.start, room.end - length);
        Cell {
            speech,
            window: start..start + length,
        }
    };
    (0..count.max(1)).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: Shape = Shape {
        length: 75,
        hop: 10,
    };

    #[test]
    fn windows_lie_around_their_cells_and_within_the_utterance() {
        let cells = cells(100..305, 1000, SHAPE);
        assert_eq!(cells.len(), 21, "the last 5 frames are half a hop");
        assert_eq!(cells[0].speech, 100..110);
        assert_eq!(cells[0].window, 100..175);
        assert_eq!(
            (cells[10].speech.clone(), cells[10].window.clone()),
            (200..210, 168..243)
        );
        assert_eq!(
            (cells[20].speech.clone(), cells[20].window.clone()),
            (300..305, 230..305)
        );
    }

    #[test]
    fn a_short_utterance_is_heard_with_what_is_around_it() {
        let found = cells(100..105, 1000, SHAPE);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].speech.clone(), found[0].window.clone()),
            (100..105, 88..118)
        );
        assert_eq!(cells(0..5, 1000, SHAPE)[0].window, 0..30);
        assert_eq!(cells(995..1000, 1000, SHAPE)[0].window, 970..1000);
        assert!(cells(0..20, 20, SHAPE).is_empty());
    }

    proptest! {
        #[test]
        fn cells_tile_the_utterance(start in 0usize..400, length in 1usize..400, more in 0usize..100, hop in 1usize..40, window in 1usize..200) {
            let (utterance, frames) = (start..start + length, start + length + more);
            let shape = Shape { length: window, hop };
            let found = cells(utterance.clone(), frames, shape);
            prop_assert_eq!(found.is_empty(), frames < SHORTEST);
            let mut at = utterance.start;
            for cell in &found {
                prop_assert_eq!(cell.speech.start, at);
                prop_assert!(cell.speech.end > at && cell.window.end <= frames);
                prop_assert!((SHORTEST..=window.max(SHORTEST)).contains(&cell.window.len()));
                at = cell.speech.end;
            }
            prop_assert!(found.is_empty() || at == utterance.end);
        }
    }
}
