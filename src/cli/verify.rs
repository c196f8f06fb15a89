//! `earwitness verify`: is it who they say, and is the voice real.

use std::path::PathBuf;

use crate::store::SpeakerStore;
use crate::task::Policy;
use crate::task::speaker::cosine;
use anyhow::Context;
use serde_json::json;

use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, neighbours, verdict};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the enrolled person: letters, digits, `_` and `-`.
    #[arg(value_parser = super::analysis::name)]
    pub name: String,
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    /// Also ask how the scores hold under small changes, whatever they are.
    #[arg(long)]
    pub check_neighbours: bool,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Accepts only when the speaker and the voice are accepted.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    let store = &bench.config.speaker.store;
    let people = crate::pipeline::candidates(SpeakerStore::load(store)?, &bench.pack);
    let person = people.into_iter().find(|c| c.name == args.name).with_context(|| {
        format!(
            "expected \"{0}\" among the enrolled in {1}, found nobody of that name; run: earwitness enroll {0} FILE…",
            args.name,
            store.display()
        )
    })?;
    let (evidence, embedding) = bench.evidence(std::slice::from_ref(&args.file))?;
    let similarity = cosine(&person.embedding, &embedding);
    let speaker = verdict::Part::new(
        bench.pack.speaker_calibration()?.llr(similarity),
        &Policy::new(&bench.config.speaker.decision),
    );
    let spoof = verdict::spoof(&bench, &evidence);
    let overall = verdict::weaker(
        speaker.verdict,
        spoof.map_or(speaker.verdict, |s| s.verdict),
    );
    let above = speaker.llr - Policy::new(&bench.config.speaker.decision).threshold();
    let (mut speaker_hold, mut spoof_hold) = (None, None);
    if neighbours::is_asked(&bench, args.check_neighbours, overall, above)
        && let Some(heard) = neighbours::of_file(&mut bench, &args.file)?
    {
        let calibration = bench.pack.speaker_calibration()?;
        let llr = |e: &[f32]| calibration.llr(cosine(&person.embedding, e));
        speaker_hold = heard.speaker(&bench, llr);
        spoof_hold = heard.spoof(&bench);
    }
    let overall = neighbours::held(overall, &[speaker_hold.as_ref(), spoof_hold.as_ref()]);
    output.result(
        &json!({
            "name": args.name, "verdict": overall, "speech_s": evidence.speech_s,
            "speaker": { "cosine": similarity, "llr": speaker.llr, "verdict": speaker.verdict },
            "spoof": spoof, "neighbours": { "speaker": speaker_hold, "spoof": spoof_hold },
        }),
        || {
            let voice = spoof.map_or("not checked".to_owned(), |s| s.voice());
            let told = [("speaker", &speaker_hold), ("voice", &spoof_hold)];
            let told = told.map(|(part, hold)| hold.as_ref().map(|h| neighbours::words(part, h)));
            format!(
                "{}  {}: speaker {}, voice {} ({:.1} s of speech){}",
                verdict::word(overall),
                args.name,
                speaker.evidence(),
                voice,
                evidence.speech_s,
                told.into_iter().flatten().collect::<String>()
            )
        },
    )?;
    Ok(verdict::outcome(overall))
}
