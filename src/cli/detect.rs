//! `earwitness detect`: is the voice on a recording real.

use std::path::PathBuf;

use crate::task::Policy;
use anyhow::{Context, anyhow};
use serde_json::json;

use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, neighbours, verdict};

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording: wav, flac, mp3, ogg, m4a.
    pub file: PathBuf,
    /// Also ask how the score holds under small changes, whatever it is.
    #[arg(long)]
    pub check_neighbours: bool,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// One verdict on the recording, and one a window.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let mut bench = Workbench::open(&args.analysis)?;
    if !bench.config.spoof.enabled {
        return Err(Failure::usage(anyhow!(
            "expected spoof.enabled = true, found false; detection is off in this configuration"
        )));
    }
    let scores = bench.scores(&args.file)?;
    let policy = Policy::new(&bench.config.spoof.decision);
    let calibration = bench.pack.spoof_calibration()?;
    let windows: Vec<(f64, f64, verdict::Part)> = scores
        .iter()
        .filter_map(|s| s.utterance.as_ref())
        .filter_map(|u| {
            Some((
                u.start_s,
                u.end_s,
                verdict::Part::new(calibration.llr(f64::from(u.genuine?)), &policy),
            ))
        })
        .collect();
    let evidence = crate::task::recording::Evidence::of([scores.as_slice()]);
    let overall = verdict::spoof(&bench, &evidence).with_context(|| {
        format!(
            "{}: expected speech, found none; only voices can be judged",
            args.file.display()
        )
    })?;
    let above = overall.llr - policy.threshold();
    let hold = match neighbours::is_asked(&bench, args.check_neighbours, overall.verdict, above) {
        true => neighbours::of_file(&mut bench, &args.file)?.and_then(|h| h.spoof(&bench)),
        false => None,
    };
    let overall = verdict::Part {
        verdict: neighbours::held(overall.verdict, &[hold.as_ref()]),
        ..overall
    };
    let timeline: Vec<_> = windows
        .iter()
        .map(|(start, end, part)| json!({ "start_s": start, "end_s": end, "llr": part.llr, "verdict": part.verdict }))
        .collect();
    output.result(
        &json!({ "verdict": overall.verdict, "llr": overall.llr, "speech_s": evidence.speech_s, "windows": timeline, "neighbours": hold }),
        || {
            let mut lines = vec![format!(
                "{}  voice {} ({:.1} s of speech)",
                verdict::word(overall.verdict),
                overall.voice(),
                evidence.speech_s
            )];
            if let Some(hold) = &hold {
                lines[0] += &neighbours::words("voice", hold);
            }
            lines.extend(windows.iter().map(|(start, end, part)| format!("  {start:>7.1} –{end:>6.1} s  {}", part.voice())));
            lines.join("\n")
        },
    )?;
    Ok(verdict::outcome(overall.verdict))
}
