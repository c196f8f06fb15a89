//! Memory that each further stream takes.
//!
//! Measured in two processes of this program: what an allocator keeps of an earlier pipeline would count for or against the
//! later one in the same process.

use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use serde_json::Value;

use crate::audio::{SAMPLE_RATE, decode};
use crate::pipeline::CPU_BATCH;

use super::super::{Failure, Output};
use super::{Bench, against, machine};

/// How many streams more.
const FURTHER: usize = 32;
/// Seconds after which every stream holds its windows and what waits for analysis has settled.
const SETTLED_S: f64 = 8.0;
/// The bar, MB (10⁶ bytes) a stream.
const AT_MOST_MB: f64 = 3.0;

/// What it takes.
#[derive(Debug, serde::Serialize)]
pub struct Memory {
    #[serde(rename = "type")]
    kind: &'static str,
    /// As few streams as have all workers at work on full batches: a worker's models, and room for what they make, are no stream's.
    few_streams: usize,
    few_resident_mib: f64,
    many_streams: usize,
    many_resident_mib: f64,
    mb_per_stream: f64,
    at_most_mb: f64,
    meets: bool,
}

/// Starts both and prints a line.
pub fn measure(bench: &Bench, output: &Output) -> Result<Memory, Failure> {
    let workers = match bench.config.models.workers {
        0 => machine::cores(),
        workers => workers,
    };
    let together = match bench.config.models.batch {
        0 => CPU_BATCH,
        batch => batch,
    };
    let few = workers * together;
    let many = few + FURTHER;
    let seconds = bench.args.seconds.max(SETTLED_S);
    let audio = decode(&bench.args.audio, bench.args.analysis.channel)?;
    let audio_s = audio.len() as f64 / f64::from(SAMPLE_RATE);
    if audio_s < seconds {
        // A stream that has ended has given its memory back.
        return Err(Failure::usage(anyhow!(
            "--audio: expected at least {seconds:.0} s to measure memory, found {audio_s:.1} s"
        )));
    }
    let (few_mib, many_mib) = (
        resident(bench, few, seconds)?,
        resident(bench, many, seconds)?,
    );
    let each = (many_mib - few_mib) * 1.024 * 1.024 / FURTHER as f64;
    let memory = Memory {
        kind: "memory",
        few_streams: few,
        few_resident_mib: few_mib,
        many_streams: many,
        many_resident_mib: many_mib,
        mb_per_stream: each,
        at_most_mb: AT_MOST_MB,
        meets: each <= AT_MOST_MB,
    };
    if output.is_json() {
        output.record(&memory)?;
    } else {
        output.line(format!(
            "memory of {few} streams {few_mib:.0} MiB, of each further one {}",
            against(
                format!("{each:.2} MB"),
                format!("{AT_MOST_MB} MB"),
                memory.meets
            )
        ))?;
    }
    Ok(memory)
}

/// MiB in use when so many streams of the audio have played for a while.
fn resident(bench: &Bench, streams: usize, seconds: f64) -> Result<f64, Failure> {
    let args = bench.args;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(&program);
    command
        .args(["--json", "--quiet", "bench", "--measure", "streams"])
        .args(["--streams", &streams.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .arg("--audio")
        .arg(&args.audio);
    let analysis = &args.analysis;
    for (option, value) in [("--config", &analysis.config), ("--pack", &analysis.pack)] {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    for (option, value) in [("--window", analysis.window), ("--hop", analysis.hop)] {
        if let Some(value) = value {
            command.args([option, &value.to_string()]);
        }
    }
    let named = [
        (
            "--provider",
            args.provider.and_then(|p| p.to_possible_value()),
        ),
        (
            "--precision",
            args.precision.and_then(|p| p.to_possible_value()),
        ),
    ];
    for (option, value) in named {
        if let Some(value) = value {
            command.args([option, value.get_name()]);
        }
    }
    for (option, value) in [("--device-id", args.device_id), ("--batch", args.batch)] {
        if let Some(value) = value {
            command.args([option, &value.to_string()]);
        }
    }
    if let Some(channel) = analysis.channel {
        command.args(["--channel", &channel.to_string()]);
    }
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !done.status.success() {
        return Err(Failure::runtime(anyhow!(
            "{streams} streams in a process of their own: expected it to end well, found {}",
            done.status
        )));
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let found = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|record| record.get("resident_mib")?.as_f64());
    found.ok_or_else(|| {
        Failure::runtime(anyhow!(
            "expected the system to tell a process's memory, found none: --measure memory needs it"
        ))
    })
}
