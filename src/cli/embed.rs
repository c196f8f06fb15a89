//! `embed`: speaker embeddings of a recording.

use std::path::PathBuf;

use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `embed`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Prints one embedding a window of speech.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    args.analysis.config()?;
    Err(Failure::not_built("embed"))
}
