//! `verify`: whether an enrolled person speaks in a recording.

use std::path::PathBuf;

use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the enrolled person: letters, digits, `_`, `.` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Accepts only a voice that is the claimed one and bona fide.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    args.analysis.config()?;
    Err(Failure::not_built("verify"))
}
