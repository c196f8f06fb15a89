//! Recordings and pieces of them through the models, for whoever does not analyse a stream.

use crate::audio::{SAMPLE_RATE, Signal};
use crate::config;
use crate::dsp::fbank;
use crate::model::{Hidden, Memory, ModelError, Moment, Stretch};
use crate::pipeline::memory::StreamMemory;
use crate::pipeline::segmenter::{Segmenter, Window};
use crate::task::enrol::Recording;
use crate::task::{Scores, Utterance};

use super::{Analyser, ENCODER_HOP, frame_s};

/// Frames of a second, and how many of them have to be speech for a voice to be taken from it.
const SECOND: usize = 50;
const SPOKEN: usize = 40;
/// Frames that are encoded at once: half a minute.
const PIECE: usize = 30 * SECOND;

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

impl Analyser {
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
        self.heard(&hidden, &signal.samples, heads)
    }

    /// The same of the end of `signal`, heard as a stream brings it: second by second after what comes before, so that an encoder
    /// that can stream goes on from there.
    pub fn streamed(
        &mut self,
        signal: &Signal,
        before: usize,
        heads: Heads,
    ) -> Result<Heard, ModelError> {
        let (mut memory, second) = (Memory::default(), SAMPLE_RATE as usize);
        let length = signal.len().saturating_sub(before);
        let mut hidden = None;
        for seconds in (0..=before / second).rev() {
            let first = before - seconds * second;
            let window = signal.cut(first..first + length);
            let fbank = fbank(&window.samples);
            let stretch = Stretch {
                samples: &window.samples,
                wide: &window.wide,
                fbank: fbank.view(),
            };
            let moment = Moment {
                run: 0,
                first_sample: first as u64,
            };
            let memories = std::slice::from_mut(&mut memory);
            let heard = self.models.hear_on(&[(stretch, moment, 0)], memories);
            hidden = heard.into_iter().next();
        }
        let hidden = hidden.unwrap_or_else(|| self.hidden(signal))?;
        self.heard(&hidden, &signal.samples[before.min(signal.len())..], heads)
    }

    /// What the heads say of hidden states, and of the samples that they were made of.
    pub fn heard(
        &mut self,
        hidden: &Hidden,
        samples: &[f32],
        heads: Heads,
    ) -> Result<Heard, ModelError> {
        let mut heard = Heard::default();
        if heads.speaker {
            heard.embedding = Some(self.models.embed(hidden)?);
        }
        if heads.spoof {
            heard.genuine = Some(self.models.genuine(hidden, samples)?);
        }
        if heads.sound {
            heard.sounds = Some(self.models.sounds(hidden)?);
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
            run: 0,
        };
        let scores = self.window(&window, false, &mut StreamMemory::default())?;
        Ok(scores.utterance)
    }

    /// Which frames (20 ms) of a recording, 16 kHz mono, are speech:.
    pub fn speech_frames(&mut self, samples: &[f32]) -> Result<Vec<bool>, ModelError> {
        let mut frames = Vec::with_capacity(samples.len() / ENCODER_HOP);
        // In pieces of whole frames: a recording may be hours long.
        for piece in samples.chunks(500 * ENCODER_HOP) {
            let features = fbank(piece);
            let mut probabilities = match features.nrows() {
                0 | 1 => Vec::new(),
                _ => self.models.speech(features.view())?,
            };
            // The last window of a piece reaches over its end.
            probabilities.resize(piece.len() / ENCODER_HOP, 0.0);
            let threshold = self.speech_threshold;
            frames.extend(probabilities.iter().map(|p| *p >= threshold));
        }
        Ok(frames)
    }

    /// Looks at a recording by which somebody is to be enrolled, and at what was scored in it.
    pub fn look(
        &mut self,
        name: String,
        signal: &Signal,
        scores: Vec<Scores>,
    ) -> Result<Recording, ModelError> {
        let speech = self.speech_frames(&signal.samples)?;
        let voices = self.voices(signal, &speech)?;
        let samples = &signal.samples;
        Ok(Recording::new(name, scores, samples, &speech, voices))
    }

    /// The voice of each second of speech, every half second: windows of 3 s, of which people's turns have few to
    /// themselves, hide that there are two.
    fn voices(&mut self, signal: &Signal, speech: &[bool]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut voices = Vec::new();
        for (at, speech) in speech.chunks(PIECE).enumerate() {
            let first = at * PIECE * ENCODER_HOP;
            let last = first + speech.len() * ENCODER_HOP;
            let is_spoken = |start: &usize| {
                let frames = &speech[*start..*start + SECOND];
                frames.iter().filter(|is_speech| **is_speech).count() >= SPOKEN
            };
            let starts = (0..(speech.len() + 1).saturating_sub(SECOND)).step_by(SECOND / 2);
            let starts: Vec<usize> = starts.filter(is_spoken).collect();
            if starts.is_empty() {
                continue;
            }
            let hidden = self.hidden(&signal.cut(first..last))?;
            let span = |start: &usize| hidden.span(frame_s(*start)..frame_s(start + SECOND));
            let spans: Vec<Hidden> = starts.iter().map(span).collect();
            for voice in self.models.embed_all(&spans.iter().collect::<Vec<_>>()) {
                voices.push(voice?);
            }
        }
        Ok(voices)
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
        let mut memory = StreamMemory::default();
        // A second at a time: windows are scored and dropped as they come, however long the recording is.
        for at in (0..signal.len()).step_by(second) {
            let piece = signal.cut(at..at + second);
            segmenter.push_wide(&piece.wide);
            segmenter.push(&piece.samples, now, |window| ready.push(window));
            for window in ready.drain(..) {
                scores.push(self.window(&window, true, &mut memory)?);
            }
        }
        segmenter.finish(now, |window| ready.push(window));
        for window in ready {
            scores.push(self.window(&window, true, &mut memory)?);
        }
        Ok(scores)
    }
}
