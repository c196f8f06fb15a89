//! Log-mel features as Kaldi defines them (`compute-fbank-feats`), which BEATs and many speaker encoders were trained
//! on; streaming and at once.

use std::f64::consts::TAU;

use ndarray::Array2;

use super::filterbank::{Filterbank, Scale};
use super::framer::Framer;
use super::spectrum::{BINS, HOP, N_FFT, SAMPLE_RATE, Spectrum, WINDOW, frames, squares};
use super::wide::wide;

/// Kaldi's pre-emphasis: `x[n] − 0.97·x[n−1]`.
const PRE_EMPHASIS: f64 = 0.97;
/// Least energy that a logarithm is taken of: the step of `f32` at 1, of samples as 16-bit integers.
const FLOOR: f64 = f32::EPSILON as f64;

/// What of Kaldi's fbank may differ from model to model. All else is Kaldi's default, without dither: 16 kHz, 25/10 ms,
/// edges snipped, mean of each frame removed, pre-emphasis 0.97, Povey window, power spectrum, natural logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KaldiOptions {
    /// Mel filters, values a frame.
    pub mels: usize,
    /// Lower band limit, Hz.
    pub low_hz: f64,
    /// Upper band limit, Hz; from half the sample rate down where it is not above 0, as in Kaldi.
    pub high_hz: f64,
    /// What samples in ±1 are multiplied by. Kaldi reads 16-bit integers: 32768.
    pub scale: f32,
}

impl Default for KaldiOptions {
    /// 80 mel filters from 20 Hz to 8 kHz, samples as 16-bit integers.
    fn default() -> Self {
        Self {
            mels: 80,
            low_hz: 20.0,
            high_hz: 0.0,
            scale: 32_768.0,
        }
    }
}

impl KaldiOptions {
    /// Those of BEATs (Chen et al., ICML 2023): 128 mel filters. One of them, the fourth, is so narrow that no bin lies in
    /// it, and is the floor always.
    #[must_use]
    pub fn beats() -> Self {
        Self {
            mels: 128,
            ..Self::default()
        }
    }
}

/// Streaming Kaldi fbank: the frames of a signal do not depend on how it was cut into chunks.
pub struct KaldiFbank {
    framer: Framer,
    /// With the Povey window, times the scale.
    spectrum: Spectrum,
    bank: Filterbank,
    power: [f64; BINS],
    energies: Vec<f64>,
}

impl KaldiFbank {
    /// A stream that has seen nothing.
    pub fn new(options: KaldiOptions) -> Self {
        let povey = |n: usize| {
            let hann = 0.5 - 0.5 * (TAU * n as f64 / (WINDOW - 1) as f64).cos();
            hann.powf(0.85) * f64::from(options.scale)
        };
        let half = f64::from(SAMPLE_RATE) / 2.0;
        let high = if options.high_hz > 0.0 {
            options.high_hz
        } else {
            half + options.high_hz
        };
        Self {
            framer: Framer::new(WINDOW, HOP),
            spectrum: Spectrum::with_window((0..WINDOW).map(povey).collect(), N_FFT),
            bank: Filterbank::new(options.mels, Scale::KaldiMel, options.low_hz, high),
            power: [0.0; BINS],
            energies: vec![0.0; options.mels],
        }
    }

    /// Values a frame.
    pub fn mels(&self) -> usize {
        self.energies.len()
    }

    /// Takes `samples` (±1, finite, 16 kHz) and appends every frame that they complete to `out`:
    /// [`KaldiOptions::mels`] values a frame, low to high. Allocates only when `out` has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.framer.push(samples, |frame| {
            let spectrum = self
                .spectrum
                .complex_of(|window, out| emphasise(frame, window, out));
            squares(spectrum, &mut self.power);
            self.bank
                .log_energies(&self.power, FLOOR, &mut self.energies);
            out.extend(self.energies.iter().map(|e| *e as f32));
        });
    }

    /// Forgets the samples of an unfinished frame: the next sample starts frame 0.
    pub fn reset(&mut self) {
        self.framer.reset();
    }
}

wide! {
    /// Takes the frame's mean off, raises its high frequencies and applies the window; all as long as the window.
    fn emphasise(frame: &[f32], window: &[f64], out: &mut [f64]) {
        // Eight sums side by side: none waits for the one before.
        let mut sums = [0.0; 8];
        for samples in frame.chunks_exact(8) {
            for lane in 0..8 {
                sums[lane] += f64::from(samples[lane]);
            }
        }
        let mean = sums.iter().sum::<f64>() / WINDOW as f64;
        let level = (1.0 - PRE_EMPHASIS) * mean;
        let later = frame.iter().zip(frame.iter().skip(1));
        for ((out, w), (before, now)) in out.iter_mut().zip(window).skip(1).zip(later) {
            *out = (f64::from(*now) - PRE_EMPHASIS * f64::from(*before) - level) * w;
        }
        // Before the first sample Kaldi sees that sample once more.
        if let (Some(out), Some(w), Some(first)) = (out.first_mut(), window.first(), frame.first()) {
            *out = (1.0 - PRE_EMPHASIS) * (f64::from(*first) - mean) * w;
        }
    }
}

/// Kaldi fbank of a whole signal (±1, finite, 16 kHz): `[frames, mels]`.
pub fn kaldi_fbank(samples: &[f32], options: &KaldiOptions) -> Array2<f32> {
    let shape = (frames(samples.len()), options.mels);
    let mut out = Vec::with_capacity(shape.0 * shape.1);
    KaldiFbank::new(*options).push(samples, &mut out);
    // `push` appends `mels` values a frame, so the fallback is never taken.
    Array2::from_shape_vec(shape, out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silence_is_the_floor_and_a_constant_is_silence() {
        let options = KaldiOptions::beats();
        for level in [0.0, 0.25] {
            let out = kaldi_fbank(&[level; 1_000], &options);
            assert_eq!(out.dim(), (4, 128));
            assert!(out.iter().all(|e| (e - f32::EPSILON.ln()).abs() < 1e-5));
        }
    }

    #[test]
    fn a_tone_is_loudest_where_it_lies() {
        // In the middle of filter 40: its centre is 41 steps up the mel scale.
        let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
        let centre = mel(20.0) + (mel(8000.0) - mel(20.0)) * 41.0 / 81.0;
        let hz = 700.0 * ((centre / 1127.0).exp() - 1.0);
        let tone: Vec<f32> = (0..1_600)
            .map(|n| (TAU * hz * f64::from(n) / f64::from(SAMPLE_RATE)).sin() as f32)
            .collect();
        let out = kaldi_fbank(&tone, &KaldiOptions::default());
        for row in out.rows() {
            let peak = (0..80).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            assert_eq!(peak, Some(40));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_do_not_matter(chunks in prop::collection::vec(0usize..3_000, 0..8), mels in 1usize..130) {
            let options = KaldiOptions { mels, ..KaldiOptions::default() };
            let signal: Vec<f32> = (0..chunks.iter().sum())
                .map(|n: usize| (n as f32 * 0.3).sin() * 0.4 + (n as f32 * n as f32 * 1e-4).sin() * 0.1)
                .collect();
            let whole = kaldi_fbank(&signal, &options);
            prop_assert_eq!(whole.dim(), (frames(signal.len()), mels));
            let (mut stream, mut out, mut at) = (KaldiFbank::new(options), Vec::new(), 0);
            stream.push(&[0.3; 777], &mut out);
            stream.reset();
            out.clear();
            for chunk in chunks {
                stream.push(&signal[at..at + chunk], &mut out);
                at += chunk;
            }
            prop_assert!(out.iter().map(|x| x.to_bits()).eq(whole.iter().map(|x| x.to_bits())), "not bit-equal");
        }
    }
}
