//! `speakers`: the enrolled people.

use std::path::PathBuf;

use super::analysis::load;
use super::{Failure, Outcome, Output};

/// Arguments of `speakers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Configuration that names the store.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the enrolled people.
    List,
    /// Remove a person and all that was learnt about the voice.
    Remove {
        /// Name of the person.
        #[arg(value_parser = super::analysis::name)]
        name: String,
    },
}

/// Lists or removes.
pub fn run(args: Args, _output: &Output) -> Result<Outcome, Failure> {
    load(args.config.as_deref())?;
    Err(Failure::not_built("speakers"))
}
