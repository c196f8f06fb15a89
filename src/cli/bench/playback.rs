//! Streams that a bench makes up: audio out of memory, over and over, in real time, each from a place and at a moment of its
//! own. Microphones do not start together, and their windows do not end together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audio::{Packet, SAMPLE_RATE, Source, SourceError};

/// Samples a packet: 20 ms, as a sound card delivers them.
const PERIOD: usize = SAMPLE_RATE as usize / 50;

/// One such stream. Of equal numbers the places and moments are equal.
pub struct Playback {
    samples: Arc<[f32]>,
    at: usize,
    start: Instant,
    played: u64,
    is_announced: bool,
}

impl Playback {
    /// Stream `index`, 16 kHz mono of at least one sample: begins at a random place of the audio and, after `start`, at a random
    /// moment of one `hop`. Evenly spread moments would be kinder than the world is.
    pub fn new(samples: Arc<[f32]>, index: usize, start: Instant, hop: Duration) -> Self {
        let (place, moment) = (random(2 * index as u64), random(2 * index as u64 + 1));
        Self {
            at: ((place * samples.len() as f64) as usize).min(samples.len().saturating_sub(1)),
            samples,
            start: start + hop.mul_f64(moment),
            played: 0,
            is_announced: false,
        }
    }
}

impl Source for Playback {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        if !self.is_announced {
            self.is_announced = true;
            return Ok(Packet::Format {
                rate: SAMPLE_RATE,
                channels: 1,
            });
        }
        if self.samples.is_empty() {
            return Ok(Packet::End);
        }
        let deadline = Instant::now() + timeout;
        let end = (self.played + PERIOD as u64) as f64 / f64::from(SAMPLE_RATE);
        let captured = self.start + Duration::from_secs_f64(end);
        let until = captured.min(deadline);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        if captured > deadline {
            return Ok(Packet::Idle);
        }
        let mut missing = PERIOD;
        while missing > 0 {
            let piece = missing.min(self.samples.len() - self.at);
            samples.extend_from_slice(&self.samples[self.at..self.at + piece]);
            self.at = (self.at + piece) % self.samples.len();
            missing -= piece;
        }
        self.played += PERIOD as u64;
        Ok(Packet::Audio { captured })
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// White noise of this level, dB relative to full scale.
pub fn noise(seconds: usize, level_dbfs: f64) -> Arc<[f32]> {
    // Uniform in ±a has the RMS level a/√3.
    let peak = 10f64.powf(level_dbfs / 20.0) * 3f64.sqrt();
    (0..seconds * SAMPLE_RATE as usize)
        .map(|i| ((2.0 * random(i as u64) - 1.0) * peak) as f32)
        .collect()
}

/// Number `n` of a fixed sequence that looks random, 0 to 1 (SplitMix64).
fn random(n: u64) -> f64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Level;

    #[test]
    fn noise_has_its_level() {
        let level = Level::of(&noise(2, -80.0)).rms_dbfs();
        assert!((level + 80.0).abs() < 0.2, "{level}");
    }

    #[test]
    fn it_plays_over_and_over_no_faster_than_real_time() {
        let ramp: Arc<[f32]> = (0..500).map(|i| i as f32).collect();
        let begun = Instant::now();
        let mut source = Playback::new(ramp, 3, begun, Duration::from_millis(50));
        let (mut samples, mut packets) = (Vec::new(), 0);
        while packets < 5 {
            let packet = source
                .next(&mut samples, Duration::from_millis(10))
                .expect("cannot fail");
            if let Packet::Audio { captured } = packet {
                packets += 1;
                assert!(captured <= Instant::now());
            }
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert_eq!(samples.len(), 5 * PERIOD);
        assert!(samples.windows(2).all(|w| w[1] == (w[0] + 1.0) % 500.0));
    }

    #[test]
    fn streams_start_apart() {
        let mut moments: Vec<f64> = (0..32).map(|i| random(2 * i + 1)).collect();
        moments.sort_by(f64::total_cmp);
        assert!(moments[0] < 0.2 && moments[31] > 0.8 && moments.windows(2).all(|w| w[0] < w[1]));
    }
}
