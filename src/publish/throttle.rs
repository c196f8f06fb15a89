//! Bounds how often one thing is logged, and says how often it went unsaid.

use std::time::{Duration, Instant};

/// At most one report an interval.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    last: Option<Instant>,
    unsaid: u64,
}

impl Throttle {
    /// One report at most in `every`.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            last: None,
            unsaid: 0,
        }
    }

    /// Counts one occurrence; `Some(n)` when it may be reported now, `n` occurrences since the last report, this one
    /// included.
    pub fn hit(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self
            .last
            .is_some_and(|t| now.saturating_duration_since(t) < self.every)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_the_first_at_once_and_the_rest_summed() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.hit(start), Some(1));
        for ms in 1..=99 {
            assert_eq!(throttle.hit(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(throttle.hit(start + Duration::from_secs(10)), Some(100));
    }
}
