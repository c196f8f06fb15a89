//! `earwitness bench --features`: how fast each feature is computed, on one core.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::audio::{SAMPLE_RATE, decode};
use crate::dsp::{
    Cepstra, Cqt, KaldiOptions, PitchOptions, SpectralView, cepstra, fbank, kaldi_fbank, pitch,
};
use crate::telemetry::Usage;

use super::super::output::Cell;
use super::super::{Failure, Output};

/// Each feature is timed this often, in turns; the best counts, since other programs can only slow one down.
const ROUNDS: usize = 7;
/// Samples of the audio that are used: the features' speed does not depend on the length.
const LONGEST: usize = 60 * SAMPLE_RATE as usize;

/// Speed of one feature.
#[derive(Debug, serde::Serialize)]
struct Speed {
    feature: &'static str,
    audio_s: f64,
    /// CPU time of the fastest round.
    cpu_s: f64,
    /// Seconds of audio for each second of one core.
    speed: f64,
}

type Feature<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// Prints a line a feature.
pub(super) fn run(audio: &Path, output: &Output) -> Result<(), Failure> {
    let all = decode(audio, None).map_err(Failure::runtime)?;
    let samples = &all[..all.len().min(LONGEST)];
    let audio_s = samples.len() as f64 / f64::from(SAMPLE_RATE);
    if audio_s < 1.0 {
        return Err(Failure::usage(anyhow!(
            "--audio: expected at least 1 s, found {audio_s:.2} s"
        )));
    }
    let mut features = features(samples);
    let mut best = vec![Duration::MAX; features.len()];
    for _ in 0..ROUNDS {
        for ((_, compute), best) in features.iter_mut().zip(&mut best) {
            *best = (*best).min(cpu(compute));
        }
    }
    let speeds: Vec<Speed> = features
        .iter()
        .zip(best)
        .map(|((feature, _), best)| Speed {
            feature,
            audio_s,
            cpu_s: best.as_secs_f64(),
            speed: audio_s / best.as_secs_f64().max(1e-9),
        })
        .collect();
    if output.is_json() {
        return speeds.iter().try_for_each(|speed| output.record(speed));
    }
    let rows: Vec<Vec<Cell>> = speeds
        .iter()
        .map(|s| vec![Cell::new(s.feature), Cell::new(format!("{:.0}", s.speed))])
        .collect();
    output.table(&["feature", "audio s / core s"], &rows)
}

fn features(samples: &[f32]) -> Vec<Feature<'_>> {
    let cepstra = |kind| {
        Box::new(move || {
            black_box(cepstra(samples, kind));
        })
    };
    let kaldi = |options| {
        Box::new(move || {
            black_box(kaldi_fbank(samples, &options));
        })
    };
    let (mut cqt, mut log_power, mut view) = (Cqt::new(), Vec::new(), SpectralView::new());
    vec![
        (
            "log-mel 80",
            Box::new(|| {
                black_box(fbank(samples));
            }),
        ),
        ("Kaldi 80", kaldi(KaldiOptions::default())),
        ("Kaldi 128", kaldi(KaldiOptions::beats())),
        ("MFCC", cepstra(Cepstra::Mfcc)),
        ("LFCC", cepstra(Cepstra::Lfcc)),
        (
            "CQT",
            Box::new(move || cqt.log_power(samples, &mut log_power)),
        ),
        (
            "pitch",
            Box::new(|| {
                black_box(pitch(samples, PitchOptions::default()).is_ok());
            }),
        ),
        (
            "spectral view",
            Box::new(move || {
                // As the spoof head asks for it, 3 s at a time.
                for window in samples.chunks(3 * SAMPLE_RATE as usize) {
                    black_box(view.compute(window));
                }
            }),
        ),
    ]
}

/// CPU time of one call; the time on the wall where the system does not tell.
fn cpu(compute: &mut dyn FnMut()) -> Duration {
    let (before, started) = (Usage::now(), Instant::now());
    compute();
    let elapsed = started.elapsed();
    before
        .zip(Usage::now())
        .map(|(before, after)| after.cpu.saturating_sub(before.cpu))
        .filter(|cpu| !cpu.is_zero())
        .unwrap_or(elapsed)
}
