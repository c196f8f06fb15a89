//! Triangular filter banks on the mel and on the linear scale, and the constants of those in use.

use super::log::ln_all;
use super::spectrum::{BINS, N_FFT, SAMPLE_RATE};
use super::wide::wide;

/// Filters are filled up with zeros to multiples of this, so that their sums have neither remainder nor one long chain.
const LANES: usize = 4;

/// Log-mel filters of the encoder and the voice activity detector.
pub const MELS: usize = 80;
/// Filters behind the MFCC.
pub const MFCC_FILTERS: usize = 64;
/// Filters behind the LFCC.
pub const LFCC_FILTERS: usize = 70;
/// Lower band limit of the mel banks, Hz.
pub const LOW_HZ: f64 = 20.0;
/// Upper band limit of the mel banks, Hz.
pub const HIGH_HZ: f64 = 7600.0;
/// Least energy that a logarithm is taken of.
pub const LOG_FLOOR: f64 = 1e-10;

/// On which scale the filter edges are equally spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// HTK mel: `2595·log10(1 + f/700)`. Filters rise and fall linearly in Hz.
    Mel,
    /// Kaldi's mel: `1127·ln(1 + f/700)`. Filters rise and fall linearly in mel.
    KaldiMel,
    /// Hz.
    Linear,
}

impl Scale {
    fn of_hz(self, hz: f64) -> f64 {
        match self {
            Self::Mel => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::KaldiMel => 1127.0 * (1.0 + hz / 700.0).ln(),
            Self::Linear => hz,
        }
    }

    fn to_hz(self, value: f64) -> f64 {
        match self {
            Self::Mel => 700.0 * (10f64.powf(value / 2595.0) - 1.0),
            Self::KaldiMel => 700.0 * ((value / 1127.0).exp() - 1.0),
            Self::Linear => value,
        }
    }
}

/// Triangles over the bins of a power spectrum, stored without most of their zeros.
pub struct Filterbank {
    filters: Vec<Triangle>,
    weights: Vec<f64>,
}

struct Triangle {
    first_bin: usize,
    /// Where its weights start in `Filterbank::weights`.
    offset: usize,
    /// A multiple of [`LANES`].
    bins: usize,
}

impl Filterbank {
    /// `filters` triangles between `low_hz` and `high_hz`, edges equally spaced on `scale`.
    pub fn new(filters: usize, scale: Scale, low_hz: f64, high_hz: f64) -> Self {
        let (low, high) = (scale.of_hz(low_hz), scale.of_hz(high_hz));
        let edge = |i: usize| low + (high - low) * i as f64 / (filters + 1) as f64;
        // Where the sides are straight: in Hz but for Kaldi.
        let straight = |value: f64| match scale {
            Scale::KaldiMel => value,
            Scale::Mel | Scale::Linear => scale.to_hz(value),
        };
        let bins: [f64; BINS] = std::array::from_fn(|bin| {
            let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
            straight(scale.of_hz(hz))
        });
        let mut bank = Self {
            filters: Vec::with_capacity(filters),
            weights: Vec::new(),
        };
        for i in 0..filters {
            let [left, centre, right] = [i, i + 1, i + 2].map(|i| straight(edge(i)));
            let weights = bins.map(|at| {
                let weight = ((at - left) / (centre - left)).min((right - at) / (right - centre));
                weight.max(0.0)
            });
            bank.add(&weights);
        }
        bank
    }

    /// Appends a filter, without the zeros on either side but for those that fill up the lanes.
    fn add(&mut self, weights: &[f64; BINS]) {
        let first = weights.iter().position(|w| *w > 0.0).unwrap_or(0);
        let end = weights.iter().rposition(|w| *w > 0.0).map_or(0, |i| i + 1);
        let bins = (end - first)
            .next_multiple_of(LANES)
            .min(BINS / LANES * LANES);
        let first_bin = first.min(BINS - bins);
        self.filters.push(Triangle {
            first_bin,
            offset: self.weights.len(),
            bins,
        });
        self.weights
            .extend_from_slice(&weights[first_bin..first_bin + bins]);
    }

    /// The log-mel bank of the encoder: [`MELS`] filters.
    pub fn log_mel() -> Self {
        Self::new(MELS, Scale::Mel, LOW_HZ, HIGH_HZ)
    }

    /// The bank behind the MFCC: [`MFCC_FILTERS`] filters.
    pub fn mfcc() -> Self {
        Self::new(MFCC_FILTERS, Scale::Mel, LOW_HZ, HIGH_HZ)
    }

    /// The bank behind the LFCC: [`LFCC_FILTERS`] filters up to half the sample rate.
    pub fn lfcc() -> Self {
        Self::new(
            LFCC_FILTERS,
            Scale::Linear,
            0.0,
            f64::from(SAMPLE_RATE) / 2.0,
        )
    }

    /// How many filters.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether it has no filter.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Writes `ln(max(energy, floor))` of as many filters as fit into `out`, low to high; `floor` has to be positive.
    pub fn log_energies(&self, power: &[f64; BINS], floor: f64, out: &mut [f64]) {
        log_energies(self, power, floor, out);
    }
}

wide! {
    fn log_energies(bank: &Filterbank, power: &[f64; BINS], floor: f64, out: &mut [f64]) {
        for (out, f) in out.iter_mut().zip(&bank.filters) {
            let weights = bank.weights[f.offset..f.offset + f.bins].chunks_exact(LANES);
            let bins = power[f.first_bin..f.first_bin + f.bins].chunks_exact(LANES);
            let mut sums = [0.0; LANES];
            for (weights, bins) in weights.zip(bins) {
                for lane in 0..LANES {
                    sums[lane] += weights[lane] * bins[lane];
                }
            }
            *out = ((sums[0] + sums[2]) + (sums[1] + sums[3])).max(floor);
        }
        ln_all(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_invert() {
        for scale in [Scale::Mel, Scale::KaldiMel, Scale::Linear] {
            for hz in [0.0, 20.0, 440.0, 7600.0] {
                assert!((scale.to_hz(scale.of_hz(hz)) - hz).abs() < 1e-9);
            }
            // 1000 Hz is 1000 mel by the scales' construction.
            assert!((scale.of_hz(1000.0) - 1000.0).abs() < 0.02);
        }
    }

    #[test]
    fn linear_triangles_overlap_to_one() {
        // Between the first and the last centre, neighbouring triangles sum to 1 at every bin.
        let bank = Filterbank::lfcc();
        let mut sum = [0.0; BINS];
        for f in &bank.filters {
            for i in 0..f.bins {
                sum[f.first_bin + i] += bank.weights[f.offset + i];
            }
        }
        for (bin, s) in sum.iter().enumerate().take(BINS - 4).skip(4) {
            assert!((s - 1.0).abs() < 1e-12, "bin {bin}: {s}");
        }
    }

    #[test]
    fn silence_is_the_floor() {
        let bank = Filterbank::log_mel();
        assert_eq!(bank.len(), MELS);
        let mut out = [0.0; MELS];
        bank.log_energies(&[0.0; BINS], LOG_FLOOR, &mut out);
        assert!(out.iter().all(|e| (e - LOG_FLOOR.ln()).abs() < 1e-13));
    }
}
