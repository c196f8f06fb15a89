//! How soon events come when most of the machine is in use, by streams that did not start together.

use std::sync::Arc;

use anyhow::anyhow;

use super::super::{Failure, Output};
use super::trial::Seen;
use super::{Bench, against, machine};

/// The most streams: each has a thread, and a pack that costs nothing would ask for any number.
const MOST: usize = 4096;
/// A share this far off is tried again with another number of streams.
const OFF: f64 = 0.04;
/// How often, at most: the number of streams is whole, and the machine may be shared.
const TRIES: usize = 3;
/// Streams a core of the first try, which only tells what a stream costs.
const FIRST: usize = 4;
/// The bar at 70 %: milliseconds from the end of a window to its event, 99 of 100 windows.
const AT_MOST_MS: f64 = 150.0;

/// The try that came closest to the share.
#[derive(Debug, serde::Serialize)]
pub struct Latency {
    #[serde(rename = "type")]
    kind: &'static str,
    streams: usize,
    /// Share of the machine's cores that these streams ask for: what a window cost, times the windows that come.
    load: f64,
    /// Share of them that they got: less than asked for where other programs took more than was left.
    used: f64,
    windows: u64,
    encoded: u64,
    lost_s: f64,
    lag_median_ms: f64,
    lag_p95_ms: f64,
    lag_p99_ms: f64,
    at_most_ms: f64,
    meets: bool,
}

/// Finds the number of streams and prints a line.
pub fn measure(bench: &Bench, output: &Output) -> Result<Latency, Failure> {
    let audio = bench.audio()?;
    let share = f64::from(bench.args.load) / 100.0;
    let mut streams = FIRST * machine::cores();
    let (mut load, _) = attempt(bench, &audio, streams, bench.args.seconds.min(6.0))?;
    let mut best: Option<Latency> = None;
    for _ in 0..TRIES {
        let before = streams;
        streams = ((streams as f64 * share / load.max(1e-6)).round() as usize).clamp(1, MOST);
        if best.is_some() && streams == before {
            break;
        }
        let mut seen;
        (load, seen) = attempt(bench, &audio, streams, bench.args.seconds)?;
        let off = (load - share).abs();
        if best.as_ref().is_none_or(|b| off < (b.load - share).abs()) {
            best = Some(latency(streams, load, &mut seen));
        }
        if off <= OFF {
            break;
        }
    }
    let latency = best.ok_or_else(|| Failure::runtime(anyhow!("no try was made")))?;
    tell(&latency, output)?;
    Ok(latency)
}

/// The share of the machine that so many streams ask for, and what else was seen.
fn attempt(
    bench: &Bench,
    audio: &Arc<[f32]>,
    streams: usize,
    seconds: f64,
) -> Result<(f64, Seen), Failure> {
    let seen = bench.run_spread(audio, streams, seconds)?;
    let cpu = seen.cpu.ok_or_else(|| {
        Failure::runtime(anyhow!(
            "expected the system to tell this process's CPU time, found none: --measure load needs it"
        ))
    })?;
    // Not the cores that were busy: on a shared machine they are fewer than the streams asked for, and the next try would
    // be with still more of them.
    let each = cpu.as_secs_f64() / seen.windows.max(1) as f64;
    let windows_a_second = streams as f64 / bench.config.window.hop_s;
    Ok((each * windows_a_second / machine::cores() as f64, seen))
}

fn latency(streams: usize, load: f64, seen: &mut Seen) -> Latency {
    let lag_p99_ms = seen.lag_ms(0.99);
    Latency {
        kind: "load",
        streams,
        load,
        used: seen.cores().unwrap_or_default() / machine::cores() as f64,
        windows: seen.windows,
        encoded: seen.encoded,
        lost_s: seen.lost_s,
        lag_median_ms: seen.lag_ms(0.5),
        lag_p95_ms: seen.lag_ms(0.95),
        lag_p99_ms,
        at_most_ms: AT_MOST_MS,
        meets: lag_p99_ms <= AT_MOST_MS,
    }
}

fn tell(latency: &Latency, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.record(latency);
    }
    let Latency {
        streams,
        load,
        used,
        lag_median_ms: median,
        lag_p95_ms: p95,
        lag_p99_ms: p99,
        ..
    } = latency;
    output.line(format!(
        "{streams} streams, not in step, ask for {:.0} % of {} cores and get {:.0} %: end of a window to its event p50 {median:.0} ms, p95 {p95:.0} ms, p99 {}",
        100.0 * load,
        machine::cores(),
        100.0 * used,
        against(
            format!("{p99:.0} ms"),
            format!("{AT_MOST_MS:.0} ms"),
            latency.meets
        ),
    ))
}
