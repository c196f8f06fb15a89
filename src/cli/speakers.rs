//! `speakers`: the enrolled people.

use std::path::PathBuf;

use crate::store::{Enrolment, SpeakerStore};

use super::analysis::load;
use super::output::Cell;
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
    /// Remove a person and all that was learnt about the voice: exit code 1 if there is nobody of that name.
    Remove {
        /// Name of the person.
        #[arg(value_parser = super::analysis::name)]
        name: String,
    },
}

/// Lists or removes.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = load(args.config.as_deref())?;
    let path = &config.speaker.store;
    let store = SpeakerStore::open(path)?;
    match args.action {
        Action::List => {
            let people = store.list()?;
            if output.is_json() {
                for person in &people {
                    output.record(&record(person))?;
                }
            } else if people.is_empty() {
                output.line(format_args!("nobody is enrolled in {}", path.display()))?;
            } else {
                let rows: Vec<Vec<Cell>> = people.iter().map(row).collect();
                output.table(&["name", "speech", "segments", "enrolled"], &rows)?;
            }
            Ok(Outcome::Success)
        }
        Action::Remove { name } => {
            let removed = store.remove(&name)?;
            if output.is_json() {
                output.record(&serde_json::json!({ "name": name, "removed": removed }))?;
            } else if removed {
                output.line(format_args!("{name} was removed"))?;
            } else {
                output.line(format_args!(
                    "nobody of the name {name} is enrolled in {}",
                    path.display()
                ))?;
            }
            Ok(if removed {
                Outcome::Success
            } else {
                Outcome::Reject
            })
        }
    }
}

/// What may be told of an enrolment: not the embedding, which never leaves the machine.
fn record(person: &Enrolment) -> serde_json::Value {
    serde_json::json!({
        "name": person.name,
        "speech_s": person.speech_s,
        "segments": person.segments,
        "created": person.created,
        "pack": person.pack_hash,
    })
}

fn row(person: &Enrolment) -> Vec<Cell> {
    vec![
        Cell::new(&person.name),
        Cell::new(format_args!("{:.1} s", person.speech_s)),
        Cell::new(person.segments),
        Cell::new(&person.created),
    ]
}
