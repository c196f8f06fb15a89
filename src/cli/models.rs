//! `models`: the model packs on this machine, and who vouches for them.

use std::path::{Path, PathBuf};

use crate::config;
use crate::model::{Models, Origin, Pack, Runtime, Trust, make_keys, sign};

use super::analysis::load;
use super::output::{Cell, style};
use super::{Failure, Outcome, Output};

mod baseline;
mod check;

/// Arguments of `models`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Configuration that names pack, runtime and provider.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Use the pack even if nobody vouches for it whom the configuration trusts.
    #[arg(long, global = true)]
    allow_unsigned: bool,
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
    /// Load a pack for real: hashes, shapes, whether each model still gives its known answer, and whether a trigger draws
    /// different voices to one point: exit code 1 if one does.
    Check(check::Args),
    /// Measure what a pack is like on clean speech, for [encoder.health] of its pack.toml: the rank of its states, and how
    /// scores hold among neighbours.
    Baseline(baseline::Args),
    /// Make a pair of keys to sign packs with: NAME.key, which is secret, and NAME.pub.
    Keygen {
        /// Where to write them, without the extension.
        name: PathBuf,
    },
    /// Sign a pack: writes pack.toml.sig into its folder.
    Sign {
        /// Folder of the pack.
        pack: PathBuf,
        /// The secret key, a PEM file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Does one of them.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut config = load(args.config.as_deref())?;
    config.models.allow_unsigned |= args.allow_unsigned;
    match args.action {
        Action::List => list(&config.models, output),
        Action::Show { pack } => {
            let folder = pack.unwrap_or(config.models.pack.clone());
            show(
                &Pack::load(&folder)?,
                &vouched(&config.models, &folder)?,
                output,
            )
        }
        Action::Check(asked) => check::run(&asked, config, output),
        Action::Baseline(asked) => baseline::run(&asked, config, output),
        Action::Keygen { name } => {
            let (secret, public) = make_keys(&name)?;
            output.result(&serde_json::json!({ "key": secret, "public": public }), || {
                format!(
                    "{}: keep it secret, it signs your packs\n{}: others name it in models.trusted_keys",
                    secret.display(),
                    public.display()
                )
            })?;
            Ok(Outcome::Success)
        }
        Action::Sign { pack, key } => {
            let signature = sign(&pack, &key)?;
            output.result(&serde_json::json!({ "signature": signature }), || {
                format!("{}: signed", signature.display())
            })?;
            Ok(Outcome::Success)
        }
    }
}

/// Who vouches for a pack, in words.
fn vouched(models: &config::Models, folder: &Path) -> Result<String, Failure> {
    let manifest = std::fs::read(folder.join("pack.toml")).unwrap_or_default();
    Ok(match Trust::of(models)?.origin(folder, &manifest) {
        Origin::BuiltIn => "this program was built with it".to_owned(),
        Origin::Signed { key } => format!("signed, as {} says", key.display()),
        Origin::Nobody(reason) => format!("nobody: {reason}"),
    })
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

fn list(models: &config::Models, output: &Output) -> Result<Outcome, Failure> {
    let folder = match models.pack.parent() {
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
        let vouched = vouched(models, folder)?;
        if output.is_json() {
            output.record(&match &pack {
                Ok(pack) => record(pack, folder, &vouched),
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
                Cell::new(vouched),
            ],
            Err(error) => vec![
                Cell::new(folder.display()),
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
                Cell::styled(error, style::BAD),
                Cell::new(""),
            ],
        });
    }
    if !output.is_json() {
        if rows.is_empty() {
            output.line(format_args!("no pack in {}", folder.display()))?;
        } else {
            output.table(
                &[
                    "folder",
                    "name",
                    "version",
                    "licence",
                    "state",
                    "vouched for by",
                ],
                &rows,
            )?;
        }
    }
    Ok(Outcome::Success)
}

fn record(pack: &Pack, folder: &Path, vouched: &str) -> serde_json::Value {
    serde_json::json!({
        "folder": folder, "name": pack.name(), "version": pack.version(), "licence": pack.licence(), "hash": pack.hash(),
        "vouched": vouched,
    })
}

fn show(pack: &Pack, vouched: &str, output: &Output) -> Result<Outcome, Failure> {
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
            "vouched": vouched,
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
        ("vouched", vouched),
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
