//! `identify`: who of the enrolled people speaks in a recording.

use std::path::PathBuf;

use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `identify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Names the best match of each stretch of speech.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    args.analysis.config()?;
    Err(Failure::not_built("identify"))
}
