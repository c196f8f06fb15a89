//! `speakers`: the enrolled people.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use serde_json::json;

use crate::store::{Enrolment, MAX_PARCEL, Protection, Sitting, SpeakerStore};

use super::analysis::load;
use super::output::{Cell, style};
use super::passphrase::passphrase;
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
    /// Show a person's sittings: exit code 1 if there is nobody of that name.
    Show {
        /// Name of the person.
        #[arg(value_parser = super::analysis::name)]
        name: String,
    },
    /// Remove a person, or one sitting, and all that was learnt from it: exit code 1 if there is nobody of that name.
    Remove {
        /// Name of the person.
        #[arg(value_parser = super::analysis::name)]
        name: String,
        /// The sitting of this number only, as `speakers show` counts them.
        #[arg(long, value_name = "N")]
        sitting: Option<usize>,
    },
    /// Give the store new keys and every voice print a new form: what leaked before fits nothing any more.
    Renew,
    /// Write all that is known of a person to a file, encrypted under a passphrase: exit code 1 if there is nobody of that name.
    Export {
        /// Name of the person.
        #[arg(value_parser = super::analysis::name)]
        name: String,
        /// The file, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// File whose first line is the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take in a person whom `speakers export` wrote to a file.
    Import {
        /// The file.
        file: PathBuf,
        /// File whose first line is the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// In place of an enrolled person of that name.
        #[arg(long)]
        replace: bool,
    },
}

/// Does what is asked.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = load(args.config.as_deref())?;
    let store = SpeakerStore::open(&config.speaker)?;
    match args.action {
        Action::List => list(&store, output),
        Action::Show { name } => show(&store, &name, output),
        Action::Remove { name, sitting } => remove(&store, &name, sitting, output),
        Action::Renew => renew(&store, output),
        Action::Export {
            name,
            to,
            passphrase_file,
        } => export(&store, &name, &to, passphrase_file.as_deref(), output),
        Action::Import {
            file,
            passphrase_file,
            replace,
        } => import(&store, &file, passphrase_file.as_deref(), replace, output),
    }
}

fn list(store: &SpeakerStore, output: &Output) -> Result<Outcome, Failure> {
    let people = store.list()?;
    if output.is_json() {
        for person in &people {
            output.record(&record(person))?;
        }
    } else if people.is_empty() {
        output.line(format_args!(
            "nobody is enrolled in {}",
            store.path().display()
        ))?;
    } else {
        let rows: Vec<Vec<Cell>> = people.iter().map(row).collect();
        output.table(
            &["name", "speech", "sittings", "last enrolled", "kept until"],
            &rows,
        )?;
    }
    Ok(Outcome::Success)
}

fn show(store: &SpeakerStore, name: &str, output: &Output) -> Result<Outcome, Failure> {
    let Some(person) = store.get(name)? else {
        return nobody(store, name, json!({ "name": name, "sittings": [] }), output);
    };
    if output.is_json() {
        for (i, sitting) in person.sittings.iter().enumerate() {
            output.record(&json!({
                "name": name, "sitting": i + 1, "pack": sitting.pack_hash, "dim": sitting.embedding.len(),
                "expired": sitting.has_expired(SystemTime::now()), "note": sitting.note,
            }))?;
        }
        return Ok(Outcome::Success);
    }
    let rows: Vec<Vec<Cell>> = person
        .sittings
        .iter()
        .enumerate()
        .map(|(i, sitting)| {
            let note = &sitting.note;
            let or_none = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or("-"));
            vec![
                Cell::new(i + 1),
                Cell::new(&note.created),
                Cell::new(format_args!("{:.1} s", note.speech_s)),
                Cell::new(note.windows),
                Cell::new(note.spread.map_or("-".into(), |s| format!("{s:.3}"))),
                or_none(&note.device),
                Cell::new(sitting.pack_hash.get(..12).unwrap_or(&sitting.pack_hash)),
                until(sitting),
                or_none(&note.consent),
            ]
        })
        .collect();
    let head = [
        "no.",
        "enrolled",
        "speech",
        "windows",
        "spread",
        "device",
        "pack",
        "kept until",
        "consent",
    ];
    output.table(&head, &rows)?;
    for (i, sitting) in person.sittings.iter().enumerate() {
        for fault in &sitting.note.forced {
            output.line(format_args!("sitting {} was forced: {fault}", i + 1))?;
        }
    }
    Ok(Outcome::Success)
}

fn remove(
    store: &SpeakerStore,
    name: &str,
    sitting: Option<usize>,
    output: &Output,
) -> Result<Outcome, Failure> {
    let Some(removed) = store.remove(name, sitting)? else {
        return nobody(
            store,
            name,
            json!({ "name": name, "removed": false }),
            output,
        );
    };
    output.result(
        &json!({ "name": name, "removed": true, "sittings": removed.sittings, "left": removed.left }),
        || match removed.left {
            0 => format!("{name} was removed"),
            left => format!("sitting {} of {name} was removed, {left} left", sitting.unwrap_or(0)),
        },
    )?;
    Ok(Outcome::Success)
}

fn renew(store: &SpeakerStore, output: &Output) -> Result<Outcome, Failure> {
    let sittings = store.renew()?;
    let key = match store.protection()? {
        Protection::Sealed(key) => Some(key),
        Protection::Nothing | Protection::Plain => None,
    };
    output.result(&json!({ "renewed": sittings, "key": key }), || match &key {
        Some(key) => format!("{sittings} sittings were renewed; the store is encrypted with {key}"),
        None => format!("there is no store at {} to renew", store.path().display()),
    })?;
    Ok(Outcome::Success)
}

fn export(
    store: &SpeakerStore,
    name: &str,
    to: &Path,
    passphrase_file: Option<&Path>,
    output: &Output,
) -> Result<Outcome, Failure> {
    if store.get(name)?.is_none() {
        return nobody(
            store,
            name,
            json!({ "name": name, "exported": false }),
            output,
        );
    }
    let passphrase = passphrase(passphrase_file, true)?;
    let Some(parcel) = store.export(name, &passphrase)? else {
        return nobody(
            store,
            name,
            json!({ "name": name, "exported": false }),
            output,
        );
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(to)
        .and_then(|mut file| file.write_all(&parcel).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", to.display()))?;
    output.result(
        &json!({ "name": name, "exported": true, "file": to }),
        || {
            format!(
                "{name} was written to {}; whoever knows its passphrase has the voice print",
                to.display()
            )
        },
    )?;
    Ok(Outcome::Success)
}

fn import(
    store: &SpeakerStore,
    file: &Path,
    passphrase_file: Option<&Path>,
    replace: bool,
    output: &Output,
) -> Result<Outcome, Failure> {
    let mut bytes = Vec::new();
    // One byte more than a parcel may have: the parser says so.
    std::fs::File::open(file)
        .and_then(|f| f.take(MAX_PARCEL as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let passphrase = passphrase(passphrase_file, false)?;
    let person = store.import(&bytes, &passphrase, replace)?;
    output.result(
        &json!({ "name": person.name, "imported": true, "sittings": person.sittings.len() }),
        || {
            format!(
                "{} was taken in, with {} sittings",
                person.name,
                person.sittings.len()
            )
        },
    )?;
    Ok(Outcome::Success)
}

fn nobody(
    store: &SpeakerStore,
    name: &str,
    record: serde_json::Value,
    output: &Output,
) -> Result<Outcome, Failure> {
    output.result(&record, || {
        format!(
            "nobody of the name {name} is enrolled in {}",
            store.path().display()
        )
    })?;
    Ok(Outcome::Reject)
}

/// What may be told of an enrolment: not the embedding, which never leaves the machine.
fn record(person: &Enrolment) -> serde_json::Value {
    let packs: std::collections::BTreeSet<&str> = person
        .sittings
        .iter()
        .map(|s| s.pack_hash.as_str())
        .collect();
    json!({
        "name": person.name,
        "speech_s": speech_s(person),
        "sittings": person.sittings.len(),
        "created": person.sittings.last().map(|s| &s.note.created),
        "packs": packs,
    })
}

fn speech_s(person: &Enrolment) -> f64 {
    person.sittings.iter().map(|s| s.note.speech_s).sum()
}

fn row(person: &Enrolment) -> Vec<Cell> {
    let newest = person.sittings.last();
    vec![
        Cell::new(&person.name),
        Cell::new(format_args!("{:.1} s", speech_s(person))),
        Cell::new(person.sittings.len()),
        Cell::new(newest.map_or("", |s| &s.note.created)),
        newest.map_or(Cell::new("-"), until),
    ]
}

fn until(sitting: &Sitting) -> Cell {
    match &sitting.note.expires {
        None => Cell::new("-"),
        Some(end) if sitting.has_expired(SystemTime::now()) => {
            Cell::styled(format_args!("{end} (over)"), style::WARN)
        }
        Some(end) => Cell::new(end),
    }
}
