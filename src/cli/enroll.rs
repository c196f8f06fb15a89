//! `earwitness enroll`: learn a person's voice from recordings, or live.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use serde_json::json;

use crate::audio::Signal;
use crate::pipeline::sitting;
use crate::store::{SpeakerStore, expiry};
use crate::task::Policy;
use crate::task::enrol::{ENOUGH_S, Gate, Heard, LEAST_S, Recording, TooLittle};

use super::output::style;
use super::record::{record, seconds};
use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output};

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the person: letters, digits, `_`, `.` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// Recordings in which only this person speaks: one sitting, added to those before.
    #[arg(required_unless_present = "mic", conflicts_with = "mic")]
    pub files: Vec<PathBuf>,
    /// Record so long from a capture device instead: 20s.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub mic: Option<f64>,
    /// Which capture device: its exact name, or a pattern with `*`; without it the system's default.
    #[arg(long, value_name = "NAME", requires = "mic")]
    pub device: Option<String>,
    /// What it was recorded with, kept with the sitting; without it the name given with --device.
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// What the person agreed to, kept with the sitting and its date.
    #[arg(long, value_name = "TEXT")]
    pub consent: Option<String>,
    /// Days for which the sitting may be kept; overrides the configuration.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub keep_days: Option<u32>,
    /// In place of the sittings before.
    #[arg(long)]
    pub replace: bool,
    /// Enrol also from recordings that are not good enough, but for too little speech; the record says so.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Adds a sitting to what is known of the person.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    // Better told before anybody speaks for a minute: no head, no store, a key that does not fit.
    bench.pack.speaker_calibration()?;
    let store = SpeakerStore::open(&bench.config.speaker)?;
    let heard = hear(&args, &mut bench)?;
    let faults = heard.faults;
    if !faults.is_empty() && !args.force {
        output.result(
            &json!({ "name": args.name, "enrolled": false, "faults": faults, "quality": heard.quality }),
            || {
                let bad = style::BAD;
                let lines = faults.iter().map(|fault| format!("\n  {fault}"));
                format!(
                    "{bad}{} is not enrolled{bad:#}: the recordings are not good enough (--force overrides that){}",
                    args.name,
                    lines.collect::<String>()
                )
            },
        )?;
        return Ok(Outcome::Reject);
    }
    let Heard {
        evidence,
        embedding,
        spread,
        quality,
        ..
    } = heard;
    let mut sitting = sitting(
        &bench.config.speaker,
        bench.pack.hash(),
        &evidence,
        embedding,
    );
    let note = &mut sitting.note;
    note.spread = spread;
    note.device = args.label.or(args.device);
    note.consent = args.consent;
    note.expires = args.keep_days.map(expiry).or(note.expires.take());
    note.forced.clone_from(&faults);
    let person = store.add(&args.name, sitting, args.replace)?;
    let total_s = person.speech_s(bench.pack.hash(), SystemTime::now());
    let percent = (100.0 * total_s / ENOUGH_S).min(100.0);
    output.result(
        &json!({
            "name": args.name, "enrolled": true, "speech_s": evidence.speech_s, "windows": evidence.windows,
            "spread": spread, "sittings": person.sittings.len(), "total_speech_s": total_s, "percent": percent, "forced": faults, "quality": quality,
        }),
        || {
            let more = if percent < 100.0 {
                format!("; {:.0} s more would make it surer", ENOUGH_S - total_s)
            } else {
                String::new()
            };
            let sittings = match person.sittings.len() {
                1 => String::new(),
                n => format!(" in {n} sittings"),
            };
            let forced: String = faults.iter().map(|f| format!("\n  overridden: {f}")).collect();
            format!(
                "{} is enrolled with {total_s:.1} s of good speech{sittings}, {percent:.0} % of what is useful{more}{forced}",
                args.name
            )
        },
    )?;
    Ok(Outcome::Success)
}

/// Hears every recording, and looks at it.
fn hear(args: &Args, bench: &mut Workbench) -> Result<Heard, Failure> {
    let spoof = Policy::new(&bench.config.spoof.decision);
    let gate = Gate::new(&bench.pack, spoof)?;
    let mut recordings = Vec::new();
    let mut names = Vec::new();
    if let Some(seconds) = args.mic {
        let is_wide = bench.pack.is_wide();
        let signal = record(args.device.clone(), seconds, args.analysis.channel, is_wide)?;
        names.push("the recording".to_owned());
        recordings.push(look(bench, &signal, &names[0])?);
    }
    for file in &args.files {
        let (name, signal) = (file.display().to_string(), bench.signal(file)?);
        recordings.push(look(bench, &signal, &name)?);
        names.push(name);
    }
    gate.judge(&recordings).map_err(|TooLittle(speech_s)| {
        Failure::runtime(anyhow!(
            "{}: expected at least {LEAST_S:.0} s of speech to enrol {}, found {speech_s:.1} s; speak longer, closer or with less noise",
            names.join(", "),
            args.name,
        ))
    })
}

/// Scores one recording, and looks at how clipped and noisy it is and whose voice it has.
fn look(bench: &mut Workbench, signal: &Signal, name: &str) -> Result<Recording, Failure> {
    let window = bench.config.window.clone();
    let scores = bench.analyser().recording(signal, &window)?;
    Ok(bench.analyser().look(name.to_owned(), signal, scores)?)
}
