//! Finds losses in a stream that has no sequence numbers, by comparing the time that belongs to each piece with the length
//! of all pieces before it. No I/O, no clock of its own.

/// A step beyond this is not a loss but another clock, seconds.
const MOST_S: f64 = 3_600.0;
/// Share of the time that passes by which two clocks may drift apart without a loss: sound cards are within 0.02 %.
const DRIFT: f64 = 5e-4;

/// What a piece's time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is missing.
    Steady,
    /// So many frames (samples a channel) are missing before this piece.
    Lost(u64),
    /// The times do not go on from where they were.
    Broken,
}

/// Times of one stream so far.
#[derive(Debug, Clone)]
pub struct Timeline {
    rate: f64,
    tolerance_s: f64,
    settle_s: f64,
    back_s: f64,
    due: Option<f64>,
    /// Since when pieces have come too late, and the least by which they did.
    behind: Option<(f64, f64)>,
}

impl Timeline {
    /// For times that the sender wrote on each piece: a step of more than `tolerance_s` is a loss at once, one back by more
    /// than that a new clock.
    #[must_use]
    pub fn stamped(rate: u32, tolerance_s: f64) -> Self {
        Self {
            rate: f64::from(rate),
            tolerance_s,
            settle_s: 0.0,
            back_s: tolerance_s,
            due: None,
            behind: None,
        }
    }

    /// For times of arrival, which are late now and then: a loss is what does not catch up to `tolerance_s` within
    /// `settle_s`. It is told then, not where it happened.
    #[must_use]
    pub fn arriving(rate: u32, tolerance_s: f64, settle_s: f64) -> Self {
        Self {
            settle_s,
            back_s: f64::INFINITY,
            ..Self::stamped(rate, tolerance_s)
        }
    }

    /// Takes a piece of so many frames whose first belongs to `time_s`, in seconds of any clock.
    pub fn step(&mut self, time_s: f64, frames: u64) -> Step {
        let length = frames as f64 / self.rate;
        let ahead = match self.due {
            Some(due) => time_s - due,
            None => 0.0,
        };
        if !ahead.is_finite() || ahead > MOST_S || ahead < -self.back_s {
            self.behind = None;
            self.due = time_s.is_finite().then_some(time_s + length);
            return Step::Broken;
        }
        let due = time_s - ahead.max(0.0) + length;
        if ahead <= self.tolerance_s {
            self.behind = None;
            self.due = Some(due + ahead.clamp(0.0, length * DRIFT));
            return Step::Steady;
        }
        let (since, least) = self.behind.unwrap_or((time_s, ahead));
        let least = least.min(ahead);
        if time_s - since < self.settle_s {
            self.behind = Some((since, least));
            self.due = Some(due);
            return Step::Steady;
        }
        self.behind = None;
        self.due = Some(due + least);
        Step::Lost((least * self.rate).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lost(line: &mut Timeline, pieces: &[(f64, u64)]) -> u64 {
        let steps = pieces
            .iter()
            .map(|(time, frames)| line.step(*time, *frames));
        steps
            .map(|step| match step {
                Step::Lost(frames) => frames,
                Step::Steady => 0,
                Step::Broken => panic!("broken"),
            })
            .sum()
    }

    #[test]
    fn stamps_in_whole_milliseconds_lose_nothing_however_long() {
        // 1000 samples at 22.05 kHz are 45.35 ms; a sender that adds up 45 ms falls behind without end.
        let mut line = Timeline::stamped(22_050, 0.1);
        let pieces: Vec<_> = (0..50_000).map(|n| (f64::from(n) * 0.045, 1_000)).collect();
        assert_eq!(lost(&mut line, &pieces), 0);
    }

    #[test]
    fn another_clock_is_no_loss() {
        let mut line = Timeline::stamped(16_000, 0.1);
        assert_eq!(line.step(10.0, 1_600), Step::Steady);
        assert_eq!(line.step(0.0, 1_600), Step::Broken);
        assert_eq!(line.step(0.1, 1_600), Step::Steady);
        // Nanoseconds, say.
        assert_eq!(line.step(2e8, 1_600), Step::Broken);
        assert_eq!(line.step(f64::NAN, 1_600), Step::Broken);
        assert_eq!(line.step(7.0, 1_600), Step::Steady);
    }

    #[test]
    fn a_stall_that_catches_up_is_no_loss_and_one_that_does_not_is() {
        let stall = |missing: u32| {
            let mut line = Timeline::arriving(16_000, 0.25, 1.0);
            // 100 ms pieces; those of 2 s to 4 s come at 4 s, or not at all.
            let pieces: Vec<_> = (0..100)
                .filter(|n| !(20..20 + missing).contains(n))
                .map(|n| {
                    (
                        if (20..40).contains(&n) {
                            4.0
                        } else {
                            f64::from(n) * 0.1
                        },
                        1_600,
                    )
                })
                .collect();
            lost(&mut line, &pieces)
        };
        assert_eq!(stall(0), 0);
        let frames = stall(15) as f64;
        assert!((frames - 24_000.0).abs() < 16.0, "{frames}");
    }

    #[test]
    fn a_slow_sound_card_is_no_loss() {
        let mut line = Timeline::arriving(16_000, 0.25, 1.0);
        let pieces: Vec<_> = (0..200_000)
            .map(|n| (f64::from(n) * 0.064 * 1.000_2, 1_024))
            .collect();
        assert_eq!(lost(&mut line, &pieces), 0);
    }

    proptest! {
        #[test]
        fn what_is_left_out_of_stamped_pieces_is_what_is_found(
            pieces in prop::collection::vec((1u64..4_000, prop::option::weighted(0.2, 1_700u64..200_000)), 1..200),
            start in 0.0f64..1e6,
        ) {
            let mut line = Timeline::stamped(16_000, 0.1);
            let (mut at, mut missing) = (0u64, 0u64);
            let (mut first, mut found) = (true, 0);
            for (frames, gap) in pieces {
                if let Some(gap) = gap.filter(|_| !first) {
                    at += gap;
                    missing += gap;
                }
                first = false;
                match line.step(start + at as f64 / 16_000.0, frames) {
                    Step::Lost(frames) => found += frames,
                    step => prop_assert_eq!(step, Step::Steady),
                }
                at += frames;
            }
            prop_assert_eq!(found, missing);
        }

        #[test]
        fn lateness_below_the_tolerance_is_never_a_loss(late in prop::collection::vec(0.0f64..0.24, 1..500)) {
            let mut line = Timeline::arriving(16_000, 0.25, 1.0);
            for (n, late) in late.into_iter().enumerate() {
                prop_assert_eq!(line.step(n as f64 * 0.1 + late, 1_600), Step::Steady);
            }
        }
    }
}
