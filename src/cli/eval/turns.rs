//! `earwitness eval turns`: who speaks when, of enrolled people and strangers who take turns on one stream.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::json;

use crate::model::Wanted;
use crate::percentile::percentile;
use crate::publish::Body;
use crate::task::recording::Evidence;
use crate::task::speaker::{Candidate, Matcher, Scoring};
use crate::task::{Fusion, Judge, Policy, StreamDecider};

use super::super::workbench::Workbench;
use super::super::{Analysis, Failure, Outcome, Output};
use super::list::{ListError, Mistake, number, read};
use super::scorer::Progress;

/// Steps in which time is counted, seconds.
const STEP_S: f64 = 0.05;

/// Arguments of `eval turns`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sessions: docs/eval.md tells the columns.
    list: PathBuf,
    /// Folder that the list's paths start from; without it the list's own.
    #[arg(long, value_name = "FOLDER")]
    audio: Option<PathBuf>,
    #[command(flatten)]
    analysis: Analysis,
}

/// One recording, who is enrolled for it, and who speaks when.
#[derive(Debug, Clone, Default)]
struct Session {
    enrolled: Vec<(String, String)>,
    turns: Vec<Span>,
}

/// So long somebody speaks.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    start_s: f64,
    end_s: f64,
    who: String,
}

/// What the daemon said: from when on, told when, who.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    since_s: f64,
    told_s: f64,
    who: Option<Name>,
}

/// A name that the daemon gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Enrolled(String),
    Stranger(String),
}

/// Seconds of speech, and what they were called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Counts {
    speech_s: f64,
    /// Enrolled people called by somebody else's name or taken for strangers.
    enrolled_wrong_s: f64,
    /// Strangers called by an enrolled name.
    strangers_accepted_s: f64,
    /// Strangers called by the name of another stranger.
    strangers_mixed_s: f64,
    /// Called nobody, or not clear who.
    unclear_s: f64,
}

/// Measures a list.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let sessions = sessions(&args.list)?;
    let config = args.analysis.config()?;
    let wanted = Wanted {
        spoof: false,
        ..Wanted::default()
    };
    let mut bench = Workbench::with(config, args.analysis.channel, wanted)?.following_turns();
    let scoring = Scoring::of(&bench.pack)?;
    let folder = args.audio.as_deref().or(args.list.parent());
    let folder = folder.unwrap_or(Path::new("")).to_owned();
    let (mut afterwards, mut live) = (Counts::default(), Counts::default());
    let (mut delays, mut changes, mut strangers) = (Vec::new(), 0, (0, 0));
    let mut progress = Progress::new(sessions.len(), "sessions");
    for (path, session) in &sessions {
        let told = hear(&mut bench, &scoring, &folder, path, session)?;
        afterwards.add(&count(session, &told, false));
        live.add(&count(session, &told, true));
        let found = delays_of(session, &told);
        changes += session.turns.len();
        delays.extend(found);
        strangers.0 += session.strangers();
        strangers.1 += names(&told);
        progress.step();
    }
    let found = delays.len();
    let median_s = percentile(&mut delays, 0.5);
    output.result(
        &json!({
            "task": "turns", "list": args.list, "sessions": sessions.len(), "turns": changes, "turns_named_right": found,
            "median_s_to_the_right_name": Some(median_s).filter(|s| s.is_finite()),
            "strangers": strangers.0, "strangers_named": strangers.1,
            "afterwards": afterwards.report(), "live": live.report(),
        }),
        || {
            [
                format!("{} sessions, {changes} turns, {:.0} s of speech", sessions.len(), afterwards.speech_s),
                afterwards.told("by the times that events speak of"),
                live.told("by the times at which they were told"),
                format!("{found} turns got the right name before they ended, {median_s:.1} s after their beginning at the median"),
                format!("{} strangers spoke, {} names were given to strangers", strangers.0, strangers.1),
            ]
            .join("\n")
        },
    )?;
    Ok(Outcome::Success)
}

/// Reads `session enrol name recording` and `session start end name`, in order of the sessions' first lines.
fn sessions(path: &Path) -> Result<BTreeMap<String, Session>, ListError> {
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    read(path, |_, row| {
        let &[session, start, third, fourth] = row else {
            let expected = "session enrol name recording, or session start end name";
            return Err(Mistake::columns(expected, row));
        };
        let entry = sessions.entry(session.to_owned()).or_default();
        if start == "enrol" {
            entry.enrolled.push((third.to_owned(), fourth.to_owned()));
            return Ok(());
        }
        let span = Span {
            start_s: number(start, "`enrol`, or the second at which somebody begins")?,
            end_s: number(third, "the second at which somebody ends")?,
            who: fourth.to_owned(),
        };
        if !(span.start_s >= 0.0 && span.end_s > span.start_s && span.end_s.is_finite()) {
            return Err(Mistake::new("a start of 0 or more, and a later end", third));
        }
        entry.turns.push(span);
        Ok(())
    })?;
    Ok(sessions)
}

/// The session through the daemon's windows and decisions.
fn hear(
    bench: &mut Workbench,
    scoring: &Scoring,
    folder: &Path,
    path: &str,
    session: &Session,
) -> Result<Vec<Told>, Failure> {
    let mut people = Vec::new();
    for (name, recording) in &session.enrolled {
        let scores = bench.scores(&folder.join(recording))?;
        let evidence = Evidence::of([scores.as_slice()]);
        let embedding = evidence.embedding.with_context(|| {
            anyhow!("{recording}: expected speech of {name} to enrol, found too little")
        })?;
        people.push(Candidate {
            name: name.clone(),
            embedding,
            speech_s: evidence.speech_s,
        });
    }
    let speaker = Policy::sequential(&bench.config.speaker.decision);
    let spoof = Policy::new(&bench.config.spoof.decision);
    let judge = Judge {
        matcher: Matcher::new(people, scoring.clone()),
        speaker,
        fusion: Fusion::new(bench.pack.fusion(), &speaker, &spoof),
        spoof_calibration: Default::default(),
        spoof_parts: Vec::new(),
        spoof,
        sound: None,
        probes: Vec::new(),
        health: None,
    };
    let mut decider = StreamDecider::new(Arc::new(judge), false);
    let mut told = Vec::new();
    for scores in bench.scores(&folder.join(path))? {
        for body in decider.window(&scores) {
            let Body::Speaker {
                speaker,
                stranger,
                since_s,
                ..
            } = body
            else {
                continue;
            };
            let who = speaker.map(Name::Enrolled).or(stranger.map(Name::Stranger));
            told.push(Told {
                since_s,
                told_s: scores.end_s,
                who,
            });
        }
    }
    Ok(told)
}

impl Session {
    fn is_enrolled(&self, who: &str) -> bool {
        self.enrolled.iter().any(|(name, _)| name == who)
    }

    fn strangers(&self) -> usize {
        let turns = self.turns.iter().filter(|t| !self.is_enrolled(&t.who));
        let mut names: Vec<&str> = turns.map(|t| t.who.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }
}

/// Who is said to speak at a time: by what was told until then, or by what was told of it later on.
fn said(told: &[Told], at_s: f64, live: bool) -> Option<&Name> {
    let from = |t: &&Told| if live { t.told_s } else { t.since_s } <= at_s;
    told.iter().rev().find(from)?.who.as_ref()
}

/// Middles of the steps in a span.
fn steps(span: &Span) -> impl Iterator<Item = f64> {
    let count = ((span.end_s - span.start_s) / STEP_S).round() as usize;
    let start_s = span.start_s;
    (0..count).map(move |i| start_s + (i as f64 + 0.5) * STEP_S)
}

/// Which stranger of the truth each local name stands for: one each, the pairs that share most time first.
fn strangers<'a>(session: &'a Session, told: &'a [Told], live: bool) -> HashMap<&'a Name, &'a str> {
    let mut shared: HashMap<(&Name, &str), usize> = HashMap::new();
    for turn in session
        .turns
        .iter()
        .filter(|t| !session.is_enrolled(&t.who))
    {
        for at_s in steps(turn) {
            if let Some(name @ Name::Stranger(_)) = said(told, at_s, live) {
                *shared.entry((name, turn.who.as_str())).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<_> = shared.into_iter().collect();
    pairs.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut mapped: HashMap<&Name, &str> = HashMap::new();
    for ((name, who), _) in pairs {
        if !mapped.contains_key(name) && !mapped.values().any(|w| *w == who) {
            mapped.insert(name, who);
        }
    }
    mapped
}

fn count(session: &Session, told: &[Told], live: bool) -> Counts {
    let mapped = strangers(session, told, live);
    let mut counts = Counts::default();
    for turn in &session.turns {
        let enrolled = session.is_enrolled(&turn.who);
        for at_s in steps(turn) {
            counts.speech_s += STEP_S;
            let wrong = match (said(told, at_s, live), enrolled) {
                (None, _) => &mut counts.unclear_s,
                (Some(Name::Enrolled(name)), true) if *name == turn.who => continue,
                (Some(_), true) => &mut counts.enrolled_wrong_s,
                (Some(Name::Enrolled(_)), false) => &mut counts.strangers_accepted_s,
                (Some(name), false) if mapped.get(name) == Some(&turn.who.as_str()) => continue,
                (Some(_), false) => &mut counts.strangers_mixed_s,
            };
            *wrong += STEP_S;
        }
    }
    counts
}

/// Seconds from the beginning of each turn until the right name was told, of those that got it in time.
fn delays_of(session: &Session, told: &[Told]) -> Vec<f64> {
    let mapped = strangers(session, told, true);
    let right = |turn: &Span, name: &Name| match name {
        Name::Enrolled(name) => *name == turn.who,
        name => mapped.get(name) == Some(&turn.who.as_str()),
    };
    let delay = |turn: &Span| {
        let at = steps(turn).find(|at| said(told, *at, true).is_some_and(|n| right(turn, n)))?;
        Some(at - turn.start_s)
    };
    session.turns.iter().filter_map(delay).collect()
}

fn names(told: &[Told]) -> usize {
    let strangers = told.iter().filter_map(|t| t.who.as_ref());
    let mut names: Vec<&Name> = strangers
        .filter(|n| matches!(n, Name::Stranger(_)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.speech_s += other.speech_s;
        self.enrolled_wrong_s += other.enrolled_wrong_s;
        self.strangers_accepted_s += other.strangers_accepted_s;
        self.strangers_mixed_s += other.strangers_mixed_s;
        self.unclear_s += other.unclear_s;
    }

    fn percents(&self) -> [f64; 5] {
        let wrong = [
            self.enrolled_wrong_s,
            self.strangers_accepted_s,
            self.strangers_mixed_s,
            self.unclear_s,
        ];
        let of = |seconds: f64| 100.0 * seconds / self.speech_s.max(STEP_S);
        let [a, b, c, d] = wrong.map(of);
        [a + b + c + d, a, b, c, d]
    }

    fn report(&self) -> serde_json::Value {
        let [all, enrolled, accepted, mixed, unclear] = self.percents();
        json!({
            "speech_s": self.speech_s, "wrong_percent": all, "enrolled_wrong_percent": enrolled,
            "strangers_accepted_percent": accepted, "strangers_mixed_percent": mixed, "unclear_percent": unclear,
        })
    }

    fn told(&self, how: &str) -> String {
        let [all, enrolled, accepted, mixed, unclear] = self.percents();
        format!(
            "{how}: {all:.1} % of the speech has the wrong name (enrolled people by another {enrolled:.1}, strangers by an enrolled one {accepted:.1}, \
             strangers mixed up {mixed:.1}, nobody's or not clear whose {unclear:.1})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(since_s: f64, told_s: f64, who: Option<Name>) -> Told {
        Told {
            since_s,
            told_s,
            who,
        }
    }

    fn stranger(n: usize) -> Option<Name> {
        Some(Name::Stranger(format!("unknown-{n}")))
    }

    fn session() -> Session {
        let turn = |start_s, end_s, who: &str| Span {
            start_s,
            end_s,
            who: who.into(),
        };
        Session {
            enrolled: vec![("ann".into(), "ann.wav".into())],
            turns: vec![
                turn(0.0, 4.0, "ann"),
                turn(4.0, 8.0, "eve"),
                turn(8.0, 10.0, "mallory"),
            ],
        }
    }

    #[test]
    fn a_name_counts_from_when_it_holds_or_from_when_it_is_told() {
        let heard = [
            told(0.0, 2.0, Some(Name::Enrolled("ann".into()))),
            told(4.0, 6.0, stranger(1)),
            told(8.0, 9.0, stranger(2)),
        ];
        let afterwards = count(&session(), &heard, false);
        assert!((afterwards.speech_s - 10.0).abs() < 1e-9);
        assert!(afterwards.percents()[0] < 1e-9);
        let live = count(&session(), &heard, true);
        assert!((live.unclear_s - 2.0).abs() < 1e-9);
        assert!((live.strangers_accepted_s - 2.0).abs() < 1e-9);
        assert!((live.strangers_mixed_s - 1.0).abs() < 1e-9);
        let delays = delays_of(&session(), &heard);
        assert!((delays[0] - 2.0).abs() < 0.1 && (delays[2] - 1.0).abs() < 0.1);
    }

    #[test]
    fn two_strangers_under_one_name_are_mixed_up() {
        let heard = [told(0.0, 0.0, stranger(1))];
        let counts = count(&session(), &heard, false);
        assert!((counts.enrolled_wrong_s - 4.0).abs() < 1e-9);
        assert!((counts.strangers_mixed_s - 2.0).abs() < 1e-9, "{counts:?}");
        assert_eq!(names(&heard), 1);
    }
}
