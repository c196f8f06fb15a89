//! One window through the models: speech first, and the encoder and its heads only when there is something to score.

use crate::audio::{Level, SAMPLE_RATE, Signal};
use crate::config;
use crate::dsp::{HOP, SpectralView, WINDOW, fbank};
use crate::model::{Device, Hidden, ModelError, Models, Pack, Runtime, Stretch, Wanted};
use crate::task::sound::Sounds;
use crate::task::speech::newest_utterance;
use crate::task::{Scores, Utterance};

use super::segmenter::{Segmenter, Window};

/// Samples that one frame of the encoder and of the speech probabilities stands for (20 ms).
const ENCODER_HOP: usize = 2 * HOP;
/// Below this level, dB relative to full scale, a window is silence without asking a model: 16-bit dither lies at −93,
/// the noise floor of a cheap microphone around −70.
const SILENCE_DBFS: f64 = -75.0;

/// Which heads score a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Who speaks.
    pub speaker: bool,
    /// Whether the voice is real; an error where detection is off.
    pub spoof: bool,
    /// What else is heard; an error where the head is not open.
    pub sound: bool,
}

/// What the heads say of a segment; `None` of one that was not asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Speaker embedding, L2 norm 1.
    pub embedding: Option<Vec<f32>>,
    /// Raw score of the spoof head, higher = bona fide.
    pub genuine: Option<f32>,
    /// Probability of each class of sounds.
    pub sounds: Option<Vec<f32>>,
}

/// One set of sessions and the scratch space around them, owned by one thread.
pub struct Analyser {
    models: Models,
    spectral: Option<SpectralView>,
    speech_threshold: f32,
    /// Least share of speech, 0 to 1.
    min_speech: f64,
    /// Least utterance that is scored, in encoder frames.
    min_utterance: usize,
}

impl Analyser {
    /// Opens the pack's sessions on `provider`, of the heads that can be left out only those that are wanted.
    pub fn open(
        runtime: &Runtime,
        pack: &Pack,
        provider: config::Provider,
        window: &config::Window,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        let min_s = window.min_speech * window.length_s;
        Ok(Self {
            models: Models::open_wanted(runtime, pack, provider, wanted)?,
            spectral: wanted.spoof.then(SpectralView::new),
            speech_threshold: pack.speech_threshold(),
            min_speech: window.min_speech,
            min_utterance: ((min_s * f64::from(SAMPLE_RATE)) as usize / ENCODER_HOP).max(1),
        })
    }

    /// Where the models really run.
    pub fn device(&self) -> Device {
        self.models.provider()
    }

    /// Scores one window; `sound`: also what else is heard in it, where the pack has a head for that.
    pub fn window(&mut self, window: &Window, sound: bool) -> Result<Scores, ModelError> {
        let level = Level::of(&window.signal.samples);
        let mut scores = Scores {
            start_s: clock_s(window.first_sample),
            end_s: clock_s(window.end_sample()),
            new_s: clock_s(
                window
                    .end_sample()
                    .saturating_sub(window.new_samples as u64),
            ),
            level_dbfs: level.rms_dbfs(),
            clipped: level.clipped(),
            speech: 0.0,
            utterance: None,
            speech_end_s: None,
            sounds: None,
            probes: Vec::new(),
        };
        if level.rms_dbfs() < SILENCE_DBFS || window.fbank.nrows() < 2 {
            return Ok(scores);
        }
        let mut hidden: Option<Hidden> = None;
        if sound && (self.models.hears_sounds() || self.models.has_probes()) {
            let whole = hidden.insert(self.models.hear(window.stretch())?);
            if self.models.hears_sounds() {
                let probabilities = self.models.sounds(whole)?;
                scores.sounds = Some(Sounds { probabilities });
            }
            scores.probes = self.models.probe(whole)?;
        }
        let speech = newest_utterance(
            &self.models.speech(window.fbank.view())?,
            self.speech_threshold,
        );
        scores.speech = speech.share;
        if speech.share >= self.min_speech {
            let silence = speech.silence * ENCODER_HOP;
            scores.speech_end_s = Some(clock_s(window.end_sample().saturating_sub(silence as u64)));
        }
        // Without new speech this window would only repeat what the last one said.
        let is_new = speech.silence * ENCODER_HOP < window.new_samples;
        if is_new && speech.utterance.len() >= self.min_utterance {
            // One encode, many heads.
            let hidden = match hidden {
                Some(hidden) => hidden,
                None => self.models.hear(window.stretch())?,
            };
            let frames = speech.utterance;
            let samples = frames.start * ENCODER_HOP
                ..(frames.end * ENCODER_HOP + WINDOW - HOP).min(window.signal.len());
            let spoken = &window.signal.samples[samples.clone()];
            let hidden = hidden.span(frame_s(frames.start)..frame_s(frames.end));
            scores.utterance = Some(Utterance {
                start_s: clock_s(window.first_sample + samples.start as u64),
                end_s: clock_s(window.first_sample + samples.end as u64),
                began: speech.began,
                embedding: match self.models.knows_voices() {
                    true => self.models.embed(&hidden)?,
                    false => Vec::new(),
                },
                genuine: match &mut self.spectral {
                    Some(spectral) => Some(
                        self.models
                            .genuine(&hidden, spectral.compute(spoken).view())?,
                    ),
                    None => None,
                },
            });
        }
        Ok(scores)
    }

    /// Hidden states of a piece of audio, at least 25 ms and at most a minute.
    pub fn hidden(&mut self, signal: &Signal) -> Result<Hidden, ModelError> {
        self.models.hear(Stretch {
            samples: &signal.samples,
            wide: &signal.wide,
            fbank: fbank(&signal.samples).view(),
        })
    }

    /// Scores all of a segment, 16 kHz mono, at least 25 ms and at most a minute: whoever cut it has chosen what counts, and
    /// silence in it is scored, too.
    pub fn segment(&mut self, signal: &Signal, heads: Heads) -> Result<Heard, ModelError> {
        let hidden = self.hidden(signal)?;
        let mut heard = Heard::default();
        if heads.speaker {
            heard.embedding = Some(self.models.embed(&hidden)?);
        }
        if heads.spoof {
            let spectral = self.spectral.get_or_insert_with(SpectralView::new);
            let view = spectral.compute(&signal.samples);
            heard.genuine = Some(self.models.genuine(&hidden, view.view())?);
        }
        if heads.sound {
            heard.sounds = Some(self.models.sounds(&hidden)?);
        }
        Ok(heard)
    }

    /// Scores a segment, 16 kHz mono, as a window of a stream: its newest utterance, or `None` without enough speech.
    pub fn utterance(&mut self, signal: Signal) -> Result<Option<Utterance>, ModelError> {
        let window = Window {
            first_sample: 0,
            fbank: fbank(&signal.samples),
            new_samples: signal.len(),
            signal,
            captured: std::time::Instant::now(),
        };
        let scores = self.window(&window, false)?;
        Ok(scores.utterance)
    }

    /// Scores a whole recording, 16 kHz mono, cut into windows just as a stream is.
    pub fn recording(
        &mut self,
        signal: &Signal,
        window: &config::Window,
    ) -> Result<Vec<Scores>, ModelError> {
        let mut segmenter = Segmenter::new(window).wide(!signal.wide.is_empty());
        let now = std::time::Instant::now();
        let mut scores = Vec::new();
        let second = SAMPLE_RATE as usize;
        let mut ready = Vec::new();
        // A second at a time: windows are scored and dropped as they come, however long the recording is.
        for at in (0..signal.len()).step_by(second) {
            let piece = signal.cut(at..at + second);
            segmenter.push_wide(&piece.wide);
            segmenter.push(&piece.samples, now, |window| ready.push(window));
            for window in ready.drain(..) {
                scores.push(self.window(&window, true)?);
            }
        }
        segmenter.finish(now, |window| ready.push(window));
        for window in ready {
            scores.push(self.window(&window, true)?);
        }
        Ok(scores)
    }
}

/// Seconds into a window at which a frame of the speech probabilities starts.
fn frame_s(frame: usize) -> f64 {
    clock_s((frame * ENCODER_HOP) as u64)
}

/// Seconds on the stream's clock.
pub fn clock_s(sample: u64) -> f64 {
    sample as f64 / f64::from(SAMPLE_RATE)
}
