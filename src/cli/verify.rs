//! `earwitness verify`: is it who they say, and is the voice real.

use std::path::PathBuf;

use crate::store::SpeakerStore;
use crate::task::Policy;
use crate::task::speaker::Scoring;
use anyhow::Context;
use serde_json::json;

use super::clock::Clock;
use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, neighbours, verdict};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the enrolled person: letters, digits, `_` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// The recording: wav, flac, mp3, ogg, m4a; `-`: the bytes of one on standard input.
    pub file: PathBuf,
    /// Also tell how long it took: to open the models, and from the recording to the verdict.
    #[arg(long)]
    pub time: bool,
    /// Also ask how the scores hold under small changes, whatever they are.
    #[arg(long)]
    pub check_neighbours: bool,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Accepts only when the speaker and the voice are accepted, together.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let started = Clock::start();
    let mut bench = Workbench::open(&args.analysis)?;
    let opened = started.spent();
    let store = &bench.config.speaker.store;
    let people = crate::pipeline::candidates(
        SpeakerStore::load(&bench.config.speaker)?,
        bench.pack.hash(),
    );
    let person = people.into_iter().find(|c| c.name == args.name).with_context(|| {
        format!(
            "expected \"{0}\" among the enrolled in {1}, found nobody of that name; run: earwitness enroll {0} FILE…",
            args.name,
            store.display()
        )
    })?;
    let scoring = Scoring::of(&bench.pack)?;
    let begun = Clock::start();
    let signal = bench.signal(&args.file)?;
    let claimed = scoring.voice(person.embedding, person.speech_s);
    let judged = verdict::judge(&mut bench, &scoring, &claimed, &signal, &args.file)?;
    let decided = begun.spent();
    let (evidence, overall) = (&judged.evidence, judged.verdict());
    let (speaker, spoof) = (judged.speaker, judged.spoof);
    let policy = Policy::fixed(&bench.config.speaker.decision, scoring.calibration());
    let above = speaker.llr - policy.threshold();
    let (mut speaker_hold, mut spoof_hold) = (None, None);
    if neighbours::is_asked(&bench, args.check_neighbours, overall, above)
        && let Some(heard) =
            neighbours::neighbourhood(&mut bench, &signal, &judged.windows, spoof.is_some())?
    {
        let decide = |e: &[f32]| {
            let voice = scoring.voice(e.to_vec(), evidence.speech_s);
            policy.verdict(scoring.compare(&claimed, &voice).llr)
        };
        speaker_hold = heard.speaker(&bench, &claimed.embedding, decide);
        spoof_hold = heard.spoof(&bench);
    }
    let overall = neighbours::held(overall, &[speaker_hold.as_ref(), spoof_hold.as_ref()]);
    let mut record = json!({
        "name": args.name, "verdict": overall, "speech_s": evidence.speech_s,
        "speaker": { "cosine": judged.likeness.cosine, "llr": speaker.llr, "verdict": speaker.verdict },
        "spoof": spoof, "fused": judged.fused, "neighbours": { "speaker": speaker_hold, "spoof": spoof_hold },
    });
    if args.time {
        record["seconds"] = json!({ "models": opened, "verdict": decided });
    }
    output.result(&record, || {
        let voice = spoof.map_or("not checked".to_owned(), |s| s.voice());
        let told = [("speaker", &speaker_hold), ("voice", &spoof_hold)];
        let told = told.map(|(part, hold)| hold.as_ref().map(|h| neighbours::words(part, h)));
        let mut text = format!(
            "{}  {}: speaker {}, voice {} ({:.1} s of speech){}",
            verdict::word(overall),
            args.name,
            speaker.evidence(),
            voice,
            evidence.speech_s,
            told.into_iter().flatten().collect::<String>()
        );
        if args.time {
            text +=
                &format!("\nmodels opened and proven: {opened}\nrecording to verdict: {decided}");
        }
        text
    })?;
    Ok(verdict::outcome(overall))
}
