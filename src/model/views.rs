//! The spectral views that the spoof head reads beside the hidden states, made where it reads them: on the host by `dsp`, on a
//! GPU by a graph of our own (`models/recipes/common/spectral_graph.py` writes it), so that only the audio goes there.

use ort::value::Tensor;

use super::calls::fill_up;
use super::error::ModelError;
use super::net::{Contract, Given, Net};
use super::part::Part;
use super::place::Place;
use super::repeat::Repeat;
use super::runtime::Runtime;
use crate::dsp::{SAMPLE_RATE, SPECTRAL_DIM, SpectralView, frames};

const GRAPH: &[u8] = include_bytes!("spectral.onnx");

/// By how much the graph's values may differ from the host's on average. It works in 32 bits, in which the phase of a bin that
/// holds nothing is chance: single values may be further apart.
const TOLERANCE: f32 = 1e-4;

/// Who makes them.
pub(super) enum Views {
    Host(Box<SpectralView>),
    Device(Box<Net>, Place),
}

/// Views of several pieces of audio: `[pieces, rows, SPECTRAL_DIM]`.
pub(super) enum Made<'a> {
    Host([usize; 3], &'a [f32]),
    Device(Tensor<f32>),
}

impl Made<'_> {
    pub fn given(&self) -> Given<'_> {
        match self {
            Self::Host(shape, values) => Given::Host(shape, values),
            Self::Device(tensor) => Given::Tensor(tensor),
        }
    }
}

/// Frames of the view of so many samples. An odd last one is left out: the head takes two together.
pub(super) fn rows(samples: usize) -> usize {
    frames(samples) / 2 * 2
}

impl Views {
    pub fn open(runtime: &Runtime, place: &Place) -> Result<Self, ModelError> {
        match place.device.is_gpu() {
            true => Self::on_device(runtime, place),
            false => Ok(Self::Host(Box::default())),
        }
    }

    fn on_device(runtime: &Runtime, place: &Place) -> Result<Self, ModelError> {
        let contract = Contract {
            part: Part::Spoof,
            inputs: vec![("audio", vec![-1, -1])],
            optional: Vec::new(),
            outputs: vec![("spectral", vec![-1, -1, SPECTRAL_DIM as i64])],
        };
        let mut net = Net::open(runtime, GRAPH, place, contract)?;
        prove(&mut net)?;
        Ok(Self::Device(Box::new(net), place.clone()))
    }

    /// For another worker: with the same sessions, where it has some.
    pub fn beside(&self) -> Self {
        match self {
            Self::Host(_) => Self::Host(Box::default()),
            Self::Device(net, place) => Self::Device(net.clone(), place.clone()),
        }
    }

    /// Its sessions, where it has some.
    pub fn net(&self) -> Option<&Net> {
        match self {
            Self::Host(_) => None,
            Self::Device(net, _) => Some(net),
        }
    }

    /// Views of pieces that are of one length once repeated; then the last one again, until there are `size`. `scratch`: where what
    /// the head or the device is given is put behind each other.
    pub fn make<'a>(
        &mut self,
        pieces: &[&[f32]],
        repeat: Repeat,
        size: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Result<Made<'a>, ModelError> {
        let samples = pieces
            .first()
            .map_or(0, |piece| repeat.samples(piece.len()));
        let shape = [size, rows(samples), SPECTRAL_DIM];
        match self {
            Self::Host(maker) => {
                scratch.clear();
                scratch.reserve(size * frames(samples) * SPECTRAL_DIM);
                let one = shape[1] * SPECTRAL_DIM;
                let mut room = Vec::new();
                for (i, piece) in pieces.iter().enumerate() {
                    maker.append(repeat.of(piece, &mut room), scratch);
                    scratch.truncate((i + 1) * one);
                }
                fill_up(scratch, one, size);
                Ok(Made::Host(shape, scratch))
            }
            Self::Device(net, place) => {
                scratch.clear();
                scratch.reserve(size * samples);
                pieces
                    .iter()
                    .for_each(|piece| repeat.append(piece, scratch));
                fill_up(scratch, samples, size);
                let view = net.run_on_device(&[size, samples], scratch, &shape, place)?;
                Ok(Made::Device(view))
            }
        }
    }
}

/// Holds the graph to what the host makes of half a second.
fn prove(net: &mut Net) -> Result<(), ModelError> {
    let audio = sound(SAMPLE_RATE as usize / 2, 0);
    let mut expected = Vec::new();
    SpectralView::new().append(&audio, &mut expected);
    let shape = [1, rows(audio.len()), SPECTRAL_DIM];
    let given = Given::Host(&[1, audio.len()], &audio);
    let apart = net.run(&[given], &shape, |found| apart(found, &expected))?;
    if apart < TOLERANCE {
        return Ok(());
    }
    Err(ModelError::Output {
        part: Part::Spoof,
        expected: "spectral views as the host makes them (at most 0.0001 apart)",
        found: apart,
    })
}

/// Two tones over noise, so that no bin is empty.
fn sound(samples: usize, seed: usize) -> Vec<f32> {
    let noise = |i: usize| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 10_007.0 - 0.5;
    let tone = |i: usize, step: f32| (i as f32 * step).sin();
    (0..samples)
        .map(|i| 0.2 * tone(i, 0.07 + 0.01 * seed as f32) + 0.1 * tone(i, 0.9) + 0.05 * noise(i))
        .collect()
}

/// The mean difference.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / found.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a GPU makes them, here.
    fn device() -> Views {
        let place = Place::host();
        let runtime = Runtime::load(None).expect("the library that `make test` fetches");
        Views::on_device(runtime, &place).expect("our own graph")
    }

    fn made(views: &mut Views, pieces: &[&[f32]], size: usize) -> (Vec<usize>, Vec<f32>) {
        let mut scratch = Vec::new();
        let made = views
            .make(pieces, Repeat::default(), size, &mut scratch)
            .expect("views");
        let values = match &made {
            Made::Host(_, values) => values.to_vec(),
            Made::Device(tensor) => tensor
                .try_extract_tensor::<f32>()
                .expect("values")
                .1
                .to_vec(),
        };
        (made.given().shape(), values)
    }

    #[test]
    fn a_device_makes_what_the_host_makes() {
        let mut device = device();
        for samples in [880, 8_240, 24_240, 48_000] {
            let pieces = [sound(samples, 1), sound(samples, 2), sound(samples, 3)];
            let pieces: Vec<&[f32]> = pieces.iter().map(Vec::as_slice).collect();
            let host = made(&mut Views::Host(Box::default()), &pieces, 4);
            let found = made(&mut device, &pieces, 4);
            assert_eq!(found.0, host.0);
            assert_eq!(found.0, [4, rows(samples), SPECTRAL_DIM]);
            assert_eq!(found.1.len(), host.1.len());
            let apart = apart(&found.1, &host.1);
            assert!(apart < 1e-5, "{samples} samples: {apart} apart");
            let (third, last) = host.1[host.1.len() / 2..].split_at(host.1.len() / 4);
            assert_eq!(third, last, "the last one fills up");
        }
    }

    #[test]
    fn an_odd_last_frame_is_left_out() {
        assert_eq!((rows(48_000), frames(48_000)), (298, 298));
        assert_eq!((rows(48_160), frames(48_160)), (298, 299));
        let audio = sound(48_160, 1);
        let host = made(&mut Views::Host(Box::default()), &[&audio, &audio], 2);
        assert_eq!(host.0, [2, 298, SPECTRAL_DIM]);
        let device = made(&mut device(), &[&audio, &audio], 2);
        assert_eq!(device.0, host.0);
        assert!(apart(&device.1, &host.1) < 1e-5);
        let (first, second) = host.1.split_at(host.1.len() / 2);
        assert_eq!(first, second);
    }
}
