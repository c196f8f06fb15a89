//! Windows through the models: speech first, and the encoder and its heads only when there is something to score.

mod recordings;
mod voices;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::audio::{Level, SAMPLE_RATE};
use crate::config;
use crate::dsp::{HOP, WINDOW, frames};
use crate::model::{
    Device, Execution, Hidden, Memory, ModelError, Models, Moment, Pack, Runtime, Spent, Stretch,
    Tally, Wanted,
};
use crate::task::Scores;
use crate::task::health::measure::{Measured, Meter};
use crate::task::sound::Sounds;
use crate::task::speech::{Speech, newest_utterance};

pub use recordings::{Heads, Heard};

use super::memory::StreamMemory;
use super::segmenter::{Window, in_samples};

/// Samples that one frame of the encoder and of the speech probabilities stands for (20 ms).
pub(super) const ENCODER_HOP: usize = 2 * HOP;
/// Below this level, dB relative to full scale, a window is silence without asking a model: 16-bit dither lies at −93,
/// the noise floor of a cheap microphone around −70.
const SILENCE_DBFS: f64 = -75.0;

/// One set of sessions and the scratch space around them, owned by one thread.
pub struct Analyser {
    models: Models,
    pub(super) speech_threshold: f32,
    /// Least share of speech, 0 to 1.
    min_speech: f64,
    /// Least utterance that is scored, and all that a window of full length has, in encoder frames.
    min_utterance: usize,
    full: usize,
    /// Samples of a window of full length, and from one to the next.
    length: usize,
    hop: u64,
    /// Whether the end of an utterance is embedded by itself as well.
    follows_turns: bool,
    /// What measures the health of streams; none where nobody looks after it.
    meter: Option<Meter>,
}

/// A window to be scored.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'w> {
    /// The audio.
    pub window: &'w Window,
    /// Also what else is heard in it, where the pack has a head for that.
    pub sound: bool,
    /// Which of the memories is its stream's.
    pub memory: usize,
}

/// A window on its way through the models.
struct Work<'w> {
    window: &'w Window,
    sound: bool,
    memory: usize,
    /// What is known of it so far, or why nothing will be.
    scores: Result<Scores, ModelError>,
    /// Where the newest utterance is, in frames of 20 ms, if it is to be scored.
    utterance: Option<Speech>,
    hidden: Option<Hidden>,
}

impl Work<'_> {
    /// Takes in what a model said of the window.
    fn keep<R>(&mut self, answer: Result<R, ModelError>, keep: impl FnOnce(&mut Self, R)) {
        match (answer, &self.scores) {
            (Ok(answer), Ok(_)) => keep(self, answer),
            (Err(error), Ok(_)) => self.scores = Err(error),
            (_, Err(_)) => (),
        }
    }

    /// Samples of the utterance, in the window.
    fn spoken(&self) -> Option<Range<usize>> {
        let frames = &self.utterance.as_ref()?.utterance;
        let end = (frames.end * ENCODER_HOP + WINDOW - HOP).min(self.window.signal.len());
        Some(frames.start * ENCODER_HOP..end)
    }
}

impl Analyser {
    /// Opens the pack's sessions where `execution` says, of the heads that can be left out only those that are wanted.
    pub fn open(
        runtime: &Runtime,
        pack: &Pack,
        execution: impl Into<Execution>,
        window: &config::Window,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        let min_s = window.min_speech * window.length_s;
        let (length, hop) = in_samples(window);
        let models = Models::open_wanted(runtime, pack, execution, wanted)?;
        Ok(Self {
            models,
            speech_threshold: pack.speech_threshold(),
            min_speech: window.min_speech,
            min_utterance: ((min_s * f64::from(SAMPLE_RATE)) as usize / ENCODER_HOP).max(1),
            length,
            hop: hop as u64,
            full: frames(length) / 2,
            follows_turns: false,
            meter: None,
        })
    }

    /// One for another worker on a GPU, with the same sessions.
    pub(super) fn beside(&self) -> Self {
        Self {
            models: self.models.beside(),
            meter: self.meter.as_ref().map(|_| Meter::new()),
            ..*self
        }
    }

    /// The same for batches of so many windows, of a GPU: those that are smaller are filled up, and utterances that are shorter than
    /// a window are repeated.
    pub fn filled_up(mut self, windows: usize) -> Self {
        self.models = self.models.filled_up(windows).repeating(self.length);
        self
    }

    /// The same for a stream on which people take turns: the end of each utterance is embedded by itself as well.
    pub fn following_turns(mut self) -> Self {
        self.follows_turns = true;
        self
    }

    /// The same with what the health of a stream and of the encoder is judged by.
    pub fn watching(mut self) -> Self {
        self.meter = Some(Meter::new());
        self
    }

    /// Where the models really run.
    pub fn device(&self) -> Device {
        self.models.provider()
    }

    /// Why they do not run on what would have been better; empty where it was not tried or works.
    pub fn refused(&self) -> &[String] {
        self.models.refused()
    }

    /// How often the encoder ran, and on how much.
    pub fn tally(&self) -> Tally {
        self.models.tally()
    }

    /// How long each model ran so far.
    pub(super) fn spent(&self) -> Vec<(&'static str, Arc<Spent>)> {
        self.models.spent()
    }

    pub(super) fn models(&mut self) -> &mut Models {
        &mut self.models
    }

    /// Scores one window of a stream of which `memory` keeps what was heard before; `sound`: also what else is heard in it,
    /// where the pack has a head for that.
    pub fn window(
        &mut self,
        window: &Window,
        sound: bool,
        memory: &mut StreamMemory,
    ) -> Result<Scores, ModelError> {
        let asked = Asked {
            window,
            sound,
            memory: 0,
        };
        let mut scores = self.windows(&[asked], std::slice::from_mut(memory));
        // One for each window.
        scores.swap_remove(0)
    }

    /// Scores many windows, those of one shape together. Each has its own answer or its own error, in their order; those of
    /// one stream follow each other.
    pub fn windows(
        &mut self,
        windows: &[Asked],
        memories: &mut [StreamMemory],
    ) -> Vec<Result<Scores, ModelError>> {
        let hears = self.models.hears_sounds() || self.models.has_probes();
        let begin = windows.iter().map(|asked| Work {
            scores: Ok(unheard(asked.window)),
            window: asked.window,
            sound: asked.sound && hears,
            memory: asked.memory,
            utterance: None,
            hidden: None,
        });
        let mut works: Vec<Work> = begin.collect();
        if let Some(meter) = &mut self.meter {
            for work in &mut works {
                if let Ok(scores) = &mut work.scores {
                    scores.health.is_stuck = meter.is_stuck(work.window.newest());
                }
            }
        }
        let is_audible = |work: &Work| {
            let level = work.scores.as_ref().map_or(f64::MIN, |s| s.level_dbfs);
            // What is no number is not silent: the models refuse it, and that is counted.
            (level.is_nan() || level >= SILENCE_DBFS) && work.window.fbank.nrows() >= 2
        };
        let mut audible: Vec<&mut Work> = works.iter_mut().filter(|w| is_audible(w)).collect();
        self.speech(&mut audible);
        self.encode(&mut audible, memories);
        self.sounds(&mut audible);
        self.utterances(&mut audible, memories);
        for asked in windows {
            if let Some(memory) = memories.get_mut(asked.memory) {
                memory.models.forget_before(self.after(asked.window));
            }
        }
        works.into_iter().map(|work| work.scores).collect()
    }

    /// Where the window after this one will lie: it grows to full length, then it slides.
    fn after(&self, window: &Window) -> Moment {
        let moment = window.moment();
        let slides = window.fbank.nrows() / 2 >= self.full;
        Moment {
            first_sample: moment.first_sample + if slides { self.hop } else { 0 },
            ..moment
        }
    }

    /// Where somebody speaks, and whether it is new.
    fn speech(&mut self, works: &mut [&mut Work]) {
        let fbanks: Vec<_> = works.iter().map(|w| w.window.fbank.view()).collect();
        let answers = self.models.speech_all(&fbanks);
        let (threshold, min_speech) = (self.speech_threshold, self.min_speech);
        let min_utterance = self.min_utterance;
        for (work, answer) in works.iter_mut().zip(answers) {
            work.keep(answer, |work, probabilities| {
                let speech = newest_utterance(&probabilities, threshold);
                let silence = speech.silence * ENCODER_HOP;
                if let Ok(scores) = &mut work.scores {
                    scores.speech = speech.share;
                    if speech.share >= min_speech {
                        let end = work.window.end_sample().saturating_sub(silence as u64);
                        scores.speech_end_s = Some(clock_s(end));
                    }
                }
                // Without new speech this window would only repeat what the last one said.
                let is_new = silence < work.window.new_samples;
                if is_new && speech.utterance.len() >= min_utterance {
                    work.utterance = Some(speech);
                }
            });
        }
    }

    /// One encode, many heads. Of one stream one window after the other: each goes on where the last one ended.
    fn encode(&mut self, works: &mut [&mut Work], memories: &mut [StreamMemory]) {
        let take = |memory: &mut StreamMemory| std::mem::take(&mut memory.models);
        let mut pasts: Vec<Memory> = memories.iter_mut().map(take).collect();
        let is_wanted = |w: &&mut &mut Work| w.scores.is_ok() && (w.sound || w.utterance.is_some());
        let mut waiting: Vec<_> = works.iter_mut().filter(is_wanted).collect();
        while !waiting.is_empty() {
            let mut busy = HashSet::new();
            let (mut works, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|w| busy.insert(w.memory));
            let windows: Vec<(Stretch, Moment, usize)> = works
                .iter()
                .map(|w| (w.window.stretch(), w.window.moment(), w.memory))
                .collect();
            let answers = self.models.hear_on(&windows, &mut pasts);
            for (work, answer) in works.iter_mut().zip(answers) {
                work.keep(answer, |work, hidden| work.hidden = Some(hidden));
            }
            waiting = later;
        }
        for (memory, past) in memories.iter_mut().zip(pasts) {
            memory.models = past;
        }
    }

    /// What else is heard, in whole windows.
    fn sounds(&mut self, works: &mut [&mut Work]) {
        let is_wanted = |w: &&mut &mut Work| w.sound && w.hidden.is_some();
        let mut works: Vec<_> = works.iter_mut().filter(is_wanted).collect();
        let hidden: Vec<Hidden> = works.iter().filter_map(|w| w.hidden.clone()).collect();
        let hidden: Vec<&Hidden> = hidden.iter().collect();
        if self.models.hears_sounds() {
            let answers = self.models.sounds_all(&hidden);
            for (work, answer) in works.iter_mut().zip(answers) {
                work.keep(answer, |work, probabilities| {
                    if let Ok(scores) = &mut work.scores {
                        scores.sounds = Some(Sounds { probabilities });
                    }
                });
            }
        }
        let answers = self.models.probe_all(&hidden);
        for (work, answer) in works.iter_mut().zip(answers) {
            work.keep(answer, |work, probes| {
                if let Ok(scores) = &mut work.scores {
                    scores.probes = probes;
                }
            });
        }
    }
}

/// A window of which no model was asked yet.
fn unheard(window: &Window) -> Scores {
    let level = Level::of(&window.signal.samples);
    let new = window.new_samples as u64;
    Scores {
        start_s: clock_s(window.first_sample),
        end_s: clock_s(window.end_sample()),
        new_s: clock_s(window.end_sample().saturating_sub(new)),
        level_dbfs: level.rms_dbfs(),
        clipped: level.clipped(),
        speech: 0.0,
        utterance: None,
        speech_end_s: None,
        sounds: None,
        probes: Vec::new(),
        health: Measured::default(),
    }
}

/// Seconds into a window at which a frame of the speech probabilities starts.
pub(super) fn frame_s(frame: usize) -> f64 {
    clock_s((frame * ENCODER_HOP) as u64)
}

/// Seconds on the stream's clock.
pub fn clock_s(sample: u64) -> f64 {
    sample as f64 / f64::from(SAMPLE_RATE)
}
