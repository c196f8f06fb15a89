//! How a recording's scores hold in its neighbourhood: for `verify`, `detect` and `models baseline`.

use crate::audio::{SAMPLE_RATE, Signal, WIDE_RATE};
use crate::config::Neighbours;
use crate::pipeline::{Analyser, Heads, Heard as Answer};
use crate::publish::Verdict;
use crate::task::health::neighbours::{Hold, NEIGHBOURS, neighbour};
use crate::task::speaker::cosine;
use crate::task::{Policy, Scores};

use super::Failure;
use super::workbench::Workbench;

/// A score within so many nats of acceptance is near its threshold: odds of 20 to 1.
const NEAR: f64 = 3.0;

/// What the models say of a piece of a recording and of its neighbours.
pub struct Heard {
    itself: Answer,
    others: Vec<Answer>,
}

impl Heard {
    /// By how much the cosine to a person's embedding rises from the piece to each neighbour; none without a speaker head. The
    /// cosine, not the calibrated ratio: in nats honest voices fall the further the surer they are.
    pub fn turns(&self, person: &[f32]) -> Vec<f64> {
        let Some(own) = self.embedding().map(|e| cosine(person, e)) else {
            return Vec::new();
        };
        let others = self.others.iter().filter_map(|o| o.embedding.as_deref());
        others.map(|e| cosine(person, e) - own).collect()
    }

    /// By how many nats each neighbour sounds more genuine than the piece; none where detection is off.
    pub fn moves(&self, bench: &Workbench) -> Vec<f64> {
        let Some(own) = self.llr(bench) else {
            return Vec::new();
        };
        let each = self.others.iter().filter_map(|o| genuine(bench, o));
        each.map(|llr| llr - own).collect()
    }

    /// Log-likelihood ratio of a genuine voice, of the piece.
    pub fn llr(&self, bench: &Workbench) -> Option<f64> {
        genuine(bench, &self.itself)
    }

    /// Speaker embedding of the piece.
    pub fn embedding(&self) -> Option<&[f32]> {
        self.itself.embedding.as_deref()
    }

    /// How the claim holds that this is the person of an embedding; `verdict` of another one.
    pub fn speaker(
        &self,
        bench: &Workbench,
        person: &[f32],
        verdict: impl Fn(&[f32]) -> Verdict,
    ) -> Option<Hold> {
        let own = verdict(self.embedding()?);
        let others = self.others.iter().filter_map(|o| o.embedding.as_deref());
        let all: Vec<_> = self
            .turns(person)
            .into_iter()
            .zip(others.map(verdict))
            .collect();
        let least = bench.pack.health().and_then(|h| h.speaker_neighbours);
        Hold::of(own, &all, least)
    }

    /// How it holds that the voice is genuine.
    pub fn spoof(&self, bench: &Workbench) -> Option<Hold> {
        let policy = Policy::new(&bench.config.spoof.decision);
        let own = self.llr(bench)?;
        let moves = self.moves(bench).into_iter();
        let all: Vec<_> = moves.map(|m| (m, policy.verdict(own + m))).collect();
        let least = bench.pack.health().and_then(|h| h.spoof_neighbours);
        Hold::of(policy.verdict(own), &all, least)
    }
}

/// Whether the neighbours are asked of a recording with this verdict, whose weakest score lies above its threshold by `above`
/// nats: only an acceptance is worth an attack.
pub fn is_asked(bench: &Workbench, demanded: bool, verdict: Verdict, above: f64) -> bool {
    let is_wanted = match bench.config.health.neighbours {
        Neighbours::Never => false,
        Neighbours::Near => above < NEAR,
        Neighbours::Always => true,
    };
    demanded || verdict == Verdict::Accept && is_wanted
}

/// An acceptance that does not hold is none.
pub fn held(verdict: Verdict, holds: &[Option<&Hold>]) -> Verdict {
    match verdict {
        Verdict::Accept if holds.iter().flatten().any(|h| h.falls()) => Verdict::Inconclusive,
        verdict => verdict,
    }
}

/// For people, at the end of a line.
pub fn words(part: &str, hold: &Hold) -> String {
    let how = if hold.falls() { "FALLS" } else { "holds" };
    let keep = 100.0 * hold.keep;
    format!(
        "\n  {part} {how} among its neighbours: {keep:.0} % decide alike, low end {:+.2}",
        hold.low
    )
}

/// Hears the longest utterance of a recording, and its neighbours; none without speech.
pub fn neighbourhood(
    bench: &mut Workbench,
    signal: &Signal,
    windows: &[Scores],
    with_spoof: bool,
) -> Result<Option<Heard>, Failure> {
    let utterances = windows.iter().filter_map(|w| w.utterance.as_ref());
    let longest = utterances.max_by(|a, b| {
        let length = |u: &crate::task::Utterance| u.end_s - u.start_s;
        length(a).total_cmp(&length(b))
    });
    let Some(longest) = longest else {
        return Ok(None);
    };
    let sample = |seconds: f64| (seconds * f64::from(SAMPLE_RATE)).round() as usize;
    let piece = signal.cut(sample(longest.start_s)..sample(longest.end_s));
    let heads = Heads {
        speaker: bench.pack.embedding_dim() > 0,
        spoof: with_spoof,
        sound: false,
    };
    let analyser = bench.analyser();
    let hear = |analyser: &mut Analyser, signal: &Signal| analyser.segment(signal, heads);
    let itself = hear(analyser, &piece)?;
    let mut others = Vec::with_capacity(NEIGHBOURS);
    for which in 0..NEIGHBOURS {
        let near = Signal {
            samples: neighbour(which, &piece.samples, SAMPLE_RATE),
            wide: neighbour(which, &piece.wide, WIDE_RATE),
        };
        others.push(hear(analyser, &near)?);
    }
    Ok(Some(Heard { itself, others }))
}

fn genuine(bench: &Workbench, answer: &Answer) -> Option<f64> {
    let calibration = bench.pack.spoof_calibration().ok()?;
    Some(calibration.llr(f64::from(answer.genuine?)))
}
