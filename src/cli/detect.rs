//! `detect`: whether the voice in a recording is real.

use std::path::PathBuf;

use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Decides on the whole recording, and shows its windows.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    args.analysis.config()?;
    Err(Failure::not_built("detect"))
}
