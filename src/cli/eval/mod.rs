//! `earwitness eval`: how well the models tell people and forgeries apart, on a list of trials. `docs/eval.md` describes the
//! lists and every figure.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::metrics::{Cost, MetricError, Resampling};

use super::{Failure, Outcome, Output};

mod figures;
mod list;
mod scorer;
mod sequential;
mod sound;
mod sound_list;
mod speaker;
mod speaker_list;
mod speaker_score;
mod spoof;
mod spoof_list;
mod spoofing;
mod timeline;
mod timeline_list;
mod turns;

impl From<list::ListError> for Failure {
    fn from(error: list::ListError) -> Self {
        // The list is an argument: whoever wrote it has to change it.
        Self::usage(error)
    }
}

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Speaker verification, also under spoofing: EER, minDCF, actDCF, Cllr, a-DCF.
    Speaker(speaker::Args),
    /// Spoof detection: the same, and APCER of each attack, BPCER.
    Spoof(spoof::Args),
    /// Speaker verification that decides as soon as it can: seconds of speech to a decision.
    Sequential(sequential::Args),
    /// Who speaks when, of enrolled people and strangers who take turns: share of speech with the wrong name.
    Turns(turns::Args),
    /// What is synthetic within recordings: share found, distance from its borders, false alarms.
    Timeline(timeline::Args),
    /// The sound head: accuracy, macro F1, each class, confusions.
    Sound(sound::Args),
}

/// Does one of them.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    match args.task {
        Task::Speaker(args) => speaker::run(args, output),
        Task::Spoof(args) => spoof::run(args, output),
        Task::Sequential(args) => sequential::run(args, output),
        Task::Turns(args) => turns::run(args, output),
        Task::Timeline(args) => timeline::run(args, output),
        Task::Sound(args) => sound::run(args, output),
    }
}

/// Options of every task.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The trials, one a line: docs/eval.md tells the columns.
    pub list: PathBuf,
    /// Take the list's last column as the score, a log-likelihood ratio: no audio is read.
    #[arg(long, conflicts_with_all = ["audio", "seconds", "pack"])]
    pub given: bool,
    /// Folder that the list's paths start from; without it the list's own.
    #[arg(long, value_name = "FOLDER")]
    pub audio: Option<PathBuf>,
    /// Seconds a segment, 0.5 to 60; without it the window that the pack was calibrated on.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// The model pack; overrides the configuration.
    #[arg(long, value_name = "FOLDER")]
    pub pack: Option<PathBuf>,
    /// Use the pack even if nobody vouches for it whom the configuration trusts.
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Configuration whose models count; without it the defaults and EARWITNESS_…__… variables.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which channel of the recordings, counted from 0; without it all, mixed.
    #[arg(long, value_name = "N")]
    pub channel: Option<u16>,
    /// Draws of the bootstrap, 0 for no intervals.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub rounds: u32,
    /// Start of the bootstrap's generator.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write the list with the scores as a last column, separated by tabs, as --given reads it.
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
}

/// Options of the tasks that accept or reject.
#[derive(Debug, clap::Args)]
pub struct Detection {
    /// Cost of rejecting what is to be accepted, for minDCF and actDCF.
    #[arg(long, value_name = "COST", default_value_t = 1.0)]
    pub cost_miss: f64,
    /// Cost of accepting what is to be rejected, for minDCF and actDCF.
    #[arg(long, value_name = "COST", default_value_t = 1.0)]
    pub cost_false_accept: f64,
    /// Write the DET plot as SVG.
    #[arg(long, value_name = "FILE")]
    pub det: Option<PathBuf>,
    /// Write a histogram of the scores as SVG.
    #[arg(long, value_name = "FILE")]
    pub histogram: Option<PathBuf>,
}

impl Detection {
    /// The costs, with the task's own prior.
    fn cost(&self, prior: f64) -> Result<Cost, Failure> {
        let inside = |name: &str, value: f64, most: f64| match value > 0.0 && value < most {
            true => Ok(value),
            false => Err(Failure::usage(anyhow!(
                "{name}: expected a number above 0 and below {most}, found {value}"
            ))),
        };
        Ok(Cost {
            prior: inside("--prior", prior, 1.0)?,
            miss: inside("--cost-miss", self.cost_miss, f64::INFINITY)?,
            false_accept: inside("--cost-false-accept", self.cost_false_accept, f64::INFINITY)?,
        })
    }
}

impl Common {
    fn resampling(&self) -> Resampling {
        Resampling {
            rounds: self.rounds as usize,
            seed: self.seed,
        }
    }

    /// What a metric says of the list as a whole.
    fn wrong(&self, error: MetricError) -> Failure {
        Failure::usage(anyhow!("{}: {error}", self.list.display()))
    }

    fn title(&self, what: &str) -> String {
        let name = self.list.file_name().unwrap_or(self.list.as_os_str());
        format!("{what}, {}", name.to_string_lossy())
    }
}

/// Prior and costs for programs.
fn describe(cost: &Cost) -> serde_json::Value {
    serde_json::json!({
        "prior": cost.prior, "miss": cost.miss, "false_accept": cost.false_accept, "threshold": cost.threshold(),
    })
}

/// Prior and costs for people.
fn told(cost: &Cost, positive: &str) -> String {
    format!(
        "prior of {positive} {}, costs {} (reject wrongly) and {} (accept wrongly): threshold {:+.2} nats",
        cost.prior,
        cost.miss,
        cost.false_accept,
        cost.threshold()
    )
}

/// Writes a file that was asked for.
fn write(path: &Path, content: &str) -> Result<(), Failure> {
    std::fs::write(path, content)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(Failure::runtime)
}
