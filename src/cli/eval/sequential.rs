//! `earwitness eval sequential`: when a decision falls if it may fall at any time, beside a test of fixed length that errs as
//! often.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;

use crate::config::Decision;
use crate::model::Wanted;
use crate::percentile::percentile;
use crate::publish::Verdict;
use crate::task::recording::{Evidence, Gathered};
use crate::task::speaker::{Scoring, Voice};
use crate::task::{Policy, Scores};

use super::super::workbench::Workbench;
use super::super::{Analysis, Failure, Outcome, Output};
use super::list::{ListError, Mistake, Names, read};
use super::scorer::Progress;

/// Seconds of speech after which the test of fixed length decides.
const FIXED_S: f64 = 3.0;

/// Arguments of `eval sequential`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The trials, one a line: docs/eval.md tells the columns.
    list: PathBuf,
    /// Folder that the list's paths start from; without it the list's own.
    #[arg(long, value_name = "FOLDER")]
    audio: Option<PathBuf>,
    /// With which probability a stranger may be accepted, above 0 and at most 0.5.
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    far: f64,
    /// With which probability the right person may be rejected, above 0 and at most 0.5.
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    frr: f64,
    /// Seconds of speech after which it has to be decided, 3 to 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 12.0)]
    most: f64,
    #[command(flatten)]
    analysis: Analysis,
}

/// A line of the list: two recordings.
struct Trial {
    enrolment: usize,
    heard: usize,
    target: bool,
}

/// The log-likelihood ratio of a trial as its speech comes in: `(seconds, llr)`, seconds rising, at least one.
#[derive(Debug, Clone)]
struct Run {
    target: bool,
    grows: Vec<(f64, f64)>,
}

/// What a test does on all trials.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Outcomes {
    false_accepts_percent: f64,
    false_rejects_percent: f64,
    median_s: f64,
    ninetieth_s: f64,
    mean_s: f64,
}

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    for (name, rate) in [("--far", args.far), ("--frr", args.frr)] {
        if !(rate > 0.0 && rate <= 0.5) {
            return Err(Failure::usage(anyhow!(
                "{name}: expected a probability above 0 and at most 0.5, found {rate}"
            )));
        }
    }
    if !(FIXED_S..=60.0).contains(&args.most) {
        return Err(Failure::usage(anyhow!(
            "--most: expected {FIXED_S} to 60 seconds, found {}",
            args.most
        )));
    }
    let (trials, paths) = trials(&args.list)?;
    let policy = Policy::sequential(&Decision {
        target_far: Some(args.far),
        target_frr: Some(args.frr),
        ..Decision::default()
    });
    let runs = score(&args, &trials, &paths)?;
    let left_out = trials.len() - runs.len();
    let count = |target| runs.iter().filter(|r| r.target == target).count();
    let (targets, others) = (count(true), count(false));
    if targets == 0 || others == 0 {
        return Err(Failure::runtime(anyhow!(
            "{}: expected trials of both classes with speech, found {targets} targets and {others} others",
            args.list.display()
        )));
    }
    let sequential = outcomes(&runs, |run| sequential(run, &policy, args.most));
    let undecided = runs
        .iter()
        .filter(|run| at_once(run, &policy, args.most).is_none());
    let undecided = 100.0 * undecided.count() as f64 / runs.len() as f64;
    let fixed = fixed(&runs, FIXED_S, sequential.false_accepts_percent);
    let lengths = (2..=args.most as usize).map(|s| s as f64);
    let as_good = lengths
        .map(|s| (s, self::fixed(&runs, s, sequential.false_accepts_percent)))
        .find(|(_, f)| f.false_rejects_percent <= sequential.false_rejects_percent);
    let as_good_s = as_good.map(|(s, _)| s);
    output.result(
        &json!({
            "task": "sequential", "list": args.list, "targets": targets, "others": others, "unscored": left_out,
            "far": args.far, "frr": args.frr, "most_s": args.most,
            "accept_from": policy.accept(), "reject_up_to": policy.reject(),
            "undecided_percent": undecided, "sequential": sequential, "fixed_3s": fixed, "fixed_as_good_s": as_good_s,
        }),
        || {
            let mut lines = vec![
                format!("{targets} targets, {others} others; accepted from {:+.2} nats on, rejected up to {:+.2}", policy.accept(), policy.reject()),
                sequential.told("as soon as it suffices"),
                fixed.told("3 s of speech, as many strangers accepted"),
            ];
            lines.push(match as_good_s {
                Some(s) => format!("a test of fixed length errs no more often from {s:.0} s of speech on"),
                None => format!("no test of fixed length up to {:.0} s of speech errs as seldom", args.most),
            });
            lines.push(format!("{undecided:.1} % were decided by the higher cost at {:.0} s or the recording's end", args.most));
            lines.join("\n")
        },
    )?;
    Ok(Outcome::Success)
}

impl Outcomes {
    fn told(&self, what: &str) -> String {
        format!(
            "{what}: {:.2} % of strangers accepted, {:.2} % of the right people rejected, after {:.1} s of speech at the median (mean {:.1}, 90 % within {:.1})",
            self.false_accepts_percent,
            self.false_rejects_percent,
            self.median_s,
            self.mean_s,
            self.ninetieth_s
        )
    }
}

/// Reads `enrolment recording label [group [speaker_a speaker_b]]`; what follows the label is for other programs.
fn trials(path: &Path) -> Result<(Vec<Trial>, Names), ListError> {
    let (mut trials, mut paths) = (Vec::new(), Names::default());
    read(path, |_, row| {
        let &[enrolment, heard, label, ..] = row else {
            return Err(Mistake::columns("enrolment recording label", row));
        };
        let target = match label {
            "1" | "target" => true,
            "0" | "nontarget" => false,
            other => {
                let labels = "1 or target, 0 or nontarget as the label";
                return Err(Mistake::new(labels, other));
            }
        };
        trials.push(Trial {
            enrolment: paths.number(enrolment),
            heard: paths.number(heard),
            target,
        });
        Ok(())
    })?;
    Ok((trials, paths))
}

/// Each recording once, as the daemon hears it; trials without speech on a side are left out.
fn score(args: &Args, trials: &[Trial], paths: &Names) -> Result<Vec<Run>, Failure> {
    let config = args.analysis.config()?;
    let wanted = Wanted {
        spoof: false,
        ..Wanted::default()
    };
    let mut bench = Workbench::with(config, args.analysis.channel, wanted)?;
    let scoring = Scoring::of(&bench.pack)?;
    let folder = args.audio.as_deref().or(args.list.parent());
    let mut known: HashMap<usize, Vec<Scores>> = HashMap::new();
    let numbers = trials.iter().flat_map(|t| [t.enrolment, t.heard]);
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut progress = Progress::new(numbers.len(), "recordings");
    for number in numbers {
        let path = folder.unwrap_or(Path::new("")).join(paths.name(number));
        known.insert(number, bench.scores(&path)?);
        progress.step();
    }
    let mut enrolled: HashMap<usize, Option<Voice>> = HashMap::new();
    let mut heard: HashMap<usize, Vec<Voice>> = HashMap::new();
    for trial in trials {
        let scores = |number| known.get(&number).map_or(&[][..], Vec::as_slice);
        enrolled.entry(trial.enrolment).or_insert_with(|| {
            let evidence = Evidence::of([scores(trial.enrolment)]);
            Some(scoring.voice(evidence.embedding?, evidence.speech_s))
        });
        heard
            .entry(trial.heard)
            .or_insert_with(|| grow(&scoring, scores(trial.heard)));
    }
    let run = |trial: &Trial| {
        let enrolled = enrolled.get(&trial.enrolment)?.as_ref()?;
        let grows = heard.get(&trial.heard)?.iter();
        let grows: Vec<_> = grows
            .map(|voice| (voice.speech_s, scoring.compare(enrolled, voice).llr))
            .collect();
        (!grows.is_empty()).then_some(Run {
            target: trial.target,
            grows,
        })
    };
    Ok(trials.iter().filter_map(run).collect())
}

/// What is known of a voice after each window.
fn grow(scoring: &Scoring, scores: &[Scores]) -> Vec<Voice> {
    let mut gathered = Gathered::default();
    let utterances = scores.iter().filter_map(|s| s.utterance.as_ref());
    let after = utterances.filter_map(|utterance| {
        gathered.add(utterance);
        let evidence = gathered.evidence();
        Some(scoring.voice(evidence.embedding?, evidence.speech_s))
    });
    after.collect()
}

/// When a bound is crossed, and which.
fn at_once(run: &Run, policy: &Policy, most: f64) -> Option<(f64, bool)> {
    let within = run.grows.iter().take_while(|(s, _)| *s <= most);
    let mut crossings = within.filter_map(|&(s, llr)| match policy.verdict(llr) {
        Verdict::Accept => Some((s, true)),
        Verdict::Reject => Some((s, false)),
        Verdict::Inconclusive => None,
    });
    crossings.next()
}

/// The same; where none is crossed, the cheaper decision in the end.
fn sequential(run: &Run, policy: &Policy, most: f64) -> (f64, bool) {
    at_once(run, policy, most).unwrap_or_else(|| {
        let (s, llr) = at(run, most);
        (s, llr >= policy.threshold())
    })
}

/// The ratio after so many seconds of speech, or as many as there are: of the first window that reaches them.
fn at(run: &Run, seconds: f64) -> (f64, f64) {
    // Windows end on multiples of the hop, speech does not begin there.
    let reached = run.grows.iter().find(|(s, _)| *s >= seconds - 0.05);
    reached.or(run.grows.last()).copied().unwrap_or((0.0, 0.0))
}

/// A test after so many seconds, at the threshold at which it accepts no more strangers than this.
fn fixed(runs: &[Run], seconds: f64, false_accepts_percent: f64) -> Outcomes {
    let strangers = runs.iter().filter(|r| !r.target);
    let mut strangers: Vec<f64> = strangers.map(|r| at(r, seconds).1).collect();
    strangers.sort_by(|a, b| b.total_cmp(a));
    let may = (false_accepts_percent / 100.0 * strangers.len() as f64 + 1e-9).floor() as usize;
    // The highest one that may not pass.
    let bound = strangers.get(may).copied().unwrap_or(f64::NEG_INFINITY);
    outcomes(runs, |run| {
        let (s, llr) = at(run, seconds);
        (s, llr > bound)
    })
}

fn outcomes(runs: &[Run], decide: impl Fn(&Run) -> (f64, bool)) -> Outcomes {
    let mut seconds = Vec::with_capacity(runs.len());
    let (mut accepted, mut strangers, mut rejected, mut targets) = (0, 0, 0, 0);
    for run in runs {
        let (s, accept) = decide(run);
        seconds.push(s);
        match run.target {
            true => (targets, rejected) = (targets + 1, rejected + usize::from(!accept)),
            false => (strangers, accepted) = (strangers + 1, accepted + usize::from(accept)),
        }
    }
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    Outcomes {
        false_accepts_percent: percent(accepted, strangers),
        false_rejects_percent: percent(rejected, targets),
        mean_s: seconds.iter().sum::<f64>() / seconds.len().max(1) as f64,
        median_s: percentile(&mut seconds, 0.5),
        ninetieth_s: percentile(&mut seconds, 0.9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::sequential(&Decision {
            target_far: Some(0.1),
            target_frr: Some(0.1),
            ..Decision::default()
        })
    }

    fn run(target: bool, llrs: &[f64]) -> Run {
        let grows = llrs.iter().enumerate();
        Run {
            target,
            grows: grows.map(|(i, &llr)| (i as f64 + 1.0, llr)).collect(),
        }
    }

    #[test]
    fn the_first_bound_that_is_crossed_decides() {
        // ln 9 = 2.197.
        let early = run(true, &[0.5, 2.3, -9.0, -9.0]);
        assert_eq!(sequential(&early, &policy(), 12.0), (2.0, true));
        assert_eq!(
            sequential(&early, &policy(), 1.5),
            (2.0, true),
            "what there is at most"
        );
        let never = run(true, &[0.5, 1.0, -0.1]);
        assert_eq!(at_once(&never, &policy(), 12.0), None);
        assert_eq!(sequential(&never, &policy(), 12.0), (3.0, false));
    }

    #[test]
    fn a_fixed_test_is_held_to_the_same_false_accepts() {
        let runs = [
            run(true, &[0.0, 0.0, 1.0]),
            run(true, &[0.0, 0.0, 5.0]),
            run(false, &[0.0, 0.0, 2.0]),
            run(false, &[0.0, 0.0, -4.0]),
        ];
        let none = fixed(&runs, 3.0, 0.0);
        assert_eq!(
            (none.false_accepts_percent, none.false_rejects_percent),
            (0.0, 50.0)
        );
        let half = fixed(&runs, 3.0, 50.0);
        assert_eq!(
            (half.false_accepts_percent, half.false_rejects_percent),
            (50.0, 0.0)
        );
        assert_eq!(half.median_s, 3.0);
    }
}
