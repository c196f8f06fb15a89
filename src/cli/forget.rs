//! `earwitness forget`: delete all that is known of a person, provably.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::store::{Receipt, SpeakerStore};

use super::analysis::load;
use super::{Failure, Outcome, Output};

/// Arguments of `forget`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person.
    #[arg(value_parser = super::analysis::name, required_unless_present = "check")]
    name: Option<String>,
    /// Write the receipt to this file, which must not be there yet, instead of standard output.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Check a receipt instead: exit code 1 if this store did not sign it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "receipt"])]
    check: Option<PathBuf>,
    /// Configuration that names the store.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Forgets, or checks.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = load(args.config.as_deref())?;
    let store = SpeakerStore::open(&config.speaker)?;
    if let Some(path) = &args.check {
        return check(&store, path, output);
    }
    // Before anything is deleted: a receipt that cannot be written would be lost.
    let file = args.receipt.as_ref().map(|path| {
        let file = std::fs::File::create_new(path);
        file.with_context(|| format!("cannot make the receipt {}", path.display()))
    });
    let file = file.transpose()?;
    let name = args.name.unwrap_or_default();
    let Some(receipt) = store.forget(&name)? else {
        if let Some(path) = &args.receipt {
            // Nobody was forgotten, so there is nothing to keep.
            let _ = std::fs::remove_file(path);
        }
        let path = store.path().display();
        output.result(
            &serde_json::json!({ "name": name, "forgotten": false }),
            || format!("nobody of the name {name} is enrolled in {path}"),
        )?;
        return Ok(Outcome::Reject);
    };
    let (Some(path), Some(mut file)) = (&args.receipt, file) else {
        output.record(&receipt)?;
        return Ok(Outcome::Success);
    };
    let text = serde_json::to_string(&receipt).context("cannot write the receipt")?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    if let Err(error) = written {
        // It exists nowhere else.
        output.record(&receipt)?;
        return Err(error).with_context(|| {
            format!("{name} is forgotten, but cannot write {}", path.display())
        })?;
    }
    output.result(&receipt, || {
        format!(
            "{name} is forgotten: {} sittings were removed; the receipt is {}",
            receipt.sittings(),
            path.display()
        )
    })?;
    Ok(Outcome::Success)
}

fn check(store: &SpeakerStore, path: &Path, output: &Output) -> Result<Outcome, Failure> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let receipt = Receipt::parse(&bytes)?;
    let found = store.check(&receipt)?;
    output.result(
        &serde_json::json!({ "genuine": found.is_some(), "enrolled_again": found }),
        || match found {
            None => format!(
                "{} was not signed by {}, or was altered",
                path.display(),
                store.path().display()
            ),
            Some(again) => format!(
                "{} is genuine: on {} a person was forgotten, with {} sittings{}",
                path.display(),
                receipt.time(),
                receipt.sittings(),
                match again {
                    true => "; somebody of the same name is enrolled now",
                    false => "; nobody of that name is enrolled now",
                }
            ),
        },
    )?;
    Ok(match found {
        Some(_) => Outcome::Success,
        None => Outcome::Reject,
    })
}
