//! `earwitness detect`: is the voice on a recording real, and where is it not.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};

use crate::audio::Signal;
use crate::model::Wanted;
use crate::publish::Verdict;
use crate::task::Policy;
use crate::task::recording::Evidence;
use crate::task::timeline::Segment;

use super::output::{Cell, style};
use super::workbench::Workbench;
use super::{Analysis, Failure, Outcome, Output, neighbours, verdict};

mod canvas;
mod picture;

/// Seconds of speech that are judged, if only by short windows.
const LEAST_S: f64 = 0.6;

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings: wav, flac, mp3, ogg, m4a.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Also ask how the score holds under small changes, whatever it is.
    #[arg(long)]
    pub check_neighbours: bool,
    /// Write a picture: the spectrogram, the segments, the score under it. Of one recording.
    #[arg(long, value_name = "FILE.png")]
    pub image: Option<PathBuf>,
    #[command(flatten)]
    pub analysis: Analysis,
}

/// Of each recording one verdict, one a window, and a timeline of what is real in it. What cannot be judged is told, and the others are judged all the same.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    if let Some(path) = &args.image {
        let ends = path.extension();
        if !ends.is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            let found = path.display();
            return Err(Failure::usage(anyhow!(
                "--image: expected a name that ends in .png, found {found}"
            )));
        }
        if args.files.len() > 1 {
            let found = args.files.len();
            return Err(Failure::usage(anyhow!(
                "--image: expected one recording, found {found}; it is a picture of one"
            )));
        }
    }
    let config = args.analysis.config()?;
    let wanted = Wanted {
        spoof: config.spoof.enabled,
        parts: config.spoof.enabled,
        short: config.spoof.enabled,
        ..Wanted::default()
    };
    let mut bench = Workbench::with(config, args.analysis.channel, wanted)?;
    if !bench.config.spoof.enabled {
        return Err(Failure::usage(anyhow!(
            "expected spoof.enabled = true, found false; detection is off in this configuration"
        )));
    }
    let (mut outcome, mut failed) = (Outcome::Success, false);
    for (nth, file) in args.files.iter().enumerate() {
        match judge(&mut bench, file, &args, nth, output) {
            Ok(Outcome::Success) => {}
            Ok(worse) => outcome = worse,
            Err(failure @ Failure::Runtime(_)) if args.files.len() > 1 => {
                failure.report();
                failed = true;
            }
            Err(failure) => return Err(failure),
        }
    }
    match failed {
        true => Err(Failure::Reported),
        false => Ok(outcome),
    }
}

/// The `nth` of the recordings, and what to say of it.
fn judge(
    bench: &mut Workbench,
    file: &Path,
    args: &Args,
    nth: usize,
    output: &Output,
) -> Result<Outcome, Failure> {
    let signal = bench.signal(file)?;
    let window = bench.config.window.clone();
    let scores = bench.analyser().recording(&signal, &window)?;
    let policy = Policy::new(&bench.config.spoof.decision);
    let calibration = bench.pack.spoof_calibration()?;
    let windows: Vec<(f64, f64, verdict::Part)> = scores
        .iter()
        .filter_map(|s| s.utterance.as_ref())
        .filter_map(|u| {
            let llr = calibration.llr(f64::from(u.genuine?));
            Some((u.start_s, u.end_s, verdict::Part::new(llr, &policy)))
        })
        .collect();
    let evidence = Evidence::of([scores.as_slice()]);
    let found = Found::of(bench, &signal, &policy)?;
    let whole = verdict::spoof(bench, &evidence).map(|part| (part, evidence.speech_s));
    let (overall, speech_s) = whole.or_else(|| found.mean(&policy)).with_context(|| {
        let there = match found.speech_s() {
            0.0 => "none".to_owned(),
            seconds => format!("{seconds:.2} s"),
        };
        format!(
            "{}: expected at least {LEAST_S} s of speech, found {there}; only voices can be judged",
            file.display()
        )
    })?;
    let above = overall.llr - policy.threshold();
    let hold = match neighbours::is_asked(bench, args.check_neighbours, overall.verdict, above) {
        true => {
            neighbours::neighbourhood(bench, &signal, &scores, true)?.and_then(|h| h.spoof(bench))
        }
        false => None,
    };
    let verdict = neighbours::held(overall.verdict, &[hold.as_ref()]);
    // Where neighbours were asked and doubt it, their words stand there already.
    let is_own = verdict == overall.verdict;
    let remark = is_own.then(|| found.remark(verdict)).flatten();
    let overall = verdict::Part {
        verdict: found.held(verdict),
        ..overall
    };
    if let Some(path) = &args.image {
        found.draw(bench, &signal, (file, overall), path)?;
    }
    let names = bench.pack.spoof_short_parts();
    if output.is_json() {
        let part = |(start, end, part): &(f64, f64, verdict::Part)| json!({ "start_s": start, "end_s": end, "llr": part.llr, "verdict": part.verdict });
        output.record(&json!({
            "file": file.display().to_string(), "verdict": overall.verdict, "llr": overall.llr, "speech_s": speech_s, "neighbours": hold,
            "windows": windows.iter().map(part).collect::<Vec<_>>(),
            "segments": found.segments.iter().map(|s| described(s, names)).collect::<Vec<_>>(),
            "curve": found.curve.iter().map(|(start, end, llr)| json!({ "start_s": start, "end_s": end, "llr": llr })).collect::<Vec<_>>(),
        }))?;
    } else {
        if args.files.len() > 1 {
            let before = if nth > 0 { "\n" } else { "" };
            output.line(format_args!("{before}{}", file.display()))?;
        }
        output.line(format_args!(
            "{}  voice {} ({:.1} s of speech){}{}\n",
            verdict::word(overall.verdict),
            overall.voice(),
            speech_s,
            hold.as_ref()
                .map_or(String::new(), |h| neighbours::words("voice", h)),
            remark.map_or(String::new(), |remark| format!("\n{remark}"))
        ))?;
        let rows: Vec<_> = found.segments.iter().map(|s| row(s, names)).collect();
        output.table(
            &["from", "to", "voice", "synthetic", "llr", "evidence"],
            &rows,
        )?;
    }
    Ok(verdict::outcome(overall.verdict))
}

/// What was found along a recording.
struct Found {
    segments: Vec<Segment>,
    /// Pieces of speech with their log-likelihood ratios.
    curve: Vec<(f64, f64, f64)>,
}

impl Found {
    fn of(bench: &mut Workbench, signal: &Signal, policy: &Policy) -> Result<Self, Failure> {
        let (glances, segments) = bench.timeline(signal, policy)?;
        let calibration = bench.pack.spoof_short()?.calibration;
        let glances = glances.iter();
        let curve = glances.map(|g| (g.start_s, g.end_s, calibration.llr(g.score)));
        Ok(Self {
            segments,
            curve: curve.collect(),
        })
    }

    /// Seconds of all pieces.
    fn speech_s(&self) -> f64 {
        self.curve.iter().map(|(start, end, _)| end - start).sum()
    }

    /// What all pieces come to, and how many seconds they are, for a recording without an utterance that is long enough for a window; `None` with
    /// hardly any speech.
    fn mean(&self, policy: &Policy) -> Option<(verdict::Part, f64)> {
        let speech_s = self.speech_s();
        let said = self
            .curve
            .iter()
            .map(|(start, end, llr)| (end - start) * llr);
        let mean = said.sum::<f64>() / speech_s;
        (speech_s >= LEAST_S).then(|| (verdict::Part::new(mean, policy), speech_s))
    }

    fn all_are(&self, verdict: Verdict) -> bool {
        !self.segments.is_empty() && self.segments.iter().all(|s| s.verdict == verdict)
    }

    fn has(&self, verdict: Verdict) -> bool {
        self.segments.iter().any(|s| s.verdict == verdict)
    }

    /// A recording in which a part is synthetic is not genuine, whatever its mean.
    fn held(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Accept if self.has(Verdict::Reject) => Verdict::Inconclusive,
            verdict => verdict,
        }
    }

    /// Why the answer on the whole recording is another than the table's; `None` where it is not.
    fn remark(&self, whole: Verdict) -> Option<&'static str> {
        match whole {
            Verdict::Accept if self.has(Verdict::Reject) => {
                Some("a part of it is synthetic, though all of it together sounds real")
            }
            Verdict::Inconclusive if self.all_are(Verdict::Accept) => Some(
                "no part stands out as synthetic, but all of it together is not clear enough to be called real",
            ),
            Verdict::Reject if self.all_are(Verdict::Accept) => {
                Some("no part stands out as synthetic, but all of it together sounds so")
            }
            _ => None,
        }
    }

    fn draw(
        &self,
        bench: &Workbench,
        signal: &Signal,
        (file, overall): (&Path, verdict::Part),
        path: &Path,
    ) -> Result<(), Failure> {
        let name = file
            .file_name()
            .unwrap_or(file.as_os_str())
            .to_string_lossy();
        let decision = &bench.config.spoof.decision;
        let threshold = Policy::new(decision).threshold();
        let picture = picture::Picture {
            title: &format!("{name}: voice {}", overall.voice()),
            samples: &signal.samples,
            curve: &self.curve,
            segments: &self.segments,
            unclear: (threshold - decision.margin, threshold + decision.margin),
        };
        let written = picture
            .png()
            .and_then(|bytes| Ok(std::fs::write(path, bytes)?));
        written
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Failure::runtime)
    }
}

fn described(segment: &Segment, names: &[String]) -> Value {
    let parts = names.iter().zip(&segment.parts);
    let evidence: Map<String, Value> = parts
        .map(|(name, llr)| (name.clone(), json!(llr)))
        .collect();
    json!({
        "start_s": segment.start_s, "end_s": segment.end_s, "verdict": segment.verdict, "llr": segment.llr,
        "probability": segment.synthetic(), "evidence": evidence,
    })
}

fn row(segment: &Segment, names: &[String]) -> Vec<Cell> {
    let style = match segment.verdict {
        Verdict::Accept => style::GOOD,
        Verdict::Reject => style::BAD,
        Verdict::Inconclusive => style::WARN,
    };
    vec![
        Cell::new(format_args!("{:8.2} s", segment.start_s)),
        Cell::new(format_args!("{:8.2} s", segment.end_s)),
        Cell::styled(verdict::voice_word(segment.verdict), style),
        Cell::new(format_args!("{:5.0} %", 100.0 * segment.synthetic())),
        Cell::new(format_args!("{:+.1}", segment.llr)),
        Cell::new(spoke(segment, names)),
    ]
}

/// Which evidence spoke for the segment's answer, the strongest first; where the answer is unclear, all that leans to a side.
fn spoke(segment: &Segment, names: &[String]) -> String {
    let mut parts: Vec<(&String, f64)> = names.iter().zip(segment.parts.iter().copied()).collect();
    parts.retain(|(_, llr)| match segment.verdict {
        Verdict::Accept => *llr >= HEARD,
        Verdict::Reject => *llr <= -HEARD,
        Verdict::Inconclusive => llr.abs() >= HEARD,
    });
    parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let words: Vec<String> = parts
        .iter()
        .map(|(name, llr)| format!("{name} {llr:+.1}"))
        .collect();
    words.join(", ")
}

/// What says less than this, nats, did not speak.
const HEARD: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_whole_is_judged_unlike_its_parts_it_says_so() {
        use Verdict::{Accept, Inconclusive, Reject};
        let said = |whole: Verdict, parts: &[Verdict]| {
            let segment = |&verdict: &Verdict| Segment {
                start_s: 0.0,
                end_s: 1.0,
                llr: 0.0,
                verdict,
                parts: Vec::new(),
            };
            let found = Found {
                segments: parts.iter().map(segment).collect(),
                curve: Vec::new(),
            };
            found.remark(whole).unwrap_or_default()
        };
        for (whole, parts) in [
            (Accept, [Accept, Accept]),
            (Reject, [Accept, Reject]),
            (Inconclusive, [Accept, Inconclusive]),
            (Inconclusive, [Accept, Reject]),
        ] {
            assert_eq!(said(whole, &parts), "", "{whole:?} {parts:?}");
        }
        assert_eq!(said(Inconclusive, &[]), "");
        assert!(said(Accept, &[Accept, Reject]).contains("a part of it is synthetic"));
        assert!(said(Inconclusive, &[Accept]).contains("not clear enough"));
        assert!(said(Reject, &[Accept]).contains("sounds so"));
    }
}
