//! Short-time Fourier transform with a window, hop and length of choice, streaming. Allen and Rabiner, Proc. IEEE 1977.

pub use realfft::num_complex::Complex;

use super::framer::Framer;
use super::spectrum::{Spectrum, hann};

/// Most points that a transform may have: beyond, a mistake is likelier than a purpose.
const MOST_POINTS: usize = 1 << 20;

/// Lengths in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StftOptions {
    /// Of the periodic Hann window.
    pub window: usize,
    /// From one frame to the next.
    pub hop: usize,
    /// Of the transform; the window is zero-padded to it at its end.
    pub points: usize,
}

/// Lengths that make no transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 <= hop and 2 <= window <= points <= 1048576, found hop {}, window {}, points {}", .0.hop, .0.window, .0.points)]
pub struct StftError(StftOptions);

/// Streaming short-time Fourier transform: frames start every `hop` samples, edges are snipped (no centring, no
/// padding of the signal), and do not depend on how the signal was cut into chunks.
pub struct Stft {
    framer: Framer,
    spectrum: Spectrum,
    bins: usize,
}

impl Stft {
    /// A stream that has seen nothing.
    ///
    /// # Errors
    /// [`StftError`] where a length is 0 or the window does not fit into the transform.
    pub fn new(options: StftOptions) -> Result<Self, StftError> {
        let StftOptions {
            window,
            hop,
            points,
        } = options;
        if hop == 0 || window < 2 || window > points || points > MOST_POINTS {
            return Err(StftError(options));
        }
        Ok(Self {
            framer: Framer::new(window, hop),
            spectrum: Spectrum::with_window((0..window).map(|n| hann(n, window)).collect(), points),
            bins: points / 2 + 1,
        })
    }

    /// Values a frame: `points/2 + 1`, from 0 to half the sample rate.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Takes `samples` (finite) and appends every frame that they complete to `out`: [`Stft::bins`] values
    /// `Σ x[n]·w[n]·exp(−2πikn/points)` a frame. Allocates only when `out` has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<Complex<f64>>) {
        self.framer.push(samples, |frame| {
            out.extend_from_slice(self.spectrum.complex(frame));
        });
    }

    /// Forgets the samples of an unfinished frame: the next sample starts frame 0.
    pub fn reset(&mut self) {
        self.framer.reset();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_lengths_are_refused() {
        for (window, hop, points) in [
            (400, 0, 512),
            (1, 1, 512),
            (400, 160, 399),
            (2, 1, MOST_POINTS + 1),
        ] {
            assert!(
                Stft::new(StftOptions {
                    window,
                    hop,
                    points
                })
                .is_err()
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn chunks_do_not_matter(
            window in 2usize..300, hop in 1usize..400, more in 0usize..40, chunks in prop::collection::vec(0usize..900, 1..8),
        ) {
            let signal: Vec<f32> = (0..chunks.iter().sum()).map(|n: usize| (n as f32 * 0.3).sin()).collect();
            let mut stft = Stft::new(StftOptions { window, hop, points: window + more }).unwrap();
            let (mut whole, mut out, mut at) = (Vec::new(), Vec::new(), 0);
            stft.push(&signal, &mut whole);
            stft.reset();
            let count = if signal.len() < window { 0 } else { 1 + (signal.len() - window) / hop };
            prop_assert_eq!(whole.len(), count * stft.bins());
            for chunk in chunks {
                stft.push(&signal[at..at + chunk], &mut out);
                at += chunk;
            }
            prop_assert_eq!(out, whole);
        }
    }
}
