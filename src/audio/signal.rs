//! A piece of mono audio at each rate that the models need.

use std::ops::Range;

use super::{SAMPLE_RATE, WIDE_RATE};

/// The same audio at 16 kHz and, where an encoder asks for it, at 24 kHz.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signal {
    /// At [`SAMPLE_RATE`], ±1.
    pub samples: Vec<f32>,
    /// At [`WIDE_RATE`] from the same instant on; empty where nobody asks for it.
    pub wide: Vec<f32>,
}

impl Signal {
    /// Samples at [`SAMPLE_RATE`].
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// A piece of it, samples at [`SAMPLE_RATE`], as far as there are any.
    pub fn cut(&self, range: Range<usize>) -> Self {
        let piece = |samples: &[f32], range: Range<usize>| {
            let end = range.end.min(samples.len());
            samples[range.start.min(end)..end].to_vec()
        };
        Self {
            wide: piece(&self.wide, wide(range.start)..wide(range.end)),
            samples: piece(&self.samples, range),
        }
    }

    /// A piece, and what comes before it: so many samples, round from the end where it starts too early.
    pub fn cut_after(&self, range: Range<usize>, before: usize) -> Self {
        let piece = self.cut(range.clone());
        let around = |samples: &[f32], start: usize, before: usize, piece: Vec<f32>| {
            let length = samples.len().max(1);
            let from = start + before.next_multiple_of(length) - before;
            let earlier = samples.iter().copied().cycle().skip(from % length);
            earlier.take(before).chain(piece).collect()
        };
        let start = wide(range.start);
        Self {
            wide: match self.wide.is_empty() {
                true => Vec::new(),
                false => around(&self.wide, start, wide(before), piece.wide),
            },
            samples: around(&self.samples, range.start, before, piece.samples),
        }
    }

    /// Puts what follows behind it.
    pub fn extend(&mut self, later: &Self) {
        self.samples.extend_from_slice(&later.samples);
        self.wide.extend_from_slice(&later.wide);
    }

    /// It over and over, `length` samples long.
    pub fn repeated(&self, length: usize) -> Self {
        let again = |samples: &[f32], length| -> Vec<f32> {
            samples.iter().copied().cycle().take(length).collect()
        };
        Self {
            samples: again(&self.samples, length),
            wide: again(&self.wide, wide(length)),
        }
    }
}

/// Audio for encoders that ask for no more than [`SAMPLE_RATE`].
impl From<Vec<f32>> for Signal {
    fn from(samples: Vec<f32>) -> Self {
        Self {
            samples,
            wide: Vec::new(),
        }
    }
}

/// Where a sample at [`SAMPLE_RATE`] lies among those at [`WIDE_RATE`].
pub(crate) fn wide(sample: usize) -> usize {
    sample * (WIDE_RATE / 8_000) as usize / (SAMPLE_RATE / 8_000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rates_are_cut_at_the_same_time() {
        let signal = Signal {
            samples: (0..100).map(|i| i as f32).collect(),
            wide: (0..150).map(|i| i as f32).collect(),
        };
        let piece = signal.cut(20..60);
        assert_eq!((piece.samples[0], piece.len()), (20.0, 40));
        assert_eq!((piece.wide[0], piece.wide.len()), (30.0, 60));
        let mut both = signal.cut(0..20);
        both.extend(&piece);
        assert_eq!(both, signal.cut(0..60));
        let end = signal.cut(90..200);
        assert_eq!((end.len(), end.wide.len()), (10, 15));
        assert!(signal.cut(300..400).is_empty());
        let long = signal.repeated(250);
        assert_eq!((long.len(), long.wide.len()), (250, 375));
        assert_eq!((long.samples[100], long.wide[150]), (0.0, 0.0));
        let narrow = Signal::from(vec![0.0; 10]);
        assert!(narrow.cut(2..4).wide.is_empty() && narrow.repeated(30).wide.is_empty());
    }

    #[test]
    fn what_comes_before_a_piece_goes_round_from_the_end() {
        let signal = Signal::from((0..10).map(|i| i as f32).collect::<Vec<_>>());
        let after = |range, before| signal.cut_after(range, before).samples;
        assert_eq!(after(5..7, 3), [2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(after(1..3, 3), [8.0, 9.0, 0.0, 1.0, 2.0]);
        assert_eq!(after(0..1, 12)[..4], [8.0, 9.0, 0.0, 1.0]);
        assert_eq!(after(8..12, 0), [8.0, 9.0]);
    }
}
