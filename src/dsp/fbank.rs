//! Log-mel features of the encoder and the voice activity detector, streaming and at once.

use ndarray::Array2;

use super::filterbank::{Filterbank, LOG_FLOOR, MELS};
use super::framer::Framer;
use super::spectrum::{BINS, HOP, Spectrum, WINDOW, frames};

/// Streaming log-mel: the frames of a signal do not depend on how it was cut into chunks.
pub struct Fbank {
    framer: Framer,
    spectrum: Spectrum,
    bank: Filterbank,
    power: [f64; BINS],
    energies: [f64; MELS],
}

impl Fbank {
    /// A stream that has seen nothing.
    pub fn new() -> Self {
        Self {
            framer: Framer::new(WINDOW, HOP),
            spectrum: Spectrum::new(),
            bank: Filterbank::log_mel(),
            power: [0.0; BINS],
            energies: [0.0; MELS],
        }
    }

    /// Takes `samples` (±1, finite) and appends every frame that they complete to `out`: [`MELS`] values a frame,
    /// low to high. Allocates only when `out` has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.framer.push(samples, |frame| {
            self.spectrum.power(frame, &mut self.power);
            self.bank
                .log_energies(&self.power, LOG_FLOOR, &mut self.energies);
            out.extend(self.energies.iter().map(|e| *e as f32));
        });
    }

    /// Forgets the samples of an unfinished frame: the next sample starts frame 0 (after a gap, or for a new stream).
    pub fn reset(&mut self) {
        self.framer.reset();
    }
}

impl Default for Fbank {
    fn default() -> Self {
        Self::new()
    }
}

/// Log-mel of a whole signal: `[frames, MELS]`.
pub fn fbank(samples: &[f32]) -> Array2<f32> {
    let count = frames(samples.len());
    let mut out = Vec::with_capacity(count * MELS);
    Fbank::new().push(samples, &mut out);
    // `push` appends MELS values a frame, so the fallback is never taken.
    Array2::from_shape_vec((count, MELS), out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_do_not_matter(length in 0usize..12_000, cuts in prop::collection::vec(0usize..12_000, 0..24)) {
            let signal = noise(length);
            let whole = fbank(&signal);
            prop_assert_eq!(whole.dim(), (frames(length), MELS));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(length)).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            let (mut stream, mut out) = (Fbank::new(), Vec::new());
            for pair in cuts.windows(2) {
                stream.push(&signal[pair[0]..pair[1]], &mut out);
            }
            prop_assert!(out.iter().map(|x| x.to_bits()).eq(whole.iter().map(|x| x.to_bits())), "not bit-equal");
        }
    }

    #[test]
    fn one_sample_at_a_time() {
        let signal = noise(2000);
        let (mut stream, mut out) = (Fbank::new(), Vec::new());
        for s in &signal {
            stream.push(std::slice::from_ref(s), &mut out);
        }
        assert_eq!(Some(out.as_slice()), fbank(&signal).as_slice());
    }

    #[test]
    fn reset_starts_over() {
        let signal = noise(1000);
        let (mut stream, mut out) = (Fbank::new(), Vec::new());
        stream.push(&noise(777), &mut out);
        stream.reset();
        out.clear();
        stream.push(&signal, &mut out);
        assert_eq!(Some(out.as_slice()), fbank(&signal).as_slice());
    }
}
