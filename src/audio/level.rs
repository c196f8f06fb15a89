//! How loud, how clipped, how silent: plain sums over samples, and the repair of samples that are no numbers.

use crate::dsp::wide;

/// Anything at or above this magnitude counts as clipped: full scale of 16 bits, with room for rounding.
const FULL_SCALE: f32 = 0.9999;

/// Largest magnitude that is let through, +24 dB over full scale. Beyond it are wrong scales and broken floats, whose
/// squares would overflow later.
const LIMIT: f32 = 16.0;

/// Samples that are looked at together.
const LANES: usize = 8;

/// One sample into one lane.
#[inline(always)]
fn look(x: f32, squares: &mut f64, clipped: &mut u32, min: &mut f32, max: &mut f32) {
    *squares += f64::from(x) * f64::from(x);
    *clipped += u32::from(x.abs() >= FULL_SCALE);
    *min = if x < *min { x } else { *min };
    *max = if x > *max { x } else { *max };
}

wide! {
    /// The level of samples, several at once.
    fn measure(samples: &[f32], level: &mut Level) {
        let (mut squares, mut clipped) = ([0.0f64; LANES], [0u32; LANES]);
        let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (blocks, rest) = samples.as_chunks::<LANES>();
        for block in blocks {
            for i in 0..LANES {
                look(block[i], &mut squares[i], &mut clipped[i], &mut min[i], &mut max[i]);
            }
        }
        for (i, x) in rest.iter().enumerate() {
            look(*x, &mut squares[i], &mut clipped[i], &mut min[i], &mut max[i]);
        }
        *level = Level {
            squares: squares.iter().sum(),
            samples: samples.len() as u64,
            clipped: clipped.iter().map(|c| u64::from(*c)).sum(),
            min: min.into_iter().fold(f32::INFINITY, f32::min),
            max: max.into_iter().fold(f32::NEG_INFINITY, f32::max),
        };
    }
}

/// Level of a block, as sums that can be merged with those of the next block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Level {
    squares: f64,
    samples: u64,
    clipped: u64,
    min: f32,
    max: f32,
}

impl Level {
    /// Measures samples in nominal ±1.
    #[must_use]
    pub fn of(samples: &[f32]) -> Self {
        let mut level = Self::default();
        if !samples.is_empty() {
            measure(samples, &mut level);
        }
        level
    }

    /// Adds samples.
    pub fn add(&mut self, samples: &[f32]) {
        self.merge(&Self::of(samples));
    }

    /// Adds what another block measured.
    pub fn merge(&mut self, other: &Self) {
        if other.samples == 0 {
            return;
        }
        if self.samples == 0 {
            *self = *other;
            return;
        }
        self.squares += other.squares;
        self.samples += other.samples;
        self.clipped += other.clipped;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Samples measured.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Root mean square in dB relative to full scale: a full-scale square wave is 0, a full-scale sine −3.01. Digital
    /// silence, and no samples at all, give −200 rather than −∞, which JSON cannot carry.
    #[must_use]
    pub fn rms_dbfs(&self) -> f64 {
        if self.samples == 0 {
            return -200.0;
        }
        decibels((self.squares / self.samples as f64).sqrt())
    }

    /// Largest magnitude.
    #[must_use]
    pub fn peak(&self) -> f32 {
        self.max.abs().max(self.min.abs())
    }

    /// Largest magnitude in dB relative to full scale, at least −200.
    #[must_use]
    pub fn peak_dbfs(&self) -> f64 {
        decibels(f64::from(self.peak()))
    }

    /// Share of samples at full scale, 0 to 1.
    #[must_use]
    pub fn clipped(&self) -> f64 {
        if self.samples == 0 {
            return 0.0;
        }
        self.clipped as f64 / self.samples as f64
    }

    /// Whether every sample had the same value: no microphone is that quiet, so a cable, a driver or a mute switch is at work.
    #[must_use]
    pub fn is_digital_silence(&self) -> bool {
        self.samples > 0 && self.min == self.max
    }
}

fn decibels(amplitude: f64) -> f64 {
    (20.0 * amplitude.log10()).max(-200.0)
}

/// Says when a stream falls digitally silent for long, and when it wakes again.
#[derive(Debug, Clone)]
pub struct SilenceWatch {
    after: u64,
    run: u64,
    last: Option<f32>,
    silent: bool,
}

impl SilenceWatch {
    /// Speaks up after this many equal samples in a row.
    #[must_use]
    pub fn new(after: u64) -> Self {
        Self {
            after: after.max(1),
            run: 0,
            last: None,
            silent: false,
        }
    }

    /// Looks at the next samples; `Some(silent)` when the state changed.
    pub fn push(&mut self, samples: &[f32]) -> Option<bool> {
        let before = self.silent;
        for &x in samples {
            self.run = if self.last == Some(x) {
                self.run + 1
            } else {
                1
            };
            self.last = Some(x);
            self.silent = self.run >= self.after;
        }
        (self.silent != before).then_some(self.silent)
    }

    /// Whether the stream is silent now.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }
}

/// Replaces samples that are no numbers by 0 and limits absurd ones to ±16; returns how many it had to touch.
pub fn sanitise(samples: &mut [f32]) -> u64 {
    let mut touched = 0;
    for x in samples {
        if x.is_nan() || x.abs() > LIMIT {
            *x = if x.is_finite() {
                x.clamp(-LIMIT, LIMIT)
            } else {
                0.0
            };
            touched += 1;
        }
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f32) -> Vec<f32> {
        (0..16_000)
            .map(|n| amplitude * (n as f32 * 0.1 * std::f32::consts::TAU).sin())
            .collect()
    }

    #[test]
    fn a_full_scale_sine_is_minus_three_decibels() {
        let level = Level::of(&sine(1.0));
        assert!(
            (level.rms_dbfs() + 3.01).abs() < 0.01,
            "{}",
            level.rms_dbfs()
        );
        let level = Level::of(&sine(0.1));
        assert!((level.rms_dbfs() + 23.01).abs() < 0.01);
        assert_eq!(level.clipped(), 0.0);
    }

    #[test]
    fn clipping_and_peak_are_shares_and_magnitudes() {
        let level = Level::of(&[0.5, -1.0, 1.0, 0.0]);
        assert_eq!(level.clipped(), 0.5);
        assert_eq!(level.peak(), 1.0);
        assert_eq!(level.peak_dbfs(), 0.0);
    }

    #[test]
    fn merging_equals_measuring_at_once() {
        let x = sine(0.7);
        let mut merged = Level::default();
        for part in x.chunks(333) {
            merged.merge(&Level::of(part));
        }
        let whole = Level::of(&x);
        assert_eq!(merged.samples(), whole.samples());
        assert_eq!(merged.peak(), whole.peak());
        assert!((merged.rms_dbfs() - whole.rms_dbfs()).abs() < 1e-9);
    }

    #[test]
    fn silence_is_finite_and_seen() {
        let level = Level::of(&[0.0; 100]);
        assert!(level.is_digital_silence());
        assert_eq!(level.rms_dbfs(), -200.0);
        assert!(Level::of(&[0.25; 10]).is_digital_silence(), "a stuck value");
        assert!(!Level::of(&[0.0, 1e-4]).is_digital_silence());
        assert!(!Level::default().is_digital_silence());
    }

    #[test]
    fn the_watch_speaks_on_changes_only() {
        let mut watch = SilenceWatch::new(100);
        assert_eq!(watch.push(&[0.0; 60]), None);
        assert_eq!(watch.push(&[0.0; 60]), Some(true));
        assert_eq!(watch.push(&[0.0; 60]), None);
        assert!(watch.is_silent());
        assert_eq!(watch.push(&[0.1]), Some(false));
    }

    #[test]
    fn numbers_that_are_none_become_zero() {
        let mut x = [
            0.5,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            -1.0,
        ];
        assert_eq!(sanitise(&mut x), 5);
        assert_eq!(x, [0.5, 0.0, 0.0, 0.0, 16.0, -16.0, -1.0]);
    }
}
