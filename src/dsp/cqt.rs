//! Constant-Q power by octave decimation: each octave is analysed with the same twelve short kernels on a signal halved
//! once more, so that low notes cost no more than high ones. Brown, "Calculation of a constant Q spectral transform",
//! JASA 1991; the octave scheme after Schörkhuber and Klapuri, SMC 2010.

use std::f64::consts::{PI, TAU};

use super::filterbank::LOG_FLOOR;
use super::log::ln_all;
use super::spectrum::{HOP, SAMPLE_RATE, WINDOW, frames, hann};
use super::wide::wide;

/// Bins: 8 octaves of 12, from 31.25 Hz.
pub const CQT_BINS: usize = OCTAVES * PER_OCTAVE;

const OCTAVES: usize = 8;
const PER_OCTAVE: usize = 12;
const LOWEST_HZ: f64 = 31.25;
/// Reach of the half-band filter to either side.
const REACH: usize = 15;
/// Kernel lengths are rounded up to this with zeros, so that the inner loop has no remainder.
const LANES: usize = 8;
/// Zeros on either side of a signal: longer than any kernel (135) and than the half-band filter.
const PAD: usize = 160;
/// Samples that are worked on at a time.
const BLOCK: usize = 16 * HOP;
/// Samples at the full rate by which the lowest octave may look back and ahead, and the filters before it.
const SPAN: usize = (2 * PAD) << (OCTAVES - 2);

/// Streaming constant-Q analysis: the frames of a signal do not depend on how it was cut into chunks. The lowest notes look
/// 0.4 s ahead; a frame comes when its samples are there, or at [`Cqt::finish`].
pub struct Cqt {
    /// Of the top octave, at the full rate: half as long as the others.
    top: Vec<Kernel>,
    /// Of every other octave; their frequencies relative to the halved rates are the same.
    rest: Vec<Kernel>,
    /// `h[0]` and `h[1], h[3], …, h[15]` of the half-band filter; it is symmetric, and its other even taps are 0.
    half_band: [f64; 1 + REACH.div_ceil(2)],
    /// The signal at the full rate and at each halved one.
    levels: [Level; OCTAVES - 1],
    /// Samples taken.
    taken: usize,
    /// The next frame.
    frame: usize,
}

/// The signal at one rate, from [`PAD`] zeros before its start on, as far as it is still needed.
struct Level {
    held: Vec<f64>,
    /// How many values were dropped in front of those.
    dropped: usize,
}

impl Level {
    fn new(halvings: usize) -> Self {
        let mut held = Vec::with_capacity(3 * PAD + ((SPAN + BLOCK) >> halvings));
        held.resize(PAD, 0.0);
        Self { held, dropped: 0 }
    }

    fn clear(&mut self) {
        self.held.clear();
        self.held.resize(PAD, 0.0);
        self.dropped = 0;
    }

    /// Index of the sample after the last.
    fn end(&self) -> usize {
        self.dropped + self.held.len() - PAD
    }

    /// From [`PAD`] samples before sample `index` on.
    fn before(&self, index: usize) -> &[f64] {
        self.held.get(index - self.dropped..).unwrap_or_default()
    }

    /// Forgets what lies more than [`PAD`] samples before sample `index`.
    fn forget(&mut self, index: usize) {
        let count = index.saturating_sub(self.dropped).min(self.held.len());
        self.held.drain(..count);
        self.dropped += count;
    }

    fn append_zeros(&mut self) {
        self.held.resize(self.held.len() + PAD, 0.0);
    }
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
        let mut power = 0.0;
        power_of(x, &self.re, &self.im, &mut power);
        power
    }
}

wide! {
    fn power_of(x: &[f64], kernel_re: &[f64], kernel_im: &[f64], power: &mut f64) {
        let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
        let kernel = kernel_re.chunks_exact(LANES).zip(kernel_im.chunks_exact(LANES));
        for (x, (kr, ki)) in x.chunks_exact(LANES).zip(kernel) {
            for lane in 0..LANES {
                re[lane] += x[lane] * kr[lane];
                im[lane] += x[lane] * ki[lane];
            }
        }
        let (re, im) = (re.iter().sum::<f64>(), im.iter().sum::<f64>());
        *power = re * re + im * im;
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
            levels: std::array::from_fn(Level::new),
            taken: 0,
            frame: 0,
        }
    }

    /// Takes `samples` (±1, finite) and appends `ln(max(|C_k|², 1e-10))` of every frame that they complete to `out`:
    /// [`CQT_BINS`] values a frame, bin 0 the lowest. Allocates only when `out` has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f64>) {
        for block in samples.chunks(BLOCK) {
            self.taken += block.len();
            let all = &mut self.levels[0].held;
            all.extend(block.iter().map(|s| f64::from(*s)));
            for octave in 1..self.levels.len() {
                self.halve(octave, usize::MAX);
            }
            while self.is_ready() {
                self.append(out);
            }
            self.forget();
        }
    }

    /// Appends the frames whose low notes would look past the end, with zeros there, and starts over.
    pub fn finish(&mut self, out: &mut Vec<f64>) {
        let mut length = self.taken;
        self.levels[0].append_zeros();
        for level in 1..self.levels.len() {
            length = length.div_ceil(2);
            self.halve(level, length);
            self.levels[level].append_zeros();
        }
        while self.frame < frames(self.taken) {
            self.append(out);
        }
        self.reset();
    }

    /// Forgets the signal: the next sample starts frame 0.
    pub fn reset(&mut self) {
        self.levels.iter_mut().for_each(Level::clear);
        (self.taken, self.frame) = (0, 0);
    }

    /// Replaces `out` by the frames of a whole signal, `[frames, CQT_BINS]` row-major.
    pub fn log_power(&mut self, samples: &[f32], out: &mut Vec<f64>) {
        out.clear();
        self.reset();
        self.push(samples, out);
        self.finish(out);
    }

    /// Low-pass and every second sample, from the level above into `level`, as far as that one reaches and to `length` samples.
    fn halve(&mut self, level: usize, length: usize) {
        let (above, below) = self.levels.split_at_mut(level);
        let (Some(x), Some(y), h) = (above.last(), below.first_mut(), &self.half_band) else {
            return;
        };
        while y.end() < length && 2 * y.end() + REACH < x.end() {
            let around = x.before(2 * y.end());
            let sides = h[1..].iter().enumerate().map(|(j, h)| {
                let j = 2 * j + 1;
                h * (around[PAD - j] + around[PAD + j])
            });
            y.held.push(h[0] * around[PAD] + sides.sum::<f64>());
        }
    }

    /// Sample of a level on which frame `frame` is centred.
    fn centre(frame: usize, level: usize) -> usize {
        let rounding = (1 << level) >> 1;
        (HOP * frame + WINDOW / 2 + rounding) >> level
    }

    /// Whether the signal reaches as far as the next frame looks; what the lowest octave sees, the others see as well.
    fn is_ready(&self) -> bool {
        self.levels
            .iter()
            .enumerate()
            .all(|(level, signal)| Self::centre(self.frame, level) + PAD / 2 <= signal.end())
            && self.frame < frames(self.taken)
    }

    /// Appends the next frame.
    fn append(&mut self, out: &mut Vec<f64>) {
        let from = out.len();
        out.resize(from + CQT_BINS, 0.0);
        let row = &mut out[from..];
        for (octave, row) in row.rchunks_exact_mut(PER_OCTAVE).enumerate() {
            let level = octave.saturating_sub(1);
            let around = self.levels[level].before(Self::centre(self.frame, level));
            let kernels = if octave == 0 { &self.top } else { &self.rest };
            for (value, kernel) in row.iter_mut().zip(kernels) {
                *value = kernel
                    .power(&around[PAD - kernel.length / 2..])
                    .max(LOG_FLOOR);
            }
        }
        ln_all(row);
        self.frame += 1;
    }

    /// Drops what neither the next frame nor the next halving needs.
    fn forget(&mut self) {
        for level in 0..self.levels.len() {
            let halved = self
                .levels
                .get(level + 1)
                .map_or(usize::MAX, |l| 2 * l.end());
            self.levels[level].forget(halved.min(Self::centre(self.frame, level)));
        }
    }
}

impl Default for Cqt {
    fn default() -> Self {
        Self::new()
    }
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
    use proptest::prelude::*;

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
        assert_eq!(out.len(), CQT_BINS);
        assert!(out.iter().all(|e| (e - LOG_FLOOR.ln()).abs() < 1e-13));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chunks_do_not_matter(chunks in prop::collection::vec(0usize..6_000, 0..10)) {
            let signal: Vec<f32> = (0..chunks.iter().sum())
                .map(|n: usize| (n as f32 * 0.02).sin() * 0.4 + (n as f32 * n as f32 * 1e-5).sin() * 0.1)
                .collect();
            let (mut cqt, mut whole) = (Cqt::new(), Vec::new());
            cqt.log_power(&signal, &mut whole);
            prop_assert_eq!(whole.len(), frames(signal.len()) * CQT_BINS);
            let room: Vec<usize> = cqt.levels.iter().map(|l| l.held.capacity()).collect();
            let (mut out, mut at) = (Vec::new(), 0);
            for chunk in chunks {
                cqt.push(&signal[at..at + chunk], &mut out);
                at += chunk;
                // All but what looks ahead is out.
                prop_assert!(out.len() / CQT_BINS + 40 >= frames(at));
            }
            cqt.finish(&mut out);
            prop_assert!(out.iter().map(|x| x.to_bits()).eq(whole.iter().map(|x| x.to_bits())), "not bit-equal");
            prop_assert!(cqt.levels.iter().map(|l| l.held.capacity()).eq(room), "memory grew");
        }
    }
}
