//! Runs every shape of window that a stream will bring once before the first stream starts. A GPU plans, and TensorRT
//! compiles, when it meets a shape for the first time, which must not be while somebody waits at a door.

use std::time::{Duration, Instant};

use crate::audio::{SAMPLE_RATE, Signal, WIDE_RATE};
use crate::config;
use crate::dsp::{HOP, SpectralView, WINDOW, fbank};
use crate::model::{Hidden, ModelError, Stretch, batch_size};

use super::analyser::Analyser;

/// The most lengths of windows that are met before any stream starts: with a short hop a stream's first windows have many.
const LENGTHS: usize = 16;

/// What the warm-up ran, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Warm {
    /// Samples at 16 kHz of a window, and windows that ran together.
    pub shapes: Vec<(usize, usize)>,
    /// How long it took.
    pub took: Duration,
}

/// Runs the models on noise in every shape: the windows of a stream grow hop by hop to their full length; those of full
/// length come in batches of each size, the others in the smallest or the largest. Utterances in them come in few lengths.
pub fn warm_up(
    analyser: &mut Analyser,
    window: &config::Window,
    most: usize,
    is_wide: bool,
) -> Result<Warm, ModelError> {
    let began = Instant::now();
    let shapes = shapes(window, most);
    for &(length, size) in &shapes {
        run(analyser, length, size, is_wide)?;
    }
    Ok(Warm {
        shapes,
        took: began.elapsed(),
    })
}

/// The extremes first: TensorRT widens an engine to all that lies between the shapes that it has seen, and compiles it
/// again each time.
fn shapes(window: &config::Window, most: usize) -> Vec<(usize, usize)> {
    let whole =
        |seconds: f64| (seconds * f64::from(SAMPLE_RATE) / HOP as f64).round() as usize * HOP;
    let full = whole(window.length_s).max(HOP);
    let hop = whole(window.hop_s).clamp(HOP, full);
    let (least, most) = (batch_size(1, true), batch_size(most.max(1), true));
    let growing = (1..).map(|n| n * hop).take_while(|length| *length < full);
    let growing: Vec<usize> = growing.take(LENGTHS - 1).collect();
    let shortest = growing.first().copied().unwrap_or(full);
    let mut shapes = vec![(shortest, least), (full, most)];
    let sizes = |sizes: &[usize], length: usize| -> Vec<(usize, usize)> {
        sizes.iter().map(|size| (length, *size)).collect()
    };
    let all: Vec<usize> =
        std::iter::successors(Some(least), |size| Some(batch_size(size + 1, true)))
            .take_while(|size| *size <= most)
            .collect();
    let others = growing
        .iter()
        .flat_map(|length| sizes(&[least, most], *length));
    for shape in sizes(&all, full).into_iter().chain(others) {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

fn run(
    analyser: &mut Analyser,
    length: usize,
    size: usize,
    is_wide: bool,
) -> Result<(), ModelError> {
    let signal = noise(length, is_wide);
    let frames = fbank(&signal.samples);
    let stretch = Stretch {
        samples: &signal.samples,
        wide: &signal.wide,
        fbank: frames.view(),
    };
    let seconds = length as f64 / f64::from(SAMPLE_RATE);
    let utterances = analyser.utterances_s(seconds);
    let is_guarded = analyser.detects();
    let models = analyser.models();
    all(models.speech_all(&vec![frames.view(); size]))?;
    let hidden = all(models.hear_all(&vec![stretch; size]))?;
    let whole: Vec<&Hidden> = hidden.iter().collect();
    if models.hears_sounds() {
        all(models.sounds_all(&whole))?;
    }
    all(models.probe_all(&whole))?;
    for span_s in utterances {
        let spans: Vec<Hidden> = hidden.iter().map(|h| h.span(0.0..span_s)).collect();
        if models.knows_voices() {
            all(models.embed_all(&spans.iter().collect::<Vec<_>>()))?;
        }
        if is_guarded {
            let samples = (span_s * f64::from(SAMPLE_RATE)) as usize + WINDOW - HOP;
            let spoken = &signal.samples[..samples.min(length)];
            let view = SpectralView::new().compute(spoken);
            let windows: Vec<_> = spans.iter().map(|span| (span, view.view())).collect();
            all(models.genuine_all(&windows))?;
        }
    }
    Ok(())
}

fn all<R>(answers: Vec<Result<R, ModelError>>) -> Result<Vec<R>, ModelError> {
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
    fn the_extremes_come_first_and_every_shape_once() {
        let window = config::Window::default();
        assert_eq!(
            shapes(&window, 100),
            [
                (16_000, 8),
                (48_000, 128),
                (48_000, 8),
                (48_000, 32),
                (16_000, 128),
                (32_000, 8),
                (32_000, 128),
            ]
        );
        assert_eq!(shapes(&window, 1).len(), 3);
        let dense = config::Window {
            hop_s: 0.1,
            length_s: 10.0,
            ..window
        };
        let many = shapes(&dense, 32);
        assert!(many.len() < 2 * LENGTHS + 8, "{}", many.len());
    }
}
