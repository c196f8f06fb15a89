//! Triangular filter banks on the mel and on the linear scale, and the constants of those in use.

use super::spectrum::{BINS, N_FFT, SAMPLE_RATE};

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
    /// HTK mel: `2595·log10(1 + f/700)`.
    Mel,
    /// Hz.
    Linear,
}

impl Scale {
    fn of_hz(self, hz: f64) -> f64 {
        match self {
            Self::Mel => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Linear => hz,
        }
    }

    fn to_hz(self, value: f64) -> f64 {
        match self {
            Self::Mel => 700.0 * (10f64.powf(value / 2595.0) - 1.0),
            Self::Linear => value,
        }
    }
}

/// Triangles over the bins of a power spectrum, stored without their zeros.
pub struct Filterbank {
    filters: Vec<Triangle>,
    weights: Vec<f64>,
}

struct Triangle {
    first_bin: usize,
    /// Where its weights start in `Filterbank::weights`.
    offset: usize,
    bins: usize,
}

impl Filterbank {
    /// `filters` triangles between `low_hz` and `high_hz`, edges equally spaced on `scale`.
    pub fn new(filters: usize, scale: Scale, low_hz: f64, high_hz: f64) -> Self {
        let (low, high) = (scale.of_hz(low_hz), scale.of_hz(high_hz));
        let edge = |i: usize| scale.to_hz(low + (high - low) * i as f64 / (filters + 1) as f64);
        let mut bank = Self {
            filters: Vec::with_capacity(filters),
            weights: Vec::new(),
        };
        for i in 0..filters {
            let (left, centre, right) = (edge(i), edge(i + 1), edge(i + 2));
            let offset = bank.weights.len();
            let mut first_bin = 0;
            for bin in 0..BINS {
                let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
                let weight = ((hz - left) / (centre - left)).min((right - hz) / (right - centre));
                if weight > 0.0 {
                    if bank.weights.len() == offset {
                        first_bin = bin;
                    }
                    bank.weights.push(weight);
                }
            }
            bank.filters.push(Triangle {
                first_bin,
                offset,
                bins: bank.weights.len() - offset,
            });
        }
        bank
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

    /// `ln(max(energy, 1e-10))` of each filter, low to high.
    pub fn log_energies<'a>(&'a self, power: &'a [f64; BINS]) -> impl Iterator<Item = f64> + 'a {
        self.filters.iter().map(|f| {
            let weights = &self.weights[f.offset..f.offset + f.bins];
            let bins = &power[f.first_bin..f.first_bin + f.bins];
            let energy: f64 = weights.iter().zip(bins).map(|(w, p)| w * p).sum();
            energy.max(LOG_FLOOR).ln()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_invert() {
        for hz in [0.0, 20.0, 440.0, 7600.0] {
            assert!((Scale::Mel.to_hz(Scale::Mel.of_hz(hz)) - hz).abs() < 1e-9);
        }
        // 1000 Hz is 1000 mel by the scale's construction.
        assert!((Scale::Mel.of_hz(1000.0) - 1000.0).abs() < 0.02);
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
        assert!(bank.log_energies(&[0.0; BINS]).all(|e| e == LOG_FLOOR.ln()));
    }
}
