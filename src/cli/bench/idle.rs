//! What a stream costs on which nothing is heard.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::super::{Failure, Output};
use super::playback::{Playback, noise};
use super::trial::{self, Watch};
use super::{Bench, against};

/// Streams at once: one alone would drown in what the process itself costs.
const STREAMS: usize = 16;
/// A muted line still carries a converter's noise; zeros might be spared work that it is not.
const LEVEL_DBFS: f64 = -80.0;
/// The bar, per cent of one core.
const AT_MOST_PERCENT: f64 = 0.5;

/// What it costs.
#[derive(Debug, serde::Serialize)]
pub struct Idle {
    #[serde(rename = "type")]
    kind: &'static str,
    streams: usize,
    windows: u64,
    percent_of_a_core: f64,
    at_most_percent: f64,
    meets: bool,
}

/// Plays quiet noise on many streams and prints a line.
pub fn measure(bench: &Bench, output: &Output) -> Result<Idle, Failure> {
    let config = bench.config_of_mono(STREAMS);
    let quiet = noise(10, LEVEL_DBFS);
    let watch = Watch::warm(&config, bench.args.seconds);
    let hop = Duration::from_secs_f64(config.window.hop_s);
    let seen = trial::run_from(&config, &bench.models, watch, |index, _| {
        Ok(Box::new(Playback::new(
            quiet.clone(),
            index,
            Instant::now(),
            hop,
        )))
    })?;
    let cores = seen.cores().ok_or_else(|| {
        Failure::runtime(anyhow!(
            "expected the system to tell this process's CPU time, found none: --measure idle needs it"
        ))
    })?;
    let percent = 100.0 * cores / STREAMS as f64;
    let idle = Idle {
        kind: "idle",
        streams: STREAMS,
        windows: seen.windows,
        percent_of_a_core: percent,
        at_most_percent: AT_MOST_PERCENT,
        meets: percent <= AT_MOST_PERCENT,
    };
    if output.is_json() {
        output.record(&idle)?;
    } else {
        output.line(format!(
            "an idle stream, share of one core: {}",
            against(
                format!("{percent:.2} %"),
                format!("{AT_MOST_PERCENT} %"),
                idle.meets
            )
        ))?;
    }
    Ok(idle)
}
