//! Enrolling and forgetting over MQTT: who asked for what, and what they are told. Nothing is heard or stored here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::command::Payload;
use crate::config::Verb;
use crate::publish::enrolment::{News, People, Phase, Progress, Request, SECONDS, WITHIN_S, Word};
use crate::store::{Enrolment, MAX_TEXT, Receipt};
use crate::task::enrol::ENOUGH_S;

/// Seconds that an enrolment may take where nobody says otherwise.
const DEFAULT_WITHIN_S: u64 = 120;
/// Days for which a sitting may be kept, as on the command line.
const KEEP_DAYS: RangeInclusive<u32> = 1..=36_500;
/// People that may wait to be forgotten.
const FORGETTING: usize = 16;

/// Why an enrolment that was cancelled came to nothing.
const CANCELLED: &str = "cancelled";

/// What `enrol`, `cancel` and `forget` ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Keep a name for the enrolment that follows; none: drop it.
    Name(Option<String>),
    /// Enrol; without a name the one that was kept.
    Enrol(Option<String>, Request),
    /// End the enrolment that is under way.
    Cancel,
    /// Forget.
    Forget(String),
}

/// Reads what belongs to these verbs.
pub fn wish(verb: Verb, payload: Payload) -> Result<Option<Wish>, String> {
    let Payload {
        name,
        start,
        seconds,
        within_s,
        label,
        consent,
        keep_days,
        replace,
        ..
    } = payload;
    let is_any = start.is_some()
        || seconds.is_some()
        || within_s.is_some()
        || label.is_some()
        || consent.is_some()
        || keep_days.is_some()
        || replace.is_some();
    if is_any && verb != Verb::Enrol {
        return Err("`start`, `seconds`, `within_s`, `label`, `consent`, `keep_days` and `replace` belong to the verb enrol".into());
    }
    if name.is_some() && !matches!(verb, Verb::Enrol | Verb::Forget) {
        return Err("`name` belongs to the verbs enrol and forget".into());
    }
    let name = name.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        Enrolment::check_name(name).map_err(|e| e.to_string())?;
    }
    match verb {
        Verb::Forget => match name {
            Some(name) => Ok(Some(Wish::Forget(name))),
            None => Err("expected `name`: whom to forget".into()),
        },
        Verb::Cancel => Ok(Some(Wish::Cancel)),
        Verb::Enrol if start == Some(false) => Ok(Some(Wish::Name(name))),
        Verb::Enrol => {
            let seconds = seconds.unwrap_or(ENOUGH_S);
            let within_s = within_s.unwrap_or(DEFAULT_WITHIN_S.max(3 * seconds as u64));
            if !SECONDS.contains(&seconds) {
                let (least, most) = SECONDS.into_inner();
                return Err(format!(
                    "seconds: expected {least} to {most}, found {seconds}"
                ));
            }
            if !WITHIN_S.contains(&within_s) || (within_s as f64) < seconds {
                let (least, most) = WITHIN_S.into_inner();
                return Err(format!(
                    "within_s: expected {least} to {most} and no less than `seconds`, found {within_s}"
                ));
            }
            for (key, text) in [("label", &label), ("consent", &consent)] {
                // Better told now than after a minute of speech.
                let bytes = text.as_ref().map_or(0, String::len);
                if bytes > MAX_TEXT {
                    return Err(format!(
                        "{key}: expected at most {MAX_TEXT} bytes, found {bytes}"
                    ));
                }
            }
            if let Some(days) = keep_days.filter(|days| !KEEP_DAYS.contains(days)) {
                let (least, most) = KEEP_DAYS.into_inner();
                return Err(format!(
                    "keep_days: expected {least} to {most}, found {days}"
                ));
            }
            let request = Request {
                name: String::new(),
                seconds,
                within: Duration::from_secs(within_s),
                label,
                consent,
                keep_days,
                replace: replace.unwrap_or(false),
            };
            Ok(Some(Wish::Enrol(name, request)))
        }
        _ => Ok(None),
    }
}

/// Whom to answer, and what they asked.
#[derive(Debug, Clone)]
pub struct Route {
    pub reply_to: String,
    pub correlation: Option<Vec<u8>>,
    pub id: Option<String>,
    pub verb: Verb,
}

/// What was told to somebody who asked.
pub struct Told {
    pub route: Route,
    /// The stream whose enrolment it is about, and how that goes.
    pub progress: Option<(String, Progress)>,
    pub receipt: Option<Receipt>,
    pub refused: Option<String>,
    /// Whether more follows.
    pub goes_on: bool,
}

impl Told {
    /// That it is not even begun.
    pub fn refused(route: Route, why: String) -> Self {
        Self {
            route,
            progress: None,
            receipt: None,
            refused: Some(why),
            goes_on: false,
        }
    }
}

/// What is under way.
pub struct Desk {
    people: Arc<dyn People>,
    news: mpsc::Receiver<News>,
    /// By ticket: whom to answer, and the stream of an enrolment.
    routes: BTreeMap<u64, (Route, Option<String>)>,
    progress: BTreeMap<String, Progress>,
    ticket: u64,
}

impl Desk {
    pub fn new(people: Arc<dyn People>, news: mpsc::Receiver<News>) -> Self {
        Self {
            people,
            news,
            routes: BTreeMap::new(),
            progress: BTreeMap::new(),
            ticket: 0,
        }
    }

    /// The next word; waits for ever where none can come.
    pub async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// How the enrolment of a stream goes.
    pub fn progress(&self, stream: &str) -> Progress {
        self.progress.get(stream).cloned().unwrap_or_default()
    }

    /// Begins what was asked for; `stream` is its name and index. Whose enrolment is ended by it is told first.
    pub fn ask(&mut self, route: Route, stream: (&str, usize), wish: Wish) -> Vec<Told> {
        let (stream, index) = stream;
        let begun = match wish {
            Wish::Name(name) => self.keep_name(stream, name).map(|()| false),
            Wish::Enrol(name, request) => self.enrol(&route, stream, index, name, request),
            Wish::Cancel => return self.cancel(route, stream, index),
            Wish::Forget(name) => self.forget(&route, name),
        };
        let is_enrol = route.verb == Verb::Enrol;
        let mut progress = is_enrol.then(|| self.progress(stream));
        if let (Err(reason), Some(now)) = (&begun, &mut progress) {
            if now.phase == Phase::Listening {
                // It is somebody else's.
                progress = None;
            } else {
                // Who pressed a button reads no answer.
                now.phase = Phase::Refused;
                now.reason = Some(reason.clone());
                self.progress.insert(stream.to_owned(), now.clone());
            }
        }
        vec![Told {
            route,
            progress: progress.map(|progress| (stream.to_owned(), progress)),
            receipt: None,
            goes_on: begun == Ok(true),
            refused: begun.err(),
        }]
    }

    fn keep_name(&mut self, stream: &str, name: Option<String>) -> Result<(), String> {
        let progress = self.progress.entry(stream.to_owned()).or_default();
        if progress.phase == Phase::Listening {
            return Err("an enrolment is under way on this stream: wait for its end".into());
        }
        *progress = Progress {
            name,
            ..Progress::default()
        };
        Ok(())
    }

    fn enrol(
        &mut self,
        route: &Route,
        stream: &str,
        index: usize,
        name: Option<String>,
        mut request: Request,
    ) -> Result<bool, String> {
        // Of an enrolment that is done it is not taken again: whoever asks next may be somebody else.
        let known = Some(self.progress(stream)).filter(|p| p.phase != Phase::Enrolled);
        let known = known.and_then(|p| p.name);
        request.name = name.or(known).ok_or("expected `name`: whom to enrol")?;
        request
            .label
            .get_or_insert_with(|| format!("stream {stream}"));
        let progress = Progress {
            phase: Phase::Listening,
            name: Some(request.name.clone()),
            wanted_s: request.seconds,
            ..Progress::default()
        };
        self.ticket += 1;
        self.people.enrol(self.ticket, index, request)?;
        self.progress.insert(stream.to_owned(), progress);
        let route = (route.clone(), Some(stream.to_owned()));
        self.routes.insert(self.ticket, route);
        Ok(true)
    }

    fn cancel(&mut self, route: Route, stream: &str, index: usize) -> Vec<Told> {
        let before = self.progress(stream);
        if before.phase != Phase::Listening {
            let why = "no enrolment is under way on this stream";
            return vec![Told::refused(route, why.into())];
        }
        if self.people.cancel(index).is_err() {
            // Its end is on its way.
            let why = "too late: enough was heard, and it is being judged";
            return vec![Told::refused(route, why.into())];
        }
        // The name stays, as after a refusal.
        let progress = Progress {
            name: before.name,
            ..Progress::default()
        };
        self.progress.insert(stream.to_owned(), progress.clone());
        let told = |route, refused| Told {
            route,
            progress: Some((stream.to_owned(), progress.clone())),
            receipt: None,
            refused,
            goes_on: false,
        };
        let of_stream = |(_, (_, of)): &(&u64, &(Route, Option<String>))| {
            of.as_deref().is_some_and(|of| of == stream)
        };
        let ticket = self
            .routes
            .iter()
            .rfind(of_stream)
            .map(|(ticket, _)| *ticket);
        let asked = ticket.and_then(|ticket| self.routes.remove(&ticket));
        let ended = asked.map(|(route, _)| told(route, Some(CANCELLED.into())));
        ended.into_iter().chain([told(route, None)]).collect()
    }

    fn forget(&mut self, route: &Route, name: String) -> Result<bool, String> {
        let waiting = self.routes.values().filter(|(_, stream)| stream.is_none());
        if waiting.count() >= FORGETTING {
            return Err(format!(
                "{FORGETTING} people wait to be forgotten: try again"
            ));
        }
        self.ticket += 1;
        self.people.forget(self.ticket, name)?;
        self.routes.insert(self.ticket, (route.clone(), None));
        Ok(true)
    }

    /// Takes a word in; `None`: nobody asked.
    pub fn take(&mut self, news: News) -> Option<Told> {
        let News { ticket, word } = news;
        let (route, stream) = match word {
            Word::Heard(_) => self.routes.get(&ticket)?.clone(),
            _ => self.routes.remove(&ticket)?,
        };
        let mut told = Told {
            route,
            progress: None,
            receipt: None,
            refused: None,
            goes_on: matches!(word, Word::Heard(_)),
        };
        let mut progress = stream.as_ref().map(|stream| self.progress(stream));
        if let Some(progress) = &mut progress {
            match &word {
                Word::Heard(speech_s) => progress.speech_s = *speech_s,
                Word::Enrolled {
                    speech_s,
                    total_speech_s,
                    sittings,
                } => {
                    progress.phase = Phase::Enrolled;
                    progress.speech_s = *speech_s;
                    progress.total_speech_s = Some(*total_speech_s);
                    progress.sittings = Some(*sittings);
                }
                Word::Refused(reason) => {
                    progress.phase = Phase::Refused;
                    progress.reason = Some(reason.clone());
                }
                Word::Forgotten(_) => {}
            }
        }
        match word {
            Word::Forgotten(receipt) => told.receipt = Some(*receipt),
            Word::Refused(reason) => told.refused = Some(reason),
            Word::Heard(_) | Word::Enrolled { .. } => {}
        }
        if let (Some(stream), Some(progress)) = (stream, progress) {
            self.progress.insert(stream.clone(), progress.clone());
            told.progress = Some((stream, progress));
        }
        Some(told)
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
