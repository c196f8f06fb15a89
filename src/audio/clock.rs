//! The sample clock: where on a stream's time line a sample lies, free of drift.
//!
//! Native frames are counted, lost ones included; the position at the output rate is `round(native · out / in)` in
//! integers, so neither resampling nor a thousand gaps can add up to an error beyond half a sample.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Position of a stream since its epoch began.
#[derive(Debug, Clone)]
pub struct SampleClock {
    rate_in: u32,
    rate_out: u32,
    epoch: u64,
    native: u64,
    position: u64,
}

impl SampleClock {
    /// A clock whose positions count at `rate_out` Hz; no epoch has begun.
    #[must_use]
    pub fn new(rate_out: u32) -> Self {
        Self {
            rate_in: rate_out,
            rate_out,
            epoch: 0,
            native: 0,
            position: 0,
        }
    }

    /// Begins an epoch for a source at `rate_in` Hz whose first sample was captured at `first`. Returns the epoch, in
    /// Unix milliseconds; always later than the one before, also when the wall clock was set back.
    pub fn begin(&mut self, rate_in: u32, first: Instant) -> u64 {
        let unix = unix_millis(first);
        self.epoch = unix.max(self.epoch + 1);
        self.rate_in = rate_in;
        self.native = 0;
        self.position = 0;
        self.epoch
    }

    /// When this epoch began, in Unix milliseconds; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Position of the next sample to hand out, at the output rate.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Native frames arrived or were lost.
    pub fn advance_native(&mut self, frames: u64) {
        self.native += frames;
    }

    /// Samples were handed out.
    pub fn advance(&mut self, samples: u64) {
        self.position += samples;
    }

    /// Samples at the output rate that the native frames so far are worth, less those handed out.
    #[must_use]
    pub fn due(&self) -> u64 {
        let exact = u128::from(self.native) * u128::from(self.rate_out);
        let rate = u128::from(self.rate_in);
        let target = ((exact + rate / 2) / rate) as u64;
        target.saturating_sub(self.position)
    }

    /// How long the native frames that were not yet handed out last: how far the output lags behind the input.
    #[must_use]
    pub fn held_back(&self) -> Duration {
        Duration::from_secs_f64(self.due() as f64 / f64::from(self.rate_out))
    }
}

/// The wall-clock time of a monotonic instant, in Unix milliseconds; 0 where the wall clock is before 1970.
fn unix_millis(instant: Instant) -> u64 {
    let wall = SystemTime::now()
        .checked_sub(instant.elapsed())
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    wall.map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_gaps_at_44100_does_not_drift() {
        let mut clock = SampleClock::new(16_000);
        clock.begin(44_100, Instant::now());
        let mut native: u64 = 0;
        for n in 0..1_000_000u64 {
            let frames = 1 + (n * 7919) % 8000;
            clock.advance_native(frames);
            native += frames;
            let due = clock.due();
            clock.advance(due);
        }
        let exact = native as f64 * 16_000.0 / 44_100.0;
        assert!((clock.position() as f64 - exact).abs() <= 0.5 + 1e-6);
    }

    #[test]
    fn epochs_are_wall_clock_and_never_repeat() {
        let mut clock = SampleClock::new(16_000);
        let now = Instant::now();
        let first = clock.begin(48_000, now);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!((wall.as_millis() as i64 - first as i64).abs() < 1000);
        assert!(clock.begin(48_000, now) > first);
    }
}
