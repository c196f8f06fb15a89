//! `models`: the model packs on this machine.

use std::path::{Path, PathBuf};

use crate::config;
use crate::model::{Models, Pack, Runtime};

use super::analysis::load;
use super::output::{Cell, style};
use super::{Failure, Outcome, Output};

/// Arguments of `models`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Configuration that names pack, runtime and provider.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the packs beside the configured one.
    List,
    /// Show a pack: licence, data, hashes, measured accuracy.
    Show {
        /// Folder of the pack; without it the configured one.
        pack: Option<PathBuf>,
    },
    /// Load a pack for real: hashes, shapes, and whether each model still gives its known answer.
    Check {
        /// Folder of the pack; without it the configured one.
        pack: Option<PathBuf>,
    },
}

/// Does one of the three.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = load(args.config.as_deref())?.models;
    match args.action {
        Action::List => list(&config.pack, output),
        Action::Show { pack } => show(&Pack::load(&pack.unwrap_or(config.pack))?, output),
        Action::Check { pack } => {
            let pack = Pack::load(pack.as_deref().unwrap_or(&config.pack))?;
            let runtime = Runtime::load(config.runtime.as_deref())?;
            let (mut device, mut refused) = (String::new(), Vec::new());
            for precision in pack.precisions() {
                let pack = pack.clone().at(precision)?;
                (device, refused) = provider_in_use(runtime, &pack, &config)?;
            }
            if output.is_json() {
                output.record(&serde_json::json!({
                    "pack": pack.name(), "version": pack.version(), "valid": true, "provider": device,
                    "refused": refused,
                }))?;
            } else {
                let good = style::GOOD;
                output.line(format_args!(
                    "{} {}: {good}ok{good:#}, {} models give their known answers on {device}",
                    pack.name(),
                    pack.version(),
                    pack.parts().len()
                ))?;
            }
            Ok(Outcome::Success)
        }
    }
}

/// Opens every model once, which checks its known answer, and tells where they really run, and why on nothing better.
pub(super) fn provider_in_use(
    runtime: &Runtime,
    pack: &Pack,
    config: &config::Models,
) -> Result<(String, Vec<String>), Failure> {
    let models = Models::open(runtime, pack, config)?;
    Ok((models.provider().to_string(), models.refused().to_vec()))
}

fn list(configured: &Path, output: &Output) -> Result<Outcome, Failure> {
    let folder = match configured.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).map_err(|error| {
        anyhow::Error::new(error).context(format!("cannot list the packs in {}", folder.display()))
    })?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("pack.toml").is_file())
        .collect();
    folders.sort();
    let mut rows = Vec::new();
    for folder in &folders {
        // A damaged pack is a row too: it is what one wants to see in a list.
        let pack = Pack::load(folder);
        if output.is_json() {
            output.record(&match &pack {
                Ok(pack) => record(pack, folder),
                Err(error) => serde_json::json!({ "folder": folder, "error": error.to_string() }),
            })?;
        }
        rows.push(match pack {
            Ok(pack) => vec![
                Cell::new(folder.display()),
                Cell::new(pack.name()),
                Cell::new(pack.version()),
                Cell::new(pack.licence()),
                Cell::styled("files ok", style::GOOD),
            ],
            Err(error) => vec![
                Cell::new(folder.display()),
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
                Cell::styled(error, style::BAD),
            ],
        });
    }
    if !output.is_json() {
        if rows.is_empty() {
            output.line(format_args!("no pack in {}", folder.display()))?;
        } else {
            output.table(&["folder", "name", "version", "licence", "state"], &rows)?;
        }
    }
    Ok(Outcome::Success)
}

fn record(pack: &Pack, folder: &Path) -> serde_json::Value {
    serde_json::json!({
        "folder": folder, "name": pack.name(), "version": pack.version(), "licence": pack.licence(), "hash": pack.hash(),
    })
}

fn show(pack: &Pack, output: &Output) -> Result<Outcome, Failure> {
    let files: Vec<_> = pack
        .parts()
        .into_iter()
        .map(|part| (part.to_string(), pack.file_hash(part)))
        .collect();
    let accuracy = pack.accuracy();
    if output.is_json() {
        let files: serde_json::Map<_, _> = files
            .into_iter()
            .map(|(part, hash)| (part, hash.into()))
            .collect();
        let accuracy: Vec<_> = accuracy
            .iter()
            .map(|a| serde_json::json!({ "model": a.part.to_string(), "measure": a.measure, "value": a.value }))
            .collect();
        output.record(&serde_json::json!({
            "name": pack.name(), "version": pack.version(), "licence": pack.licence(), "description": pack.description(),
            "data": pack.data(), "hash": pack.hash(), "window_samples": pack.window_samples(),
            "embedding_dim": pack.embedding_dim(), "sound_classes": pack.sound_classes(), "sha256": files, "accuracy": accuracy,
        }))?;
        return Ok(Outcome::Success);
    }
    let (head, faint) = (style::HEAD, style::FAINT);
    output.line(format_args!(
        "{head}{} {}{head:#}",
        pack.name(),
        pack.version()
    ))?;
    for (label, text) in [
        ("licence", pack.licence()),
        ("what", pack.description()),
        ("data", pack.data()),
    ] {
        if !text.is_empty() {
            output.line(format_args!(
                "{faint}{label:<8}{faint:#}{}",
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            ))?;
        }
    }
    let seconds = pack.window_samples() as f64 / f64::from(crate::audio::SAMPLE_RATE);
    output.line(format_args!("{faint}windows {faint:#}{seconds} s"))?;
    if !pack.sound_classes().is_empty() {
        let classes = pack.sound_classes().join(", ");
        output.line(format_args!("{faint}hears   {faint:#}{classes}"))?;
    }
    output.line("")?;
    let rows: Vec<Vec<Cell>> = files
        .iter()
        .map(|(part, hash)| vec![Cell::new(part), Cell::new(hash)])
        .collect();
    output.table(&["model", "sha256"], &rows)?;
    if !accuracy.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<Cell>> = accuracy
            .iter()
            .map(|a| {
                vec![
                    Cell::new(a.part),
                    Cell::new(&a.measure),
                    Cell::new(&a.value),
                ]
            })
            .collect();
        output.table(&["model", "measured", "value"], &rows)?;
    }
    Ok(Outcome::Success)
}
