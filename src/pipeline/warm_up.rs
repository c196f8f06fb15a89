//! Runs every shape of window that a stream will bring once before the first stream starts. A GPU plans, and TensorRT
//! compiles, when it meets a shape for the first time, which must not be while somebody waits at a door.

use std::time::{Duration, Instant};

use crate::audio::{SAMPLE_RATE, Signal, WIDE_RATE};
use crate::config;
use crate::dsp::{HOP, WINDOW, fbank};
use crate::model::{Hidden, ModelError, Stretch};

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

/// Runs the models on noise in every shape: the windows of a stream grow hop by hop to their full length, and batches have few
/// sizes.
pub fn warm_up(
    analyser: &mut Analyser,
    window: &config::Window,
    is_wide: bool,
) -> Result<Warm, ModelError> {
    let began = Instant::now();
    let lengths = lengths(window);
    let batches = analyser.models().batches();
    for (length, windows) in shapes(&lengths, &batches) {
        run(analyser, length, windows, is_wide)?;
    }
    analyser.models().settle();
    Ok(Warm {
        lengths,
        took: began.elapsed(),
    })
}

/// The extremes first, the shortest and the full length.
fn lengths(window: &config::Window) -> Vec<usize> {
    let (full, hop) = in_samples(window);
    let growing = (1..).map(|n| n * hop).take_while(|length| *length < full);
    let growing: Vec<usize> = growing.take(LENGTHS - 1).collect();
    let shortest = growing.iter().take(1);
    let others = growing.iter().skip(1).rev();
    shortest.chain([&full]).chain(others).copied().collect()
}

/// Each length in each size of batch. The least of both and the greatest of both come first: TensorRT widens an engine to all that
/// lies between the shapes that it has seen, and compiles it again each time.
fn shapes(lengths: &[usize], batches: &[usize]) -> Vec<(usize, usize)> {
    let pair = |(length, windows): (&usize, &usize)| (*length, *windows);
    let mut shapes: Vec<_> = lengths.iter().zip(batches).map(pair).collect();
    for &length in lengths {
        for &windows in batches {
            if !shapes.contains(&(length, windows)) {
                shapes.push((length, windows));
            }
        }
    }
    shapes
}

/// So many windows of one length at once, and of utterances in them all numbers that are so many or fewer.
fn run(
    analyser: &mut Analyser,
    length: usize,
    windows: usize,
    is_wide: bool,
) -> Result<(), ModelError> {
    let signal = noise(length, is_wide);
    let frames = fbank(&signal.samples);
    let stretch = Stretch {
        samples: &signal.samples,
        wide: &signal.wide,
        fbank: frames.view(),
    };
    let models = analyser.models();
    all_of(models.speech_all(&vec![frames.view(); windows]))?;
    let hidden = all_of(models.hear_all(&vec![stretch; windows]))?;
    let whole: Vec<&Hidden> = hidden.iter().collect();
    if models.hears_sounds() {
        all_of(models.sounds_all(&whole))?;
    }
    all_of(models.probe_all(&whole))?;
    let together = models.batches_of_utterances().into_iter();
    let together: Vec<usize> = together.filter(|n| *n <= windows).collect();
    let spoken = frames.nrows() / 2 * 2 * HOP + WINDOW - HOP;
    let spoken = &signal.samples[..spoken.min(length)];
    for n in together {
        if models.knows_voices() {
            all_of(models.embed_all(&whole[..n]))?;
        }
        if models.tells_spoofs() {
            let voices: Vec<_> = whole[..n].iter().map(|hidden| (*hidden, spoken)).collect();
            all_of(models.genuine_all(&voices))?;
        }
    }
    Ok(())
}

/// What all were told, or the first error.
fn all_of<R>(answers: Vec<Result<R, ModelError>>) -> Result<Vec<R>, ModelError> {
    answers.into_iter().collect()
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
    fn the_extremes_of_both_come_first_and_every_shape_once() {
        let all = shapes(&[1, 3, 2], &[32, 128]);
        assert_eq!(all[..2], [(1, 32), (3, 128)]);
        let mut others = all[2..].to_vec();
        others.sort_unstable();
        assert_eq!(others, [(1, 128), (2, 32), (2, 128), (3, 32)]);
        assert_eq!(shapes(&[1, 3, 2], &[32]), [(1, 32), (3, 32), (2, 32)]);
        assert_eq!(shapes(&[3], &[32, 128]), [(3, 32), (3, 128)]);
    }

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
