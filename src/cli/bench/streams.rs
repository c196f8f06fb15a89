//! How many streams of speech a machine keeps up with.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::output::Cell;
use super::super::{Failure, Output};
use super::Bench;
use super::trial::{self, Watch};
use crate::model::Took;

/// A window whose findings come later than this is of no use to somebody who waits at a door.
const TOO_LATE_MS: f64 = 1_000.0;

/// One try.
#[derive(Debug, serde::Serialize)]
struct Try {
    streams: usize,
    /// Where the models really ran.
    provider: String,
    windows: u64,
    encoded: u64,
    /// Windows a run of the encoder.
    mean_batch: Option<f64>,
    lost_s: f64,
    lag_median_ms: f64,
    lag_p95_ms: f64,
    lag_p99_ms: f64,
    cores: Option<f64>,
    /// Where `nvidia-smi` tells, and the models run there.
    gpu_percent: Option<f64>,
    analysis_ms_per_encoded_window: f64,
    /// How long each model ran, and was waited for.
    models: BTreeMap<&'static str, Took>,
    resident_mib: Option<f64>,
    /// Of the process so far, earlier tries included.
    resident_peak_mib: Option<f64>,
    keeps_up: bool,
}

/// All tries.
#[derive(Debug, serde::Serialize)]
pub struct Tries {
    tries: Vec<Try>,
    /// The most streams that it kept up with.
    keeps_up: Option<usize>,
    /// The fewest that were too many.
    too_many: Option<usize>,
}

/// Prints a line a try, and the least number of streams that was too many.
pub fn measure(bench: &Bench, output: &Output) -> Result<Tries, Failure> {
    let mut tries = Vec::new();
    for &streams in &bench.args.streams {
        let result = attempt(bench, streams)?;
        if output.is_json() {
            output.record(&result)?;
        }
        let enough = !result.keeps_up;
        tries.push(result);
        if enough {
            break;
        }
    }
    let tries = Tries {
        keeps_up: tries.iter().filter(|t| t.keeps_up).map(|t| t.streams).max(),
        too_many: tries.iter().find(|t| !t.keeps_up).map(|t| t.streams),
        tries,
    };
    tell(&tries, output)?;
    Ok(tries)
}

fn attempt(bench: &Bench, streams: usize) -> Result<Try, Failure> {
    let mut seen = match bench.args.spread {
        true => bench.run_spread(&bench.audio()?, streams, bench.args.seconds)?,
        false => {
            let config = bench.config_of(streams, 1.0);
            let watch = Watch::from_start(bench.args.seconds);
            trial::run(&config, &bench.models, watch)?
        }
    };
    let lag_p99_ms = seen.lag_ms(0.99);
    Ok(Try {
        streams,
        provider: seen.provider.to_string(),
        windows: seen.windows,
        encoded: seen.encoded,
        mean_batch: seen.mean_batch,
        lost_s: seen.lost_s,
        lag_median_ms: seen.lag_ms(0.5),
        lag_p95_ms: seen.lag_ms(0.95),
        lag_p99_ms,
        cores: seen.cores(),
        gpu_percent: seen.gpu_percent,
        analysis_ms_per_encoded_window: seen.analysis_ms_per_encoded_window,
        models: seen.models,
        resident_mib: seen.resident.map(trial::mib),
        resident_peak_mib: seen.resident_peak.map(trial::mib),
        keeps_up: seen.lost_s == 0.0 && lag_p99_ms <= TOO_LATE_MS,
    })
}

fn tell(tries: &Tries, output: &Output) -> Result<(), Failure> {
    let (most, too_many) = (tries.keeps_up, tries.too_many);
    if output.is_json() {
        return output
            .record(&json!({ "type": "summary", "keeps_up": most, "too_many": too_many }));
    }
    let rows: Vec<Vec<Cell>> = tries
        .tries
        .iter()
        .map(|t| {
            vec![
                Cell::new(t.streams),
                Cell::new(&t.provider),
                Cell::new(t.windows),
                Cell::new(t.encoded),
                Cell::new(t.mean_batch.map_or("-".to_owned(), |b| format!("{b:.1}"))),
                Cell::new(format!("{:.1}", t.lost_s)),
                Cell::new(format!("{:.0}", t.lag_median_ms)),
                Cell::new(format!("{:.0}", t.lag_p99_ms)),
                Cell::new(t.cores.map_or("?".to_owned(), |c| format!("{c:.2}"))),
                Cell::new(t.gpu_percent.map_or("-".to_owned(), |g| format!("{g:.0}"))),
                Cell::new(format!("{:.0}", t.analysis_ms_per_encoded_window)),
                Cell::new(if t.keeps_up { "yes" } else { "no" }),
            ]
        })
        .collect();
    let head = [
        "streams",
        "on",
        "windows",
        "encoded",
        "batch",
        "lost s",
        "lag p50 ms",
        "lag p99 ms",
        "cores",
        "gpu %",
        "ms/window",
        "keeps up",
    ];
    output.table(&head, &rows)?;
    output.line(match (most, too_many) {
        (Some(most), Some(too_many)) => {
            format!("keeps up with {most} streams of speech, not with {too_many}")
        }
        (Some(most), None) => {
            format!("keeps up with {most} streams of speech, the most that were tried")
        }
        (None, _) => "does not keep up with any number of streams that was tried".to_owned(),
    })
}
