//! `earwitness enroll`: learn a person's voice from recordings, or live.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;

use crate::audio::Signal;
use crate::publish::Verdict;
use crate::store::{SpeakerStore, expiry};
use crate::task::Scores;
use crate::task::quality::{self, Fault};
use crate::task::recording::Evidence;
use crate::task::speaker::Scoring;

use super::output::style;
use super::record::{record, seconds};
use super::workbench::{self, Workbench};
use super::{Analysis, Failure, Outcome, Output, verdict};

/// Seconds of speech after which more brings little: embeddings of the same voice settle at about ten windows.
const ENOUGH_S: f64 = 20.0;
/// Seconds of speech without which nobody is enrolled.
const LEAST_S: f64 = 3.0;

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

/// What was heard in the recordings of a sitting.
struct Heard {
    evidence: Evidence,
    embedding: Vec<f32>,
    /// Mean of one minus the cosine of a window to the centroid.
    spread: Option<f64>,
    quality: Quality,
    /// What is wrong, and with which recording.
    faults: Vec<(String, Fault)>,
}

/// What the recordings were judged by: of clipping and noise the worst of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Quality {
    /// Share of samples near the peak.
    clipped: f64,
    /// Speech over noise, decibels; absent where there was too little of either to measure.
    snr_db: Option<f64>,
    /// Log-likelihood ratio, nats, of one voice between the most unlike groups of windows; absent where there are too few.
    one_voice: Option<f64>,
    /// Log-likelihood ratio, nats, of a real voice; absent where detection is off.
    real: Option<f64>,
}

/// Adds a sitting to what is known of the person.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    // Better told before anybody speaks for a minute: no head, no store, a key that does not fit.
    bench.pack.speaker_calibration()?;
    let store = SpeakerStore::open(&bench.config.speaker)?;
    let heard = hear(&args, &mut bench)?;
    let faults: Vec<String> = heard
        .faults
        .iter()
        .map(|(what, fault)| format!("{what}: {fault}"))
        .collect();
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
    let mut sitting = workbench::sitting(&bench.config, &bench.pack, &evidence, embedding);
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
    let mut all: Vec<Vec<Scores>> = Vec::new();
    let mut faults = Vec::new();
    let mut names = Vec::new();
    let mut quality = Quality::default();
    if let Some(seconds) = args.mic {
        let is_wide = bench.pack.is_wide();
        let signal = record(args.device.clone(), seconds, args.analysis.channel, is_wide)?;
        names.push("the recording".to_owned());
        all.push(look(bench, &signal, &names[0], &mut quality, &mut faults)?);
    }
    for file in &args.files {
        let (name, signal) = (file.display().to_string(), bench.signal(file)?);
        all.push(look(bench, &signal, &name, &mut quality, &mut faults)?);
        names.push(name);
    }
    let evidence = Evidence::of(all.iter().map(Vec::as_slice));
    let embedding = evidence.embedding.clone();
    let names = names.join(", ");
    let Some(embedding) = embedding.filter(|_| evidence.speech_s >= LEAST_S) else {
        return Err(Failure::runtime(anyhow!(
            "{names}: expected at least {LEAST_S:.0} s of speech to enrol {}, found {:.1} s; speak longer, closer or with less noise",
            args.name,
            evidence.speech_s
        )));
    };
    let windows: Vec<Vec<f32>> = all
        .iter()
        .flatten()
        .filter_map(|s| Some(s.utterance.as_ref()?.embedding.clone()))
        .filter(|e| !e.is_empty())
        .collect();
    if let Some(sides) = quality::sides(&windows) {
        let scoring = Scoring::of(&bench.pack)?;
        let hop_s = bench.config.window.hop_s;
        let [a, b] =
            sides.map(|(embedding, windows)| scoring.voice(embedding, windows as f64 * hop_s));
        let llr = scoring.compare(&a, &b).llr;
        quality.one_voice = Some(llr);
        if llr < quality::MIN_ONE_VOICE {
            faults.push((names.clone(), Fault::Voices(llr)));
        }
    }
    if let Some(spoof) = verdict::spoof(bench, &evidence) {
        quality.real = Some(spoof.llr);
        if spoof.verdict == Verdict::Reject {
            faults.push((names, Fault::Synthetic(spoof.llr)));
        }
    }
    let spread = quality::spread(&windows, &embedding);
    Ok(Heard {
        evidence,
        embedding,
        spread,
        quality,
        faults,
    })
}

/// Scores one recording, and notes how clipped and noisy it is.
fn look(
    bench: &mut Workbench,
    signal: &Signal,
    name: &str,
    worst: &mut Quality,
    faults: &mut Vec<(String, Fault)>,
) -> Result<Vec<Scores>, Failure> {
    let window = bench.config.window.clone();
    let scores = bench.analyser().recording(signal, &window)?;
    let clipped = quality::clipped(&signal.samples);
    worst.clipped = worst.clipped.max(clipped);
    if clipped > quality::MAX_CLIPPED {
        faults.push((name.to_owned(), Fault::Clipped(clipped)));
    }
    let speech = bench.analyser().speech_frames(&signal.samples)?;
    if let Some(snr) = quality::snr_db(&signal.samples, &speech) {
        worst.snr_db = Some(worst.snr_db.map_or(snr, |other| other.min(snr)));
        if snr < quality::MIN_SNR_DB {
            faults.push((name.to_owned(), Fault::Noisy(snr)));
        }
    }
    Ok(scores)
}
