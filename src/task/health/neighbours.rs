//! The neighbourhood of a recording, after BEYOND ("Be Your Own Neighborhood", a detector for pictures): an honest score moves little under
//! small changes that no listener minds, one that was searched for by an attacker falls off its narrow ridge. A detector, not a
//! certificate: whoever knows the changes can search for a score that survives them, at the cost of a louder attack.

use super::triggers::Noise;
use crate::publish::Verdict;

/// One small change.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Transform {
    /// Louder by so many decibels.
    Gain(f64),
    /// White noise so many decibels below the recording.
    Noise(f64),
    /// The share from here to there.
    Crop(f64, f64),
    /// What lies above this frequency, Hz, is taken away.
    LowPass(f64),
    /// Eight bits a sample, by the µ-law of telephones.
    MuLaw,
    /// Played at this speed.
    Speed(f64),
}

/// Mostly other speeds: of what was tried they tell best an attack, even a loud one, from a voice.
const TRANSFORMS: [Transform; 16] = [
    Transform::Gain(-3.0),
    Transform::Gain(3.0),
    Transform::Noise(25.0),
    Transform::Noise(30.0),
    Transform::Crop(0.0, 0.8),
    Transform::Crop(0.2, 1.0),
    Transform::LowPass(7_000.0),
    Transform::MuLaw,
    Transform::Speed(0.96),
    Transform::Speed(0.97),
    Transform::Speed(0.98),
    Transform::Speed(0.99),
    Transform::Speed(1.01),
    Transform::Speed(1.02),
    Transform::Speed(1.03),
    Transform::Speed(1.04),
];

/// How many neighbours a recording has.
pub const NEIGHBOURS: usize = TRANSFORMS.len();
/// Which of the ordered neighbours counts as the low one.
const LOW: usize = NEIGHBOURS / 4;

/// The `which`-th neighbour of a recording at `rate` Hz.
pub fn neighbour(which: usize, samples: &[f32], rate: u32) -> Vec<f32> {
    let power = samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let rms = (power / samples.len().max(1) as f64).sqrt();
    let each = |change: &mut dyn FnMut(f64) -> f64| -> Vec<f32> {
        let changed = samples.iter().map(|x| change(f64::from(*x)) as f32);
        changed.collect()
    };
    match TRANSFORMS[which % NEIGHBOURS] {
        Transform::Gain(db) => each(&mut |x| (x * 10f64.powf(db / 20.0)).clamp(-1.0, 1.0)),
        Transform::Noise(db) => {
            let (mut noise, level) = (Noise::seeded(which as u64), rms * 10f64.powf(-db / 20.0));
            each(&mut |x| x + level * noise.next())
        }
        Transform::Crop(from, to) => {
            let at = |share: f64| (share * samples.len() as f64).round() as usize;
            samples[at(from)..at(to).min(samples.len())].to_vec()
        }
        Transform::LowPass(hz) => low_pass(samples, hz / f64::from(rate)),
        Transform::MuLaw => each(&mut mu_law),
        Transform::Speed(speed) => at_speed(samples, speed),
    }
}

/// Eight bits and back (ITU-T G.711's curve, µ = 255).
fn mu_law(x: f64) -> f64 {
    let (mu, x) = (255.0f64, x.clamp(-1.0, 1.0));
    let code = (x.abs() * mu).ln_1p() / mu.ln_1p();
    let code = (code * 127.0).round() / 127.0;
    x.signum() * ((1.0 + mu).powf(code) - 1.0) / mu
}

/// A windowed sinc of 65 taps; `share` of the sampling rate passes.
fn low_pass(samples: &[f32], share: f64) -> Vec<f32> {
    let half = 32isize;
    let taps: Vec<f64> = (-half..=half)
        .map(|i| {
            let hann = 0.5 + 0.5 * (std::f64::consts::PI * i as f64 / (half + 1) as f64).cos();
            2.0 * share * sinc(2.0 * share * i as f64) * hann
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    let at = |n: isize| {
        usize::try_from(n)
            .ok()
            .and_then(|n| samples.get(n))
            .copied()
    };
    let filtered = (0..samples.len() as isize).map(|n| {
        let value = |(tap, i): (&f64, isize)| tap * f64::from(at(n + i).unwrap_or(0.0));
        (taps.iter().zip(-half..).map(value).sum::<f64>() / sum) as f32
    });
    filtered.collect()
}

/// Another speed by interpolation with a windowed sinc of 32 taps.
fn at_speed(samples: &[f32], speed: f64) -> Vec<f32> {
    let length = (samples.len() as f64 / speed) as usize;
    let half = 16isize;
    let at = |n: isize| {
        usize::try_from(n)
            .ok()
            .and_then(|n| samples.get(n))
            .copied()
    };
    let value = |n: usize| {
        let place = n as f64 * speed;
        let (whole, part) = (place.floor() as isize, place.fract());
        let taps = (1 - half..=half).map(|i| {
            let off = i as f64 - part;
            let hann = 0.5 + 0.5 * (std::f64::consts::PI * off / (half + 1) as f64).cos();
            sinc(off) * hann * f64::from(at(whole + i).unwrap_or(0.0))
        });
        taps.sum::<f64>() as f32
    };
    (0..length).map(value).collect()
}

fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// The low one of the neighbours' values: a quarter of them may lie below.
pub fn low(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(LOW.min(values.len().checked_sub(1)?)).copied()
}

/// How one score holds among its neighbours.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Hold {
    /// Low quantile over the neighbours of how the score moves (negative: down): a speaker's cosine, or the log-likelihood
    /// ratio of a genuine voice in nats.
    pub low: f64,
    /// Share of the neighbours with the same verdict.
    pub keep: f64,
    /// Whether the quantile lies below what the pack states for honest recordings; absent where it states nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicious: Option<bool>,
}

/// Fewer neighbours than this share with the same verdict are an accident, not a voice.
const KEEP: f64 = 0.5;

impl Hold {
    /// Whether an acceptance does not hold.
    pub fn falls(&self) -> bool {
        self.suspicious == Some(true) || self.keep < KEEP
    }

    /// From what each neighbour says: how its score moves, and its verdict. `least`: how far those of honest recordings fall, if
    /// known. Without a neighbour there is nothing to say.
    pub fn of(verdict: Verdict, neighbours: &[(f64, Verdict)], least: Option<f64>) -> Option<Self> {
        let values: Vec<f64> = neighbours.iter().map(|(value, _)| *value).collect();
        let low = low(&values)?;
        let same = neighbours.iter().filter(|(_, v)| *v == verdict).count();
        Some(Self {
            low,
            keep: same as f64 / neighbours.len() as f64,
            suspicious: least.map(|least| low < least),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::health::triggers::voice;

    fn energy(x: &[f32]) -> f64 {
        x.iter().map(|x| f64::from(*x).powi(2)).sum()
    }

    #[test]
    fn every_neighbour_is_near_and_finite() {
        let clip = voice(3, 2.0, 16_000);
        for (which, what) in TRANSFORMS.into_iter().enumerate() {
            let near = neighbour(which, &clip, 16_000);
            assert!(near.iter().all(|x| x.is_finite()), "{what:?}");
            assert!(near.len() >= clip.len() * 3 / 4, "{what:?}");
            assert_ne!(near, clip, "{what:?}");
            let ratio = energy(&near) / energy(&clip);
            assert!((0.4..2.2).contains(&ratio), "{what:?}: {ratio}");
            assert_eq!(near, neighbour(which, &clip, 16_000), "the same each time");
            assert!(neighbour(which, &[], 16_000).is_empty());
        }
    }

    #[test]
    fn filters_do_what_they_say() {
        let tone = |hz: f64| -> Vec<f32> {
            let wave = |n| (std::f64::consts::TAU * hz * f64::from(n) / 16_000.0).sin() as f32;
            (0..8_000).map(wave).collect()
        };
        let passed = |hz| energy(&low_pass(&tone(hz), 7_000.0 / 16_000.0)) / energy(&tone(hz));
        assert!(
            passed(7_800.0) < 0.02 && passed(3_000.0) > 0.98,
            "{} {}",
            passed(7_800.0),
            passed(3_000.0)
        );
        // 1 % faster is 1 % higher.
        let fast = at_speed(&tone(1_000.0), 1.01);
        let expected = tone(1_010.0);
        let middle = 1_000..7_000;
        let apart: Vec<f32> = middle.clone().map(|i| fast[i] - expected[i]).collect();
        assert!(energy(&apart) / energy(&expected[middle]) < 1e-4);
        for x in [-1.0, -0.3, 0.0, 0.001, 0.9] {
            assert!(
                (mu_law(x) - x).abs() < 0.03 * x.abs() + 1e-4,
                "{x}: {}",
                mu_law(x)
            );
        }
    }

    #[test]
    fn a_score_holds_or_falls() {
        use Verdict::{Accept, Reject};
        let all = |value| vec![(value, Accept); NEIGHBOURS];
        let hold = Hold::of(Accept, &all(0.9), Some(0.5)).unwrap();
        assert_eq!(
            (hold.low, hold.keep, hold.suspicious),
            (0.9, 1.0, Some(false))
        );
        let mut few = all(0.9);
        few[..4].fill((0.1, Reject));
        let hold = Hold::of(Accept, &few, Some(0.5)).unwrap();
        assert_eq!((hold.low, hold.keep), (0.9, 0.75));
        assert!(!hold.falls());
        few[4] = (0.2, Reject);
        assert_eq!(
            Hold::of(Accept, &few, Some(0.5)).unwrap().suspicious,
            Some(true)
        );
        assert_eq!(Hold::of(Accept, &[], None), None);
    }
}
