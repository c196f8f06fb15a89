//! What the demo prints: a line a window, a line a change, and a summary against the ground truth.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::audio::SAMPLE_RATE;
use crate::cli::style::{BAD, GOOD, WARN};
use crate::cli::{Failure, Output};
use crate::model::{Pack, Runtime};
use crate::percentile::percentile;
use crate::pipeline::Counters;
use crate::publish::{
    Body, Event, HealthPart, SourceState, SpeakerFinding, SpoofFinding, Verdict, time,
};

use super::listener::Arrival;
use super::scene::{Grade, Heard, Scene, Segment, Voice};

const NEWS: Style = AnsiColor::Cyan.on_default().bold();

/// What the demo cost.
pub struct Cost {
    /// From the first to the last sample.
    pub wall: Duration,
    /// Mean cores kept busy; `None` where the system does not tell.
    pub cores: Option<f64>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
}

/// Collects events and prints them.
pub struct Report<'a> {
    scene: &'a Scene,
    output: &'a Output,
    events: Vec<Event>,
    /// Milliseconds from the end of the window an event speaks of to its arrival at an MQTT client.
    delays_ms: Vec<f64>,
    gaps: usize,
}

impl<'a> Report<'a> {
    /// A report on a scene.
    pub fn new(scene: &'a Scene, output: &'a Output) -> Self {
        Self {
            scene,
            output,
            events: Vec::new(),
            delays_ms: Vec::new(),
            gaps: 0,
        }
    }

    /// What runs, and where to listen in.
    pub fn head(
        &self,
        people: &[String],
        pack: &Pack,
        runtime: &Runtime,
        port: u16,
        speed: f64,
    ) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(());
        }
        let speed = match speed {
            0.0 => "as fast as this machine can".to_owned(),
            speed => format!("{speed} × real time"),
        };
        self.output.line(format_args!(
            "models     {} {}, {}",
            pack.name(),
            pack.version(),
            runtime.path().display()
        ))?;
        self.output
            .line(format_args!("enrolled   {}", people.join(", ")))?;
        self.output.line(format_args!("speed      {speed}"))?;
        self.output.line(format_args!(
            "broker     mosquitto_sub -p {port} -v -t 'earwitness/#'\n"
        ))?;
        self.output.line(format_args!(
            "{:>8} {:>8}  {:<26} {:<26} {:>8}",
            "time", "level", "speaker", "voice", "lag"
        ))
    }

    /// Takes and prints one event.
    pub fn event(&mut self, arrival: Arrival) -> Result<(), Failure> {
        let Arrival { event, at } = arrival;
        if self.output.is_json() {
            self.output.record(&event)?;
        } else {
            self.output.line(line(&event))?;
        }
        match &event.body {
            Body::Gap { .. } => self.gaps += 1,
            Body::Source { .. } => (),
            _ => self.delays_ms.extend(delay_ms(&event, at)),
        }
        self.events.push(event);
        Ok(())
    }

    /// What was right and wrong, and what it cost.
    pub fn summary(&self, counters: &Counters, cost: &Cost) -> Result<(), Failure> {
        let heard: Vec<(&Segment, Heard)> = self
            .scene
            .segments
            .iter()
            .map(|s| (s, Heard::of(s, &self.events)))
            .collect();
        let grades: Vec<Grade> = heard
            .iter()
            .flat_map(|(s, h)| [h.speaker_grade(s), h.voice_grade(s)])
            .collect();
        let [right, undecided, wrong] = [Grade::Right, Grade::Undecided, Grade::Wrong]
            .map(|grade| grades.iter().filter(|g| **g == grade).count());
        let mut delays = self.delays_ms.clone();
        let (median, p99) = (percentile(&mut delays, 0.5), percentile(&mut delays, 0.99));
        let windows = counters.windows.load(Ordering::Relaxed);
        let cpu = cost.cores.map(|cores| 100.0 * cores);
        let resident_mib = cost.resident.map(|bytes| bytes as f64 / f64::from(1 << 20));
        if self.output.is_json() {
            let segments: Vec<_> = heard.iter().map(|(s, h)| record(s, h)).collect();
            return self.output.record(&json!({
                "type": "summary", "segments": segments, "right": right, "undecided": undecided, "wrong": wrong,
                "of": grades.len(),
                "events": self.events.len(), "windows": windows, "gaps": self.gaps,
                "delay_median_ms": median, "delay_p99_ms": p99,
                "cpu_percent": cpu, "resident_mib": resident_mib, "wall_s": cost.wall.as_secs_f64(),
            }));
        }
        self.output.line(format_args!(
            "\n{:>17}  {:<26} {:<26}",
            "segment", "speaker", "voice"
        ))?;
        for (truth, heard) in &heard {
            let speaker = mark(
                heard.speaker_grade(truth),
                truth.speaker.as_deref(),
                heard.speaker.as_deref(),
                heard.speaker_after_s,
            );
            let voice = mark(
                heard.voice_grade(truth),
                truth.voice().map(Voice::word),
                heard.voice.map(Voice::word),
                heard.voice_after_s,
            );
            self.output.line(format_args!(
                "{:>6.1} – {:>5.1} s   {speaker} {voice}",
                truth.start, truth.end
            ))?;
        }
        self.output.line(format_args!(
            "\n{} answers: {right} right, {undecided} undecided, {wrong} wrong; {} gap events, {windows} windows",
            grades.len(),
            self.gaps
        ))?;
        self.output.line(format_args!(
            "from the end of a window to the arrival of its events at an MQTT client: median {:.0} ms, 99 % within {:.0} ms",
            median, p99
        ))?;
        self.output.line(format_args!(
            "{:.1} s of wall time, {} of a core, {} resident",
            cost.wall.as_secs_f64(),
            cpu.map_or("? %".to_owned(), |cpu| format!("{cpu:.0} %")),
            resident_mib.map_or("? MiB".to_owned(), |mib| format!("{mib:.0} MiB"))
        ))
    }
}

fn record(truth: &Segment, heard: &Heard) -> serde_json::Value {
    json!({
        "start": truth.start, "end": truth.end,
        "speaker": heard.speaker, "speaker_grade": heard.speaker_grade(truth), "speaker_after_s": heard.speaker_after_s,
        "voice": heard.voice.map(Voice::word), "voice_grade": heard.voice_grade(truth),
        "voice_after_s": heard.voice_after_s,
    })
}

/// One event for people.
fn line(event: &Event) -> String {
    let news = |text: String| format!("{NEWS}         ● {text}{NEWS:#}");
    match &event.body {
        Body::Window {
            level_dbfs,
            speaker,
            spoof,
            ..
        } => format!(
            "{:>6.1} s {:>5.0} dB  {:<26} {:<26} {:>5.0} ms",
            event.end_s,
            level_dbfs,
            speaker.as_ref().map_or("–".to_owned(), speaker_words),
            spoof.as_ref().map_or("–".to_owned(), voice_words),
            event.lag_ms
        ),
        Body::Speaker {
            speaker,
            speaking,
            since_s,
            verdict,
            llr,
            stranger,
            ..
        } => {
            let who = match (speaking, verdict, speaker) {
                (false, ..) => "nobody speaks".to_owned(),
                (_, Verdict::Accept, Some(name)) => format!("{name} speaks"),
                (_, Verdict::Reject, _) => match stranger {
                    Some(name) => format!("a stranger ({name}) speaks"),
                    None => "a stranger speaks".to_owned(),
                },
                _ => "somebody speaks, not clear who".to_owned(),
            };
            let sure = llr.map_or(String::new(), |llr| format!(", {}", evidence(llr)));
            news(format!("{who} since {since_s:.1} s{sure}"))
        }
        Body::Spoof {
            verdict,
            llr,
            since_s,
            ..
        } => {
            let what = match verdict {
                Verdict::Accept => "the voice is real",
                Verdict::Reject => "the voice is SYNTHETIC",
                Verdict::Inconclusive => "not clear whether the voice is real",
            };
            news(format!("{what} since {since_s:.1} s, {}", evidence(*llr)))
        }
        Body::Sound {
            class, on, since_s, ..
        } => {
            let what = if *on { "is heard" } else { "is over" };
            news(format!("{class} {what} since {since_s:.1} s"))
        }
        Body::Health {
            part,
            ok,
            value,
            since_s,
            ..
        } => {
            let what = match (part, ok) {
                (HealthPart::Microphone, false) => "the microphone stands still".to_owned(),
                (HealthPart::Microphone, true) => "the microphone moves again".to_owned(),
                (HealthPart::Band, false) => format!("the line ends at {value:.0} Hz now"),
                (HealthPart::Band, true) => format!("the line reaches {value:.0} Hz again"),
                (HealthPart::Encoder, false) => "the encoder has collapsed".to_owned(),
                (HealthPart::Encoder, true) => "the encoder is in order again".to_owned(),
            };
            news(format!("{what} since {since_s:.1} s"))
        }
        Body::Gap { samples, .. } => {
            format!(
                "{BAD}         ● lost {:.2} s{BAD:#}",
                *samples as f64 / f64::from(SAMPLE_RATE)
            )
        }
        Body::Source { state, reason } => {
            let state = match state {
                SourceState::Up => "listening",
                SourceState::Down => "the source is down",
                SourceState::Ended => "the source has ended",
                SourceState::Failed => "the source failed",
            };
            news(format!(
                "{state}{}",
                reason.as_ref().map_or(String::new(), |r| format!(": {r}"))
            ))
        }
    }
}

fn speaker_words(finding: &SpeakerFinding) -> String {
    match finding.verdict {
        Verdict::Accept => format!("{} {}", finding.name, evidence(finding.llr)),
        Verdict::Reject => format!("stranger {}", evidence(finding.llr)),
        Verdict::Inconclusive => format!("{}? {}", finding.name, evidence(finding.llr)),
    }
}

fn voice_words(finding: &SpoofFinding) -> String {
    let word = match finding.verdict {
        Verdict::Accept => "real",
        Verdict::Reject => "synthetic",
        Verdict::Inconclusive => "real?",
    };
    format!("{word} {}", evidence(finding.llr))
}

/// A log-likelihood ratio, and the probability that it means when both hypotheses were equally likely before.
fn evidence(llr: f64) -> String {
    format!("{llr:+.1} ({:.0} %)", 100.0 / (1.0 + (-llr).exp()))
}

/// One cell of the summary.
fn mark(grade: Grade, truth: Option<&str>, heard: Option<&str>, after_s: Option<f64>) -> String {
    let truth = truth.unwrap_or("–");
    let (style, sign) = match grade {
        Grade::Right => (GOOD, "✓"),
        Grade::Undecided => (WARN, "?"),
        Grade::Wrong => (BAD, "✗"),
    };
    let detail = match (grade, after_s) {
        (Grade::Right, Some(after)) => format!("after {after:.1} s"),
        (Grade::Right, None) => String::new(),
        (Grade::Undecided, _) => "undecided".to_owned(),
        (Grade::Wrong, _) => format!("heard {}", heard.unwrap_or("–")),
    };
    let cell = format!("{sign} {truth} {detail}");
    format!("{style}{cell:<26}{style:#}")
}

/// From the capture of the last sample of the window to the arrival of the event.
fn delay_ms(event: &Event, at: SystemTime) -> Option<f64> {
    let made = time::parse(&event.time)?;
    let travelled = at.duration_since(made).unwrap_or_default();
    Some(event.lag_ms + travelled.as_secs_f64() * 1e3)
}
