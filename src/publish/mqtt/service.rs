//! What becomes of a command: it is carried out or refused, and answered, and what changed by it is told to everybody. No
//! socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use super::command::{Answer, Asked, Command, Gate};
use super::household::Retained;
use super::options::MqttError;
use super::people::{Desk, Route, Told, Wish};
use super::topic::Topics;
use super::wire::Incoming;
use crate::config::Verb;
use crate::publish::control::{Controls, Settings, StreamSettings};
use crate::publish::enrolment::{News, People, Progress, StreamEnrolment};
use crate::publish::event::{SCHEMA, SourceState};
use crate::publish::state::StreamState;
use crate::publish::throttle::Throttle;

/// An answer to be sent.
pub struct Reply {
    pub topic: String,
    pub correlation: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    /// What changed with it: settings, or how an enrolment goes.
    pub retained: Option<Retained>,
    pub outcome: Outcome,
}

/// What became of a command: it is counted once, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused,
    GoesOn,
}

/// Who carries commands out.
pub struct Service {
    node: String,
    streams: Vec<String>,
    controls: Arc<Controls>,
    gate: Gate,
    /// Where people may be enrolled or forgotten.
    people: Option<Desk>,
    refused: Throttle,
}

impl Service {
    pub fn new(node: &str, streams: Vec<String>, controls: Arc<Controls>, gate: Gate) -> Self {
        Self {
            node: node.to_owned(),
            streams,
            controls,
            gate,
            people: None,
            refused: Throttle::new(Duration::from_secs(10)),
        }
    }

    /// From now on people can be enrolled and forgotten.
    pub fn take_people(&mut self, people: Arc<dyn People>, news: mpsc::Receiver<News>) {
        self.people = Some(Desk::new(people, news));
    }

    /// The next word on somebody who is enrolled or forgotten; waits for ever where none can come.
    pub async fn news(&mut self) -> News {
        match &mut self.people {
            Some(people) => people.next().await,
            None => std::future::pending().await,
        }
    }

    /// Whether anybody may do anything.
    pub fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// How everything is set at first.
    pub fn first(&self, topics: &Topics) -> Result<Vec<Retained>, MqttError> {
        let enrols = self.gate.allows(Verb::Enrol);
        let mut all = Vec::new();
        for stream in &self.streams {
            if let Some(settings) = self.controls.settings(stream) {
                all.push(self.settings(topics, stream, &settings)?);
            }
            if let Some(people) = self.people.as_ref().filter(|_| enrols) {
                all.push(self.enrolment(topics, stream, people.progress(stream))?);
            }
        }
        Ok(all)
    }

    /// A message on a topic that was subscribed to, and whom to answer.
    pub fn hear(
        &mut self,
        message: &Incoming,
        topics: &Topics,
        states: &BTreeMap<String, StreamState>,
        now: Instant,
    ) -> Vec<Reply> {
        match self.gate.read(topics, message, now) {
            Some(asked) => self.reply(asked, topics, states),
            None => Vec::new(),
        }
    }

    fn reply(
        &mut self,
        asked: Asked,
        topics: &Topics,
        states: &BTreeMap<String, StreamState>,
    ) -> Vec<Reply> {
        if let Ok(Command {
            stream,
            wish: Some(wish),
            ..
        }) = &asked.command
        {
            let (stream, wish) = (stream.clone(), wish.clone());
            return self.wish(asked, &stream, wish, states, topics);
        }
        let done = asked
            .command
            .and_then(|command| self.carry_out(&command, states).map(|done| (command, done)));
        let (mut retained, mut state, mut settings, mut reason) = (None, None, None, None);
        match done {
            Ok((command, (now, stands))) => {
                tracing::info!(
                    verb = command.verb.name(),
                    stream = command.stream,
                    "command carried out"
                );
                retained = self.settings(topics, &command.stream, &now).ok();
                (settings, state) = (Some(now), stands);
            }
            Err(why) => {
                self.log_refusal(asked.verb, &why);
                reason = Some(why);
            }
        }
        let answer = Answer {
            schema: SCHEMA,
            verb: asked.verb,
            id: asked.id,
            ok: reason.is_none(),
            reason,
            settings,
            state,
            enrolment: None,
            receipt: None,
        };
        vec![Reply {
            topic: asked.reply_to,
            correlation: asked.correlation,
            payload: serde_json::to_vec(&answer).unwrap_or_default(),
            retained,
            outcome: match answer.ok {
                true => Outcome::Done,
                false => Outcome::Refused,
            },
        }]
    }

    fn log_refusal(&mut self, verb: Option<Verb>, why: &str) {
        if let Some(count) = self.refused.hit(Instant::now()) {
            let verb = verb.map_or("?", Verb::name);
            tracing::warn!(verb, count, "command refused: {why}");
        }
    }

    /// Begins to enrol or to forget somebody, or ends it.
    fn wish(
        &mut self,
        asked: Asked,
        stream: &str,
        wish: Wish,
        states: &BTreeMap<String, StreamState>,
        topics: &Topics,
    ) -> Vec<Reply> {
        let verb = match wish {
            Wish::Forget(_) => Verb::Forget,
            Wish::Cancel => Verb::Cancel,
            Wish::Name(_) | Wish::Enrol(..) => Verb::Enrol,
        };
        let route = Route {
            reply_to: asked.reply_to,
            correlation: asked.correlation,
            id: asked.id,
            verb,
        };
        let at = match &wish {
            // Everywhere.
            Wish::Forget(_) => Ok(0),
            Wish::Name(_) | Wish::Cancel => self.index_of(stream),
            Wish::Enrol(..) => self.heard_index_of(stream, states),
        };
        let told = match (&mut self.people, at) {
            (Some(people), Ok(at)) => people.ask(route, (stream, at), wish),
            (Some(_), Err(why)) => vec![Told::refused(route, why)],
            (None, _) => vec![Told::refused(
                route,
                "people cannot be enrolled here".into(),
            )],
        };
        told.into_iter()
            .map(|told| self.tell(told, topics))
            .collect()
    }

    /// Word on somebody who is enrolled or forgotten, for whoever asked for it.
    pub fn report(&mut self, news: News, topics: &Topics) -> Option<Reply> {
        let told = self.people.as_mut()?.take(news)?;
        Some(self.tell(told, topics))
    }

    fn tell(&mut self, told: Told, topics: &Topics) -> Reply {
        let Told {
            route,
            progress,
            receipt,
            refused,
            goes_on,
        } = told;
        if let Some(why) = &refused {
            self.log_refusal(Some(route.verb), why);
        }
        let outcome = match (&refused, goes_on) {
            (Some(_), _) => Outcome::Refused,
            (None, true) => Outcome::GoesOn,
            (None, false) => Outcome::Done,
        };
        let retained = progress
            .clone()
            .and_then(|(stream, progress)| self.enrolment(topics, &stream, progress).ok());
        let answer = Answer {
            schema: SCHEMA,
            verb: Some(route.verb),
            id: route.id,
            ok: refused.is_none(),
            reason: refused,
            settings: None,
            state: None,
            enrolment: progress.map(|(_, progress)| progress),
            receipt: receipt.and_then(|receipt| serde_json::to_value(receipt).ok()),
        };
        Reply {
            topic: route.reply_to,
            correlation: route.correlation,
            payload: serde_json::to_vec(&answer).unwrap_or_default(),
            retained,
            outcome,
        }
    }

    /// Where a stream stands among all, or that there is none of this name.
    fn index_of(&self, stream: &str) -> Result<usize, String> {
        let at = self.streams.iter().position(|known| known == stream);
        at.ok_or_else(|| {
            format!(
                "no stream `{stream}`, expected one of {}",
                self.streams.join(", ")
            )
        })
    }

    /// The same of one whose source is up.
    fn heard_index_of(
        &self,
        stream: &str,
        states: &BTreeMap<String, StreamState>,
    ) -> Result<usize, String> {
        let at = self.index_of(stream)?;
        let state = states.get(stream);
        match state.is_some_and(|s| s.source == Some(SourceState::Up)) {
            true => Ok(at),
            false => Err(format!(
                "nothing is heard of `{stream}`: its source is not up"
            )),
        }
    }

    fn enrolment(
        &self,
        topics: &Topics,
        stream: &str,
        progress: Progress,
    ) -> Result<Retained, MqttError> {
        let told = StreamEnrolment {
            schema: SCHEMA,
            node: self.node.clone(),
            stream: stream.to_owned(),
            progress,
        };
        let bytes = serde_json::to_vec(&told).unwrap_or_default();
        Ok((topics.enrolment(stream)?, bytes))
    }

    /// Does it. What the stream is set to then, and what stands where that was asked.
    fn carry_out(
        &self,
        command: &Command,
        states: &BTreeMap<String, StreamState>,
    ) -> Result<(Settings, Option<Value>), String> {
        let stream = &command.stream;
        self.index_of(stream)?;
        let unknown = || format!("no stream `{stream}`");
        let mut settings = self.controls.settings(stream).ok_or_else(unknown)?;
        match command.verb {
            Verb::Mute | Verb::Unmute => settings.muted = command.muted,
            Verb::Set => {
                settings.speaker = command.set.speaker.applied(settings.speaker)?;
                settings.spoof = command.set.spoof.applied(settings.spoof)?;
            }
            Verb::Verify => {
                self.heard_index_of(stream, states)?;
                self.controls.ask(stream);
                let state = states.get(stream);
                return Ok((settings, state.and_then(|s| serde_json::to_value(s).ok())));
            }
            // Told as wishes.
            Verb::Enrol | Verb::Cancel | Verb::Forget => return Err("nothing was asked for".into()),
        }
        self.controls.set(stream, settings);
        Ok((settings, None))
    }

    fn settings(
        &self,
        topics: &Topics,
        stream: &str,
        settings: &Settings,
    ) -> Result<Retained, MqttError> {
        let told = StreamSettings {
            schema: SCHEMA,
            node: self.node.clone(),
            stream: stream.to_owned(),
            settings: *settings,
        };
        let bytes = serde_json::to_vec(&told).unwrap_or_default();
        Ok((topics.settings(stream)?, bytes))
    }
}
