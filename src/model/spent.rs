//! How long each model runs, and is waited for by who else has it in hand: where the time of a machine goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one model, over all that share it. Read while it runs.
#[derive(Debug, Default)]
pub struct Spent {
    runs: AtomicU64,
    ran_ns: AtomicU64,
    waited_ns: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Took {
    /// Runs, each on one window or several.
    pub runs: u64,
    /// How long they took, with what is brought to the device and back, microseconds.
    pub ran_us: u64,
    /// How long workers waited until it was their turn, microseconds.
    pub waited_us: u64,
}

impl Spent {
    pub(super) fn add(&self, asked: Instant, began: Instant) {
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.ran_ns
            .fetch_add(ns(began.elapsed()), Ordering::Relaxed);
        let waited = began.saturating_duration_since(asked);
        self.waited_ns.fetch_add(ns(waited), Ordering::Relaxed);
    }

    /// So far.
    pub fn so_far(&self) -> Took {
        Took {
            runs: self.runs.load(Ordering::Relaxed),
            ran_us: self.ran_ns.load(Ordering::Relaxed) / 1_000,
            waited_us: self.waited_ns.load(Ordering::Relaxed) / 1_000,
        }
    }
}

impl std::ops::Add for Took {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            ran_us: self.ran_us + other.ran_us,
            waited_us: self.waited_us + other.waited_us,
        }
    }
}

impl std::ops::Sub for Took {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            runs: self.runs.saturating_sub(before.runs),
            ran_us: self.ran_us.saturating_sub(before.ran_us),
            waited_us: self.waited_us.saturating_sub(before.waited_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_waiting_are_told_apart() {
        let (spent, asked) = (Spent::default(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let before = spent.so_far();
        spent.add(asked, Instant::now());
        let took = spent.so_far() - before;
        assert_eq!(took.runs, 1);
        assert!(took.waited_us >= 20_000 && took.ran_us < took.waited_us);
        assert_eq!((took + took).runs, 2);
        assert_eq!(before - took, Took::default());
    }
}
