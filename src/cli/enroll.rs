//! `earwitness enroll`: learn a person's voice from recordings.

use std::path::PathBuf;

use crate::store::SpeakerStore;
use serde_json::json;

use super::workbench::{self, Workbench};
use super::{Analysis, Failure, Outcome, Output};

/// Seconds of speech after which more brings little: embeddings of the same voice settle at about ten windows.
const ENOUGH_S: f64 = 20.0;

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person: letters, digits, `_` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// Recordings in which only this person speaks.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Replaces what was known of the person.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    let (evidence, embedding) = bench.evidence(&args.files)?;
    SpeakerStore::open(&bench.config.speaker.store)?.put(&workbench::enrolment(
        &args.name,
        &bench.pack,
        &evidence,
        embedding,
    ))?;
    let percent = (100.0 * evidence.speech_s / ENOUGH_S).min(100.0);
    output.result(
        &json!({ "name": args.name, "speech_s": evidence.speech_s, "windows": evidence.windows, "percent": percent }),
        || {
            let more = if percent < 100.0 {
                format!("; {:.0} s more would make it surer", ENOUGH_S - evidence.speech_s)
            } else {
                String::new()
            };
            format!("{} is enrolled with {:.1} s of speech, {percent:.0} % of what is useful{more}", args.name, evidence.speech_s)
        },
    )?;
    Ok(Outcome::Success)
}
