//! `enroll`: a person from recordings into the store.

use std::path::PathBuf;

use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person: letters, digits, `_`, `.` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// Recordings in which only this person speaks.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Stores what was learnt about the voice, and says how much speech it still needs.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    args.analysis.config()?;
    Err(Failure::not_built("enroll"))
}
