//! Seconds of audio that the whole pipeline takes in for each second of one core: a file at full speed, one worker, the CPU
//! time of all threads of the process once the models are open. As one stream and as several, of which what waits runs together.
//!
//! Windows without new speech are spared the encoder where only voices are told apart, so the figure depends on the audio: for
//! comparisons it should be speech throughout.

use std::time::Duration;

use crate::pipeline::CPU_BATCH;

use super::super::output::Cell;
use super::super::{Failure, Output};
use super::Bench;
use super::trial::{self, Seen, Watch};

/// The longest that one round may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many streams play the file.
const STREAMS: [usize; 2] = [1, CPU_BATCH];

/// How fast one kind of work is.
#[derive(Debug, serde::Serialize)]
pub struct Speed {
    #[serde(rename = "type")]
    kind: &'static str,
    /// What is asked of each window.
    heads: &'static str,
    streams: usize,
    /// Of all streams together, as what follows.
    audio_s: f64,
    windows: u64,
    /// Of these, how many held speech to score or, where sounds are told apart, anything above the silence floor.
    encoded: u64,
    /// CPU time of the fastest round.
    cpu_s: Option<f64>,
    /// Seconds of audio for each second of one core.
    speed: Option<f64>,
    analysis_ms_per_encoded_window: f64,
}

/// Prints a line for speaker verification alone and one for all that the configuration asks for, of one stream and of several.
pub fn measure(bench: &Bench, output: &Output) -> Result<Vec<Speed>, Failure> {
    let kind = |streams: usize, is_all: bool| {
        let mut config = bench.config_of(streams, 0.0);
        config.models.workers = 1;
        if !is_all {
            config.spoof.enabled = false;
            config.sound.enabled = false;
            config.streams.iter_mut().for_each(|s| s.sound = false);
        }
        let heads = if is_all { "all" } else { "speaker" };
        (heads, streams, config)
    };
    let watch = Watch {
        warm_up: Duration::ZERO,
        counted: LONGEST,
    };
    let kinds = STREAMS.map(|streams| [kind(streams, false), kind(streams, true)]);
    let kinds = kinds.as_flattened();
    let mut best: Vec<Option<Seen>> = kinds.iter().map(|_| None).collect();
    for _ in 0..bench.args.rounds {
        for ((.., config), best) in kinds.iter().zip(&mut best) {
            let seen = trial::run(config, &bench.models, watch)?;
            if best.as_ref().is_none_or(|best| seen.cpu < best.cpu) {
                *best = Some(seen);
            }
        }
    }
    let speeds: Vec<Speed> = kinds
        .iter()
        .zip(&best)
        .filter_map(|((heads, streams, _), best)| Some(speed(heads, *streams, best.as_ref()?)))
        .collect();
    tell(&speeds, output)?;
    Ok(speeds)
}

fn speed(heads: &'static str, streams: usize, seen: &Seen) -> Speed {
    let cpu_s = seen.cpu.map(|cpu| cpu.as_secs_f64());
    let audio_s = seen.furthest_s * streams as f64;
    Speed {
        kind: "throughput",
        heads,
        streams,
        audio_s,
        windows: seen.windows,
        encoded: seen.encoded,
        cpu_s,
        speed: cpu_s.map(|cpu| audio_s / cpu.max(1e-9)),
        analysis_ms_per_encoded_window: seen.analysis_ms_per_encoded_window,
    }
}

fn tell(speeds: &[Speed], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return speeds.iter().try_for_each(|speed| output.record(speed));
    }
    let rows: Vec<Vec<Cell>> = speeds
        .iter()
        .map(|s| {
            vec![
                Cell::new(s.heads),
                Cell::new(s.streams),
                Cell::new(s.windows),
                Cell::new(s.encoded),
                Cell::new(s.speed.map_or("?".to_owned(), |s| format!("{s:.1}"))),
                Cell::new(format!("{:.0}", s.analysis_ms_per_encoded_window)),
            ]
        })
        .collect();
    let head = [
        "heads",
        "streams",
        "windows",
        "encoded",
        "audio s / core s",
        "ms/window",
    ];
    output.table(&head, &rows)
}
