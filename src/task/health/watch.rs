//! The health of one stream over time: measures of its windows in, changes out that lasted.

use std::collections::VecDeque;

use super::measure::{Measured, SKETCH};
use super::rankme::RankMe;
use crate::config;
use crate::dsp::{HIGH_HZ, LOW_HZ, MELS};
use crate::publish::{Body, HealthPart};

/// Sketches in the window of RankMe, five for each dimension: 32 s of speech.
pub const SKETCHES: usize = 5 * SKETCH;
/// Sketches from one look at the rank to the next: 6.4 s of speech.
pub const EVERY: usize = SKETCH;
/// Windows of speech whose spectrum is looked at together.
const SPEECH_WINDOWS: usize = 5;
/// The least frames (10 ms) of a window that count.
const LEAST_FRAMES: usize = 30;
/// Windows running that must agree on a band's edge, or on a microphone that moves again.
const CONFIRM: u32 = 3;
/// Looks at the rank that must agree.
const CONFIRM_RANK: u32 = 2;
/// The least share of the sketches' squares that is not their mean's, of an encoder that still tells sounds apart.
const LEAST_SPREAD: f64 = 1e-3;
/// The band ends where its energy lies this far below that of 300 to 3000 Hz, nepers of energy.
const DOWN: f64 = DOWN_DB / 4.342_944_819;
const DOWN_DB: f64 = 45.0;
/// An edge that moves by less than this factor is the same.
const SAME: f64 = 0.82;

/// When something is out of order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthPolicy {
    /// Seconds of samples without movement until a microphone is stuck.
    pub stuck_s: f64,
    /// Least share of the pack's effective rank.
    pub share: f64,
    /// The effective rank that the pack's encoder has on speech, without the mean; where the pack does not say, the rank is
    /// not watched.
    pub rank: Option<f64>,
}

impl HealthPolicy {
    /// As the configuration has it; `None` where nothing is watched.
    pub fn new(health: &config::Health, rank: Option<f64>) -> Option<Self> {
        health.enabled.then_some(Self {
            stuck_s: health.stuck_s,
            share: health.rank_share,
            rank: rank.filter(|r| *r > 0.0),
        })
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Of what.
    pub part: HealthPart,
    /// Whether it is in order now.
    pub ok: bool,
    /// What was measured, in the part's unit.
    pub value: f64,
    /// What it was held against.
    pub expected: f64,
    /// Since when, seconds on the stream's clock.
    pub since_s: f64,
}

impl From<Change> for Body {
    fn from(change: Change) -> Self {
        Self::Health {
            part: change.part,
            ok: change.ok,
            value: change.value,
            expected: change.expected,
            since_s: change.since_s,
        }
    }
}

/// State of one stream.
#[derive(Debug, Clone)]
pub struct HealthTracker {
    policy: HealthPolicy,
    /// Since when samples have not moved, or for how many windows they have again.
    stuck: Option<(f64, u32)>,
    is_stuck: bool,
    spectra: VecDeque<(Vec<f64>, usize)>,
    /// An edge that waits for confirmation: since when, for how many windows.
    pending: Option<(f64, f64, u32)>,
    edge: Option<f64>,
    widest: f64,
    rank: RankMe,
    new: usize,
    /// How many looks said the opposite of what stands, the first when.
    doubts: (u32, f64),
    is_collapsed: bool,
}

impl HealthTracker {
    /// A stream of which nothing is known, and which is taken to be in order.
    pub fn new(policy: HealthPolicy) -> Self {
        Self {
            policy,
            stuck: None,
            is_stuck: false,
            spectra: VecDeque::new(),
            pending: None,
            edge: None,
            widest: 0.0,
            rank: RankMe::new(SKETCH, SKETCHES),
            new: 0,
            doubts: (0, 0.0),
            is_collapsed: false,
        }
    }

    /// Takes the next window, whose audio is new from `new_s` to `end_s`.
    pub fn window(&mut self, new_s: f64, end_s: f64, measured: &Measured) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.microphone(new_s, end_s, measured.is_stuck));
        if let Some(bands) = &measured.bands {
            changes.extend(self.band(new_s, bands));
        }
        for sketch in &measured.states {
            self.rank.push(sketch);
            self.new += 1;
        }
        changes.extend(self.encoder(new_s));
        changes
    }

    fn microphone(&mut self, new_s: f64, end_s: f64, is_stuck: bool) -> Option<Change> {
        let (since_s, moving) = match (self.stuck, is_stuck) {
            (None, true) => (new_s, 0),
            (Some((since_s, _)), true) => (since_s, 0),
            (Some((since_s, moving)), false) => (since_s, moving + 1),
            (None, false) => return None,
        };
        self.stuck = Some((since_s, moving));
        let change = |ok, value, since_s| {
            let expected = self.policy.stuck_s;
            Some(Change {
                part: HealthPart::Microphone,
                ok,
                value,
                expected,
                since_s,
            })
        };
        let seconds = end_s - since_s;
        if is_stuck && !self.is_stuck && seconds >= self.policy.stuck_s {
            self.is_stuck = true;
            return change(false, seconds, since_s);
        }
        if moving >= CONFIRM {
            self.stuck = None;
            if std::mem::take(&mut self.is_stuck) {
                return change(true, 0.0, new_s);
            }
        }
        None
    }

    fn band(&mut self, new_s: f64, bands: &(Vec<f64>, usize)) -> Option<Change> {
        if bands.1 < LEAST_FRAMES {
            return None;
        }
        if self.spectra.len() == SPEECH_WINDOWS {
            self.spectra.pop_front();
        }
        self.spectra.push_back(bands.clone());
        if self.spectra.len() < SPEECH_WINDOWS {
            return None;
        }
        let found = edge(&self.spectra)?;
        let is_same = |a: f64, b: f64| a.min(b) / a.max(b) > SAME;
        if self.edge.is_some_and(|e| is_same(e, found)) {
            self.pending = None;
            return None;
        }
        let (first, since_s, seen) = match self.pending {
            Some((first, since_s, seen)) if is_same(first, found) => (first, since_s, seen + 1),
            _ => (found, new_s, 1),
        };
        self.pending = Some((first, since_s, seen));
        if seen < CONFIRM {
            return None;
        }
        self.pending = None;
        let before = self.edge.replace(found);
        let expected = self.widest;
        self.widest = expected.max(found);
        // The first is what the stream is like, no change.
        before.map(|_| Change {
            part: HealthPart::Band,
            ok: found > SAME * expected,
            value: found,
            expected,
            since_s,
        })
    }

    fn encoder(&mut self, new_s: f64) -> Option<Change> {
        let baseline = self.policy.rank?;
        if self.new < EVERY || !self.rank.is_full() {
            return None;
        }
        self.new = 0;
        // What differs by less than this is one vector, wherever the little that is left points.
        let rank = match self.rank.spread() < LEAST_SPREAD {
            true => 1.0,
            false => self.rank.centred(),
        };
        let share = rank / baseline;
        let collapsed = share < self.policy.share;
        if collapsed == self.is_collapsed {
            self.doubts = (0, 0.0);
            return None;
        }
        let (seen, since_s) = match self.doubts {
            (0, _) => (1, new_s),
            (seen, since_s) => (seen + 1, since_s),
        };
        self.doubts = (seen, since_s);
        if seen < CONFIRM_RANK {
            return None;
        }
        self.doubts = (0, 0.0);
        self.is_collapsed = collapsed;
        Some(Change {
            part: HealthPart::Encoder,
            ok: !collapsed,
            value: share,
            expected: self.policy.share,
            since_s,
        })
    }
}

/// Where speech ends in frequency, Hz: the centre of the highest band that is not far below the middle of the voice; none of
/// silence.
fn edge(spectra: &VecDeque<(Vec<f64>, usize)>) -> Option<f64> {
    let bands = spectra.front()?.0.len();
    let mut mean = vec![0.0; bands];
    for (energies, frames) in spectra {
        let sum = mean.iter_mut().zip(energies);
        sum.for_each(|(m, e)| *m += e * *frames as f64);
    }
    let logs: Vec<f64> = mean.iter().map(|e| e.max(1e-30).ln()).collect();
    let voice = |band: &usize| (300.0..3000.0).contains(&band_centre_hz(*band));
    let voiced: Vec<f64> = (0..bands).filter(voice).map(|b| logs[b]).collect();
    let middle = voiced.iter().sum::<f64>() / voiced.len().max(1) as f64;
    let highest = (0..bands).rev().find(|b| logs[*b] > middle - DOWN)?;
    Some(band_centre_hz(highest))
}

/// Where a log-mel band has its peak: bands lie at equal distances in mel, `2595·log10(1 + f/700)`.
fn band_centre_hz(band: usize) -> f64 {
    let mel = |hz: f64| (1.0 + hz / 700.0).log10();
    let share = (band + 1) as f64 / (MELS + 1) as f64;
    let at = mel(LOW_HZ) + share * (mel(HIGH_HZ) - mel(LOW_HZ));
    700.0 * (10f64.powf(at) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HealthPolicy = HealthPolicy {
        stuck_s: 10.0,
        share: 0.5,
        rank: Some(40.0),
    };

    /// Feeds one window a second; the changes with their second.
    fn play(
        tracker: &mut HealthTracker,
        from: usize,
        windows: usize,
        mut measure: impl FnMut(usize) -> Measured,
    ) -> Vec<(usize, Change)> {
        let mut all = Vec::new();
        for second in from..from + windows {
            let (new_s, end_s) = (second as f64, second as f64 + 1.0);
            let changes = tracker.window(new_s, end_s, &measure(second));
            all.extend(changes.into_iter().map(|c| (second, c)));
        }
        all
    }

    fn spectrum(edge_hz: f64) -> Measured {
        let energy = |band| {
            if band_centre_hz(band) <= edge_hz {
                1.0
            } else {
                1e-9
            }
        };
        Measured {
            bands: Some(((0..80).map(energy).collect(), 80)),
            ..Measured::default()
        }
    }

    #[test]
    fn a_microphone_is_stuck_after_its_time_and_told_once() {
        let mut tracker = HealthTracker::new(POLICY);
        let stuck = |is_stuck| {
            move |_| Measured {
                is_stuck,
                ..Measured::default()
            }
        };
        assert!(play(&mut tracker, 0, 9, stuck(true)).is_empty());
        let changes = play(&mut tracker, 9, 20, stuck(true));
        assert_eq!(changes.len(), 1);
        let (second, change) = changes[0];
        assert_eq!((second, change.ok, change.since_s), (9, false, 0.0));
        // A click in between is no recovery.
        assert!(play(&mut tracker, 29, 2, stuck(false)).is_empty());
        assert!(play(&mut tracker, 31, 5, stuck(true)).is_empty());
        let changes = play(&mut tracker, 36, 5, stuck(false));
        assert!(matches!(
            changes[..],
            [(
                38,
                Change {
                    ok: true,
                    part: HealthPart::Microphone,
                    ..
                }
            )]
        ));
    }

    #[test]
    fn a_narrower_band_is_told_and_so_is_its_return() {
        let mut tracker = HealthTracker::new(POLICY);
        assert!(play(&mut tracker, 0, 20, |_| spectrum(7_600.0)).is_empty());
        let narrow = play(&mut tracker, 20, 20, |_| spectrum(3_700.0));
        assert_eq!(narrow.len(), 1, "{narrow:?}");
        let (second, change) = narrow[0];
        assert!(
            !change.ok && second <= 28 && change.value < 3_800.0 && change.expected > 7_000.0,
            "{change:?}"
        );
        let back = play(&mut tracker, 40, 20, |_| spectrum(7_600.0));
        assert!(
            matches!(
                back[..],
                [(
                    _,
                    Change {
                        ok: true,
                        part: HealthPart::Band,
                        ..
                    }
                )]
            ),
            "{back:?}"
        );
        // A word without high sounds is none.
        assert!(play(&mut tracker, 60, 2, |_| spectrum(3_700.0)).is_empty());
        assert!(play(&mut tracker, 62, 9, |_| spectrum(7_600.0)).is_empty());
    }

    #[test]
    fn an_encoder_that_collapses_is_told_and_one_without_baseline_is_not_watched() {
        let mut noise = crate::task::health::triggers::Noise::default();
        let mut states = |width: usize| {
            let mut sketch = || -> Vec<f32> {
                let value = |j| if j < width { noise.next() as f32 } else { 0.0 };
                (0..SKETCH).map(value).collect()
            };
            (0..10).map(|_| sketch()).collect::<Vec<_>>()
        };
        let mut tracker = HealthTracker::new(POLICY);
        let mut blind = HealthTracker::new(HealthPolicy {
            rank: None,
            ..POLICY
        });
        let measure = |states| Measured {
            states,
            ..Measured::default()
        };
        assert!(play(&mut tracker, 0, 60, |_| measure(states(64))).is_empty());
        let changes = play(&mut tracker, 60, 60, |_| measure(states(4)));
        assert!(
            matches!(
                changes[..],
                [(
                    _,
                    Change {
                        ok: false,
                        part: HealthPart::Encoder,
                        ..
                    }
                )]
            ),
            "{changes:?}"
        );
        let changes = play(&mut tracker, 120, 60, |_| measure(states(64)));
        assert!(
            matches!(changes[..], [(_, Change { ok: true, .. })]),
            "{changes:?}"
        );
        assert!(play(&mut blind, 0, 60, |_| measure(states(2))).is_empty());
    }

    #[test]
    fn one_vector_for_all_audio_is_a_collapse_whatever_little_is_left_beside_it() {
        let mut noise = crate::task::health::triggers::Noise::default();
        for little in [0.0, 1e-3] {
            let mut tracker = HealthTracker::new(POLICY);
            let changes = play(&mut tracker, 0, 60, |_| {
                let mut sketch = || -> Vec<f32> {
                    let value = |j: usize| 0.1 + 0.01 * j as f32 + little * noise.next() as f32;
                    (0..SKETCH).map(value).collect()
                };
                Measured {
                    states: (0..10).map(|_| sketch()).collect(),
                    ..Measured::default()
                }
            });
            let share = 1.0 / 40.0;
            assert!(
                matches!(changes[..], [(_, Change { ok: false, value, .. })] if value == share),
                "{little}: {changes:?}"
            );
        }
    }
}
