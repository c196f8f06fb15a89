//! What the link tells and hears beside events: vitals at regular intervals, settings, Home Assistant's discovery, commands.
//! No socket: payloads out, decisions on what to send when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use super::backoff::random;
use super::command::{Answer, Asked, Command, Gate};
use super::options::MqttError;
use super::people::{Desk, Route, Told, Wish};
use super::status::Status;
use super::topic::Topics;
use super::wire::Incoming;
use crate::config::{self, Config, Verb};
use crate::publish::control::{Controls, Settings, StreamSettings};
use crate::publish::enrolment::{News, People, Progress, StreamEnrolment};
use crate::publish::event::{Event, SCHEMA, SourceState};
use crate::publish::home_assistant::{self, Home};
use crate::publish::state::StreamState;
use crate::publish::throttle::Throttle;
use crate::publish::time;
use crate::publish::vitals::{Gathered, NodeVitals};

/// After Home Assistant has started it is given between these times, so that not all come at once.
const JITTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];

/// A daemon with streams that are known beforehand: what makes it more than a source of events.
pub struct Household {
    node: String,
    streams: Vec<String>,
    controls: Arc<Controls>,
    home_assistant: config::HomeAssistant,
    home: Home,
    gate: Gate,
    /// Where people may be enrolled or forgotten.
    people: Option<Desk>,
    gathered: BTreeMap<String, Gathered>,
    interval: Duration,
    began: Instant,
    due: Instant,
    /// When Home Assistant, which has started, is told all again.
    greet: Option<Instant>,
    refused: Throttle,
}

/// A retained message.
pub type Retained = (String, Vec<u8>);

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

impl Household {
    /// Of a whole configuration, with `[mqtt]` as given; `sounds` are the pack's classes.
    pub fn new(
        config: &Config,
        mqtt: &config::Mqtt,
        sounds: &[String],
        controls: Arc<Controls>,
    ) -> Self {
        let now = Instant::now();
        let gate = Gate::new(&mqtt.commands, now);
        let client = config.home_assistant.client.clone();
        Self {
            node: config.node.clone(),
            streams: config.streams.iter().map(|s| s.id.clone()).collect(),
            controls,
            home_assistant: config.home_assistant.clone(),
            home: Home {
                node: config.node.clone(),
                streams: config
                    .streams
                    .iter()
                    .map(|s| (s.id.clone(), s.sound && config.sound.enabled))
                    .collect(),
                sounds: sounds.to_vec(),
                vitals_s: mqtt.vitals_s,
                verbs: gate.verbs(client.as_deref()).to_vec(),
                client,
            },
            gate,
            people: None,
            gathered: BTreeMap::new(),
            interval: Duration::from_secs(mqtt.vitals_s.max(1)),
            began: now,
            due: now,
            greet: None,
            refused: Throttle::new(Duration::from_secs(10)),
        }
    }

    /// The same where people can be enrolled and forgotten, which is refused elsewhere. What becomes of it comes as `news`.
    pub fn with_people(mut self, people: Arc<dyn People>, news: mpsc::Receiver<News>) -> Self {
        self.people = Some(Desk::new(people, news));
        self
    }

    /// The next word on somebody who is enrolled or forgotten; waits for ever where none can come.
    pub(super) async fn news(household: &mut Option<Self>) -> News {
        match household.as_mut().and_then(|h| h.people.as_mut()) {
            Some(people) => people.next().await,
            None => std::future::pending().await,
        }
    }

    /// Retained messages that stand from the start.
    pub(super) fn first(&self, topics: &Topics) -> Result<Vec<Retained>, MqttError> {
        let mut all = Vec::new();
        if self.home_assistant.enabled {
            let announced =
                home_assistant::announcements(&self.home_assistant, &self.home, topics)?;
            let bytes =
                |(topic, payload): (String, Value)| (topic, payload.to_string().into_bytes());
            all.extend(announced.into_iter().map(bytes));
        }
        for stream in &self.streams {
            if let Some(settings) = self.controls.settings(stream) {
                all.push(self.settings(topics, stream, &settings)?);
            }
            if let Some(people) = self
                .people
                .as_ref()
                .filter(|_| self.gate.allows(Verb::Enrol))
            {
                all.push(self.enrolment(topics, stream, people.progress(stream))?);
            }
        }
        Ok(all)
    }

    /// Every retained topic that this daemon may ever use, those that come later included.
    pub(super) fn topics(
        &self,
        topics: &Topics,
        first: &[Retained],
    ) -> Result<Vec<String>, MqttError> {
        let mut all: Vec<String> = first.iter().map(|(topic, _)| topic.clone()).collect();
        all.extend([topics.status(), topics.info(), topics.vitals()]);
        for stream in &self.streams {
            all.extend([topics.state(stream)?, topics.stream_vitals(stream)?]);
        }
        Ok(all)
    }

    /// What to subscribe to.
    pub(super) fn subscriptions(&self, topics: &Topics) -> Vec<String> {
        let mut all = Vec::new();
        if self.home_assistant.enabled {
            all.push(home_assistant::status_topic(&self.home_assistant));
        }
        if self.gate.is_open() {
            all.extend(topics.commands());
        }
        all
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: &Event) {
        if self.streams.contains(&event.id.stream) {
            let gathered = self.gathered.entry(event.id.stream.clone()).or_default();
            gathered.take(event);
        }
    }

    /// When something has to be sent next.
    pub(super) fn wake(&self) -> Instant {
        self.greet.map_or(self.due, |greet| greet.min(self.due))
    }

    /// The vitals, when their time has come.
    pub(super) fn vitals(
        &mut self,
        topics: &Topics,
        states: &BTreeMap<String, StreamState>,
        status: &Status,
        now: Instant,
    ) -> Vec<Retained> {
        if now < self.due {
            return Vec::new();
        }
        self.due = now + self.interval;
        let time = time::now();
        let (mut all, mut lag_ms) = (Vec::new(), None::<f64>);
        for stream in &self.streams {
            let gathered = self.gathered.entry(stream.clone()).or_default();
            let vitals = gathered.tell(&self.node, stream, time.clone());
            lag_ms = match (lag_ms, vitals.lag_ms) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
            if let (Ok(topic), Ok(bytes)) =
                (topics.stream_vitals(stream), serde_json::to_vec(&vitals))
            {
                all.push((topic, bytes));
            }
        }
        let is_up = |state: &&StreamState| state.source == Some(SourceState::Up);
        let lost = status.dropped + status.evicted + status.refused + status.invalid;
        let problem = status.outbox_error.clone().or_else(|| {
            (lost > 0).then(|| format!("{lost} events were lost since the start; the log says why"))
        });
        let vitals = NodeVitals {
            schema: SCHEMA,
            node: self.node.clone(),
            time,
            uptime_s: now.saturating_duration_since(self.began).as_secs(),
            streams: self.streams.len() as u64,
            streams_up: states.values().filter(is_up).count() as u64,
            lag_ms,
            pending: status.pending,
            lost,
            connections: status.connections,
            commands_refused: status.commands_refused,
            trouble: problem.is_some(),
            problem,
        };
        all.extend(
            serde_json::to_vec(&vitals)
                .ok()
                .map(|bytes| (topics.vitals(), bytes)),
        );
        all
    }

    /// Whether the time has come to tell Home Assistant all again.
    pub(super) fn greets(&mut self, now: Instant) -> bool {
        let due = self.greet.is_some_and(|greet| greet <= now);
        if due {
            self.greet = None;
        }
        due
    }

    /// Whether a retained topic is one of discovery, which goes first.
    pub(super) fn is_discovery(&self, topic: &str) -> bool {
        topic
            .strip_prefix(&self.home_assistant.prefix)
            .is_some_and(|rest| rest.starts_with("/device/"))
    }

    /// A message on a topic that was subscribed to, and whom to answer.
    pub(super) fn hear(
        &mut self,
        message: &Incoming,
        topics: &Topics,
        states: &BTreeMap<String, StreamState>,
        now: Instant,
    ) -> Vec<Reply> {
        if self.home_assistant.enabled
            && message.topic == home_assistant::status_topic(&self.home_assistant)
        {
            // A retained one is old news: with the connection all was told anyway.
            if message.payload == b"online" && !message.retain {
                tracing::info!("Home Assistant has started: it is told all again");
                let spread = (JITTER[1] - JITTER[0]).mul_f64(random());
                self.greet.get_or_insert(now + JITTER[0] + spread);
            }
            return Vec::new();
        }
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
    pub(super) fn report(&mut self, news: News, topics: &Topics) -> Option<Reply> {
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
