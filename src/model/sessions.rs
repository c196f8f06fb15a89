//! The models of a pack as one engine worker owns them: opened against the contract where they are to run, and proven on
//! their known answers. What they are asked is in `calls`.

use std::sync::Arc;

use super::batch::{Sizes, Tally};
use super::cut::Cutter;
use super::error::ModelError;
use super::input::FrontEnd;
use super::manifest::Going;
use super::net::{Contract, Net};
use super::onnx::{check_onnx, without_output};
use super::pack::Pack;
use super::part::Part;
use super::place::{Device, Execution, Place};
use super::repeat::Repeat;
use super::runtime::Runtime;
use super::spent::Spent;
use super::views::Views;
use crate::config::Precision;
use crate::dsp::{MELS, SPECTRAL_DIM};

/// Windows that run together at least on a GPU, where eight cost about as much as one.
pub const GPU_LEAST: usize = 8;

/// Values on their way into a session, in memory that is kept: a megabyte or two, a run.
#[derive(Default)]
pub(super) struct Scratch {
    pub windows: Vec<f32>,
    pub past: Vec<f32>,
    pub tails: Vec<f32>,
}

/// Heads that not every user of a pack needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Bona fide or spoof; an error for a pack without, for nobody must believe that it is looked after.
    pub spoof: bool,
    /// What its score is the sum of, where the head says it.
    pub parts: bool,
    /// Its reading of short windows, with its parts, where it has one.
    pub short: bool,
    /// Classes of sounds, where the pack has them.
    pub sound: bool,
    /// Its probes.
    pub probes: bool,
}

/// Sessions of one worker. `Send`, used by one thread at a time.
pub struct Models {
    pub(super) vad: Net,
    pub(super) encoder: Net,
    pub(super) front_end: FrontEnd,
    /// How the encoder goes on, if it can.
    pub(super) going: Option<Going>,
    pub(super) speaker: Option<Net>,
    pub(super) spoof: Option<Net>,
    /// What it reads beside the hidden states.
    pub(super) views: Option<Views>,
    pub(super) sound: Option<Net>,
    /// With the number of labels of each.
    pub(super) probes: Vec<(Net, usize)>,
    pub(super) cutter: Cutter,
    pub(super) classes: usize,
    /// Kinds of evidence that the spoof head tells apart; none where that was not wanted.
    pub(super) parts: usize,
    /// The same in its reading of short windows; none where it has none or that was not wanted.
    pub(super) short: usize,
    /// Where the encoder runs, and its output stays.
    pub(super) place: Place,
    pub(super) layers: usize,
    pub(super) dim: usize,
    pub(super) embedding_dim: usize,
    pub(super) tally: Tally,
    /// How many windows run together, and how many utterances.
    pub(super) sizes: Sizes,
    pub(super) utterances: Sizes,
    /// What utterances are repeated up to, so that those of all lengths run together.
    pub(super) repeat: Repeat,
    /// Where their values are put behind each other.
    pub(super) scratch: Scratch,
    /// What was asked for and does not work here, with the reason.
    refused: Vec<String>,
}

impl Models {
    /// Opens all models that a pack has. Each file's hash is checked again, its inputs and outputs are held to the contract,
    /// and it must reproduce its known answer.
    pub fn open(
        runtime: &Runtime,
        pack: &Pack,
        execution: impl Into<Execution>,
    ) -> Result<Self, ModelError> {
        let all = Wanted {
            spoof: pack.has(Part::Spoof),
            parts: true,
            short: true,
            sound: true,
            probes: true,
        };
        Self::open_wanted(runtime, pack, execution, all)
    }

    /// The same, of the heads that can be left out only those that are wanted: to use another one is an error.
    pub fn open_wanted(
        runtime: &Runtime,
        pack: &Pack,
        execution: impl Into<Execution>,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        let execution = execution.into();
        let mut refused = Vec::new();
        let mut candidates = execution.candidates().iter().copied().peekable();
        while let Some(device) = candidates.next() {
            let place = Place {
                device,
                id: execution.device_id,
                engine_cache: execution.engine_cache.clone(),
                half: pack.precision() == Precision::Fp16,
            };
            match (
                Self::open_on(runtime, pack, place, wanted),
                candidates.peek(),
            ) {
                (Err(error @ ModelError::Provider { .. }), Some(next)) => {
                    tracing::warn!(
                        "models do not run on {device}, {next} is tried instead: {error}"
                    );
                    refused.push(error.to_string());
                }
                (opened, _) => return opened.map(|models| Self { refused, ..models }),
            }
        }
        // The last candidate always returns.
        Err(ModelError::NotOpen {
            part: Part::Encoder,
        })
    }

    fn open_on(
        runtime: &Runtime,
        pack: &Pack,
        place: Place,
        wanted: Wanted,
    ) -> Result<Self, ModelError> {
        if wanted.spoof && !pack.has(Part::Spoof) {
            return Err(ModelError::Absent { part: Part::Spoof });
        }
        place.prepare()?;
        // A provider that is not there says so before anything is read.
        place.builder(runtime)?;
        let heads = place.without_engines();
        let m = pack.manifest();
        let classes = pack.sound_classes().len();
        let said = [pack.spoof_parts().len(), pack.short_reading().len()];
        let asked = |said: usize, wanted: bool| if wanted { said } else { 0 };
        let (parts, short) = (asked(said[0], wanted.parts), asked(said[1], wanted.short));
        let (layers, dim) = (m.encoder.layers, m.encoder.dim);
        let fbank = || ("fbank", vec![-1, -1, MELS as i64]);
        let heard = match m.encoder.input.columns() {
            Some(mels) => ("fbank", vec![-1, -1, mels as i64]),
            None => ("waveform", vec![-1, -1]),
        };
        let hidden = || ("hidden", vec![-1, layers as i64, -1, dim as i64]);
        let open = |part, bytes: &[u8], inputs, outputs| {
            let contract = Contract {
                part,
                inputs,
                optional: Vec::new(),
                outputs,
            };
            Net::open(runtime, bytes, &heads, contract)
        };
        let net = |part, inputs, outputs| open(part, &pack.read(part)?, inputs, outputs);
        // A head that is wanted, of a pack that has it.
        let head = |part, wanted: bool, inputs, outputs| match wanted && pack.has(part) {
            true => net(part, inputs, outputs).map(Some),
            false => Ok(None),
        };
        let spectral = ("spectral", vec![-1, -1, SPECTRAL_DIM as i64]);
        let embedding = ("embedding", vec![-1, pack.embedding_dim() as i64]);
        let sounds = ("classes", vec![-1, classes as i64]);
        let mut opinion = vec![("score", vec![-1])];
        if parts > 0 {
            opinion.push(("parts", vec![-1, parts as i64]));
        }
        if short > 0 {
            opinion.push(("short", vec![-1]));
            opinion.push(("short_parts", vec![-1, short as i64]));
        }
        let spoof = || -> Result<Net, ModelError> {
            let part = Part::Spoof;
            let bytes = pack.read(part)?;
            let refused = |reason| ModelError::Refused { part, reason };
            let left_out = [
                ("short_parts", said[1] > short),
                ("short", said[1] > short),
                ("parts", said[0] > parts),
            ];
            let mut left_out = left_out.iter().filter(|(_, is)| *is).peekable();
            if left_out.peek().is_some() {
                // All of it has to keep to the rules, also what is left out.
                check_onnx(&bytes).map_err(refused)?;
            }
            let bytes = left_out
                .try_fold(bytes, |bytes, (output, _)| without_output(&bytes, output))
                .map_err(refused)?;
            open(part, &bytes, vec![hidden(), spectral], opinion)
        };
        // First, for it is small: a GPU that does not work says so here.
        let vad = net(Part::Vad, vec![fbank()], vec![("speech", vec![-1, -1])])?;
        let cutter = Cutter::open(runtime, &heads)?;
        let bytes = pack.read(Part::Encoder)?;
        let going = m.encoder.stream.clone();
        let mut contract = Contract {
            part: Part::Encoder,
            inputs: vec![heard],
            optional: Vec::new(),
            outputs: vec![hidden()],
        };
        if let Some(going) = &going {
            let tails = vec![-1, going.layers as i64, going.tail as i64, dim as i64];
            contract.optional = vec![("past", hidden().1), ("tails", tails.clone())];
            contract.outputs.push(("ends", tails));
        }
        let encoder = Net::open(runtime, &bytes, &place, contract)?;
        let mut probes = Vec::new();
        for probe in m.probes.values().filter(|_| wanted.probes) {
            let output = ("output", vec![-1, probe.labels.len() as i64]);
            let bytes = pack.read_probe(probe)?;
            let net = open(Part::Probe, &bytes, vec![hidden()], vec![output])?;
            probes.push((net, probe.labels.len()));
        }
        let together = if place.device.is_gpu() { GPU_LEAST } else { 1 };
        let mut models = Self {
            vad,
            encoder,
            front_end: FrontEnd::new(m.encoder.input.clone()),
            going,
            speaker: head(Part::Speaker, true, vec![hidden()], vec![embedding])?,
            spoof: wanted.spoof.then(spoof).transpose()?,
            views: wanted
                .spoof
                .then(|| Views::open(runtime, &heads))
                .transpose()?,
            sound: head(Part::Sound, wanted.sound, vec![hidden()], vec![sounds])?,
            probes,
            cutter,
            classes,
            parts,
            short,
            layers,
            dim,
            embedding_dim: pack.embedding_dim(),
            tally: Tally::default(),
            sizes: Sizes::of_windows(together),
            utterances: Sizes::of_utterances(together),
            repeat: Repeat::default(),
            scratch: Scratch::default(),
            refused: Vec::new(),
            place,
        };
        models.prove(pack)?;
        models.nets().for_each(Net::forget_shapes);
        tracing::debug!(pack = pack.name(), version = pack.version(), provider = %models.device(), "models opened");
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

    /// Whether it can tell voices apart: the pack has a speaker head.
    pub fn knows_voices(&self) -> bool {
        self.speaker.is_some()
    }

    /// Whether it can tell real voices from synthetic ones: the head was wanted.
    pub fn tells_spoofs(&self) -> bool {
        self.spoof.is_some()
    }

    /// Where the models really run, whatever was asked for.
    pub fn provider(&self) -> Device {
        self.device()
    }

    pub(super) fn device(&self) -> Device {
        self.place.device
    }

    /// Why they do not run on what would have been better, best first; empty where it was not tried or works.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// How often the encoder ran, and on how much.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Models for another worker, with the same sessions: what runs them waits until the other has done so. For a GPU, whose memory
    /// holds each of them only once then, and which is busy meanwhile.
    pub fn beside(&self) -> Self {
        Self {
            vad: self.vad.clone(),
            encoder: self.encoder.clone(),
            front_end: FrontEnd::new(self.front_end.input().clone()),
            going: self.going.clone(),
            speaker: self.speaker.clone(),
            spoof: self.spoof.clone(),
            views: self.views.as_ref().map(Views::beside),
            sound: self.sound.clone(),
            probes: self.probes.clone(),
            cutter: self.cutter.clone(),
            place: self.place.clone(),
            tally: Tally::default(),
            scratch: Scratch::default(),
            refused: self.refused.clone(),
            ..*self
        }
    }

    /// The same with batches of at most so many windows, eight unless told otherwise. They are filled up by running the last one again,
    /// up to this or to one of few sizes below: so few shapes are met, for each of which a GPU plans. On a CPU it would only cost.
    pub fn filled_up(mut self, windows: usize) -> Self {
        self.sizes = Sizes::of_windows(windows);
        self.utterances = Sizes::of_utterances(windows);
        self
    }

    /// The same with utterances that are repeated until they are as long as a window of so many samples at 16 kHz, for a GPU:
    /// there few alone cost as much as many together.
    pub fn repeating(mut self, samples: usize) -> Self {
        self.repeat = Repeat::up_to_window(self.front_end.input(), samples);
        self
    }

    /// Numbers of whole windows that run together, all that there are, the least first.
    pub fn batches(&self) -> Vec<usize> {
        self.sizes.all()
    }

    /// The same of utterances.
    pub fn batches_of_utterances(&self) -> Vec<usize> {
        self.utterances.all()
    }

    /// All shapes that matter were met: no more sessions are opened for others.
    pub fn settle(&self) {
        self.nets().for_each(Net::settle);
    }

    /// How long each model ran so far, by what it is for, and how long hidden states were cut and checked on a device. Models that share sessions have the same ones.
    pub fn spent(&self) -> Vec<(&'static str, Arc<Spent>)> {
        let named = self.named();
        let models = named.map(|(name, net)| (name, net.spent()));
        let cutter = ["cut", "check"].into_iter().zip(self.cutter.spent.clone());
        models.chain(cutter).collect()
    }

    fn nets(&self) -> impl Iterator<Item = &Net> {
        self.named().map(|(_, net)| net)
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Net)> {
        let views = self.views.as_ref().and_then(Views::net);
        let one = [
            ("speech", Some(&self.vad)),
            ("encoder", Some(&self.encoder)),
            ("speaker", self.speaker.as_ref()),
            ("views", views),
            ("spoof", self.spoof.as_ref()),
            ("sound", self.sound.as_ref()),
        ];
        let one = one.into_iter().filter_map(|(name, net)| Some((name, net?)));
        one.chain(self.probes.iter().map(|(net, _)| ("probes", net)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_what_they_make_can_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Models>();
        is_send::<super::super::hidden::Hidden>();
    }
}
