//! Known answers: what each model must say of an input that anyone can write down, before anything else is asked of it.

use super::calls::opinion_shapes;
use super::error::ModelError;
use super::heads::{KNOWN_VALUES, KnownAnswer};
use super::manifest::Going;
use super::net::Given;
use super::pack::Pack;
use super::part::Part;
use super::place::Device;
use super::sessions::Models;
use crate::dsp::{MELS, SAMPLE_RATE, SPECTRAL_DIM, frames};

/// What TensorRT may add to a tolerance: it multiplies with 19-bit numbers (TF32), and cannot be told not to.
const ENGINE_TOLERANCE: f64 = 0.02;

impl Models {
    /// Runs each model on the input that `docs/pack.md` gives and compares with the manifest.
    pub(super) fn prove(&mut self, pack: &Pack) -> Result<(), ModelError> {
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
        let heard = Given::Host(&heard, &features);
        let fbank = Given::Host(&[1, long, MELS], &fbank);
        let shape = [1, self.layers, vectors, self.dim];
        let hidden = Given::Host(&shape, &hidden);
        let spectral = Given::Host(&[1, long, SPECTRAL_DIM], &spectral);
        let first = |values: &[f32]| {
            values
                .iter()
                .take(KNOWN_VALUES)
                .copied()
                .collect::<Vec<_>>()
        };
        let found = self.vad.run(&[fbank], &[1, long / 2], first)?;
        compare(Part::Vad, &m.vad.known_answer, &found)?;
        let found = self.encoder.run(&[heard], &shape, first)?;
        let mut known = m.encoder.known_answer.clone();
        if self.device() == Device::TensorRt {
            known.tolerance = known.tolerance.max(ENGINE_TOLERANCE);
        }
        compare(Part::Encoder, &known, &found)?;
        if let Some(going) = self.going.clone() {
            let least = known.tolerance;
            let mut known = going.known_answer.clone();
            known.tolerance = known.tolerance.max(least);
            compare(Part::Encoder, &known, &self.go_on(&going)?)?;
        }
        if let (Some(net), Some(speaker)) = (&mut self.speaker, &m.speaker) {
            let found = net.run(&[hidden], &[1, self.embedding_dim], first)?;
            compare(Part::Speaker, &speaker.known_answer, &found)?;
        }
        if let (Some(net), Some(spoof)) = (&mut self.spoof, &m.spoof) {
            let shapes = opinion_shapes(1, self.parts, self.short);
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let at = 1 + self.parts.min(1);
            let both = |found: &[&[f32]]| (found[..at].concat(), found[at..].concat());
            let (found, of_short) = net.run_for(&[hidden, spectral], &shapes, both)?;
            compare(Part::Spoof, &spoof.known_answer, &found)?;
            adds_up(&found)?;
            let short = spoof.short.as_ref().filter(|_| self.short > 0);
            if let Some(known) = short.and_then(|s| s.known_answer.as_ref()) {
                compare(Part::Spoof, known, &of_short)?;
                adds_up(&of_short)?;
            }
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

    /// What the encoder says of a second that it hears after `left` frames.
    fn go_on(&mut self, going: &Going) -> Result<Vec<f32>, ModelError> {
        let new = (self.front_end.input().frame_rate()) as usize;
        let rows = 2 * (going.left + new);
        let past = [1, self.layers, going.left, self.dim];
        let tails = [1, going.layers, going.tail, self.dim];
        let values = |shape: &[usize]| wave(shape.iter().product(), 1.0, 0.0);
        let inputs = [
            Given::Host(&[1, rows, MELS], &wave(rows * MELS, 3.0, -8.0)),
            Given::Host(&past, &values(&past)),
            Given::Host(&tails, &values(&tails)),
        ];
        let expected = [1, self.layers, new, self.dim];
        let read = |found: &[&[f32]]| found[0].iter().take(KNOWN_VALUES).copied().collect();
        self.encoder.run_for(&inputs, &[&expected, &tails], read)
    }
}

/// `sin(0.1·i)·scale + offset` in f64, rounded.
fn wave(length: usize, scale: f64, offset: f64) -> Vec<f32> {
    (0..length)
        .map(|i| ((0.1 * i as f64).sin() * scale + offset) as f32)
        .collect()
}

/// Whether the first value is the sum of the others, where there are others.
fn adds_up(found: &[f32]) -> Result<(), ModelError> {
    let (score, parts) = (
        found.first().copied().unwrap_or(0.0),
        found.get(1..).unwrap_or(&[]),
    );
    let sum: f32 = parts.iter().sum();
    if parts.is_empty() || (sum - score).abs() <= 1e-3 * score.abs().max(1.0) {
        return Ok(());
    }
    Err(ModelError::Output {
        part: Part::Spoof,
        expected: "parts that add up to the score",
        found: sum,
    })
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

    #[test]
    fn parts_must_add_up_to_the_score() {
        assert!(adds_up(&[1.5]).is_ok());
        assert!(adds_up(&[1.5, 2.0, -0.5]).is_ok());
        assert!(adds_up(&[1.5, 2.0, 0.5]).is_err());
    }
}
