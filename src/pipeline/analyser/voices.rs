//! The voices in windows: where an utterance begins for the heads, who spoke, and whether the voice is real.

use std::ops::Range;

use ndarray::s;

use crate::model::Hidden;
use crate::pipeline::memory::StreamMemory;
use crate::pipeline::segmenter::Window;
use crate::task::health::measure::{Measured, Meter, bands};
use crate::task::{Newest, Utterance};

use super::{Analyser, ENCODER_HOP, Work, clock_s, frame_s};

/// The end of an utterance that is embedded by itself, in frames of 20 ms: 1.5 s, about the least that tells voices apart.
const NEWEST: usize = 75;
/// Cosine to the voice of the last few utterances below which somebody else may have begun to speak: on dev sessions as good
/// as to embed each end, which costs a twentieth of all work on voices.
const UNLIKE: f64 = 0.9;

impl Analyser {
    /// Who spoke, and whether the voice is real.
    pub(super) fn utterances(&mut self, works: &mut [&mut Work], memories: &mut [StreamMemory]) {
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
        if self.models.tells_spoofs() {
            let windows: Vec<_> = spans.iter().zip(spoken).collect();
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

fn utterance_of<'a>(work: &'a mut Work) -> Option<&'a mut Utterance> {
    work.scores.as_mut().ok()?.utterance.as_mut()
}
