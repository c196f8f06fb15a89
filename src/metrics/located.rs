//! How well what is synthetic within a recording is found: which of it, how near its borders, and what is claimed without cause.

use std::ops::Range;

use crate::percentile::percentile;

/// Claims and truth of one recording, or of several added up. Times are seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Located {
    /// Synthetic stretches that there are.
    pub fakes: usize,
    /// Of each that was found, that is of which at least half is claimed: by how much its first claim starts later than it, and
    /// its last one ends later.
    pub found: Vec<(f64, f64)>,
    /// Stretches that were claimed to be synthetic.
    pub claims: usize,
    /// Those that share at least half with a fake of what the two cover together.
    pub matched: usize,
    /// Those that touch no fake.
    pub false_alarms: usize,
    /// Speech that is real.
    pub real_s: f64,
    /// Speech that is synthetic.
    pub fake_s: f64,
    /// Speech that was claimed.
    pub claimed_s: f64,
    /// Speech that is synthetic and was claimed.
    pub both_s: f64,
}

impl Located {
    /// Compares the claims of a recording with what is synthetic in it; `speech` is where anybody speaks. Each in order and
    /// without overlaps.
    pub fn of(fakes: &[Range<f64>], claims: &[Range<f64>], speech: &[Range<f64>]) -> Self {
        let found = fakes.iter().filter_map(|fake| {
            let mut touching = claims.iter().filter(|c| common(c, fake) > 0.0);
            let covered: f64 = touching.clone().map(|c| common(c, fake)).sum();
            let (first, last) = (touching.clone().next()?, touching.next_back()?);
            (covered >= length(fake) / 2.0)
                .then_some((first.start - fake.start, last.end - fake.end))
        });
        let alike = |claim: &&Range<f64>| {
            let half = |fake: &Range<f64>| {
                let both = common(claim, fake);
                both >= (length(claim) + length(fake) - both) / 2.0
            };
            fakes.iter().any(half)
        };
        let spoken = |what: &[Range<f64>]| -> f64 {
            let pairs = what
                .iter()
                .flat_map(|a| speech.iter().map(|b| common(a, b)));
            pairs.sum()
        };
        let false_alarm = |claim: &&Range<f64>| fakes.iter().all(|f| common(claim, f) <= 0.0);
        let fake_s = spoken(fakes);
        let both: Vec<Range<f64>> = fakes
            .iter()
            .flat_map(|f| {
                claims
                    .iter()
                    .map(|c| f.start.max(c.start)..f.end.min(c.end))
            })
            .filter(|r| r.start < r.end)
            .collect();
        Self {
            fakes: fakes.len(),
            found: found.collect(),
            claims: claims.len(),
            matched: claims.iter().filter(alike).count(),
            false_alarms: claims.iter().filter(false_alarm).count(),
            real_s: speech.iter().map(length).sum::<f64>() - fake_s,
            fake_s,
            claimed_s: spoken(claims),
            both_s: spoken(&both),
        }
    }

    /// Adds another recording.
    pub fn add(&mut self, other: &Self) {
        self.fakes += other.fakes;
        self.found.extend(&other.found);
        self.claims += other.claims;
        self.matched += other.matched;
        self.false_alarms += other.false_alarms;
        self.real_s += other.real_s;
        self.fake_s += other.fake_s;
        self.claimed_s += other.claimed_s;
        self.both_s += other.both_s;
    }

    /// Share of the fakes that were found; `None` without fakes.
    pub fn found_share(&self) -> Option<f64> {
        share(self.found.len() as f64, self.fakes as f64)
    }

    /// Share of the fakes that were found and whose borders both lie within so many seconds; `None` without fakes.
    pub fn within(&self, seconds: f64) -> Option<f64> {
        let near = |(start, end): &&(f64, f64)| start.abs() <= seconds && end.abs() <= seconds;
        share(
            self.found.iter().filter(near).count() as f64,
            self.fakes as f64,
        )
    }

    /// The distance that so many of the borders of fakes that were found do not exceed, `of` from 0 to 1; `None` if none was.
    pub fn border_error(&self, of: f64) -> Option<f64> {
        let mut errors: Vec<f64> = self
            .found
            .iter()
            .flat_map(|(a, b)| [a.abs(), b.abs()])
            .collect();
        (!errors.is_empty()).then(|| percentile(&mut errors, of))
    }

    /// Claims that touch no fake, an hour of real speech; `None` without real speech.
    pub fn false_alarms_an_hour(&self) -> Option<f64> {
        share(3600.0 * self.false_alarms as f64, self.real_s)
    }

    /// F1 of segments: of claims that match a fake, and fakes that a claim matches.
    pub fn segment_f1(&self) -> Option<f64> {
        share(2.0 * self.matched as f64, (self.claims + self.fakes) as f64)
    }

    /// F1 of the time of speech.
    pub fn time_f1(&self) -> Option<f64> {
        share(2.0 * self.both_s, self.claimed_s + self.fake_s)
    }
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn length(span: &Range<f64>) -> f64 {
    span.end - span.start
}

/// Seconds that two spans share.
fn common(a: &Range<f64>, b: &Range<f64>) -> f64 {
    (a.end.min(b.end) - a.start.max(b.start)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_and_false_alarms_are_counted() {
        let speech = [0.0..10.0, 11.0..20.0];
        let fakes = [2.0..5.0, 12.0..14.0, 17.0..18.0];
        // One in two pieces that begins late and ends late, one that is missed, one that is touched at its end, one without cause.
        let claims = [2.25..4.0, 4.25..5.5, 8.0..9.0, 17.75..19.0];
        let mut all = Located::of(&fakes, &claims, &speech);
        assert_eq!(all.found, [(0.25, 0.5)]);
        assert_eq!((all.claims, all.matched, all.false_alarms), (4, 1, 1));
        assert_eq!((all.fake_s, all.real_s), (6.0, 13.0));
        assert_eq!((all.claimed_s, all.both_s), (5.25, 2.75));
        assert_eq!(all.found_share(), Some(1.0 / 3.0));
        assert_eq!(
            (all.within(0.5), all.within(0.4)),
            (Some(1.0 / 3.0), Some(0.0))
        );
        assert_eq!(
            (all.border_error(0.0), all.border_error(1.0)),
            (Some(0.25), Some(0.5))
        );
        assert_eq!(all.segment_f1(), Some(2.0 / 7.0));
        assert_eq!(all.time_f1(), Some(5.5 / 11.25));
        all.add(&Located::of(&[], &[], &[0.0..3587.0]));
        assert_eq!(all.false_alarms_an_hour(), Some(1.0));
    }

    #[test]
    fn nothing_to_find_is_no_figure() {
        let none = Located::of(&[], &[], &[0.0..1.0]);
        assert_eq!((none.found_share(), none.border_error(0.5)), (None, None));
        assert_eq!(
            (none.segment_f1(), none.false_alarms_an_hour()),
            (None, Some(0.0))
        );
        assert_eq!(Located::default().false_alarms_an_hour(), None);
    }
}
