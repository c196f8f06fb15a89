//! Windows of one stream overlap: what a window has in common with the one before it is found by the samples themselves, so
//! that what was made of them can be kept, and can never be another's.

use super::spectrum::HOP;

/// The samples of the last window.
#[derive(Default)]
pub struct Overlap {
    samples: Vec<f32>,
}

/// What a window has in common with the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// Where the new window begins in the old one, samples; a whole number of frames.
    pub shift: usize,
    /// How many samples of the new one are known, from its begin; 0: none.
    pub length: usize,
}

impl Overlap {
    /// Takes the next window.
    pub fn next(&mut self, samples: &[f32]) -> Common {
        let old = &self.samples;
        let common = |shift: usize| {
            let length = (old.len() - shift).min(samples.len());
            (old[shift..shift + length] == samples[..length]).then_some(Common { shift, length })
        };
        let found = (0..old.len()).step_by(HOP).find_map(common);
        self.samples.clear();
        self.samples.extend_from_slice(samples);
        found.unwrap_or(Common {
            shift: 0,
            length: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_windows_share_is_found_on_the_grid_of_frames_only() {
        let signal: Vec<f32> = (0..9_000).map(|n| (n as f32 * 0.37).sin()).collect();
        let mut overlap = Overlap::default();
        let mut next = |range: std::ops::Range<usize>| {
            let common = overlap.next(&signal[range]);
            (common.shift, common.length)
        };
        assert_eq!(next(0..4_000), (0, 0));
        assert_eq!(next(1_600..5_600), (1_600, 2_400));
        assert_eq!(
            next(1_600..2_600),
            (0, 1_000),
            "an utterance that ends before"
        );
        assert_eq!(next(1_700..5_700), (0, 0), "off the grid");
        assert_eq!(next(1_700..8_700), (0, 4_000));
        assert_eq!(next(0..1_600), (0, 0), "what came before is not kept");
    }
}
