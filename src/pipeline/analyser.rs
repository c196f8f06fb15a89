//! Windows through the models: speech first, and the encoder and its heads only when there is something to score.

mod recordings;

use std::collections::HashSet;
use std::ops::Range;

use ndarray::{Array2, s};

use crate::audio::{Level, SAMPLE_RATE};
use crate::config;
use crate::dsp::{HOP, SpectralView, WINDOW};
use crate::model::{
    Device, Execution, Hidden, Memory, ModelError, Models, Moment, Pack, Runtime, Stretch, Tally,
    Wanted,
};
use crate::task::health::measure::{Measured, Meter, bands};
use crate::task::sound::Sounds;
use crate::task::speech::{Speech, newest_utterance};
use crate::task::{Newest, Scores, Utterance};

pub use recordings::{Heads, Heard};

use super::memory::StreamMemory;
use super::segmenter::Window;

/// Samples that one frame of the encoder and of the speech probabilities stands for (20 ms).
pub(super) const ENCODER_HOP: usize = 2 * HOP;
/// Below this level, dB relative to full scale, a window is silence without asking a model: 16-bit dither lies at −93,
/// the noise floor of a cheap microphone around −70.
const SILENCE_DBFS: f64 = -75.0;

/// The end of an utterance that is embedded by itself, in frames of 20 ms: 1.5 s, about the least that tells voices apart.
const NEWEST: usize = 75;
/// Cosine to the voice of the last few utterances below which somebody else may have begun to speak: on dev sessions as good
/// as to embed each end, which costs a twentieth of all work on voices.
const UNLIKE: f64 = 0.9;

/// On a GPU an utterance has a multiple of so many frames, half a second: those of one length run together, and there what
/// runs alone costs as much as a batch. A CPU runs each as it is.
const GRID: usize = 25;

/// One set of sessions and the scratch space around them, owned by one thread.
pub struct Analyser {
    models: Models,
    /// One for each thread that may make spectral views at once; none where detection is off.
    pub(super) spectral: Vec<SpectralView>,
    pub(super) speech_threshold: f32,
    /// Least share of speech, 0 to 1.
    min_speech: f64,
    /// Least utterance that is scored, in encoder frames.
    min_utterance: usize,
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
        let models = Models::open_wanted(runtime, pack, execution, wanted)?;
        Ok(Self {
            models,
            spectral: wanted.spoof.then(SpectralView::new).into_iter().collect(),
            speech_threshold: pack.speech_threshold(),
            min_speech: window.min_speech,
            min_utterance: ((min_s * f64::from(SAMPLE_RATE)) as usize / ENCODER_HOP).max(1),
            follows_turns: false,
            meter: None,
        })
    }

    /// The same with this many threads for the features of a batch: a GPU would wait for one.
    pub fn threads(mut self, threads: usize) -> Self {
        if !self.spectral.is_empty() {
            self.spectral.resize_with(threads.max(1), SpectralView::new);
        }
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

    pub(super) fn models(&mut self) -> &mut Models {
        &mut self.models
    }

    /// How long utterances in a window of so many seconds are on a GPU, seconds, the longest first; the window's own length
    /// where none fits.
    pub(super) fn utterances_s(&self, window_s: f64) -> Vec<f64> {
        let frames = (window_s * f64::from(SAMPLE_RATE)) as usize / ENCODER_HOP;
        let shorter = (self.min_utterance..frames)
            .rev()
            .filter(|n| n % GRID == 0 || *n == self.min_utterance);
        let shorter = shorter.map(frame_s);
        std::iter::once(window_s).chain(shorter).collect()
    }

    /// Whether real and forged voices are told apart.
    pub(super) fn detects(&self) -> bool {
        !self.spectral.is_empty()
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
                memory.models.forget_before(asked.window.moment());
            }
        }
        works.into_iter().map(|work| work.scores).collect()
    }

    /// Where somebody speaks, and whether it is new.
    fn speech(&mut self, works: &mut [&mut Work]) {
        let fbanks: Vec<_> = works.iter().map(|w| w.window.fbank.view()).collect();
        let answers = self.models.speech_all(&fbanks);
        let (threshold, min_speech) = (self.speech_threshold, self.min_speech);
        let (min_utterance, is_gpu) = (self.min_utterance, self.device().is_gpu());
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
                    let utterance = match is_gpu {
                        true => on_grid(speech.utterance, min_utterance, probabilities.len()),
                        false => speech.utterance,
                    };
                    work.utterance = Some(Speech {
                        utterance,
                        ..speech
                    });
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

    /// Who spoke, and whether the voice is real.
    fn utterances(&mut self, works: &mut [&mut Work], memories: &mut [StreamMemory]) {
        let mut spans = Vec::new();
        let mut spoken = Vec::new();
        let mut voices: Vec<&mut Work> = Vec::new();
        for work in works.iter_mut() {
            let (Some(hidden), Some(speech), Ok(_)) = (&work.hidden, &work.utterance, &work.scores)
            else {
                continue;
            };
            let frames = speech.utterance.clone();
            spans.push(hidden.span(frame_s(frames.start)..frame_s(frames.end)));
            let health = match &mut self.meter {
                Some(meter) => health(meter, &frames, work.window, hidden),
                None => Measured::default(),
            };
            let began = speech.began;
            let samples = work.spoken().unwrap_or_default();
            let first = work.window.first_sample;
            if let Ok(scores) = &mut work.scores {
                scores.health.bands = health.bands;
                scores.health.states = health.states;
                scores.utterance = Some(Utterance {
                    start_s: clock_s(first + samples.start as u64),
                    end_s: clock_s(first + samples.end as u64),
                    began,
                    embedding: Vec::new(),
                    newest: None,
                    genuine: None,
                    parts: Vec::new(),
                });
            }
            spoken.push(&work.window.signal.samples[samples]);
            voices.push(work);
        }
        if voices.is_empty() {
            return;
        }
        if self.models.knows_voices() {
            let answers = self.models.embed_all(&spans.iter().collect::<Vec<_>>());
            for (work, answer) in voices.iter_mut().zip(answers) {
                work.keep(answer, |work, embedding| {
                    if let Some(utterance) = utterance_of(work) {
                        utterance.embedding = embedding;
                    }
                });
            }
            if self.follows_turns {
                self.newest(&mut voices, memories);
            }
        }
        if !self.spectral.is_empty() {
            let views = spectral_views(&mut self.spectral, &spoken);
            let windows: Vec<_> = spans
                .iter()
                .zip(views.iter().map(|view| view.view()))
                .collect();
            let answers = self.models.opinions(&windows);
            for (work, answer) in voices.iter_mut().zip(answers) {
                work.keep(answer, |work, opinion| {
                    if let Some(utterance) = utterance_of(work) {
                        utterance.genuine = Some(opinion.score);
                        utterance.parts = opinion.parts;
                    }
                });
            }
        }
    }

    /// Who spoke at the end, where the utterance is longer and its voice is not that of those before.
    fn newest(&mut self, voices: &mut [&mut Work], memories: &mut [StreamMemory]) {
        let mut long: Vec<(&mut Work, usize)> = voices
            .iter_mut()
            .filter_map(|work| {
                let speech = work.utterance.as_ref()?;
                let utterance = work.scores.as_ref().ok()?.utterance.as_ref()?;
                let memory = memories.get_mut(work.memory)?;
                let like = memory.voice(&utterance.embedding);
                let frames = speech.utterance.clone();
                let is_asked = like.is_none_or(|like| like < UNLIKE) && frames.len() > NEWEST;
                is_asked.then(|| (&mut **work, frames.end - NEWEST))
            })
            .collect();
        let spans: Vec<Hidden> = long
            .iter()
            .filter_map(|(work, first)| {
                let span = frame_s(*first)..frame_s(first + NEWEST);
                Some(work.hidden.as_ref()?.span(span))
            })
            .collect();
        let answers = self.models.embed_all(&spans.iter().collect::<Vec<_>>());
        for ((work, first), answer) in long.iter_mut().zip(answers) {
            let start = work.window.first_sample + (*first * ENCODER_HOP) as u64;
            work.keep(answer, |work, embedding| {
                if let Some(utterance) = utterance_of(work) {
                    utterance.newest = Some(Newest {
                        start_s: clock_s(start),
                        embedding,
                    });
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

/// Of these frames of 20 ms the ones that no earlier window held.
fn fresh(frames: &Range<usize>, window: &Window) -> Range<usize> {
    let old = window.signal.len().saturating_sub(window.new_samples);
    let most = window.fbank.nrows() / 2;
    let end = frames.end.min(most);
    frames.start.max(old.div_ceil(ENCODER_HOP)).min(end)..end
}

/// What the new part of an utterance, frames of 20 ms, says of the stream and of the encoder.
fn health(meter: &mut Meter, frames: &Range<usize>, window: &Window, hidden: &Hidden) -> Measured {
    let new = fresh(frames, window);
    let bands = bands(window.fbank.slice(s![2 * new.start..2 * new.end, ..]));
    // On a GPU the states stay there: they are not fetched for this.
    let states = match hidden.is_at_hand() && !new.is_empty() {
        true => hidden
            .span(frame_s(new.start)..frame_s(new.end))
            .view()
            .map(|states| meter.sketch(states, hidden.vectors_a_second())),
        false => Ok(Vec::new()),
    };
    Measured {
        is_stuck: false,
        bands,
        states: states.unwrap_or_default(),
    }
}

/// The end of an utterance of which at least `least` frames, and at most all that a window has, are on the grid.
fn on_grid(utterance: Range<usize>, least: usize, window: usize) -> Range<usize> {
    let length = match utterance.len() {
        whole if whole == window => whole,
        length => (length / GRID * GRID).max(least.min(length)),
    };
    utterance.end - length..utterance.end
}

fn utterance_of<'a>(work: &'a mut Work) -> Option<&'a mut Utterance> {
    work.scores.as_mut().ok()?.utterance.as_mut()
}

/// The spectral view of each piece, on as many threads as there are `makers`.
pub(super) fn spectral_views(makers: &mut [SpectralView], pieces: &[&[f32]]) -> Vec<Array2<f32>> {
    let each = pieces.len().div_ceil(makers.len().max(1)).max(1);
    if each == pieces.len() {
        let maker = &mut makers[0];
        return pieces.iter().map(|piece| maker.compute(piece)).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = makers
            .iter_mut()
            .zip(pieces.chunks(each))
            .map(|(maker, pieces)| {
                let make = move || -> Vec<Array2<f32>> {
                    pieces.iter().map(|piece| maker.compute(piece)).collect()
                };
                scope.spawn(make)
            })
            .collect();
        let views = threads.into_iter().map(|thread| match thread.join() {
            Ok(views) => views,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        views.flatten().collect()
    })
}

/// Seconds into a window at which a frame of the speech probabilities starts.
pub(super) fn frame_s(frame: usize) -> f64 {
    clock_s((frame * ENCODER_HOP) as u64)
}

/// Seconds on the stream's clock.
pub fn clock_s(sample: u64) -> f64 {
    sample as f64 / f64::from(SAMPLE_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_on_a_gpu_has_one_of_few_lengths_and_keeps_its_end() {
        for (length, kept) in [
            (75, 75),
            (80, 75),
            (99, 75),
            (100, 100),
            (148, 125),
            (149, 149),
        ] {
            let found = on_grid(149 - length..149, 75, 149);
            assert_eq!((found.len(), found.end), (kept, 149));
        }
        assert_eq!(on_grid(10..70, 40, 149), 20..70);
        assert_eq!(on_grid(10..54, 40, 149), 14..54, "as much as has to be");
    }
}
