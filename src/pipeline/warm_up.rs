//! Runs every shape of window that a stream will bring once before the first stream starts. A GPU plans, and TensorRT
//! compiles, when it meets a shape for the first time, which must not be while somebody waits at a door.

use std::time::{Duration, Instant};

use crate::audio::{SAMPLE_RATE, Signal, WIDE_RATE};
use crate::config;
use crate::dsp::{HOP, WINDOW, fbank};
use crate::model::{ModelError, Stretch};

use super::analyser::Analyser;
use super::segmenter::in_samples;

/// The most lengths of windows that are met before any stream starts: with a short hop a stream's first windows have many, and a
/// model has no more sessions than these.
const LENGTHS: usize = 8;

/// What the warm-up ran, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Warm {
    /// Samples at 16 kHz of a window.
    pub lengths: Vec<usize>,
    /// How long it took.
    pub took: Duration,
}

/// Runs the models on noise in every shape: the windows of a stream grow hop by hop to their full length, and utterances in
/// them come in few lengths. However many windows wait, their batch is filled up.
pub fn warm_up(
    analyser: &mut Analyser,
    window: &config::Window,
    is_wide: bool,
) -> Result<Warm, ModelError> {
    let began = Instant::now();
    let lengths = lengths(window);
    for &length in &lengths {
        run(analyser, length, is_wide)?;
    }
    analyser.models().settle();
    Ok(Warm {
        lengths,
        took: began.elapsed(),
    })
}

/// The extremes first: TensorRT widens an engine to all that lies between the shapes that it has seen, and compiles it
/// again each time.
fn lengths(window: &config::Window) -> Vec<usize> {
    let (full, hop) = in_samples(window);
    let growing = (1..).map(|n| n * hop).take_while(|length| *length < full);
    let growing: Vec<usize> = growing.take(LENGTHS - 1).collect();
    let shortest = growing.iter().take(1);
    let others = growing.iter().skip(1).rev();
    shortest.chain([&full]).chain(others).copied().collect()
}

fn run(analyser: &mut Analyser, length: usize, is_wide: bool) -> Result<(), ModelError> {
    let signal = noise(length, is_wide);
    let frames = fbank(&signal.samples);
    let stretch = Stretch {
        samples: &signal.samples,
        wide: &signal.wide,
        fbank: frames.view(),
    };
    let utterances = analyser.utterances_s(frames.nrows() / 2);
    let models = analyser.models();
    models.speech(frames.view())?;
    let hidden = models.hear(stretch)?;
    if models.hears_sounds() {
        models.sounds(&hidden)?;
    }
    models.probe(&hidden)?;
    for span_s in utterances {
        let span = hidden.span(0.0..span_s);
        if models.knows_voices() {
            models.embed(&span)?;
        }
        if models.tells_spoofs() {
            let samples = (span_s * f64::from(SAMPLE_RATE)).round() as usize + WINDOW - HOP;
            models.genuine(&span, &signal.samples[..samples.min(length)])?;
        }
    }
    Ok(())
}

/// Noise from a counter: any audio does that is not silent.
fn noise(length: usize, is_wide: bool) -> Signal {
    let make = |n: usize| (0..n).map(|i| ((i * 7919) % 1000) as f32 / 5_000.0 - 0.1);
    let wide = match is_wide {
        true => length * WIDE_RATE as usize / SAMPLE_RATE as usize,
        false => 0,
    };
    Signal {
        samples: make(length).collect(),
        wide: make(wide).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_come_first_and_every_length_once() {
        let window = config::Window::default();
        assert_eq!(lengths(&window), [16_000, 48_000, 32_000]);
        let dense = config::Window {
            hop_s: 0.1,
            length_s: 10.0,
            ..window
        };
        let many = lengths(&dense);
        assert_eq!((many.len(), many[0], many[1]), (LENGTHS, 1_600, 160_000));
        let alone = config::Window {
            hop_s: 3.0,
            ..config::Window::default()
        };
        assert_eq!(lengths(&alone), [48_000]);
    }
}
