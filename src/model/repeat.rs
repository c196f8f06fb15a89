//! Utterances of several lengths in one batch. What is shorter than a window is repeated until it is as long, and its end stays
//! the end. To pooled frames that makes little difference, less than to cut it to the next of few lengths
//! (`models/recipes/repeat.py` measures it), and the heads run once instead of once a length.

use crate::dsp::{HOP, WINDOW, frames};

use super::input::Input;

/// Samples of the last frame's window behind the last hop.
const TAIL: usize = WINDOW - HOP;

/// How long utterances become; by default each stays as long as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Repeat {
    vectors: usize,
    samples: usize,
}

impl Repeat {
    /// As long as what can be said in a window of so many samples at 16 kHz.
    pub fn up_to_window(input: &Input, samples: usize) -> Self {
        Self {
            vectors: input.vectors(input.shape(samples)),
            samples: frames(samples) / 2 * 2 * HOP + TAIL,
        }
    }

    /// Hidden vectors of an utterance that has so many.
    pub fn vectors(self, own: usize) -> usize {
        own.max(self.vectors)
    }

    /// Samples of one that has so many.
    pub fn samples(self, own: usize) -> usize {
        match (TAIL + 1..self.samples).contains(&own) {
            true => self.samples,
            false => own,
        }
    }

    /// Its samples. `room`: where they lie if it is repeated.
    pub fn of<'a>(self, own: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        if self.samples(own.len()) == own.len() {
            return own;
        }
        room.clear();
        self.append(own, room);
        room
    }

    /// Appends its samples to `all`.
    pub fn append(self, own: &[f32], all: &mut Vec<f32>) {
        if self.samples(own.len()) == own.len() {
            all.extend_from_slice(own);
            return;
        }
        let (period, body) = (own.len() - TAIL, self.samples - TAIL);
        let begin = begin(period, body);
        all.extend_from_slice(&own[begin..period]);
        (0..(body + begin) / period - 1).for_each(|_| all.extend_from_slice(&own[..period]));
        all.extend_from_slice(&own[period..]);
    }
}

/// Which of `period` values is the first of `length`, so that the last is the last.
fn begin(period: usize, length: usize) -> usize {
    (period - length % period) % period
}

/// Which of `period` values each of `length` is.
pub(super) fn turns(period: usize, length: usize) -> impl Iterator<Item = usize> {
    let period = period.max(1);
    (0..length).map(move |i| (i + begin(period, length)) % period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_stays_the_end() {
        let of = |period, length| turns(period, length).collect::<Vec<_>>();
        assert_eq!(of(3, 3), [0, 1, 2]);
        assert_eq!(of(3, 5), [1, 2, 0, 1, 2]);
        assert_eq!(of(3, 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(of(4, 2), [2, 3]);
    }

    #[test]
    fn audio_and_vectors_are_repeated_alike() {
        let repeat = Repeat::up_to_window(&Input::default(), 48_000);
        assert_eq!((repeat.vectors, repeat.samples), (149, 47_920));
        assert_eq!((repeat.vectors(75), repeat.vectors(149)), (149, 149));
        let all = [75, 149, 100, 148];
        let samples = |vectors: usize| (0..vectors * 2 * HOP + TAIL).map(|i| i as f32);
        let owns = all.map(|vectors| samples(vectors).collect::<Vec<_>>());
        for (own, vectors) in owns.iter().zip(all) {
            let mut all = Vec::new();
            repeat.append(own, &mut all);
            assert_eq!(repeat.samples(own.len()), all.len());
            assert_eq!(repeat.of(own, &mut vec![1.0]), all);
            assert_eq!(all.len(), repeat.samples);
            // A vector's samples are that vector's, wherever it comes again.
            for (at, vector) in turns(vectors, repeat.vectors).enumerate() {
                assert_eq!(all[at * 2 * HOP], own[vector * 2 * HOP]);
            }
            assert_eq!(all.last(), own.last());
        }
        for (repeat, own) in [(repeat, 50_000), (Repeat::default(), 1_000)] {
            let mut all = vec![1.0];
            repeat.append(&vec![0.0; own], &mut all);
            assert_eq!((repeat.samples(own), all.len()), (own, 1 + own));
        }
        assert_eq!(Repeat::default().vectors(75), 75);
    }
}
