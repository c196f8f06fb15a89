//! What is measured on each window for the health of its stream: on the samples whether a microphone still moves, on the
//! log-mel frames where the speech ends in frequency, on the hidden states a sketch of what the encoder says.

use ndarray::{ArrayView2, ArrayView3};
use realfft::RealFftPlanner;

use crate::audio::SAMPLE_RATE;
use crate::dsp::{MELS, dot, exp, wide};

/// Values of a sketch.
pub const SKETCH: usize = 64;
/// Seconds of hidden states that make one.
const STATE_S: f64 = 0.1;
/// Lags at which samples may repeat: a driver's buffer of 4 ms to 0.4 s.
const LAGS: std::ops::Range<usize> = 64..6400;
/// Correlation with themselves from which on samples repeat: what differs lies 40 dB below. Speech and music stay far below.
const REPEATS: f64 = 0.9999;
/// Samples of the loudest stretch, which is looked for in what came before it: where all samples repeat, so does it.
const STRETCH: usize = 1024;
/// Correlation of that stretch from which on all samples are looked at.
const MAY_REPEAT: f64 = 0.999;
/// Samples of the loudest piece of the stretch. It has at least a sixteenth of the stretch's energy, so that of what it differs by, at most
/// 1 − 0.999² of the stretch, no more than a thirtieth of its own energy can lie in it: its correlation is at least 0.984.
const PIECE: usize = STRETCH / 16;
/// What it is held to, with room for rounding.
const PIECE_MAY: f64 = 0.98;
/// Less than this is the last bit of a converter, not a room.
const STILL: f32 = 1.0 / 32_768.0;

/// What one window says of its stream's health.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Its new samples do not move, or repeat.
    pub is_stuck: bool,
    /// Mean energy of each log-mel band over the new frames of speech, and how many there were; none without speech.
    pub bands: Option<(Vec<f64>, usize)>,
    /// Sketches of the hidden states of its new speech, [`SKETCH`] values each.
    pub states: Vec<Vec<f32>>,
}

/// Measures, with the plans and the projections that it needs again and again.
pub struct Meter {
    planner: RealFftPlanner<f64>,
    /// `[layers · dim, SKETCH]`; made with the first states.
    signs: Vec<f32>,
    scale: f32,
}

impl Meter {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self {
            planner: RealFftPlanner::new(),
            signs: Vec::new(),
            scale: 1.0,
        }
    }

    /// Whether the samples are constant (to the last of 16 bits), or the same again and again. At least half a second is
    /// needed for an answer.
    pub fn is_stuck(&mut self, samples: &[f32]) -> bool {
        if samples.len() < SAMPLE_RATE as usize / 2 {
            return false;
        }
        let (low, high) = samples
            .iter()
            .fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
        high - low <= STILL || Self::may_repeat(samples) && self.repeats(samples)
    }

    /// Whether the loudest stretch stood before: a twentieth of the work of [`Meter::repeats`], which nearly always ends here.
    fn may_repeat(samples: &[f32]) -> bool {
        let lags = LAGS.end.min(samples.len() / 2 + 1);
        let half = STRETCH / 2;
        // The stretches begin in steps of a half, so that each half is summed up once.
        let first = lags - 1;
        let halves: Vec<f64> = samples[first..].chunks_exact(half).map(energy).collect();
        let Some(at) = loudest(halves.windows(2).map(|two| two[0] + two[1])) else {
            return true;
        };
        let start = first + at * half;
        // As in the full measure a constant part does not count; here it is the stretch's.
        let mean = samples[start..start + STRETCH].iter().sum::<f32>() / STRETCH as f32;
        let past = &samples[start - first..start + STRETCH];
        let past: Vec<f32> = past.iter().map(|x| x - mean).collect();
        let stretch = &past[first..];
        // What holds for all of it to some degree holds for its loudest piece to a lesser.
        let pieces = stretch.chunks_exact(PIECE).map(energy);
        let piece = loudest(pieces).unwrap_or_default() * PIECE;
        let own = energy(stretch);
        let is_like = |at: usize| {
            let before = &past[at..at + STRETCH];
            let product = dot(stretch, before);
            product > 0.0 && product * product > MAY_REPEAT * MAY_REPEAT * own * energy(before)
        };
        let mut places = vec![[0.0; 2]; lags - LAGS.start];
        let needle: [f32; PIECE] = std::array::from_fn(|i| stretch[piece + i]);
        slide(&needle, &past[piece..], &mut places);
        let bound = (PIECE_MAY * PIECE_MAY * energy(&needle)) as f32;
        let may = |[product, other]: &[f32; 2]| *product > 0.0 && product * product > bound * other;
        let mut found = places.iter().enumerate().filter(|(_, place)| may(place));
        found.any(|(at, _)| is_like(at))
    }

    /// Whether the samples are those of one period, by the correlation with themselves at each lag, over what overlaps.
    fn repeats(&mut self, samples: &[f32]) -> bool {
        let n = samples.len();
        let size = (2 * n).next_power_of_two();
        let mean = samples.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
        let mut signal: Vec<f64> = samples.iter().map(|x| f64::from(*x) - mean).collect();
        // Energies of the first samples, and so of any stretch.
        let mut sums = vec![0.0; n + 1];
        for (i, x) in signal.iter().enumerate() {
            sums[i + 1] = sums[i] + x * x;
        }
        signal.resize(size, 0.0);
        let there = self.planner.plan_fft_forward(size);
        let back = self.planner.plan_fft_inverse(size);
        let mut spectrum = there.make_output_vec();
        if there.process(&mut signal, &mut spectrum).is_err() {
            return false;
        }
        for bin in &mut spectrum {
            (bin.re, bin.im) = (bin.norm_sqr(), 0.0);
        }
        if back.process(&mut spectrum, &mut signal).is_err() {
            return false;
        }
        let likeness = |lag: usize| {
            let (first, last) = (sums[n - lag], sums[n] - sums[lag]);
            signal[lag] / size as f64 / (first * last).sqrt().max(f64::MIN_POSITIVE)
        };
        let mut lags = LAGS.take_while(|lag| 2 * lag <= n);
        lags.any(|lag| likeness(lag) > REPEATS)
    }

    /// Sketches of hidden states `[layers, vectors, dim]` of which so many are a second's: means over 100 ms, those of each
    /// layer of norm 1, all layers one after the other, and of that random projections (sums with signs that are always the
    /// same). What has few dimensions before has few after. What is left at the end is too short.
    pub fn sketch(&mut self, states: ArrayView3<f32>, vectors_a_second: f64) -> Vec<Vec<f32>> {
        let (layers, vectors, dim) = states.dim();
        let wide = layers * dim;
        if self.signs.len() != SKETCH * wide {
            let place = |i: usize| i % SKETCH * wide + i / SKETCH;
            self.signs = (0..SKETCH * wide).map(|i| sign(place(i))).collect();
            self.scale = 1.0 / (wide as f32).sqrt();
        }
        let each = ((STATE_S * vectors_a_second).round() as usize).max(1);
        let pieces = vectors / each;
        let mut means = vec![0.0f32; pieces * wide];
        for (piece, means) in means.chunks_mut(wide.max(1)).enumerate() {
            for (layer, mean) in states.outer_iter().zip(means.chunks_mut(dim.max(1))) {
                for vector in piece * each..(piece + 1) * each {
                    let row = layer.row(vector);
                    match row.to_slice() {
                        Some(row) => mean.iter_mut().zip(row).for_each(|(m, x)| *m += x),
                        None => mean.iter_mut().zip(row).for_each(|(m, x)| *m += x),
                    }
                }
                let norm = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
                mean.iter_mut()
                    .for_each(|x| *x *= self.scale / norm.max(1e-12));
            }
        }
        let mut sketches = vec![0.0f32; pieces * SKETCH];
        project(&means, &self.signs, &mut sketches);
        sketches.chunks(SKETCH).map(<[f32]>::to_vec).collect()
    }
}

wide! {
    /// Adds to each piece's sums `[SKETCH]` its `means` times `signs`; all pieces at once, so that the signs are read once.
    fn project(means: &[f32], signs: &[f32], sums: &mut [f32]) {
        let wide = signs.len() / SKETCH;
        for (i, signs) in signs.chunks_exact(SKETCH).enumerate() {
            for (piece, sums) in sums.chunks_exact_mut(SKETCH).enumerate() {
                let mean = means[piece * wide + i];
                for (sum, sign) in sums.iter_mut().zip(signs) {
                    *sum += mean * sign;
                }
            }
        }
    }
}

/// Places that are looked at together in [`slide`].
const TOGETHER: usize = 32;

wide! {
    /// The product of `needle` and what lies at each place of `past`, and the energy of the latter.
    fn slide(needle: &[f32; PIECE], past: &[f32], places: &mut [[f32; 2]]) {
        for (block, places) in places.chunks_mut(TOGETHER).enumerate() {
            let (mut products, mut energies) = ([0.0f32; TOGETHER], [0.0f32; TOGETHER]);
            for (i, own) in needle.iter().enumerate() {
                let from = block * TOGETHER + i;
                // Behind the last place lies the stretch, which is longer than both.
                let there = past.get(from..from + TOGETHER).unwrap_or_default();
                for ((x, product), energy) in there.iter().zip(&mut products).zip(&mut energies) {
                    *product += own * x;
                    *energy += x * x;
                }
            }
            for ((place, product), energy) in places.iter_mut().zip(products).zip(energies) {
                *place = [product, energy];
            }
        }
    }
}

fn energy(samples: &[f32]) -> f64 {
    dot(samples, samples)
}

/// Which is the greatest; none of none.
fn loudest(energies: impl Iterator<Item = f64>) -> Option<usize> {
    let all = energies.enumerate();
    all.max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(at, _)| at)
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// Mean energies of the log-mel frames `[T, 80]`; none of no frames.
pub fn bands(frames: ArrayView2<f32>) -> Option<(Vec<f64>, usize)> {
    if frames.nrows() == 0 {
        return None;
    }
    let mut sums = vec![0.0; MELS];
    for frame in frames.outer_iter() {
        let frame = frame.as_standard_layout();
        add_energies(frame.as_slice().unwrap_or_default(), &mut sums);
    }
    let count = frames.nrows();
    sums.iter_mut().for_each(|s| *s /= count as f64);
    Some((sums, count))
}

wide! {
    /// The energies of one frame of log-mel bands, added to those of others.
    fn add_energies(frame: &[f32], sums: &mut [f64]) {
        for (sum, log) in sums.iter_mut().zip(frame) {
            *sum += f64::from(exp(*log));
        }
    }
}

/// Plus or minus one, by a hash of the place (the finaliser of MurmurHash3).
fn sign(place: usize) -> f32 {
    let mut h = place as u64 + 1;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    match (h ^ (h >> 33)) & 1 {
        0 => -1.0,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::task::health::triggers::voice;

    #[test]
    fn constant_and_repeated_samples_are_stuck_and_speech_is_not() {
        let mut meter = Meter::new();
        let mut is_stuck = |samples: &[f32]| meter.is_stuck(samples);
        assert!(is_stuck(&[0.0; 16_000]) && is_stuck(&[0.3; 16_000]));
        let speech = voice(1, 1.0, 16_000);
        assert!(!is_stuck(&speech));
        for period in [341, 1024, 4800] {
            let again: Vec<f32> = speech
                .iter()
                .copied()
                .take(period)
                .cycle()
                .take(16_000)
                .collect();
            assert!(is_stuck(&again), "{period}");
        }
        // The last bit of a converter is no room.
        let bit = |i: usize| f32::from(u8::from(i.is_multiple_of(3))) / 32_768.0;
        assert!(is_stuck(&(0..16_000).map(bit).collect::<Vec<_>>()));
        assert!(!is_stuck(&speech[..4_000]), "too short to tell");
        // Again and again, 40 dB above a noise of its own: still the same.
        let mut noise = crate::task::health::triggers::Noise::default();
        let level = (speech.iter().map(|x| x * x).sum::<f32>() / 16_000.0).sqrt();
        let again = speech.iter().copied().take(2048).cycle().take(16_000);
        let noisy = again.map(|x| x + (noise.next() as f32) * level * 0.003);
        assert!(is_stuck(&noisy.collect::<Vec<_>>()));
        let noise: Vec<f32> = (0..16_000).map(|_| (0.01 * noise.next()) as f32).collect();
        assert!(!is_stuck(&noise));
    }

    /// That the loudest piece is asked first leaves nothing out: the same as to hold the stretch to all that came before.
    #[test]
    fn a_piece_is_alike_wherever_the_stretch_is() {
        let mut noise = crate::task::health::triggers::Noise::default();
        let mut found = 0;
        for seed in 0..60 {
            let speech = voice(seed, 1.0, 16_000);
            let period = 400 + 97 * seed;
            let noisy = 0.0005 * (1 + seed % 7) as f32;
            let level = (energy(&speech) / 16_000.0).sqrt() as f32;
            let again = speech.iter().take(period).cycle().take(16_000);
            let again: Vec<f32> = again
                .map(|x| x + 10.0 * noisy * level * noise.next() as f32)
                .collect();
            let halves: Vec<f64> = again[6399..].chunks_exact(512).map(energy).collect();
            let start = loudest(halves.windows(2).map(|two| two[0] + two[1])).unwrap();
            let start = 6399 + 512 * start;
            let mean = again[start..start + STRETCH].iter().sum::<f32>() / STRETCH as f32;
            let flat: Vec<f32> = again.iter().map(|x| x - mean).collect();
            let stretch = &flat[start..start + STRETCH];
            let is_like = |lag: usize| {
                let before = &flat[start - lag..start - lag + STRETCH];
                let both = (energy(stretch) * energy(before)).sqrt();
                dot(stretch, before) > MAY_REPEAT * both
            };
            let expected = LAGS.into_iter().any(is_like);
            assert_eq!(Meter::may_repeat(&again), expected, "{seed}");
            found += usize::from(expected);
        }
        assert!((6..55).contains(&found), "{found} of 60 are alike");
    }

    #[test]
    fn sketches_keep_how_many_dimensions_there_are() {
        let mut meter = Meter::new();
        let states = Array3::from_shape_fn((2, 50, 100), |(l, t, d)| {
            ((l * 7919 + t * 104_729 + d * 1_299_709) % 1000) as f32 / 500.0 - 1.0
        });
        let sketches = meter.sketch(states.view(), 50.0);
        assert_eq!(sketches.len(), 10);
        assert!(sketches.iter().all(|s| s.len() == SKETCH));
        assert_ne!(sketches[0], sketches[1]);
        let norm: f32 = sketches[0].iter().map(|x| x * x).sum();
        assert!((0.2..3.0).contains(&norm), "{norm}");
        assert_eq!(meter.sketch(states.view(), 50.0), sketches);
        let still = Array3::from_elem((2, 50, 100), 0.5);
        let sketches = meter.sketch(still.view(), 50.0);
        assert!(sketches.iter().all(|s| *s == sketches[0]));
        assert!(
            meter
                .sketch(Array3::zeros((2, 3, 100)).view(), 50.0)
                .is_empty()
        );
    }
}
