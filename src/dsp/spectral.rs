//! The spectral view of a window, which the spoof head reads beside the hidden states: MFCC, LFCC and CQCC with their
//! deltas, normalised over the window, the fine structure that they leave out, how the bands move together within a frame,
//! and the picture of it all. Todisco, Delgado and Evans, "Constant Q cepstral coefficients", CSL 2017.

use ndarray::Array2;
use realfft::num_complex::Complex;

use super::cepstral::FilterCepstra;
use super::cepstrum::{CEPSTRA, Dct, delta, normalise};
use super::cqt::{CQT_BINS, Cqt};
use super::filterbank::Filterbank;
use super::fine::{FINE_DIM, FineStructure, PICTURE_DIM};
use super::overlap::Overlap;
use super::spectrum::{BINS, HOP, Spectrum, WINDOW, frames};
use super::synchrony::{SYNCHRONY_DIM, Synchrony};

/// Values a frame: three cepstra, each with its first and second delta, the fine structure, the synchrony of bands, the picture.
pub const SPECTRAL_DIM: usize = CEPSTRAL_DIM + FINE_DIM + SYNCHRONY_DIM + PICTURE_DIM;

/// Columns of the cepstra.
const CEPSTRAL_DIM: usize = 3 * FAMILY;

/// Columns of one kind of cepstra: the coefficients, Δ, ΔΔ.
const FAMILY: usize = 3 * CEPSTRA;

/// Computes the spectral view of windows; its buffers are kept from one window to the next.
pub struct SpectralView {
    spectrum: Spectrum,
    mel: FilterCepstra,
    linear: FilterCepstra,
    cqt: Cqt,
    cqt_dct: Dct,
    power: [f64; BINS],
    constant_q: Vec<f64>,
    /// `[frames, CEPSTRAL_DIM]` before normalisation.
    rows: Vec<f64>,
    fine: FineStructure,
    synchrony: Synchrony,
    overlap: Overlap,
    /// Of each frame of the last window what does not depend on that window.
    known: Vec<Known>,
}

/// What is made of the samples of a frame alone.
struct Known {
    spectrum: [Complex<f64>; BINS],
    /// Of the mel-spaced bank, then of the linearly spaced.
    cepstra: [f64; 2 * CEPSTRA],
}

impl SpectralView {
    /// Makes filters, kernels and plans.
    pub fn new() -> Self {
        Self {
            spectrum: Spectrum::new(),
            mel: FilterCepstra::new(Filterbank::mfcc()),
            linear: FilterCepstra::new(Filterbank::lfcc()),
            cqt: Cqt::new(),
            cqt_dct: Dct::new(CQT_BINS, CEPSTRA),
            power: [0.0; BINS],
            constant_q: Vec::new(),
            rows: Vec::new(),
            fine: FineStructure::default(),
            synchrony: Synchrony::new(),
            overlap: Overlap::default(),
            known: Vec::new(),
        }
    }

    /// The view of one window of samples (±1, finite): `[frames, SPECTRAL_DIM]`, the cepstra normalised over the window.
    pub fn compute(&mut self, samples: &[f32]) -> Array2<f32> {
        let mut values = Vec::new();
        self.append(samples, &mut values);
        // As many values as that, so the fallback is never taken.
        Array2::from_shape_vec((frames(samples.len()), SPECTRAL_DIM), values).unwrap_or_default()
    }

    /// [`SpectralView::compute`], frame after frame behind what `out` holds already.
    pub fn append(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.fill(samples);
        for family in 0..3 {
            let from = family * FAMILY;
            let (first, second) = (from + CEPSTRA, from + 2 * CEPSTRA);
            delta(&mut self.rows, CEPSTRAL_DIM, from, first, CEPSTRA);
            delta(&mut self.rows, CEPSTRAL_DIM, first, second, CEPSTRA);
        }
        normalise(&mut self.rows, CEPSTRAL_DIM);
        let (first, count) = (out.len(), frames(samples.len()));
        out.resize(first + count * SPECTRAL_DIM, 0.0);
        let rows = self.rows.chunks_exact(CEPSTRAL_DIM);
        let frames = out[first..].chunks_exact_mut(SPECTRAL_DIM);
        for (t, (out, cepstra)) in frames.zip(rows).enumerate() {
            let (left, right) = out.split_at_mut(CEPSTRAL_DIM);
            for (out, x) in left.iter_mut().zip(cepstra) {
                *out = *x as f32;
            }
            let (fine, right) = right.split_at_mut(FINE_DIM);
            let (synchrony, picture) = right.split_at_mut(SYNCHRONY_DIM);
            self.fine.write(t, fine);
            self.synchrony.write(t, synchrony);
            self.fine.write_picture(t, picture);
        }
    }

    /// Fills the cepstra into their columns of `rows`, where the columns of the deltas stay as they were, and the fine structure.
    fn fill(&mut self, samples: &[f32]) {
        let peak = samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        let gain = 1.0 / f64::from(peak).max(1e-9);
        let common = self.overlap.next(samples);
        self.known
            .drain(..(common.shift / HOP).min(self.known.len()));
        self.known.truncate(frames(common.length));
        self.fine.clear();
        self.synchrony.fill(samples, common, gain);
        self.rows.resize(frames(samples.len()) * CEPSTRAL_DIM, 0.0);
        self.cqt.log_power(samples, &mut self.constant_q);
        let constant_q = self.constant_q.chunks_exact(CQT_BINS);
        for (t, (row, constant_q)) in self
            .rows
            .chunks_exact_mut(CEPSTRAL_DIM)
            .zip(constant_q)
            .enumerate()
        {
            if t == self.known.len() {
                let frame = &samples[t * HOP..t * HOP + WINDOW];
                let spectrum = self.spectrum.power(frame, &mut self.power);
                let mut known = Known {
                    spectrum: [Complex::default(); BINS],
                    cepstra: [0.0; 2 * CEPSTRA],
                };
                known.spectrum.copy_from_slice(spectrum);
                let (mel, linear) = known.cepstra.split_at_mut(CEPSTRA);
                self.mel.write(&self.power, mel);
                self.linear.write(&self.power, linear);
                self.known.push(known);
            }
            let known = &self.known[t];
            self.fine.push(&known.spectrum, gain);
            let (mel, linear) = known.cepstra.split_at(CEPSTRA);
            row[..CEPSTRA].copy_from_slice(mel);
            row[FAMILY..FAMILY + CEPSTRA].copy_from_slice(linear);
            self.cqt_dct
                .apply(constant_q, &mut row[2 * FAMILY..2 * FAMILY + CEPSTRA]);
        }
    }
}

impl Default for SpectralView {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_it_is_by_itself_whatever_came_before() {
        let voice = |n: usize| (n as f32 * 0.05).sin() * (0.2 + 0.1 * (n as f32 * 3e-4).sin());
        let signal: Vec<f32> = (0..96_000).map(voice).collect();
        let mut one_after_the_other = SpectralView::new();
        for range in [
            0..16_000,
            0..48_000,
            16_000..64_000,
            16_320..50_000,
            16_320..64_000,
            33_333..80_000,
            0..48_000,
        ] {
            let window = &signal[range.clone()];
            let found = one_after_the_other.compute(window);
            assert_eq!(found, SpectralView::new().compute(window), "{range:?}");
        }
    }

    #[test]
    fn shapes_and_reuse() {
        let mut view = SpectralView::new();
        let signal: Vec<f32> = (0..48_000).map(|n| (n as f32 * 0.05).sin() * 0.3).collect();
        let first = view.compute(&signal);
        assert_eq!(first.dim(), (298, SPECTRAL_DIM));
        assert!(first.iter().all(|x| x.is_finite()));
        assert_eq!(view.compute(&[0.0; 16_000]).dim(), (98, SPECTRAL_DIM));
        assert_eq!(view.compute(&[0.0; 10]).dim(), (0, SPECTRAL_DIM));
        assert_eq!(view.compute(&signal), first);
    }
}
