//! The one definition of frames and of the short-time power spectrum that every feature shares.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::wide::wide;

/// Hz. Nothing behind the frontend knows another rate.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples a frame: 25 ms.
pub const WINDOW: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// Points of the Fourier transform; the window is zero-padded to it.
pub const N_FFT: usize = 512;
/// Bins of the power spectrum, 0 Hz to half the sample rate.
pub const BINS: usize = N_FFT / 2 + 1;

/// How many whole frames fit into `samples` samples (edges snipped): 3 s give 298.
pub const fn frames(samples: usize) -> usize {
    if samples < WINDOW {
        0
    } else {
        1 + (samples - WINDOW) / HOP
    }
}

/// Spectrum of one frame. Owns its plan and buffers: no allocation after `new`.
pub struct Spectrum {
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f64>,
    input: Vec<f64>,
    output: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

impl Spectrum {
    /// That of the features: a Hann window of [`WINDOW`] samples, [`N_FFT`] points.
    pub fn new() -> Self {
        Self::with_window((0..WINDOW).map(|n| hann(n, WINDOW)).collect(), N_FFT)
    }

    /// Plans a transform of `points`, at least as many as the window has.
    pub(super) fn with_window(window: Vec<f64>, points: usize) -> Self {
        let fft = RealFftPlanner::<f64>::new().plan_fft_forward(points);
        Self {
            window,
            input: fft.make_input_vec(),
            output: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
        }
    }

    /// `X_k` of the samples of `frame` that the window covers, `points/2 + 1` values, unnormalised. A shorter frame is
    /// zero-padded.
    pub fn complex(&mut self, frame: &[f32]) -> &[Complex<f64>] {
        self.complex_of(|window, input| weigh(frame, window, input))
    }

    /// Writes `|X_k|²` to `power` and returns `X_k`.
    pub fn power(&mut self, frame: &[f32], power: &mut [f64]) -> &[Complex<f64>] {
        let spectrum = self.complex(frame);
        squares(spectrum, power);
        spectrum
    }

    /// `X_k` of what `fill` makes of the window, into as many values.
    pub(super) fn complex_of(&mut self, fill: impl FnOnce(&[f64], &mut [f64])) -> &[Complex<f64>] {
        // The transform uses its input as scratch, so all of it has to be written every time.
        let (input, padding) = self.input.split_at_mut(self.window.len());
        fill(&self.window, input);
        padding.fill(0.0);
        let done =
            self.fft
                .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch);
        debug_assert!(done.is_ok(), "buffers were made by the plan");
        &self.output
    }
}

wide! {
    fn weigh(frame: &[f32], window: &[f64], out: &mut [f64]) {
        for ((x, s), w) in out.iter_mut().zip(frame).zip(window) {
            *x = f64::from(*s) * w;
        }
        out[frame.len().min(window.len())..].fill(0.0);
    }

    pub(super) fn squares(spectrum: &[Complex<f64>], power: &mut [f64]) {
        for (p, x) in power.iter_mut().zip(spectrum) {
            *p = x.re * x.re + x.im * x.im;
        }
    }
}

impl Default for Spectrum {
    fn default() -> Self {
        Self::new()
    }
}

/// Periodic Hann window of `length` points.
pub(super) fn hann(n: usize, length: usize) -> f64 {
    0.5 - 0.5 * (TAU * n as f64 / length as f64).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_as_documented() {
        assert_eq!(frames(0), 0);
        assert_eq!(frames(399), 0);
        assert_eq!(frames(400), 1);
        assert_eq!(frames(559), 1);
        assert_eq!(frames(560), 2);
        assert_eq!(frames(48_000), 298);
    }

    #[test]
    fn power_obeys_parseval() {
        let frame: Vec<f32> = (0..WINDOW).map(|n| (n as f32 * 0.37).sin() * 0.5).collect();
        let mut power = [0.0; BINS];
        Spectrum::new().power(&frame, &mut power);
        let energy: f64 = (0..WINDOW)
            .map(|n| (f64::from(frame[n]) * hann(n, WINDOW)).powi(2))
            .sum();
        let folded: f64 = power[0] + power[BINS - 1] + 2.0 * power[1..BINS - 1].iter().sum::<f64>();
        assert!((folded / N_FFT as f64 - energy).abs() < 1e-9 * energy);
    }

    #[test]
    fn a_sine_peaks_in_its_bin() {
        let bin = 40;
        let frame: Vec<f32> = (0..WINDOW)
            .map(|n| (TAU * (bin * n) as f64 / N_FFT as f64).sin() as f32)
            .collect();
        let mut power = [0.0; BINS];
        Spectrum::new().power(&frame, &mut power);
        let peak = (0..BINS).max_by(|a, b| power[*a].total_cmp(&power[*b]));
        assert_eq!(peak, Some(bin));
        // Amplitude of a windowed sine: half the window's sum, which is WINDOW/2.
        assert!((power[bin].sqrt() - WINDOW as f64 / 4.0).abs() < 0.5);
    }
}
