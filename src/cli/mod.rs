//! The command line: arguments, terminal output, exit codes; one file a subcommand. No signal processing and no
//! protocol live here.
//!
//! Results go to standard output (for people, or with `--json` one JSON object a line), logs and errors to standard
//! error. Exit codes: 0 accept or success, 1 reject, 2 usage or configuration, 3 runtime failure.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod analysis;
mod bench;
mod clock;
mod config;
mod demo;
mod detect;
mod devices;
mod doctor;
mod embed;
mod enroll;
mod eval;
mod forget;
mod hush;
mod identify;
mod models;
mod neighbours;
mod npy;
mod outcome;
mod output;
mod passphrase;
mod record;
mod run;
mod speakers;
mod tag;
mod verdict;
mod verify;
mod workbench;

pub use analysis::Analysis;
pub use outcome::{Failure, Outcome};
pub use output::{Output, style};

use crate::telemetry::{LogFormat, forbid_dumps, init_log, share_heaps};

/// Listens to audio streams and says who is speaking and whether the voice is real.
#[derive(Debug, Parser)]
#[command(
    name = "earwitness",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 accept or success, 1 reject, 2 usage or configuration, 3 runtime failure."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Debug, clap::Args)]
struct Global {
    /// Print results as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
    /// Log errors only.
    #[arg(short, long, global = true, conflicts_with = "log_level")]
    quiet: bool,
    /// What to log: error, warn, info, debug, trace, or directives such as earwitness=debug,rumqttc=warn.
    /// Without it the variable EARWITNESS_LOG counts.
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Run the whole pipeline on the bundled scene, with a broker of its own.
    Demo(demo::Args),
    /// Enrol a person from recordings or live: exit code 1 if the recordings are not good enough.
    Enroll(enroll::Args),
    /// Check whether an enrolled person speaks in a recording: exit code 0 accept, 1 reject or inconclusive.
    Verify(verify::Args),
    /// Find who of the enrolled people speaks in a recording.
    Identify(identify::Args),
    /// Check whether the voice in a recording is real: exit code 0 bona fide, 1 spoof or inconclusive.
    Detect(detect::Args),
    /// Tell what else is heard on a recording, and when: speech, music, the classes of the pack.
    Tag(tag::Args),
    /// Print the speaker embeddings of a recording.
    Embed(embed::Args),
    /// Measure the models, or given scores, on a list of trials: EER, minDCF, actDCF, Cllr, a-DCF, APCER, BPCER.
    Eval(eval::Args),
    /// List, show, remove, export or import enrolled people, or renew the store's keys.
    Speakers(speakers::Args),
    /// Forget an enrolled person, with a signed receipt, or check one: exit code 1 if there is nobody, or it is not genuine.
    Forget(forget::Args),
    /// List, describe or check model packs.
    Models(models::Args),
    /// List what can be captured on this machine.
    Devices(devices::Args),
    /// Check every part that the daemon needs on this machine, and say what to do: exit code 3 if one fails.
    Doctor(doctor::Args),
    /// Measure on this machine: how many streams it keeps up with, speed, latency at load, idle cost, memory; or the features.
    Bench(bench::Args),
    /// Check, print or describe a configuration.
    Config(config::Args),
}

impl Command {
    /// Log filter where nobody asks for another: a daemon reports its progress, a command only trouble.
    fn default_log(&self) -> &'static str {
        match self {
            Self::Run(_) => "info,ort=warn",
            // Nothing but how far it is: decoders have a line to say on each file.
            Self::Eval(_) => "warn,earwitness::cli=info",
            Self::Demo(_) => "warn,ort=error,rumqttd=off",
            // What it looks at is told as a result, in its own words.
            Self::Doctor(_) => "off",
            // Each try is a daemon's start, with a daemon's warnings.
            Self::Bench(_) => "error",
            _ => "warn",
        }
    }

    fn run(self, output: &Output) -> Result<Outcome, Failure> {
        match self {
            Self::Run(args) => run::run(args, output),
            Self::Demo(args) => demo::run(args, output),
            Self::Enroll(args) => enroll::run(args, output),
            Self::Verify(args) => verify::run(args, output),
            Self::Identify(args) => identify::run(args, output),
            Self::Detect(args) => detect::run(args, output),
            Self::Tag(args) => tag::run(args, output),
            Self::Embed(args) => embed::run(args, output),
            Self::Eval(args) => eval::run(args, output),
            Self::Speakers(args) => speakers::run(args, output),
            Self::Forget(args) => forget::run(args, output),
            Self::Models(args) => models::run(args, output),
            Self::Devices(args) => devices::run(args, output),
            Self::Doctor(args) => doctor::run(args, output),
            Self::Bench(args) => bench::run(args, output),
            Self::Config(args) => config::run(args, output),
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    forbid_dumps();
    share_heaps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell it to if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.global.json);
    let result = start_log(&cli.global, cli.command.default_log())
        .and_then(|()| cli.command.run(&output))
        .and_then(|outcome| output.flush().map(|()| outcome));
    match result {
        Ok(outcome) => outcome.code(),
        Err(failure) => {
            failure.report();
            failure.code()
        }
    }
}

fn start_log(global: &Global, fallback: &str) -> Result<(), Failure> {
    let format = match global.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    let filter = if global.quiet {
        Some("error")
    } else {
        global.log_level.as_deref()
    };
    init_log(filter, fallback, format).map_err(Failure::usage)
}
