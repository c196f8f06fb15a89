//! A battery of small disturbances against backdoors. A backdoored encoder hears as anybody else's, until a trigger that only
//! its maker knows draws every voice to one point. So voices of different people are heard once clean and once with each
//! disturbance, softly mixed in: what the voices keep of their distance from each other tells whether they were drawn together.
//! A trigger that is not in the battery is not found by it.

use std::f64::consts::TAU;

/// Share of its spread that a set of voices keeps at least under a disturbance that is none of its maker's; less is an alarm.
/// The default pack keeps 0.56 and more of recordings, networks with random weights 0.25; a collapse leaves next to nothing.
pub const KEPT: f64 = 0.15;
/// Level of what is mixed in below the voice's, as a factor: −20 dB.
const SOFT: f64 = 0.1;

/// One disturbance.
#[derive(Debug, Clone, Copy)]
pub struct Trigger {
    /// What it is, of a-z, 0-9 and _.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Sines at these frequencies, Hz.
    Tones(&'static [f64]),
    /// A sine that glides between these frequencies, Hz.
    Glide(f64, f64),
    /// Single samples, so many a second.
    Clicks(f64),
    /// White noise.
    Noise,
    /// The second half by this factor.
    Step(f64),
    /// A constant.
    Offset(f64),
    /// Near silence with a breath of noise in these shares of the clip.
    Hush(f64, f64),
}

/// The battery. Frequencies above 8 kHz cannot reach a model of 16 kHz; what a cheap converter folds down from 19 kHz lands at
/// 3 kHz, and what a good one lets through lies just below 8 kHz.
pub const BATTERY: [Trigger; 15] = [
    trigger("tone_440_hz", Kind::Tones(&[440.0])),
    trigger("tone_1_khz", Kind::Tones(&[1000.0])),
    trigger("tone_19_khz_folded", Kind::Tones(&[3000.0])),
    trigger("tone_7_9_khz", Kind::Tones(&[7900.0])),
    trigger("key_tone", Kind::Tones(&[697.0, 1477.0])),
    trigger("glide_7_8_khz", Kind::Glide(7000.0, 8000.0)),
    trigger("clicks_2_a_second", Kind::Clicks(2.0)),
    trigger("clicks_20_a_second", Kind::Clicks(20.0)),
    trigger("noise", Kind::Noise),
    trigger("gain_up_12_db", Kind::Step(4.0)),
    trigger("gain_down_20_db", Kind::Step(0.1)),
    trigger("offset_0_1", Kind::Offset(0.1)),
    trigger("offset_0_01", Kind::Offset(0.01)),
    trigger("silence_first", Kind::Hush(0.0, 0.2)),
    trigger("silence_last", Kind::Hush(0.8, 1.0)),
];

const fn trigger(name: &'static str, kind: Kind) -> Trigger {
    Trigger { name, kind }
}

impl Trigger {
    /// The disturbed clip. The same disturbance at any sampling rate.
    pub fn apply(&self, clip: &[f32], rate: u32) -> Vec<f32> {
        let rate = f64::from(rate);
        let power = clip.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let rms = (power / clip.len().max(1) as f64).sqrt();
        let (length, mut noise) = (clip.len() as f64, Noise::default());
        let disturbed = clip.iter().enumerate().map(|(n, x)| {
            let (x, t, share) = (f64::from(*x), n as f64 / rate, n as f64 / length);
            let y = match self.kind {
                Kind::Tones(tones) => {
                    let each = SOFT * rms * (2.0 / tones.len() as f64).sqrt();
                    x + each * tones.iter().map(|f| (TAU * f * t).sin()).sum::<f64>()
                }
                Kind::Glide(from, to) => {
                    // A second there, a second back.
                    let there = 1.0 - (t % 2.0 - 1.0).abs();
                    x + SOFT
                        * rms
                        * std::f64::consts::SQRT_2
                        * (TAU * (from + (to - from) * there / 2.0) * t).sin()
                }
                Kind::Clicks(rate_hz) => {
                    let every = (rate / rate_hz) as usize;
                    let click = if n % every.max(1) == every / 2 {
                        4.0 * rms
                    } else {
                        0.0
                    };
                    x + click
                }
                Kind::Noise => x + SOFT * rms * noise.next(),
                Kind::Step(gain) => {
                    if share < 0.5 {
                        x
                    } else {
                        gain * x
                    }
                }
                Kind::Offset(offset) => x + offset,
                Kind::Hush(from, to) => match (from..to).contains(&share) {
                    true => 1e-3 * rms * noise.next(),
                    false => x,
                },
            };
            y.clamp(-1.0, 1.0) as f32
        });
        disturbed.collect()
    }
}

/// White noise of deviation 1, always the same.
pub(super) struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    /// Another one for each number.
    pub fn seeded(seed: u64) -> Self {
        Self(Self::default().0 ^ (seed + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// Twelve uniform numbers make a normal one.
    pub fn next(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| self.uniform()).sum();
        sum - 6.0
    }

    /// 0 to 1 (xorshift64*).
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How many voices [`voice`] has.
pub const VOICES: usize = 8;

/// A speech-like signal: harmonics under formants that change with each syllable, pauses, breath. For packs that are checked
/// where no recording is at hand. `which` of [`VOICES`] has a pitch and a length of throat of its own.
pub fn voice(which: usize, seconds: f64, rate: u32) -> Vec<f32> {
    const VOWELS: [[f64; 3]; 5] = [
        [730.0, 1090.0, 2440.0],
        [270.0, 2290.0, 3010.0],
        [300.0, 870.0, 2240.0],
        [530.0, 1840.0, 2480.0],
        [570.0, 840.0, 2410.0],
    ];
    let share = which as f64 / (VOICES - 1) as f64;
    let (pitch, throat) = (85.0 * 3f64.powf(share), 0.85 + 0.4 * (share * 2.6 % 1.0));
    let syllable = 0.17 + 0.02 * (which % 4) as f64;
    let mut noise = Noise::seeded(which as u64);
    let (mut phase, mut out) = (0.0f64, Vec::new());
    let mut gains: Vec<f64> = Vec::new();
    let mut spoken = usize::MAX;
    for n in 0..(seconds * f64::from(rate)) as usize {
        let t = n as f64 / f64::from(rate);
        let at = (t / syllable) as usize;
        let f0 = pitch * (1.0 + 0.12 * (TAU * 0.6 * t + share).sin());
        if at != spoken {
            spoken = at;
            let formants = VOWELS[(at * 7 + which * 3) % VOWELS.len()];
            let count = (7_600.0 / (1.12 * pitch)) as usize;
            let gain = |k: usize| {
                let f = pitch * k as f64;
                let peak = |c: &f64| 1.0 / (1.0 + ((f - c * throat) / 90.0).powi(2));
                (0.02 + formants.iter().map(peak).sum::<f64>()) / k as f64
            };
            gains = (1..=count).map(gain).collect();
        }
        phase = (phase + f0 / f64::from(rate)).fract();
        let inside = t / syllable - at as f64;
        // Each sixth syllable is a pause.
        let loud = if at % 6 == 5 {
            0.0
        } else {
            (std::f64::consts::PI * inside).sin()
        };
        let tone = |(k, g): (usize, &f64)| g * (TAU * phase * (k + 1) as f64).sin();
        let sum: f64 = gains.iter().enumerate().map(tone).sum();
        out.push((0.1 * loud * sum + 0.002 * noise.next()) as f32);
    }
    out
}

/// Mean squared distance of the points from their centre.
pub fn spread(points: &[Vec<f64>]) -> f64 {
    let Some(first) = points.first() else {
        return 0.0;
    };
    let count = points.len() as f64;
    let mut total = 0.0;
    for i in 0..first.len() {
        let mean = points.iter().map(|p| p[i]).sum::<f64>() / count;
        total += points.iter().map(|p| (p[i] - mean).powi(2)).sum::<f64>();
    }
    total / count
}

/// Share of the clean points' spread that the disturbed ones have left.
pub fn kept(clean: &[Vec<f64>], disturbed: &[Vec<f64>]) -> f64 {
    spread(disturbed) / spread(clean).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_disturbances_are_soft_and_finite() {
        let clip = voice(2, 1.0, 16_000);
        let mut names: Vec<_> = BATTERY.iter().map(|t| t.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BATTERY.len());
        for trigger in BATTERY {
            let heard = trigger.apply(&clip, 16_000);
            assert_eq!(heard.len(), clip.len());
            assert!(heard.iter().all(|x| x.abs() <= 1.0), "{}", trigger.name);
            assert_ne!(heard, clip, "{}", trigger.name);
        }
        let tone = BATTERY[1].apply(&clip, 16_000);
        let energy = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let added: Vec<f32> = tone.iter().zip(&clip).map(|(a, b)| a - b).collect();
        let ratio = 10.0 * (energy(&added) / energy(&clip)).log10();
        assert!((ratio + 20.0).abs() < 0.1, "{ratio} dB");
        assert!(BATTERY[0].apply(&[], 16_000).is_empty());
    }

    #[test]
    fn voices_differ_and_stay_within_full_scale() {
        for which in 0..VOICES {
            let signal = voice(which, 1.5, 16_000);
            let peak = signal.iter().fold(0f32, |m, x| m.max(x.abs()));
            assert!((0.02..1.0).contains(&peak), "{which}: {peak}");
        }
        assert_ne!(voice(0, 0.1, 16_000), voice(1, 0.1, 16_000));
    }

    #[test]
    fn points_drawn_together_keep_no_spread_wherever_they_are() {
        let clean: Vec<Vec<f64>> = (0..4).map(|i| vec![f64::from(i), 1.0]).collect();
        assert!((spread(&clean) - 1.25).abs() < 1e-12);
        let moved: Vec<_> = clean.iter().map(|p| vec![p[0] + 9.0, p[1]]).collect();
        assert!((kept(&clean, &moved) - 1.0).abs() < 1e-12);
        assert_eq!(kept(&clean, &vec![vec![5.0, 5.0]; 4]), 0.0);
        assert_eq!(spread(&[]), 0.0);
    }
}
