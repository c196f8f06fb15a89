//! `config`: check a file, print what results from it, print the schema.

use std::path::PathBuf;

use crate::config::{self, Config, Input};

use super::output::style;
use super::{Failure, Outcome, Output};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check a file: every mistake with its line, column and key.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Print the configuration that counts: the file, the defaults and EARWITNESS_…__… variables put together.
    Print {
        /// The configuration.
        file: PathBuf,
    },
    /// Print the JSON schema.
    Schema,
}

/// Does one of the three.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    match args.action {
        Action::Check { file } => {
            let config = config::load(&file)?;
            if output.is_json() {
                output.record(&serde_json::json!({ "file": file, "valid": true, "streams": config.streams.len() }))?;
            } else {
                let good = style::GOOD;
                output.line(format_args!(
                    "{}: {good}ok{good:#}, {}",
                    file.display(),
                    summary(&config)
                ))?;
            }
        }
        Action::Print { file } => {
            let config = config::load(&file)?;
            if output.is_json() {
                output.record(&config)?;
            } else {
                let text = toml::to_string(&config).map_err(Failure::runtime)?;
                output.line(text.trim_end())?;
            }
        }
        Action::Schema => {
            let schema =
                serde_json::to_string_pretty(&config::schema()).map_err(Failure::runtime)?;
            output.line(schema)?;
        }
    }
    Ok(Outcome::Success)
}

fn summary(config: &Config) -> String {
    let streams: Vec<String> = config
        .streams
        .iter()
        .map(|stream| {
            let kind = match stream.source {
                Input::Mic { .. } => "mic",
                Input::File { .. } => "file",
                Input::Stdin { .. } => "stdin",
                Input::Command { .. } => "command",
                Input::Wyoming { .. } => "wyoming",
                Input::Tcp { .. } => "tcp",
                Input::Udp { .. } => "udp",
                Input::Hermes { .. } => "hermes",
            };
            format!("{} ({kind})", stream.id)
        })
        .collect();
    let mut sinks = Vec::new();
    if let Some(mqtt) = &config.mqtt {
        sinks.push(mqtt.broker.clone());
    }
    if let Some(jsonl) = &config.jsonl {
        sinks.push(format!("JSON lines to {}", jsonl.path.display()));
    }
    let or_none = |list: Vec<String>| {
        if list.is_empty() {
            "none".to_owned()
        } else {
            list.join(", ")
        }
    };
    format!(
        "listens to {}, publishes to {}",
        or_none(streams),
        or_none(sinks)
    )
}
