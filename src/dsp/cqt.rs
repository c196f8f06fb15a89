//! Constant-Q power by octave decimation: each octave is analysed with the same twelve short kernels on a signal halved
//! once more, so that low notes cost no more than high ones. Brown, "Calculation of a constant Q spectral transform",
//! JASA 1991; the octave scheme after Schörkhuber and Klapuri, SMC 2010.

use std::f64::consts::{PI, TAU};

use super::filterbank::LOG_FLOOR;
use super::spectrum::{HOP, SAMPLE_RATE, WINDOW, frames, hann};

/// Bins: 8 octaves of 12, from 31.25 Hz.
pub const CQT_BINS: usize = OCTAVES * PER_OCTAVE;

const OCTAVES: usize = 8;
const PER_OCTAVE: usize = 12;
const LOWEST_HZ: f64 = 31.25;
/// Reach of the half-band filter to either side.
const REACH: usize = 15;
/// Kernel lengths are rounded up to this with zeros, so that the inner loop has no remainder.
const LANES: usize = 4;
/// Zeros on either side of a signal: longer than any kernel (135) and than the half-band filter.
const PAD: usize = 160;

/// Constant-Q analysis. Owns kernels and buffers: a second call on a signal of the same length allocates nothing.
pub struct Cqt {
    /// Of the top octave, at the full rate: half as long as the others.
    top: Vec<Kernel>,
    /// Of every other octave; their frequencies relative to the halved rates are the same.
    rest: Vec<Kernel>,
    /// `h[0]` and `h[1], h[3], …, h[15]` of the half-band filter; it is symmetric, and its other even taps are 0.
    half_band: [f64; 1 + REACH.div_ceil(2)],
    /// The signal at the present rate, [`PAD`] zeros on either side.
    signal: Vec<f64>,
    next: Vec<f64>,
}

struct Kernel {
    /// Without the zeros at the end.
    length: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Kernel {
    /// Hann-windowed complex exponential of constant-Q length, its weights summing to 1.
    fn new(hz: f64, rate: f64) -> Self {
        let q = 1.0 / (2f64.powf(1.0 / PER_OCTAVE as f64) - 1.0);
        let length = (q * rate / hz).ceil() as usize;
        let sum: f64 = (0..length).map(|n| hann(n, length)).sum();
        let padded = length.next_multiple_of(LANES);
        let (mut re, mut im) = (vec![0.0; padded], vec![0.0; padded]);
        for n in 0..length {
            let (weight, phase) = (hann(n, length) / sum, -TAU * hz * n as f64 / rate);
            re[n] = weight * phase.cos();
            im[n] = weight * phase.sin();
        }
        Self { length, re, im }
    }

    /// `|Σ x·kernel|²`
    fn power(&self, x: &[f64]) -> f64 {
        let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
        let kernel = self.re.chunks_exact(LANES).zip(self.im.chunks_exact(LANES));
        for (x, (kr, ki)) in x.chunks_exact(LANES).zip(kernel) {
            for lane in 0..LANES {
                re[lane] += x[lane] * kr[lane];
                im[lane] += x[lane] * ki[lane];
            }
        }
        let (re, im) = (re.iter().sum::<f64>(), im.iter().sum::<f64>());
        re * re + im * im
    }
}

impl Cqt {
    /// Computes the kernels.
    pub fn new() -> Self {
        let rate = f64::from(SAMPLE_RATE);
        let octave = |lowest: f64| {
            (0..PER_OCTAVE).map(move |i| lowest * 2f64.powf(i as f64 / PER_OCTAVE as f64))
        };
        let top = LOWEST_HZ * 2f64.powi(OCTAVES as i32 - 1);
        Self {
            top: octave(top).map(|hz| Kernel::new(hz, rate)).collect(),
            rest: octave(top / 2.0).map(|hz| Kernel::new(hz, rate)).collect(),
            half_band: half_band(),
            signal: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Replaces `out` by `ln(max(|C_k|², 1e-10))`, `[frames, CQT_BINS]` row-major, bin 0 the lowest.
    pub fn log_power(&mut self, samples: &[f32], out: &mut Vec<f64>) {
        let count = frames(samples.len());
        out.clear();
        out.resize(count * CQT_BINS, 0.0);
        load(&mut self.signal, samples.iter().map(|s| f64::from(*s)));
        let mut length = samples.len();
        for octave in 0..OCTAVES {
            let halvings = octave.saturating_sub(1);
            if halvings > 0 {
                length = self.halve(length);
            }
            let kernels = if octave == 0 { &self.top } else { &self.rest };
            let first = (OCTAVES - 1 - octave) * PER_OCTAVE;
            for (t, row) in out.chunks_exact_mut(CQT_BINS).enumerate() {
                let rounding = (1 << halvings) >> 1;
                let centre = PAD + ((HOP * t + WINDOW / 2 + rounding) >> halvings);
                for (value, kernel) in row[first..].iter_mut().zip(kernels) {
                    let power = kernel.power(&self.signal[centre - kernel.length / 2..]);
                    *value = power.max(LOG_FLOOR).ln();
                }
            }
        }
    }

    /// Low-pass and every second sample: the signal of `length` samples becomes `ceil(length/2)` samples.
    fn halve(&mut self, length: usize) -> usize {
        let half = length.div_ceil(2);
        let (x, h) = (&self.signal, &self.half_band);
        load(
            &mut self.next,
            (0..half).map(|i| {
                let at = PAD + 2 * i;
                let sides = h[1..].iter().enumerate().map(|(j, h)| {
                    let j = 2 * j + 1;
                    h * (x[at - j] + x[at + j])
                });
                h[0] * x[at] + sides.sum::<f64>()
            }),
        );
        std::mem::swap(&mut self.signal, &mut self.next);
        half
    }
}

impl Default for Cqt {
    fn default() -> Self {
        Self::new()
    }
}

/// Fills `buffer` with `values` between zeros.
fn load(buffer: &mut Vec<f64>, values: impl Iterator<Item = f64>) {
    buffer.clear();
    buffer.resize(PAD, 0.0);
    buffer.extend(values);
    buffer.resize(buffer.len() + PAD, 0.0);
}

/// `0.5·sinc(j/2)·(0.54 + 0.46·cos(πj/15))` over its sum, for j = 0, 1, 3, …, 15.
fn half_band() -> [f64; 1 + REACH.div_ceil(2)] {
    let tap = |j: i32| {
        let (u, j) = (PI * f64::from(j) / 2.0, f64::from(j));
        let sinc = if j == 0.0 { 1.0 } else { u.sin() / u };
        0.5 * sinc * (0.54 + 0.46 * (PI * j / REACH as f64).cos())
    };
    let reach = REACH as i32;
    let sum: f64 = (-reach..=reach).map(tap).sum();
    std::array::from_fn(|i| tap((2 * i as i32 - 1).max(0)) / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_peaks_in_its_bin() {
        for bin in [24, 40, 57, 70, 83, 95] {
            let hz = LOWEST_HZ * 2f64.powf(bin as f64 / PER_OCTAVE as f64);
            let tone: Vec<f32> = (0..16_000)
                .map(|n| (TAU * hz * f64::from(n) / f64::from(SAMPLE_RATE)).sin() as f32)
                .collect();
            let mut out = Vec::new();
            Cqt::new().log_power(&tone, &mut out);
            let row = &out[50 * CQT_BINS..51 * CQT_BINS];
            let peak = (0..CQT_BINS).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            assert_eq!(peak, Some(bin));
            // Weights sum to 1, so a full-scale sine has amplitude 1/2, wherever it lies (half-band ripple aside).
            assert!(
                (row[bin] - 0.25f64.ln()).abs() < 0.05,
                "bin {bin}: {}",
                row[bin]
            );
        }
    }

    #[test]
    fn short_signals_have_no_frames_and_buffers_are_reused() {
        let (mut cqt, mut out) = (Cqt::new(), vec![1.0]);
        cqt.log_power(&[0.5; 399], &mut out);
        assert!(out.is_empty());
        let signal: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.11).sin()).collect();
        cqt.log_power(&signal, &mut out);
        let first = out.clone();
        cqt.log_power(&[0.1; 20_000], &mut out);
        cqt.log_power(&signal, &mut out);
        assert_eq!(first, out);
    }

    #[test]
    fn silence_is_the_floor() {
        let mut out = Vec::new();
        Cqt::new().log_power(&[0.0; 400], &mut out);
        assert_eq!(out, vec![LOG_FLOOR.ln(); CQT_BINS]);
    }
}
