//! When to connect again: exponential with jitter, slow at once when a person has to mend something first.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that lived this long was a good one. One that did not may be two daemons with one client id that
/// throw each other out: starting again at the shortest wait would make them do so for ever.
const GOOD: Duration = Duration::from_secs(5);

/// Doubles from 0.5 s to 30 s, each wait shortened by up to half at random, so that many daemons that lost one
/// broker do not come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after a connection that lived for `lived` (zero: never came to be). `refused`: the broker
    /// said no, and would again. `random` is uniform in `[0, 1)`.
    pub fn next(&mut self, lived: Duration, refused: bool, random: f64) -> Duration {
        if lived >= GOOD {
            self.failures = 0;
        }
        let full = if refused {
            LONGEST
        } else {
            FIRST
                .saturating_mul(1 << self.failures.min(16))
                .min(LONGEST)
        };
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(1.0 - 0.5 * random.clamp(0.0, 1.0))
    }
}

/// Uniform in `[0, 1)`; std seeds its hasher from the operating system, which is random enough for jitter.
pub fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_thirty_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9)
            .map(|_| backoff.next(Duration::ZERO, false, 0.0).as_millis() as u64)
            .collect();
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
    }

    #[test]
    fn only_a_connection_that_lasted_starts_it_again() {
        let mut backoff = Backoff::default();
        backoff.next(Duration::ZERO, false, 0.0);
        backoff.next(Duration::ZERO, false, 0.0);
        let brief = backoff.next(Duration::from_secs(1), false, 0.0);
        assert_eq!(brief, Duration::from_secs(2));
        let good = backoff.next(Duration::from_secs(60), false, 0.0);
        assert_eq!(good, FIRST);
    }

    #[test]
    fn a_refusal_waits_long_at_once() {
        assert_eq!(Backoff::default().next(Duration::ZERO, true, 0.0), LONGEST);
    }

    #[test]
    fn jitter_shortens_by_at_most_half_and_random_spreads() {
        let draws: Vec<f64> = (0..200).map(|_| random()).collect();
        assert!(draws.iter().all(|r| (0.0..1.0).contains(r)));
        let mean = draws.iter().sum::<f64>() / 200.0;
        assert!((0.35..0.65).contains(&mean), "{mean}");
        for r in draws {
            let wait = Backoff::default().next(Duration::ZERO, false, r);
            assert!((FIRST / 2..=FIRST).contains(&wait));
        }
    }
}
