//! Key of music: which of 24 key profiles its pitch classes are like. Krumhansl, "Cognitive Foundations of Musical Pitch",
//! 1990 (the probe-tone profiles of Krumhansl and Kessler, 1982).

use std::f64::consts::TAU;
use std::fmt;

use realfft::RealFftPlanner;

use super::spectrum::{SAMPLE_RATE, hann};
use super::tempo::vertex;

/// Points of the transform: 256 ms tell semitones apart from 65 Hz on.
const POINTS: usize = 4096;
const STEP: usize = POINTS / 2;
/// Hz between which partials count: above, overtones of other pitches prevail.
const LOWEST_HZ: f64 = 65.0;
const HIGHEST_HZ: f64 = 2000.0;
/// A peak counts from this share of its frame's highest on: 40 dB below in power.
const PEAK: f64 = 0.01;
/// Profiles less alike than this are no key.
const WEAKEST: f64 = 0.5;

const MAJOR: [f64; 12] = [
    6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88,
];
const MINOR: [f64; 12] = [
    6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17,
];
const NAMES: [&str; 12] = [
    "C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B",
];

/// The key of a piece.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Pitch class of the tonic: 0 = C to 11 = B.
    pub tonic: u8,
    /// Minor, not major.
    pub minor: bool,
    /// Correlation with the key's profile, to 1.
    pub likeness: f64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.get(usize::from(self.tonic)).unwrap_or(&"?");
        write!(f, "{name} {}", if self.minor { "minor" } else { "major" })
    }
}

/// Key of a clip of at least 5 s at 16 kHz; `None` for shorter ones and for those whose pitches make no key.
pub fn key(samples: &[f32]) -> Option<Key> {
    if samples.len() < 5 * SAMPLE_RATE as usize {
        return None;
    }
    let classes = pitch_classes(&partials(samples));
    let both = [(false, MAJOR), (true, MINOR)];
    let all = both.iter().flat_map(|(minor, profile)| {
        (0..12usize).map(move |tonic| {
            let turned = std::array::from_fn(|i| profile[(i + 12 - tonic) % 12]);
            Key {
                tonic: tonic as u8,
                minor: *minor,
                likeness: correlation(&classes, &turned),
            }
        })
    });
    all.max_by(|a, b| a.likeness.total_cmp(&b.likeness))
        .filter(|k| k.likeness >= WEAKEST)
}

/// The partials of all frames: semitones from A4, and amplitude.
fn partials(samples: &[f32]) -> Vec<(f64, f64)> {
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(POINTS);
    let (mut input, mut output) = (fft.make_input_vec(), fft.make_output_vec());
    let hz = f64::from(SAMPLE_RATE) / POINTS as f64;
    let (low, high) = ((LOWEST_HZ / hz) as usize, (HIGHEST_HZ / hz) as usize);
    let mut found = Vec::new();
    for frame in samples.windows(POINTS).step_by(STEP) {
        for (n, (x, s)) in input.iter_mut().zip(frame).enumerate() {
            *x = f64::from(*s) * hann(n, POINTS);
        }
        if fft.process(&mut input, &mut output).is_err() {
            debug_assert!(false, "buffers were made by the plan");
            return found;
        }
        let power: Vec<f64> = output.iter().take(high + 2).map(|c| c.norm_sqr()).collect();
        let highest = power.iter().copied().fold(0.0, f64::max);
        for k in low..=high {
            let (before, top, after) = (power[k - 1], power[k], power[k + 1]);
            if top > before && top >= after && top > PEAK * highest && before > 0.0 && after > 0.0 {
                let at = k as f64 + vertex(before.ln(), top.ln(), after.ln());
                found.push((12.0 * (at * hz / 440.0).log2(), top.sqrt()));
            }
        }
    }
    found
}

/// Weight of each pitch class, C first, after the tuning of the whole clip is taken off.
fn pitch_classes(partials: &[(f64, f64)]) -> [f64; 12] {
    let (mut re, mut im) = (0.0, 0.0);
    for (semitones, amplitude) in partials {
        re += amplitude * (TAU * semitones).cos();
        im += amplitude * (TAU * semitones).sin();
    }
    let tuning = im.atan2(re) / TAU;
    let mut classes = [0.0; 12];
    for (semitones, amplitude) in partials {
        // A is pitch class 9; the cast is of a number in 0..12.
        let class = ((semitones - tuning).round() + 9.0).rem_euclid(12.0) as usize;
        classes[class % 12] += amplitude.sqrt();
    }
    classes
}

/// Pearson's correlation; 0 for a constant.
fn correlation(a: &[f64; 12], b: &[f64; 12]) -> f64 {
    let mean = |x: &[f64; 12]| x.iter().sum::<f64>() / 12.0;
    let (ma, mb) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
        ab += (x - ma) * (y - mb);
    }
    if aa * bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Triads of 1 s, given as semitones from A4 with four overtones, detuned by `cents`.
    fn chords(chords: &[[i32; 3]], cents: f64) -> Vec<f32> {
        let mut out = Vec::new();
        for chord in chords {
            for n in 0..SAMPLE_RATE {
                let t = f64::from(n) / f64::from(SAMPLE_RATE);
                let x: f64 = chord
                    .iter()
                    .flat_map(|note| (1..5).map(move |k| (note, f64::from(k))))
                    .map(|(note, k)| {
                        let hz = 440.0 * 2f64.powf((f64::from(*note) + cents / 100.0) / 12.0);
                        (TAU * hz * k * t).sin() / (k * k)
                    })
                    .sum();
                out.push((0.1 * x) as f32);
            }
        }
        out
    }

    /// I IV V I I I (or i iv V i i i) above a tonic at `root` semitones from A4.
    fn cadence(root: i32, minor: bool) -> Vec<[i32; 3]> {
        let third = if minor { 3 } else { 4 };
        let (one, four) = ([0, third, 7], [5, 5 + third, 12]);
        [one, four, [7, 11, 14], one, one, one]
            .map(|c| c.map(|n| n + root))
            .to_vec()
    }

    #[test]
    fn cadences_tell_their_key_at_any_tuning() {
        for (root, tonic, minor, name) in [
            (-9, 0, false, "C major"),
            (-12, 9, false, "A major"),
            (-5, 4, true, "E minor"),
            (-6, 3, true, "E flat minor"),
        ] {
            for cents in [0.0, 30.0, -40.0] {
                let found = key(&chords(&cadence(root, minor), cents)).unwrap();
                assert_eq!(
                    (found.tonic, found.minor),
                    (tonic, minor),
                    "{name} {found:?}"
                );
                assert_eq!(found.to_string(), name);
            }
        }
    }

    #[test]
    fn what_has_no_pitches_has_no_key() {
        assert_eq!(
            key(&chords(&cadence(0, false), 0.0)[..79_999]),
            None,
            "too short"
        );
        assert_eq!(key(&vec![0.0; 160_000]), None, "silence");
        let mut state = 1u32;
        let hiss: Vec<f32> = (0..160_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        assert!(
            key(&hiss).is_none_or(|k| k.likeness < 0.75),
            "{:?}",
            key(&hiss)
        );
    }
}
