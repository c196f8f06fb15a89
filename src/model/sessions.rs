//! The models of a pack as one engine worker owns them: opened against the contract, proven on their known answers, and
//! called with typed shapes.

use ndarray::{Array3, ArrayView2, ArrayView3, CowArray, Ix2, s};

use super::error::ModelError;
use super::heads::{KNOWN_VALUES, KnownAnswer};
use super::input::{FrontEnd, Input, Stretch};
use super::net::{Contract, Device, Net};
use super::pack::{Pack, Part};
use super::runtime::Runtime;
use crate::config::Provider;
use crate::dsp::{HOP, MELS, SAMPLE_RATE, SPECTRAL_DIM, frames};

/// The most frames (10 ms) of one call: a minute.
const MOST_FRAMES: usize = 6000;

/// Hidden states of one window, read by every head.
#[derive(Debug, Clone, PartialEq)]
pub struct Hidden {
    states: Array3<f32>,
    /// Vectors a hidden frame.
    tokens: usize,
    /// Hidden frames a second.
    rate: f64,
}

impl Hidden {
    /// `[layers, vectors, dim]`, the vectors in the order of time (those of a patched encoder: all of one frame after another);
    /// layer 0 is what enters the first layer.
    pub fn view(&self) -> ArrayView3<'_, f32> {
        self.states.view()
    }

    /// Hidden frames.
    pub fn frames(&self) -> usize {
        self.states.dim().1 / self.tokens
    }

    /// Seconds that all its frames stand for.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / self.rate
    }

    /// The states of these seconds alone: at least one frame, at most those that there are.
    pub fn span(&self, seconds: std::ops::Range<f64>) -> Self {
        // A hair to either side, or rounding would move an edge that falls on a frame's.
        let (from, to) = (seconds.start * self.rate, seconds.end * self.rate);
        let end = ((to - 1e-6).ceil().max(1.0) as usize).min(self.frames());
        let start = ((from + 1e-6) as usize).min(end.saturating_sub(1));
        let vectors = start * self.tokens..end * self.tokens;
        Self {
            states: self.states.slice(ndarray::s![.., vectors, ..]).to_owned(),
            ..*self
        }
    }
}

/// Heads that not every user of a pack needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Bona fide or spoof; an error for a pack without, for nobody must believe that it is looked after.
    pub spoof: bool,
    /// Classes of sounds, where the pack has them.
    pub sound: bool,
    /// Its probes.
    pub probes: bool,
}

/// Sessions of one worker. `Send`, used by one thread at a time.
pub struct Models {
    vad: Net,
    encoder: Net,
    front_end: FrontEnd,
    speaker: Option<Net>,
    spoof: Option<Net>,
    sound: Option<Net>,
    /// With the number of labels of each.
    probes: Vec<(Net, usize)>,
    classes: usize,
    device: Device,
    layers: usize,
    dim: usize,
    embedding_dim: usize,
}

impl Models {
    /// Opens all models that a pack has. Each file's hash is checked again, its inputs and outputs are held to the contract,
    /// and it must reproduce its known answer.
    pub fn open(runtime: &Runtime, pack: &Pack, provider: Provider) -> Result<Self, ModelError> {
        let all = Wanted {
            spoof: pack.has(Part::Spoof),
            sound: true,
            probes: true,
        };
        Self::open_wanted(runtime, pack, provider, all)
    }

    /// The same, of the heads that can be left out only those that are wanted: to use another one is an error.
    pub fn open_wanted(
        runtime: &Runtime,
        pack: &Pack,
        provider: Provider,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        let on = |device| Self::open_on(runtime, pack, device, wanted);
        match provider {
            Provider::Cpu => on(Device::Cpu),
            Provider::Cuda => on(Device::Cuda),
            Provider::Auto => match on(Device::Cuda) {
                Err(e @ ModelError::Provider { .. }) => {
                    tracing::warn!("models run on the CPU: {e}");
                    on(Device::Cpu)
                }
                opened => opened,
            },
        }
    }

    fn open_on(
        runtime: &Runtime,
        pack: &Pack,
        device: Device,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        if wanted.spoof && !pack.has(Part::Spoof) {
            return Err(ModelError::Absent { part: Part::Spoof });
        }
        let m = pack.manifest();
        let classes = pack.sound_classes().len();
        let (layers, dim) = (m.encoder.layers, m.encoder.dim);
        let fbank = || ("fbank", vec![-1, -1, MELS as i64]);
        let heard = match m.encoder.input.columns() {
            Some(mels) => ("fbank", vec![-1, -1, mels as i64]),
            None => ("waveform", vec![-1, -1]),
        };
        let hidden = || ("hidden", vec![-1, layers as i64, -1, dim as i64]);
        let open = |part, bytes: &[u8], inputs, output| {
            let contract = Contract {
                part,
                inputs,
                output,
            };
            Net::open(runtime, bytes, device, contract)
        };
        let net = |part, inputs, output| open(part, &pack.read(part)?, inputs, output);
        // A head that is wanted, of a pack that has it.
        let head = |part, wanted: bool, inputs, output| match wanted && pack.has(part) {
            true => net(part, inputs, output).map(Some),
            false => Ok(None),
        };
        let spectral = ("spectral", vec![-1, -1, SPECTRAL_DIM as i64]);
        let embedding = ("embedding", vec![-1, pack.embedding_dim() as i64]);
        let sounds = ("classes", vec![-1, classes as i64]);
        let mut probes = Vec::new();
        for probe in m.probes.values().filter(|_| wanted.probes) {
            let output = ("output", vec![-1, probe.labels.len() as i64]);
            let bytes = pack.read_probe(probe)?;
            let net = open(Part::Probe, &bytes, vec![hidden()], output)?;
            probes.push((net, probe.labels.len()));
        }
        let mut models = Self {
            vad: net(Part::Vad, vec![fbank()], ("speech", vec![-1, -1]))?,
            encoder: net(Part::Encoder, vec![heard], hidden())?,
            front_end: FrontEnd::new(m.encoder.input.clone()),
            speaker: head(Part::Speaker, true, vec![hidden()], embedding)?,
            spoof: head(
                Part::Spoof,
                wanted.spoof,
                vec![hidden(), spectral],
                ("score", vec![-1]),
            )?,
            sound: head(Part::Sound, wanted.sound, vec![hidden()], sounds)?,
            probes,
            classes,
            device,
            layers,
            dim,
            embedding_dim: pack.embedding_dim(),
        };
        models.prove(pack)?;
        tracing::debug!(pack = pack.name(), version = pack.version(), provider = %device, "models opened");
        Ok(models)
    }

    /// Whether sounds can be told apart: the pack has the head, and it was wanted.
    pub fn hears_sounds(&self) -> bool {
        self.sound.is_some()
    }

    /// Whether there are probes to ask.
    pub fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    /// Where the models really run, whatever was asked for.
    pub fn provider(&self) -> Device {
        self.device
    }

    /// Speech probability of each 20 ms frame, from log-mel features `[T, 80]`: `T/2` values in 0 to 1
    /// (integer division: an odd last frame is left out).
    pub fn speech(&mut self, fbank: ArrayView2<f32>) -> Result<Vec<f32>, ModelError> {
        let fbank = features(Part::Vad, fbank, MELS)?;
        let (shape, data) = ([1, fbank.nrows(), MELS], contiguous(&fbank));
        let speech = self
            .vad
            .run(&[(&shape, data)], &[1, shape[1] / 2], <[f32]>::to_vec)?;
        probabilities(Part::Vad, speech)
    }

    /// Hidden states of a stretch of audio, from the features that this pack's encoder reads.
    pub fn hear(&mut self, stretch: Stretch) -> Result<Hidden, ModelError> {
        let features = self.front_end.features(stretch)?;
        self.encode(features.view())
    }

    /// Hidden states from ready features, see [`Input`](super::Input): log-mel or Kaldi frames `[T, mels]`, a waveform `[1, samples]`.
    pub fn encode(&mut self, features: ArrayView2<f32>) -> Result<Hidden, ModelError> {
        let features = self.front_end.accept(features)?;
        let input = self.front_end.input();
        let (rows, columns) = features.dim();
        let shape = [1, rows, columns];
        let shape = match input.columns() {
            Some(_) => &shape[..],
            None => &shape[1..],
        };
        let out = (self.layers, input.vectors((rows, columns)), self.dim);
        let (tokens, rate) = (input.tokens(), input.frame_rate());
        let states = self.encoder.run(
            &[(shape, contiguous(&features))],
            &[1, out.0, out.1, out.2],
            <[f32]>::to_vec,
        )?;
        let states = Array3::from_shape_vec(out, states).map_err(|e| ModelError::Run {
            part: Part::Encoder,
            reason: e.to_string(),
        })?;
        Ok(Hidden {
            states,
            tokens,
            rate,
        })
    }

    /// Whether it can tell voices apart: the pack has a speaker head.
    pub fn knows_voices(&self) -> bool {
        self.speaker.is_some()
    }

    /// Speaker embedding of a window: as many values as the pack's [`Pack::embedding_dim`], L2 norm 1, so that the dot
    /// product of two is their cosine.
    pub fn embed(&mut self, hidden: &Hidden) -> Result<Vec<f32>, ModelError> {
        let part = Part::Speaker;
        let (shape, data) = self.states(part, hidden)?;
        let net = self.speaker.as_mut().ok_or(ModelError::Absent { part })?;
        let embedding = net.run(&[(&shape, data)], &[1, self.embedding_dim], <[f32]>::to_vec)?;
        let norm = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
        if (norm - 1.0).abs() < 1e-3 {
            Ok(embedding)
        } else {
            Err(ModelError::Output {
                part: Part::Speaker,
                expected: "an embedding of L2 norm 1",
                found: norm,
            })
        }
    }

    /// Score of the spoof head, higher = bona fide, from the hidden states of a window and its spectral view
    /// `[T, SPECTRAL_DIM]`, T being the frames that the hidden states were made of.
    pub fn genuine(
        &mut self,
        hidden: &Hidden,
        spectral: ArrayView2<f32>,
    ) -> Result<f32, ModelError> {
        let part = Part::Spoof;
        let (shape, data) = self.states(part, hidden)?;
        let spectral = features(part, spectral, SPECTRAL_DIM)?;
        let view_s = spectral.nrows() as f64 * HOP as f64 / f64::from(SAMPLE_RATE);
        // The default's frames lie under those of the view two by two. Other encoders snip the edges by their own rule.
        let apart = match self.front_end.input() {
            Input::LogMel {} => 0.019,
            _ => 0.03 + 1.0 / hidden.rate,
        };
        if (view_s - hidden.seconds()).abs() > apart {
            return Err(ModelError::Input {
                part,
                expected: format!(
                    "a spectral view of the same window ({:.2} s)",
                    hidden.seconds()
                ),
                found: format!("{view_s:.2} s"),
            });
        }
        let spectral_shape = [1, spectral.nrows(), SPECTRAL_DIM];
        let inputs = [
            (&shape[..], data),
            (&spectral_shape[..], contiguous(&spectral)),
        ];
        let net = self.spoof.as_mut().ok_or(ModelError::NotOpen { part })?;
        net.run(&inputs, &[1], |score| score[0])
    }

    /// Probability of each of the pack's [`Pack::sound_classes`] in a window, each for itself: several may sound at once.
    pub fn sounds(&mut self, hidden: &Hidden) -> Result<Vec<f32>, ModelError> {
        let part = Part::Sound;
        let (shape, data) = self.states(part, hidden)?;
        let expected = [1, self.classes];
        let net = self.sound.as_mut().ok_or(ModelError::NotOpen { part })?;
        probabilities(
            part,
            net.run(&[(&shape, data)], &expected, <[f32]>::to_vec)?,
        )
    }

    /// What each probe says of a window, in the order of [`Pack::probes`]: as many values as it has labels.
    pub fn probe(&mut self, hidden: &Hidden) -> Result<Vec<Vec<f32>>, ModelError> {
        let (shape, data) = self.states(Part::Probe, hidden)?;
        let probes = self.probes.iter_mut();
        probes
            .map(|(net, labels)| net.run(&[(&shape, data)], &[1, *labels], <[f32]>::to_vec))
            .collect()
    }

    /// The shape with its batch axis, and the values.
    fn states<'h>(
        &self,
        part: Part,
        hidden: &'h Hidden,
    ) -> Result<([usize; 4], &'h [f32]), ModelError> {
        let (layers, frames, dim) = hidden.states.dim();
        match hidden.states.as_slice() {
            Some(data) if (layers, dim) == (self.layers, self.dim) => {
                Ok(([1, layers, frames, dim], data))
            }
            _ => Err(ModelError::Input {
                part,
                expected: format!(
                    "hidden states of this pack [{}, T, {}]",
                    self.layers, self.dim
                ),
                found: format!("[{layers}, {frames}, {dim}]"),
            }),
        }
    }

    /// Runs each model on the input that `docs/pack.md` gives and compares with the manifest.
    fn prove(&mut self, pack: &Pack) -> Result<(), ModelError> {
        let m = pack.manifest();
        // Three seconds, whatever the pack's window.
        let long = frames(3 * SAMPLE_RATE as usize);
        let input = &m.encoder.input;
        let ((rows, columns), scale, offset) = input.known();
        let vectors = input.vectors((rows, columns));
        let features = wave(rows * columns, scale, offset);
        let fbank = wave(long * MELS, 3.0, -8.0);
        let hidden = wave(self.layers * vectors * self.dim, 1.0, 0.0);
        let spectral = wave(long * SPECTRAL_DIM, 1.0, 0.0);
        let heard = match input.columns() {
            Some(_) => vec![1, rows, columns],
            None => vec![1, columns],
        };
        let heard = (&heard[..], &features[..]);
        let fbank = (&[1, long, MELS][..], &fbank[..]);
        let hidden = (&[1, self.layers, vectors, self.dim][..], &hidden[..]);
        let spectral = (&[1, long, SPECTRAL_DIM][..], &spectral[..]);
        let first = |values: &[f32]| {
            values
                .iter()
                .take(KNOWN_VALUES)
                .copied()
                .collect::<Vec<_>>()
        };
        let found = self.vad.run(&[fbank], &[1, long / 2], first)?;
        compare(Part::Vad, &m.vad.known_answer, &found)?;
        let found = self
            .encoder
            .run(&[heard], &[1, self.layers, vectors, self.dim], first)?;
        compare(Part::Encoder, &m.encoder.known_answer, &found)?;
        if let (Some(net), Some(speaker)) = (&mut self.speaker, &m.speaker) {
            let found = net.run(&[hidden], &[1, self.embedding_dim], first)?;
            compare(Part::Speaker, &speaker.known_answer, &found)?;
        }
        if let (Some(net), Some(spoof)) = (&mut self.spoof, &m.spoof) {
            let found = net.run(&[hidden, spectral], &[1], first)?;
            compare(Part::Spoof, &spoof.known_answer, &found)?;
        }
        for ((net, labels), probe) in self.probes.iter_mut().zip(m.probes.values()) {
            let found = net.run(&[hidden], &[1, *labels], first)?;
            compare(Part::Probe, &probe.known_answer, &found)?;
        }
        if let (Some(net), Some(sound)) = (&mut self.sound, &m.sound) {
            let found = net.run(&[hidden], &[1, self.classes], first)?;
            compare(Part::Sound, &sound.known_answer, &found)?;
        }
        Ok(())
    }
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
fn contiguous<'a>(features: &'a CowArray<'_, f32, Ix2>) -> &'a [f32] {
    features.as_slice().unwrap_or_default()
}

/// `sin(0.1·i)·scale + offset` in f64, rounded.
fn wave(length: usize, scale: f64, offset: f64) -> Vec<f32> {
    (0..length)
        .map(|i| ((0.1 * i as f64).sin() * scale + offset) as f32)
        .collect()
}

fn compare(part: Part, known: &KnownAnswer, found: &[f32]) -> Result<(), ModelError> {
    for (index, (expected, found)) in known.output.iter().zip(found).enumerate() {
        let found = f64::from(*found);
        let difference = (found - expected).abs();
        // A NaN in the manifest is a difference, too.
        if difference.is_nan() || difference > known.tolerance * expected.abs().max(1.0) {
            return Err(ModelError::KnownAnswer {
                part,
                index,
                expected: *expected,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_can_move_to_their_worker() {
        fn is_send<T: Send>() {}
        is_send::<Models>();
    }

    #[test]
    fn a_known_answer_within_tolerance_passes() {
        let known = KnownAnswer {
            output: vec![100.0, 0.0],
            tolerance: 1e-3,
        };
        assert!(compare(Part::Vad, &known, &[100.09, 0.0009]).is_ok());
        assert!(compare(Part::Vad, &known, &[100.2, 0.0]).is_err());
        assert!(compare(Part::Vad, &known, &[100.0, 0.0011]).is_err());
        let broken = KnownAnswer {
            output: vec![f64::NAN],
            tolerance: 1e-3,
        };
        assert!(compare(Part::Vad, &broken, &[0.0]).is_err());
    }
}
