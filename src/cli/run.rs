//! `run`: the daemon.

use std::path::PathBuf;

use super::{Failure, Outcome, Output};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs until a signal, or until every source has ended.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    crate::config::load(&args.config)?;
    Err(Failure::not_built("run"))
}
