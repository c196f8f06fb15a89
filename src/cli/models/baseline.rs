//! `models baseline`: what a pack is like on clean speech, for its table `[encoder.health]`, and how recordings hold against it.

use std::path::PathBuf;

use crate::config::Config;
use crate::model::Health;
use crate::task::health::measure::SKETCH;
use crate::task::health::neighbours::low;
use crate::task::health::rankme::RankMe;
use crate::task::health::{EVERY, SKETCHES};
use crate::task::recording::Evidence;
use crate::task::speaker::Scoring;
use anyhow::anyhow;
use serde_json::json;

use super::super::neighbours::neighbourhood;
use super::super::workbench::Workbench;
use super::super::{Failure, Outcome, Output};
use crate::model::{Part, Wanted};

/// Share of clean recordings that may look suspicious.
const FALSE_ALARMS: f64 = 0.05;

/// Arguments of `models baseline`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings of clean speech, of many people; at least 40 s of it together for the rank.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Recordings of the person that each of the files is claimed to be by, in the same order: without them nothing is measured
    /// of how speaker scores hold.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub enrolled: Vec<PathBuf>,
    /// Folder of the pack; overrides the configuration.
    #[arg(long, value_name = "FOLDER")]
    pub pack: Option<PathBuf>,
    /// Leave out how scores hold among neighbours, which takes most of the time.
    #[arg(long)]
    pub rank_only: bool,
}

/// Hears all recordings as one stream. With `--json` a record for each before the last, which is the table.
pub fn run(args: &Args, mut config: Config, output: &Output) -> Result<Outcome, Failure> {
    if let Some(pack) = &args.pack {
        config.models.pack.clone_from(pack);
    }
    if !args.enrolled.is_empty() && args.enrolled.len() != args.files.len() {
        return Err(Failure::usage(anyhow!(
            "--enrolled: expected one recording for each of the {} files, found {}",
            args.files.len(),
            args.enrolled.len()
        )));
    }
    let wanted = Wanted::default();
    let mut bench = Workbench::with(config, None, wanted)?.watching();
    let wanted = Wanted {
        spoof: bench.pack.has(Part::Spoof) && !args.rank_only,
        ..wanted
    };
    if wanted.spoof {
        bench = Workbench::with(bench.config, None, wanted)?.watching();
    }
    let known = bench.pack.health();
    let mut rank = RankMe::new(SKETCH, SKETCHES);
    let (mut new, mut raw, mut centred) = (0, Vec::new(), Vec::new());
    let (mut claims, mut scores) = (Vec::new(), Vec::new());
    for (index, file) in args.files.iter().enumerate() {
        let signal = bench.signal(file)?;
        let windows = bench.scores_of(&signal)?;
        for sketch in windows.iter().flat_map(|w| &w.health.states) {
            rank.push(sketch);
            new += 1;
            if rank.is_full() && new >= EVERY {
                new = 0;
                let ranks = rank.ranks();
                raw.push(ranks.raw);
                centred.push(ranks.centred);
            }
        }
        if args.rank_only {
            continue;
        }
        let Some(heard) = neighbourhood(&mut bench, &signal, &windows, wanted.spoof)? else {
            continue;
        };
        let score = low(&heard.moves(&bench));
        let mut claim = None;
        if let Some(enrolled) = args.enrolled.get(index) {
            let (evidence, person) = bench.evidence(std::slice::from_ref(enrolled))?;
            let scoring = Scoring::of(&bench.pack)?;
            let claimed = scoring.voice(person, evidence.speech_s);
            let spoken_s = Evidence::of([windows.as_slice()]).speech_s;
            let llr = |e: &[f32]| {
                let voice = scoring.voice(e.to_vec(), spoken_s);
                scoring.compare(&claimed, &voice).llr
            };
            claim = low(&heard.turns(&claimed.embedding)).zip(heard.embedding().map(llr));
        }
        claims.extend(claim.map(|(low, _)| low));
        scores.extend(score);
        if output.is_json() {
            let suspicious = |found: Option<f64>, least: fn(&Health) -> Option<f64>| {
                Some(found? < least(known.as_ref()?)?)
            };
            output.record(&json!({
                "file": file, "speaker_neighbours": claim.map(|c| c.0), "spoof_neighbours": score,
                "speaker_suspicious": suspicious(claim.map(|c| c.0), |h| h.speaker_neighbours),
                "spoof_suspicious": suspicious(score, |h| h.spoof_neighbours),
                "speaker_llr": claim.map(|c| c.1), "spoof_llr": heard.llr(&bench),
            }))?;
        }
    }
    if raw.is_empty() && args.rank_only {
        return Err(Failure::runtime(anyhow!(
            "expected at least {} s of speech, found less",
            SKETCHES / 10
        )));
    }
    let speaker = quantile(&mut claims, FALSE_ALARMS);
    let spoof = quantile(&mut scores, FALSE_ALARMS);
    let ranks = (quantile(&mut raw, 0.5), quantile(&mut centred, 0.5));
    output.result(
        &json!({
            "rankme": ranks.0, "rankme_centred": ranks.1, "looks": raw.len(),
            "rankme_centred_least": centred.first(), "rankme_centred_most": centred.last(),
            "speaker_neighbours": speaker, "spoof_neighbours": spoof, "recordings": claims.len().max(scores.len()),
        }),
        || {
            let line = |key: &str, value: Option<f64>| {
                value.map_or(String::new(), |v| format!("\n{key} = {v:.4}"))
            };
            format!(
                "[encoder.health]{}{}{}{}",
                line("rankme", ranks.0),
                line("rankme_centred", ranks.1),
                line("speaker_neighbours", speaker),
                line("spoof_neighbours", spoof)
            )
        },
    )?;
    Ok(Outcome::Success)
}

/// Sorts the values and takes the one below which another recording lies with this probability: of `n` values the `k`-th
/// lowest has `k / (n + 1)`.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = share * (values.len() + 1) as f64;
    values.get((rank as usize).saturating_sub(1)).copied()
}
