//! What models are asked, one window at a time or many at once. Windows of one shape run together; an answer is always
//! that window's own, and so is an error.

use ndarray::{ArrayView2, CowArray, Ix2, s};

use super::batch::{batched, only};
use super::error::ModelError;
use super::head::Head;
use super::hidden::{Hidden, States};
use super::input::{Input, Stretch};
use super::net::Given;
use super::part::Part;
use super::sessions::Models;
use super::views::rows;
use crate::dsp::{HOP, MELS, SAMPLE_RATE};

/// The most frames (10 ms) of one call: a minute.
const MOST_FRAMES: usize = 6000;

/// What the spoof head says of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// Higher = bona fide.
    pub score: f32,
    /// What it is the sum of, in the order of [`Pack::spoof_parts`](super::Pack::spoof_parts).
    pub parts: Vec<f32>,
}

/// What many windows are told: an answer or an error each.
pub(super) type Answers<R> = Vec<Result<R, ModelError>>;

impl Models {
    /// Speech probability of each 20 ms frame, from log-mel features `[T, 80]`: `T/2` values in 0 to 1
    /// (integer division: an odd last frame is left out).
    pub fn speech(&mut self, fbank: ArrayView2<f32>) -> Result<Vec<f32>, ModelError> {
        only(self.speech_all(&[fbank]))?
    }

    /// [`Models::speech`] of many windows.
    pub fn speech_all(&mut self, fbanks: &[ArrayView2<f32>]) -> Answers<Vec<f32>> {
        let part = Part::Vad;
        let prepared = fbanks.iter().map(|fbank| {
            let fbank = features(part, *fbank, MELS)?;
            Ok((fbank.nrows(), fbank))
        });
        let prepared = prepared.collect();
        let (net, sizes, scratch) = (&self.vad, self.sizes, &mut self.scratch.windows);
        let answers = batched(prepared, &mut self.tally.retried, |group| {
            let (rows, size) = (group[0].nrows(), sizes.of(group.len()));
            let data = stacked(group.iter().map(|f| contiguous(f)), size, scratch);
            let input = Given::Host(&[size, rows, MELS], data);
            net.run(&[input], &[size, rows / 2], |speech| {
                rows_of(speech, rows / 2, group.len())
            })
        });
        let answers = answers.into_iter();
        answers.map(|speech| probabilities(part, speech?)).collect()
    }

    /// Hidden states of a stretch of audio, from the features that this pack's encoder reads.
    pub fn hear(&mut self, stretch: Stretch) -> Result<Hidden, ModelError> {
        only(self.hear_all(&[stretch]))?
    }

    /// [`Models::hear`] of many windows.
    pub fn hear_all(&mut self, stretches: &[Stretch]) -> Answers<Hidden> {
        let prepared = stretches.iter().map(|stretch| {
            let features = match self.front_end.input() {
                Input::LogMel {} => self.front_end.accept(stretch.fbank)?,
                _ => {
                    let features = self.front_end.features(*stretch)?;
                    CowArray::from(self.front_end.accept(features.view())?.into_owned())
                }
            };
            Ok((features.dim(), features))
        });
        let prepared = prepared.collect();
        self.encode_prepared(prepared)
    }

    /// Hidden states from ready features, see [`Input`](super::Input): log-mel or Kaldi frames `[T, mels]`, a waveform `[1, samples]`.
    pub fn encode(&mut self, features: ArrayView2<f32>) -> Result<Hidden, ModelError> {
        only(self.encode_all(&[features]))?
    }

    /// [`Models::encode`] of many windows.
    pub fn encode_all(&mut self, features: &[ArrayView2<f32>]) -> Answers<Hidden> {
        let prepared = features.iter().map(|features| {
            let features = self.front_end.accept(*features)?;
            Ok((features.dim(), features))
        });
        let prepared = prepared.collect();
        self.encode_prepared(prepared)
    }

    fn encode_prepared(
        &mut self,
        prepared: Answers<((usize, usize), CowArray<f32, Ix2>)>,
    ) -> Answers<Hidden> {
        let input = self.front_end.input();
        let (layers, dim, sizes) = (self.layers, self.dim, self.sizes);
        let (net, cutter, place) = (&self.encoder, &self.cutter, &self.place);
        let scratch = &mut self.scratch.windows;
        let (runs, windows) = (&mut self.tally.runs, &mut self.tally.windows);
        batched(prepared, &mut self.tally.retried, |group| {
            let (rows, columns) = group[0].dim();
            let size = sizes.of(group.len());
            let shape = [size, rows, columns];
            let shape = match input.columns() {
                Some(_) => &shape[..],
                None => &[size, columns],
            };
            let out = [size, layers, input.vectors((rows, columns)), dim];
            let values = stacked(group.iter().map(|f| contiguous(f)), size, scratch);
            let tensor = net.run_on_device(shape, values, &out, place)?;
            let states = States::new(tensor, out);
            cutter.check(&states)?;
            *runs += 1;
            *windows += group.len() as u64;
            let (tokens, rate) = (input.tokens(), input.frame_rate());
            Ok(Hidden::of_batch(states, group.len(), tokens, rate))
        })
    }

    /// Speaker embedding of a window: as many values as the pack's [`Pack::embedding_dim`](super::Pack::embedding_dim), L2
    /// norm 1, so that the dot product of two is their cosine.
    pub fn embed(&mut self, hidden: &Hidden) -> Result<Vec<f32>, ModelError> {
        only(self.embed_all(&[hidden]))?
    }

    /// [`Models::embed`] of many windows.
    pub fn embed_all(&mut self, hidden: &[&Hidden]) -> Answers<Vec<f32>> {
        let part = Part::Speaker;
        let prepared = self.prepared(part, hidden);
        let Some(net) = &self.speaker else {
            return all(hidden.len(), || ModelError::Absent { part });
        };
        let head = Head {
            net,
            cutter: &self.cutter,
            sizes: self.utterances,
            repeat: self.repeat,
        };
        let found = head.ask(prepared, &mut self.tally.retried, self.embedding_dim);
        let unit = |embedding: Vec<f32>| {
            let norm = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
            match (norm - 1.0).abs() < 1e-3 {
                true => Ok(embedding),
                false => Err(ModelError::Output {
                    part,
                    expected: "an embedding of L2 norm 1",
                    found: norm,
                }),
            }
        };
        found.into_iter().map(|e| e.and_then(unit)).collect()
    }

    /// Score of the spoof head, higher = bona fide, from the hidden states of a window and the samples (16 kHz) that they were
    /// made of.
    pub fn genuine(&mut self, hidden: &Hidden, samples: &[f32]) -> Result<f32, ModelError> {
        only(self.genuine_all(&[(hidden, samples)]))?
    }

    /// [`Models::genuine`] of many windows.
    pub fn genuine_all(&mut self, windows: &[(&Hidden, &[f32])]) -> Answers<f32> {
        let opinions = self.opinions(windows).into_iter();
        opinions.map(|o| o.map(|o| o.score)).collect()
    }

    /// The same scores, and what each is the sum of.
    pub fn opinions(&mut self, windows: &[(&Hidden, &[f32])]) -> Answers<Opinion> {
        self.judged(windows, (0, self.parts))
    }

    /// The same of short windows ([`Short`](super::Short)), by the head's reading of them where it has one.
    pub fn short_opinions(&mut self, windows: &[(&Hidden, &[f32])]) -> Answers<Opinion> {
        match self.short {
            0 => self.opinions(windows),
            kinds => self.judged(windows, (1 + self.parts.min(1), kinds)),
        }
    }

    /// `reading`: which output is the score, and how many parts the one behind it has.
    fn judged(
        &mut self,
        windows: &[(&Hidden, &[f32])],
        reading: (usize, usize),
    ) -> Answers<Opinion> {
        let part = Part::Spoof;
        let repeat = self.repeat;
        let prepared = windows.iter().map(|(hidden, samples)| {
            let (batch, vectors) = self.fits(part, hidden)?;
            self.same_window(hidden, samples)?;
            let window = Spoken {
                hidden,
                length: repeat.vectors(vectors),
                samples,
            };
            let repeated = repeat.samples(samples.len());
            Ok(((batch, window.length, repeated), window))
        });
        let prepared = prepared.collect();
        let (Some(net), Some(views)) = (&self.spoof, &mut self.views) else {
            return all(windows.len(), || ModelError::NotOpen { part });
        };
        let (cutter, (score, kinds)) = (&self.cutter, reading);
        let (parts, short, scratch) = (self.parts, self.short, &mut self.scratch.windows);
        let sizes = self.utterances;
        let mut run = |group: &[&Spoken]| {
            let size = sizes.of(group.len());
            let spans: Vec<&Hidden> = group.iter().map(|spoken| spoken.hidden).collect();
            let pieces: Vec<&[f32]> = group.iter().map(|spoken| spoken.samples).collect();
            let cut = cutter.cut(&spans, size, group[0].length)?;
            let views = views.make(&pieces, repeat, size, scratch)?;
            let inputs = [Given::Tensor(cut.tensor()), views.given()];
            let shapes = opinion_shapes(size, parts, short);
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            net.run_for(&inputs, &shapes, |found| {
                let parts = match kinds {
                    0 => Vec::new(),
                    _ => rows_of(found[score + 1], kinds, group.len()),
                };
                let mut parts = parts.into_iter();
                let scores = found[score][..group.len()].iter();
                let opinion = |&score: &f32| Opinion {
                    score,
                    parts: parts.next().unwrap_or_default(),
                };
                scores.map(opinion).collect::<Vec<_>>()
            })
        };
        batched(prepared, &mut self.tally.retried, |group| {
            // On a CPU each by itself: together they would be no faster, and take 30 MB more each.
            let answers: Result<Vec<_>, _> = group.chunks(sizes.most()).map(&mut run).collect();
            Ok(answers?.concat())
        })
    }

    /// Probability of each of the pack's [`Pack::sound_classes`](super::Pack::sound_classes) in a window, each for itself:
    /// several may sound at once.
    pub fn sounds(&mut self, hidden: &Hidden) -> Result<Vec<f32>, ModelError> {
        only(self.sounds_all(&[hidden]))?
    }

    /// [`Models::sounds`] of many windows.
    pub fn sounds_all(&mut self, hidden: &[&Hidden]) -> Answers<Vec<f32>> {
        let part = Part::Sound;
        let prepared = self.prepared(part, hidden);
        let Some(net) = &self.sound else {
            return all(hidden.len(), || ModelError::NotOpen { part });
        };
        let head = Head::of_windows(net, &self.cutter, self.sizes);
        let found = head.ask(prepared, &mut self.tally.retried, self.classes);
        let found = found.into_iter();
        found.map(|f| probabilities(part, f?)).collect()
    }

    /// What each probe says of a window, in the order of [`Pack::probes`](super::Pack::probes): as many values as it has labels.
    pub fn probe(&mut self, hidden: &Hidden) -> Result<Vec<Vec<f32>>, ModelError> {
        only(self.probe_all(&[hidden]))?
    }

    /// [`Models::probe`] of many windows.
    pub fn probe_all(&mut self, hidden: &[&Hidden]) -> Answers<Vec<Vec<f32>>> {
        let mut answers: Answers<Vec<Vec<f32>>> = hidden.iter().map(|_| Ok(Vec::new())).collect();
        for at in 0..self.probes.len() {
            let prepared = self.prepared(Part::Probe, hidden);
            let (net, labels) = &self.probes[at];
            let head = Head::of_windows(net, &self.cutter, self.sizes);
            let found = head.ask(prepared, &mut self.tally.retried, *labels);
            for (answer, found) in answers.iter_mut().zip(found) {
                match (answer.as_mut(), found) {
                    (Ok(values), Ok(found)) => values.push(found),
                    (Ok(_), Err(error)) => *answer = Err(error),
                    (Err(_), _) => (),
                }
            }
        }
        answers
    }

    /// Windows of heads that read nothing but hidden states.
    fn prepared(&self, part: Part, hidden: &[&Hidden]) -> Answers<((usize, usize), Hidden)> {
        let prepare = |hidden: &&Hidden| Ok((self.fits(part, hidden)?, (*hidden).clone()));
        hidden.iter().map(prepare).collect()
    }

    /// Which spans run together: those of one batch (by its address) and of one length.
    fn fits(&self, part: Part, hidden: &Hidden) -> Result<(usize, usize), ModelError> {
        let [layers, vectors, dim] = hidden.shape();
        if (layers, dim) == (self.layers, self.dim) {
            let batch = std::sync::Arc::as_ptr(&hidden.states).addr();
            return Ok((batch, vectors));
        }
        Err(ModelError::Input {
            part,
            expected: format!(
                "hidden states of this pack [{}, T, {}]",
                self.layers, self.dim
            ),
            found: format!("[{layers}, {vectors}, {dim}]"),
        })
    }

    /// Whether the samples are those that the hidden states were made of: as many as a view can be made of, and of one duration.
    fn same_window(&self, hidden: &Hidden, samples: &[f32]) -> Result<(), ModelError> {
        let part = Part::Spoof;
        let rows = rows(samples.len());
        if !(2..=MOST_FRAMES).contains(&rows) {
            return Err(ModelError::Input {
                part,
                expected: format!("samples of 2 to {MOST_FRAMES} frames"),
                found: format!("{} samples", samples.len()),
            });
        }
        let view_s = rows as f64 * HOP as f64 / f64::from(SAMPLE_RATE);
        // The default's frames lie under those of the view two by two. Other encoders snip the edges by their own rule.
        let apart = match self.front_end.input() {
            Input::LogMel {} => 0.019,
            _ => 0.03 + 1.0 / hidden.rate,
        };
        if (view_s - hidden.seconds()).abs() <= apart {
            return Ok(());
        }
        Err(ModelError::Input {
            part,
            expected: format!("samples of the same window ({:.2} s)", hidden.seconds()),
            found: format!("{view_s:.2} s"),
        })
    }
}

/// What the spoof head is given of a window.
struct Spoken<'w> {
    hidden: &'w Hidden,
    /// Vectors of it, once repeated.
    length: usize,
    samples: &'w [f32],
}

/// Shapes of the spoof head's outputs, of which those without parts are not there: `score`, `parts`, `short`, `short_parts`.
pub(super) fn opinion_shapes(size: usize, parts: usize, short: usize) -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![size]];
    if parts > 0 {
        shapes.push(vec![size, parts]);
    }
    if short > 0 {
        shapes.extend([vec![size], vec![size, short]]);
    }
    shapes
}

/// The values of several windows behind each other, in `scratch`; then the last ones again, until there are `size`. Of one window
/// alone, its own.
pub(super) fn stacked<'a>(
    mut windows: impl Iterator<Item = &'a [f32]>,
    size: usize,
    scratch: &'a mut Vec<f32>,
) -> &'a [f32] {
    let first = windows.next().unwrap_or_default();
    if size == 1 {
        return first;
    }
    scratch.clear();
    scratch.reserve(size * first.len());
    scratch.extend_from_slice(first);
    windows.for_each(|window| scratch.extend_from_slice(window));
    fill_up(scratch, first.len(), size);
    scratch
}

/// Repeats the last of windows of so many values each until there are `size`.
pub(super) fn fill_up(windows: &mut Vec<f32>, one: usize, size: usize) {
    while windows.len() < size * one {
        windows.extend_from_within(windows.len() - one..);
    }
}

/// The first `count` rows of a matrix with this many columns.
pub(super) fn rows_of(values: &[f32], columns: usize, count: usize) -> Vec<Vec<f32>> {
    let rows = values.chunks(columns.max(1)).take(count);
    rows.map(<[f32]>::to_vec).collect()
}

/// The same error for every window.
fn all<R>(windows: usize, error: impl Fn() -> ModelError) -> Answers<R> {
    (0..windows).map(|_| Err(error())).collect()
}

/// The values, if they are what a probability can be (and a rounding error more).
fn probabilities(part: Part, values: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    match values.iter().find(|p| !(-1e-3..=1.001).contains(*p)) {
        Some(found) => Err(ModelError::Output {
            part,
            expected: "probabilities from 0 to 1",
            found: *found,
        }),
        None => Ok(values),
    }
}

/// Features of `[2 to MOST_FRAMES, columns]` in memory order, without an odd last frame: half a frame of 20 ms has no
/// place in `T/2`, and models differ in whether they make one of it.
fn features<'a>(
    part: Part,
    features: ArrayView2<'a, f32>,
    columns: usize,
) -> Result<CowArray<'a, f32, Ix2>, ModelError> {
    let rows = features.nrows();
    if features.ncols() != columns || !(2..=MOST_FRAMES).contains(&rows) {
        return Err(ModelError::Input {
            part,
            expected: format!("2 to {MOST_FRAMES} frames of {columns} values"),
            found: format!("{:?}", features.dim()),
        });
    }
    let even = features.slice_move(s![..rows / 2 * 2, ..]);
    if even.is_standard_layout() {
        Ok(even.into())
    } else {
        Ok(even.as_standard_layout().into_owned().into())
    }
}

/// The values of an array in standard layout, which [`features`] made sure of.
pub(super) fn contiguous<'a>(features: &'a CowArray<f32, Ix2>) -> &'a [f32] {
    features.as_slice().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Pack, Runtime};
    use super::*;
    use crate::config::Provider;

    #[test]
    fn bound_states_are_heard_as_copied_ones_bit_for_bit() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs/tiny");
        let pack = Pack::load(folder.as_ref()).expect("the tiny pack");
        let runtime = Runtime::load(None).expect("the library that `make test` fetches");
        let mut models = Models::open(runtime, &pack, Provider::Cpu).expect("models");
        let wave = (0..298 * MELS).map(|i| (i as f32 * 0.1).sin() * 3.0 - 8.0);
        let fbank = ndarray::Array2::from_shape_vec((298, MELS), wave.collect()).expect("frames");
        let whole = models.encode(fbank.view()).expect("hidden states");
        // As a session gives them out by itself.
        let shape = [1, 3, 149, 8];
        let input = Given::Host(&[1, 298, MELS], fbank.as_slice().expect("in order"));
        let plain = models.encoder.run(&[input], &shape, <[f32]>::to_vec);
        let bound: Vec<f32> = whole.view().expect("values").iter().copied().collect();
        assert_eq!(bound, plain.expect("plain"));
        // And as heads read them before they were bound: copied out of one session, and copied into the next.
        for seconds in [3.0, 1.0, 0.5] {
            let hidden = whole.span(0.0..seconds);
            let values = hidden.view().expect("values");
            let copied: Vec<f32> = values.iter().copied().collect();
            let [layers, vectors, dim] = hidden.shape();
            let head = models.speaker.as_mut().expect("a head");
            let input = Given::Host(&[1, layers, vectors, dim], &copied);
            let by_hand = head.run(&[input], &[1, 16], <[f32]>::to_vec);
            let found = models.embed(&hidden).expect("an embedding");
            assert_eq!(found, by_hand.expect("an embedding"), "{seconds} s");
        }
    }

    #[test]
    fn batches_are_filled_up_with_their_last_window() {
        let windows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let mut scratch = vec![9.0; 3];
        let values = stacked(windows.iter().map(|w| &w[..]), 4, &mut scratch);
        assert_eq!(*values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 5.0, 6.0]);
        assert_eq!(rows_of(values, 2, 3), windows);
    }
}
