//! Tempo of music: how often its onsets come back. Ellis, "Beat tracking by dynamic programming", JNMR 2007.

use super::fbank::fbank;
use super::filterbank::MELS;
use super::spectrum::{HOP, SAMPLE_RATE};

/// Beats a minute that are told apart; what is slower or faster is heard as a multiple or a fraction.
const SLOWEST_BPM: f64 = 40.0;
const FASTEST_BPM: f64 = 240.0;
/// Where people tap, and how many octaves around it they still do.
const CENTRE_BPM: f64 = 120.0;
const OCTAVES: f64 = 0.9;
/// Less of the onsets than this coming back a beat later is no rhythm.
const WEAKEST: f64 = 0.1;
/// Mean square of the onsets in neper below which nothing begins: a held tone.
const FAINTEST: f64 = 1e-3;
/// Frames to either side of the mean that is taken off the onsets: 0.4 s.
const AROUND: usize = 40;
/// Neper below the loudest band of the clip at which a band counts as silent: 60 dB.
const RANGE: f32 = 13.8;

/// How fast music is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tempo {
    /// Beats a minute, 40 to 240.
    pub bpm: f64,
    /// Autocorrelation of the onsets at one beat, to 1: a metronome is near 1, free rhythm near 0.
    pub strength: f64,
}

/// Tempo of a clip of at least 5 s at 16 kHz; `None` for shorter ones and for those without a steady rhythm.
pub fn tempo(samples: &[f32]) -> Option<Tempo> {
    let onsets = onsets(samples);
    let rate = f64::from(SAMPLE_RATE) / HOP as f64;
    if (onsets.len() as f64) < 5.0 * rate - 3.0 {
        return None;
    }
    let lag = |bpm: f64| 60.0 * rate / bpm;
    let (shortest, longest) = (lag(FASTEST_BPM) as usize, lag(SLOWEST_BPM) as usize);
    let all = correlation(&onsets, longest + 1);
    let energy = *all.first().filter(|e| **e > FAINTEST)?;
    let weighted = |i: usize| {
        let octaves = (rate * 60.0 / i as f64 / CENTRE_BPM).log2() / OCTAVES;
        all[i] * (-0.5 * octaves * octaves).exp()
    };
    let best = (shortest..=longest).max_by(|a, b| weighted(*a).total_cmp(&weighted(*b)))?;
    let strength = all[best] / energy;
    let exact = best as f64 + vertex(all[best - 1], all[best], all[best + 1]);
    (strength >= WEAKEST).then_some(Tempo {
        bpm: 60.0 * rate / exact,
        strength,
    })
}

/// How much louder the mel bands became at each frame, less its mean over the neighbourhood.
fn onsets(samples: &[f32]) -> Vec<f64> {
    let mel = fbank(samples);
    let loudest = mel.iter().copied().fold(f32::MIN, f32::max);
    let frames: Vec<f64> = (1..mel.nrows())
        .map(|t| {
            let (now, before) = (mel.row(t), mel.row(t - 1));
            let rises = now.iter().zip(before).map(|(n, b)| {
                let floor = loudest - RANGE;
                f64::from((n.max(floor) - b.max(floor)).max(0.0))
            });
            rises.sum::<f64>() / MELS as f64
        })
        .collect();
    let mut sums = vec![0.0];
    sums.extend(frames.iter().scan(0.0, |sum, x| {
        *sum += x;
        Some(*sum)
    }));
    let level = |t: usize| {
        let (a, b) = (t.saturating_sub(AROUND), (t + AROUND).min(frames.len()));
        (sums[b] - sums[a]) / (b - a) as f64
    };
    let plain = |t: usize| frames.get(t).map_or(0.0, |x| x - level(t));
    // Rounded by two frames: a beat that lies between two lags counts at both.
    (0..frames.len())
        .map(|t| {
            let (one, two) = (
                plain(t.wrapping_sub(1)) + plain(t + 1),
                plain(t.wrapping_sub(2)) + plain(t + 2),
            );
            (6.0 * plain(t) + 4.0 * one + two) / 16.0
        })
        .collect()
}

/// Mean product of the signal and itself `0..lags` later.
fn correlation(x: &[f64], lags: usize) -> Vec<f64> {
    let one = |lag: usize| {
        let products = x.iter().zip(x.get(lag..).unwrap_or_default());
        products.map(|(a, b)| a * b).sum::<f64>() / x.len().saturating_sub(lag).max(1) as f64
    };
    (0..=lags).map(one).collect()
}

/// Where the parabola through three neighbours has its top, -0.5 to 0.5 from the middle one.
pub(super) fn vertex(before: f64, top: f64, after: f64) -> f64 {
    let bend = before - 2.0 * top + after;
    if bend >= 0.0 {
        return 0.0;
    }
    (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Clicks that ring for 30 ms, at `bpm`, for `seconds`.
    fn clicks(bpm: f64, seconds: f64) -> Vec<f32> {
        let beat = 60.0 * f64::from(SAMPLE_RATE) / bpm;
        (0..(seconds * f64::from(SAMPLE_RATE)) as usize)
            .map(|n| {
                let since = n as f64 % beat;
                ((-since / 160.0).exp() * (since * 0.9).sin() * 0.5) as f32
            })
            .collect()
    }

    #[test]
    fn a_metronome_is_told_to_one_per_cent() {
        for bpm in [72.0, 90.0, 120.0, 133.0, 160.0] {
            let found = tempo(&clicks(bpm, 8.0)).unwrap();
            assert!((found.bpm / bpm - 1.0).abs() < 0.01, "{bpm}: {found:?}");
            assert!(found.strength > 0.7, "{found:?}");
        }
    }

    #[test]
    fn no_rhythm_has_no_tempo() {
        assert_eq!(tempo(&clicks(120.0, 4.0)), None, "too short");
        assert_eq!(tempo(&vec![0.0; 160_000]), None, "silence");
        let tone: Vec<f32> = (0..160_000).map(|n| (n as f32 * 0.2).sin()).collect();
        assert_eq!(tempo(&tone), None, "a steady tone");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_level_does_not_matter(bpm in 80.0..160.0, gain in 0.01f32..2.0) {
            let plain = clicks(bpm, 6.0);
            let louder: Vec<f32> = plain.iter().map(|x| x * gain).collect();
            let (a, b) = (tempo(&plain).unwrap(), tempo(&louder).unwrap());
            prop_assert!((a.bpm - b.bpm).abs() < 0.5, "{a:?} {b:?}");
        }
    }
}
