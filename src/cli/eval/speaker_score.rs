//! Scores of speaker trials: given ones, or those of the daemon's models on the list's segments.

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::audio::SAMPLE_RATE;
use crate::metrics::SpoofCost;
use crate::model::Wanted;
use crate::pipeline::{Heads, Heard};
use crate::task::fused_llr;
use crate::task::speaker::cosine;

use super::super::Failure;
use super::scorer::{Asked, Hearing, Scorer};
use super::speaker::Args;
use super::speaker_list::{Label, SpeakerList};

/// Which evidence a trial is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Score {
    /// The speaker head alone.
    Speaker,
    /// Both heads: this person and bona fide, against either alternative.
    Fused,
}

/// A log-likelihood ratio of each trial (none where a segment has no speech), and what gave them, for the report.
pub fn score(
    args: &Args,
    list: &SpeakerList,
    cost: &SpoofCost,
) -> Result<(Vec<Option<f64>>, Value), Failure> {
    if args.common.given {
        return Ok((list.trials.iter().map(|t| t.given).collect(), Value::Null));
    }
    let spoofs = list.trials.iter().any(|t| t.label == Label::Spoof);
    let by = args
        .score
        .unwrap_or(if spoofs { Score::Fused } else { Score::Speaker });
    let fused = by == Score::Fused;
    let mut scorer = Scorer::open(
        &args.common,
        Wanted {
            spoof: fused,
            ..Wanted::default()
        },
    )?;
    let mut asked = Asked::new();
    for trial in &list.trials {
        // Who enrols is taken to be live: only the test segment has to prove it.
        for (segment, spoof) in [(trial.a, false), (trial.b, fused)] {
            let heads = Heads {
                speaker: true,
                spoof,
                sound: false,
            };
            let (_, known) = asked.entry(segment).or_insert((trial.line, heads));
            known.spoof |= spoof;
        }
    }
    let hearing = match (args.spoken, args.streamed) {
        (true, _) => Hearing::Spoken,
        (_, Some(s)) if (0.0..=60.0).contains(&s) => {
            Hearing::After((s * f64::from(SAMPLE_RATE)) as usize)
        }
        (_, Some(s)) => {
            let wrong = anyhow!("--streamed: expected 0 to 60 seconds, found {s}");
            return Err(Failure::usage(wrong));
        }
        _ => Hearing::Whole,
    };
    let voices = scorer.voices(&asked, &list.paths, hearing)?;
    let speaker = scorer.bench.pack.speaker_calibration()?;
    // Read only of segments that the spoof head has scored.
    let genuine = scorer.bench.pack.spoof_calibration().unwrap_or_default();
    let share = cost.spoof_share();
    let one = |a: &Heard, b: &Heard| {
        let same = speaker.llr(cosine(a.embedding.as_deref()?, b.embedding.as_deref()?));
        match by {
            Score::Speaker => Some(same),
            Score::Fused => Some(fused_llr(same, genuine.llr(f64::from(b.genuine?)), share)),
        }
    };
    let scores = list
        .trials
        .iter()
        .map(|t| one(voices.get(&t.a)?, voices.get(&t.b)?));
    let mut by_what = scorer.describe();
    by_what["score"] = json!(if fused { "fused" } else { "speaker" });
    by_what["spoken"] = json!(args.spoken);
    by_what["streamed_s"] = json!(args.streamed);
    Ok((scores.collect(), by_what))
}
