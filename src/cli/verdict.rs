//! Words and parts of a verdict, shared by the commands that give one.

use crate::publish::{FusedFinding, Verdict};
use crate::task::recording::Evidence;
use crate::task::{Fusion, Policy};
use serde::Serialize;

use super::Outcome;
use super::workbench::Workbench;

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
