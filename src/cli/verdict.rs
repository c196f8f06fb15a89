//! A verdict, its parts and its words, shared by the commands that give one.

use std::path::PathBuf;

use crate::audio::Signal;
use crate::publish::{FusedFinding, Verdict};
use crate::task::recording::Evidence;
use crate::task::speaker::{Likeness, Scoring, Voice};
use crate::task::{Fusion, Policy, Scores};
use serde::Serialize;

use super::workbench::Workbench;
use super::{Failure, Outcome};

/// What a recording says of a claim about its voice.
pub struct Judged {
    /// Its windows.
    pub windows: Vec<Scores>,
    /// What they come to.
    pub evidence: Evidence,
    /// How alike its voice is to the claimed one.
    pub likeness: Likeness,
    /// The decision on that.
    pub speaker: Part,
    /// Whether the voice is real; `None` when detection is off.
    pub spoof: Option<Part>,
    /// Both in one; `None` when detection is off.
    pub fused: Option<FusedFinding>,
}

impl Judged {
    /// The decision that counts.
    pub fn verdict(&self) -> Verdict {
        self.fused.map_or(self.speaker.verdict, |f| f.verdict)
    }
}

/// Whether `claimed` speaks in a recording, and whether the voice is real. `path` only names it.
pub fn judge(
    bench: &mut Workbench,
    scoring: &Scoring,
    claimed: &Voice,
    signal: &Signal,
    path: &PathBuf,
) -> Result<Judged, Failure> {
    let windows = [bench.scores_of(signal)?];
    let (evidence, embedding) = bench.gathered(&windows, std::slice::from_ref(path))?;
    let likeness = scoring.compare(claimed, &scoring.voice(embedding, evidence.speech_s));
    let policy = Policy::fixed(&bench.config.speaker.decision, scoring.calibration());
    let speaker = Part::new(likeness.llr, &policy);
    let spoof = spoof(bench, &evidence);
    let fused = fused(bench, &policy, speaker.llr, spoof);
    let [windows] = windows;
    Ok(Judged {
        windows,
        evidence,
        likeness,
        speaker,
        spoof,
        fused,
    })
}

/// One calibrated score and its decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    /// Log-likelihood ratio, natural logarithm.
    pub llr: f64,
    /// The decision on it.
    pub verdict: Verdict,
}

impl Part {
    /// Decides.
    pub fn new(llr: f64, policy: &Policy) -> Self {
        Self {
            llr,
            verdict: policy.verdict(llr),
        }
    }

    /// For people: the ratio, and the probability that it means at even odds.
    pub fn evidence(&self) -> String {
        format!(
            "{:+.1} ({:.0} %)",
            self.llr,
            100.0 / (1.0 + (-self.llr).exp())
        )
    }

    /// For people, of the spoof head.
    pub fn voice(&self) -> String {
        format!("{} {}", voice_word(self.verdict), self.evidence())
    }
}

/// What a verdict of the spoof head says of a voice.
pub fn voice_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "real",
        Verdict::Reject => "synthetic",
        Verdict::Inconclusive => "not clear",
    }
}

/// The spoof head's part; `None` when detection is off.
pub fn spoof(bench: &Workbench, evidence: &Evidence) -> Option<Part> {
    let llr = bench.pack.spoof_calibration().ok()?.llr(evidence.genuine?);
    Some(Part::new(llr, &Policy::new(&bench.config.spoof.decision)))
}

/// Speaker and voice in one decision; `None` when detection is off.
pub fn fused(
    bench: &Workbench,
    speaker: &Policy,
    llr: f64,
    spoof: Option<Part>,
) -> Option<FusedFinding> {
    let voice = Policy::new(&bench.config.spoof.decision);
    let fusion = Fusion::new(bench.pack.fusion(), speaker, &voice);
    Some(fusion.decide(llr, spoof?.llr))
}

/// The exit code's side of a verdict: nothing short of acceptance is success.
pub fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accept => Outcome::Success,
        Verdict::Reject | Verdict::Inconclusive => Outcome::Reject,
    }
}

/// In capitals, to be seen at the start of a line.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Reject => "REJECT",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}
