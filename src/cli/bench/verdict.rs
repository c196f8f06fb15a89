//! How long a person's verdict takes on ten seconds of speech, once the models are open: who speaks, and whether the voice is
//! real, as `earwitness verify` says it.

use super::super::clock::{Clock, Spent};
use super::super::verdict::judge;
use super::super::workbench::Workbench;
use super::super::{Failure, Output};
use super::{Bench, against};
use crate::audio::SAMPLE_RATE;
use crate::model::{Part, Wanted};
use crate::task::speaker::Scoring;

/// Length of the clip.
const CLIP_S: usize = 10;
/// The bar, seconds of one core.
const AT_MOST_S: f64 = 0.3;

/// How long it takes.
#[derive(Debug, serde::Serialize)]
pub struct Verdict {
    #[serde(rename = "type")]
    kind: &'static str,
    clip_s: usize,
    /// Seconds of it that are speech.
    speech_s: f64,
    /// Seconds of the fastest round.
    wall_s: f64,
    /// Seconds of one core that it took.
    cpu_s: Option<f64>,
    at_most_s: f64,
    meets: bool,
}

/// Takes the ten seconds of the audio in which most is said, and the voice in it for the enrolled person's. None, and a line that
/// says why, where the pack knows no voices or nobody speaks.
pub fn measure(bench: &Bench, output: &Output) -> Result<Option<Verdict>, Failure> {
    let none = |why: &str| match output.is_json() {
        true => Ok(None),
        false => {
            output.line(format_args!("a person's verdict: not measured, {why}"))?;
            Ok(None)
        }
    };
    if !bench.models.pack.has(Part::Speaker) {
        return none("the pack tells no voices apart");
    }
    let wanted = Wanted {
        spoof: bench.config.spoof.enabled,
        ..Wanted::default()
    };
    let channel = bench.args.analysis.channel;
    let mut workbench = Workbench::with(bench.config.clone(), channel, wanted)?;
    let scoring = Scoring::of(&workbench.pack)?;
    let (path, length) = (&bench.args.audio, CLIP_S * SAMPLE_RATE as usize);
    let signal = workbench.signal(path)?;
    let mut most = None;
    for start in (0..signal.len().saturating_sub(length - 1)).step_by(length) {
        let clip = signal.cut(start..start + length);
        let windows = [workbench.scores_of(&clip)?];
        // A piece without an utterance is none to judge.
        let Ok((evidence, embedding)) = workbench.gathered(&windows, std::slice::from_ref(path))
        else {
            continue;
        };
        if most.as_ref().is_none_or(|(_, _, s)| evidence.speech_s > *s) {
            most = Some((clip, embedding, evidence.speech_s));
        }
    }
    let Some((clip, embedding, speech_s)) = most else {
        return none("no ten seconds in which somebody speaks");
    };
    let claimed = scoring.voice(embedding, speech_s);
    let mut best: Option<Spent> = None;
    for _ in 0..bench.args.rounds {
        let clock = Clock::start();
        judge(&mut workbench, &scoring, &claimed, &clip, path)?;
        let spent = clock.spent();
        if best.is_none_or(|best| spent.seconds() < best.seconds()) {
            best = Some(spent);
        }
    }
    // There is at least one round.
    let best = best.unwrap_or_default();
    let verdict = Verdict {
        kind: "verdict",
        clip_s: CLIP_S,
        speech_s,
        wall_s: best.wall,
        cpu_s: best.cpu,
        at_most_s: AT_MOST_S,
        meets: best.seconds() <= AT_MOST_S,
    };
    if output.is_json() {
        output.record(&verdict)?;
    } else {
        let seconds = best.seconds();
        output.line(format!(
            "a person's verdict on {CLIP_S} s with {speech_s:.1} s of speech: {}",
            against(
                format!("{seconds:.3} s of one core"),
                format!("{AT_MOST_S} s"),
                verdict.meets
            )
        ))?;
    }
    Ok(Some(verdict))
}
