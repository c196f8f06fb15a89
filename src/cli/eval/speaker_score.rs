//! Scores of speaker trials: given ones, or those of the daemon's models on the list's segments.

use std::collections::HashMap;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::audio::SAMPLE_RATE;
use crate::metrics::SpoofCost;
use crate::model::Wanted;
use crate::pipeline::Heads;
use crate::task::fused_llr;
use crate::task::speaker::{Scoring, Voice};

use super::super::Failure;
use super::scorer::{Asked, Hearing, Scorer};
use super::speaker::Args;
use super::speaker_list::{Label, SpeakerList, Trial};

/// Which evidence a trial is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Score {
    /// The speaker head alone.
    Speaker,
    /// Both heads in one: this person and bona fide, against either alternative.
    Fused,
    /// Both heads in a row: the speaker head's score where the spoof head accepts at the threshold that the costs imply for it alone, and
    /// a rejection where it does not.
    Cascade,
}

/// The score of a trial that a cascade rejects before the speaker is looked at, nats: below any other.
const REJECTED: f64 = -1000.0;

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
    let both = by != Score::Speaker;
    let mut scorer = Scorer::open(
        &args.common,
        Wanted {
            spoof: both,
            ..Wanted::default()
        },
    )?;
    let mut asked = Asked::new();
    for trial in &list.trials {
        // Who enrols is taken to be live: only the test segment has to prove it.
        for (segment, spoof) in [(trial.a, false), (trial.b, both)] {
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
    let pack = &scorer.bench.pack;
    let scoring = Scoring::of(pack)?;
    // Read only of segments that the spoof head has scored.
    let genuine = pack.spoof_calibration().unwrap_or_default();
    let (fusion, share) = (pack.fusion(), cost.spoof_share());
    // Once a segment, however many trials name it.
    let sides: HashMap<_, (Voice, Option<f64>)> = voices
        .into_iter()
        .filter_map(|(at, (heard, seconds))| {
            let voice = scoring.voice(heard.embedding?, seconds);
            Some((at, (voice, heard.genuine.map(f64::from))))
        })
        .collect();
    let one = |t: &Trial| {
        let (a, (b, score)) = (&sides.get(&t.a)?.0, sides.get(&t.b)?);
        let same = scoring.compare(a, b).llr;
        let real = || Some(genuine.llr((*score)?));
        match by {
            Score::Speaker => Some(same),
            Score::Fused => Some(fused_llr(
                fusion.speaker.llr(same),
                fusion.genuine.llr(real()?),
                share,
            )),
            Score::Cascade if real()? >= cost.spoof_threshold() => Some(same),
            Score::Cascade => Some(REJECTED),
        }
    };
    let scores = list.trials.iter().map(one).collect();
    let mut by_what = scorer.describe();
    by_what["score"] = json!(match by {
        Score::Speaker => "speaker",
        Score::Fused => "fused",
        Score::Cascade => "cascade",
    });
    by_what["spoken"] = json!(args.spoken);
    by_what["streamed_s"] = json!(args.streamed);
    Ok((scores, by_what))
}
