//! `earwitness embed`: the speaker embedding of a recording, for programs.

use std::path::PathBuf;

use serde_json::json;

use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `embed`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// The mean over the recording's windows, L2 norm 1.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    let (evidence, embedding) = bench.evidence(std::slice::from_ref(&args.file))?;
    output.result(
        &json!({ "pack": bench.pack.name(), "pack_version": bench.pack.version(), "speech_s": evidence.speech_s, "embedding": embedding }),
        || embedding.iter().map(f32::to_string).collect::<Vec<_>>().join(" "),
    )?;
    Ok(Outcome::Success)
}
