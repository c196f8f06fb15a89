//! What else is heard: a class of sounds is on once several windows running say so, and off once several deny it.
//!
//! Two thresholds, not one: a probability that wavers around a single one would switch a class on and off for ever.

use crate::config;

/// The class that silence is: known without a model where a window is below the level of any microphone.
const SILENCE: &str = "silence";

/// What the sound head gave for a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Sounds {
    /// Probability of each class, each for itself.
    pub probabilities: Vec<f32>,
}

impl Sounds {
    /// The most probable class and its probability; `None` for no classes.
    pub fn best(&self) -> Option<(usize, f32)> {
        let all = self.probabilities.iter().copied().enumerate();
        all.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// What all streams share: names and thresholds.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundPolicy {
    classes: Vec<String>,
    on: f32,
    off: f32,
    min_windows: u32,
}

impl SoundPolicy {
    /// The classes of a pack under a configuration; `None` where there are none, or they are not wanted.
    pub fn new(classes: &[String], config: &config::Sound) -> Option<Self> {
        (config.enabled && !classes.is_empty()).then(|| Self {
            classes: classes.to_vec(),
            on: config.on as f32,
            off: config.off as f32,
            min_windows: config.min_windows,
        })
    }

    /// Name of a class.
    pub fn name(&self, class: usize) -> &str {
        self.classes.get(class).map_or("", String::as_str)
    }
}

/// A class that began or ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoundChange {
    /// Number of the class.
    pub class: usize,
    /// Whether it is heard now.
    pub on: bool,
    /// In the window that settled it.
    pub probability: f64,
    /// Since when, seconds on the stream's clock.
    pub since_s: f64,
}

/// State of one stream.
#[derive(Debug, Clone)]
pub struct SoundTracker {
    states: Vec<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    on: bool,
    on_since_s: f64,
    /// Windows running that speak against `on`, and since when they do.
    against: u32,
    against_since_s: f64,
}

impl SoundTracker {
    /// Nothing is heard yet.
    pub fn new(policy: &SoundPolicy) -> Self {
        Self {
            states: vec![State::default(); policy.classes.len()],
        }
    }

    /// Takes the next window from `start_s`, whose audio is new from `new_s` on; `None`: below the level at which a model is
    /// asked. Returns the classes that began or ended.
    pub fn window(
        &mut self,
        policy: &SoundPolicy,
        sounds: Option<&Sounds>,
        start_s: f64,
        new_s: f64,
    ) -> Vec<SoundChange> {
        let mut changes = Vec::new();
        for (class, state) in self.states.iter_mut().enumerate() {
            let probability = match sounds {
                Some(sounds) => sounds.probabilities.get(class).copied().unwrap_or(0.0),
                None => f32::from(u8::from(policy.name(class) == SILENCE)),
            };
            let against = match state.on {
                false => probability >= policy.on,
                true => probability < policy.off,
            };
            if !against {
                state.against = 0;
                continue;
            }
            if state.against == 0 {
                // What windows before did not show began in the new part; what the whole window lacks ended before it.
                state.against_since_s = match state.on {
                    false => new_s,
                    true => start_s.max(state.on_since_s),
                };
            }
            state.against += 1;
            if state.against < policy.min_windows {
                continue;
            }
            *state = State {
                on: !state.on,
                on_since_s: state.against_since_s,
                ..State::default()
            };
            changes.push(SoundChange {
                class,
                on: state.on,
                probability: f64::from(probability),
                since_s: state.on_since_s,
            });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(classes: &[&str]) -> SoundPolicy {
        let classes: Vec<String> = classes.iter().map(|c| (*c).to_owned()).collect();
        SoundPolicy::new(&classes, &config::Sound::default()).unwrap()
    }

    /// Windows of 3 s, 1 s apart; `None` is a window without sound.
    fn run(policy: &SoundPolicy, windows: &[Option<&[f32]>]) -> Vec<(usize, bool, f64)> {
        let mut tracker = SoundTracker::new(policy);
        let mut all = Vec::new();
        for (i, window) in windows.iter().enumerate() {
            let sounds = window.map(|p| Sounds {
                probabilities: p.to_vec(),
            });
            let start_s = i as f64;
            let changes = tracker.window(policy, sounds.as_ref(), start_s, start_s + 2.0);
            all.extend(changes.iter().map(|c| (c.class, c.on, c.since_s)));
        }
        all
    }

    #[test]
    fn a_class_begins_in_the_new_part_and_ends_before_the_window() {
        let p = policy(&["music"]);
        let (yes, no) = (Some(&[0.9][..]), Some(&[0.1][..]));
        let found = run(&p, &[no, yes, yes, yes, yes, no, no]);
        assert_eq!(found, [(0, true, 3.0), (0, false, 5.0)]);
    }

    #[test]
    fn one_window_and_a_wavering_probability_change_nothing() {
        let p = policy(&["music"]);
        let (yes, no, half) = (Some(&[0.9][..]), Some(&[0.1][..]), Some(&[0.5][..]));
        assert_eq!(run(&p, &[yes, no, yes, half, yes, half, half]), []);
        assert_eq!(
            run(&p, &[yes, yes, half, half, no, half, no]),
            [(0, true, 2.0)]
        );
    }

    #[test]
    fn silence_ends_all_but_itself() {
        let p = policy(&["music", "silence"]);
        let loud = Some(&[0.9, 0.0][..]);
        let found = run(&p, &[loud, loud, None, None]);
        assert_eq!(found, [(0, true, 2.0), (0, false, 2.0), (1, true, 4.0)]);
    }

    #[test]
    fn several_sound_at_once_and_the_best_is_told() {
        let p = policy(&["speech", "music"]);
        let both = Some(&[0.8, 0.9][..]);
        assert_eq!(run(&p, &[both, both]).len(), 2);
        let sounds = Sounds {
            probabilities: vec![0.2, 0.7, 0.1],
        };
        assert_eq!(sounds.best(), Some((1, 0.7)));
    }

    #[test]
    fn without_classes_or_wish_there_is_no_policy() {
        let off = config::Sound {
            enabled: false,
            ..config::Sound::default()
        };
        assert_eq!(SoundPolicy::new(&["music".into()], &off), None);
        assert_eq!(SoundPolicy::new(&[], &config::Sound::default()), None);
    }

    proptest! {
        #[test]
        fn beginnings_and_ends_take_turns(windows in prop::collection::vec(prop::option::of(0f32..1.0), 0..60)) {
            let p = policy(&["music"]);
            let mut tracker = SoundTracker::new(&p);
            let (mut on, mut last) = (false, f64::NEG_INFINITY);
            for (i, window) in windows.iter().enumerate() {
                let sounds = window.map(|p| Sounds { probabilities: vec![p] });
                for change in tracker.window(&p, sounds.as_ref(), i as f64, i as f64 + 2.0) {
                    prop_assert_eq!(change.on, !on);
                    prop_assert!(change.since_s >= last);
                    (on, last) = (change.on, change.since_s);
                }
            }
        }
    }
}
