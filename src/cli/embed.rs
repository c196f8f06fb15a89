//! `earwitness embed`: what the models make of a recording, for programs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::json;

use crate::audio::SAMPLE_RATE;
use crate::model::Wanted;

use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, npy};

/// The longest recording that is encoded at once, seconds.
const LONGEST_S: usize = 60;

/// Arguments of `embed`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    /// Write the encoder's hidden states of the whole recording (at most a minute) to this NumPy file instead: f32
    /// `[layers, vectors, dim]`, layer 0 being what enters the first layer.
    #[arg(long, value_name = "FILE.npy")]
    pub states: Option<PathBuf>,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// The speaker embedding, the mean over the recording's windows, L2 norm 1; or the hidden states.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    if let Some(to) = &args.states {
        return states(&args, to, output);
    }
    let mut bench = Workbench::open(&args.analysis)?;
    let (evidence, embedding) = bench.evidence(std::slice::from_ref(&args.file))?;
    output.result(
        &json!({ "pack": bench.pack.name(), "pack_version": bench.pack.version(), "speech_s": evidence.speech_s, "embedding": embedding }),
        || embedding.iter().map(f32::to_string).collect::<Vec<_>>().join(" "),
    )?;
    Ok(Outcome::Success)
}

fn states(args: &Args, to: &Path, output: &Output) -> Result<Outcome, Failure> {
    let config = args.analysis.config()?;
    let mut bench = Workbench::with(config, args.analysis.channel, Wanted::default())?;
    let signal = bench.signal(&args.file)?;
    let seconds = signal.len() as f64 / f64::from(SAMPLE_RATE);
    if signal.len() > LONGEST_S * SAMPLE_RATE as usize {
        return Err(Failure::runtime(anyhow!(
            "{}: expected at most {LONGEST_S} s, found {seconds:.1} s; cut it (ffmpeg -ss … -t {LONGEST_S})",
            args.file.display()
        )));
    }
    let hidden = bench.analyser().hidden(&signal)?;
    let view = hidden.view()?;
    // States come out of the encoder in standard order, so the copy is never made.
    let values = view.as_standard_layout();
    let mut file =
        BufWriter::new(File::create(to).with_context(|| format!("cannot write {}", to.display()))?);
    npy::write(
        &mut file,
        view.shape(),
        values.as_slice().unwrap_or_default(),
    )
    .and_then(|()| file.flush())
    .with_context(|| format!("cannot write {}", to.display()))?;
    output.result(
        &json!({
            "pack": bench.pack.name(), "pack_version": bench.pack.version(), "seconds": seconds,
            "frame_rate": bench.pack.input().frame_rate(), "shape": view.shape(), "file": to,
        }),
        || {
            let (layers, vectors, dim) = view.dim();
            format!(
                "{}: {layers} layers, {vectors} vectors of {dim}",
                to.display()
            )
        },
    )?;
    Ok(Outcome::Success)
}
