//! `earwitness identify`: which enrolled person speaks, if any.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::publish::Verdict;
use crate::task::Policy;
use serde_json::json;

use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, verdict};

/// Arguments of `identify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a; `-`: the bytes of one on standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Lists everyone enrolled, the likeliest first.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    let judge = crate::pipeline::judge(&bench.config, &bench.pack)?;
    if judge.matcher.is_empty() {
        return Err(Failure::runtime(anyhow!(
            "expected at least one enrolled person in {}, found none; run: earwitness enroll NAME FILE…",
            bench.config.speaker.store.display()
        )));
    }
    let (evidence, embedding) = bench.evidence(std::slice::from_ref(&args.file))?;
    let scoring = judge.matcher.scoring();
    let policy = Policy::fixed(&bench.config.speaker.decision, scoring.calibration());
    let voice = scoring.voice(embedding, evidence.speech_s);
    let mut ranking: Vec<(&str, f64, verdict::Part)> = judge
        .matcher
        .names()
        .zip(judge.matcher.scores(&voice))
        .map(|(name, l)| (name, l.cosine, verdict::Part::new(l.llr, &policy)))
        .collect();
    ranking.sort_by(|a, b| b.2.llr.total_cmp(&a.2.llr));
    let spoof = verdict::spoof(&bench, &evidence);
    let speaker = ranking
        .first()
        .filter(|(_, _, part)| part.verdict == Verdict::Accept)
        .map(|(name, ..)| *name);
    let fused = |llr| verdict::fused(&bench, &policy, llr, spoof);
    let all: Vec<_> = ranking
        .iter()
        .map(|(name, cosine, part)| json!({ "name": name, "cosine": cosine, "llr": part.llr, "verdict": part.verdict, "fused": fused(part.llr) }))
        .collect();
    output.result(
        &json!({ "speaker": speaker, "speech_s": evidence.speech_s, "candidates": all, "spoof": spoof }),
        || {
            let mut lines = vec![match speaker {
                Some(name) => format!("{name} speaks"),
                None if ranking[0].2.verdict == Verdict::Inconclusive => "not clear who speaks".to_owned(),
                None => "a stranger speaks".to_owned(),
            }];
            lines.extend(
                ranking.iter().map(|(name, _, part)| format!("  {name:<24} {:<14} {}", part.evidence(), verdict::word(part.verdict))),
            );
            lines.push(format!("voice: {}", spoof.map_or("not checked".to_owned(), |s| s.voice())));
            lines.join("\n")
        },
    )?;
    Ok(Outcome::Success)
}
