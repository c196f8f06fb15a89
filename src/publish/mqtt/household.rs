//! What the link tells and hears beside events: vitals at regular intervals, Home Assistant's discovery, and what is told of
//! commands, which `service` carries out. No socket: payloads out, decisions on what to send when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use super::backoff::random;
use super::command::Gate;
use super::options::MqttError;
use super::service::{Reply, Service};
use super::status::Status;
use super::topic::Topics;
use super::wire::Incoming;
use crate::config::{self, Config};
use crate::publish::control::Controls;
use crate::publish::enrolment::{News, People};
use crate::publish::event::{Event, SCHEMA, SourceState};
use crate::publish::home_assistant::{self, Home};
use crate::publish::state::StreamState;
use crate::publish::time;
use crate::publish::vitals::{Gathered, NodeVitals};

/// After Home Assistant has started it is given between these times, so that not all come at once.
const JITTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];

/// A daemon with streams that are known beforehand: what makes it more than a source of events.
pub struct Household {
    node: String,
    streams: Vec<String>,
    home_assistant: config::HomeAssistant,
    home: Home,
    service: Service,
    gathered: BTreeMap<String, Gathered>,
    interval: Duration,
    began: Instant,
    due: Instant,
    /// When Home Assistant, which has started, is told all again.
    greet: Option<Instant>,
}

/// A retained message.
pub type Retained = (String, Vec<u8>);

impl Household {
    /// Of a whole configuration, with `[mqtt]` as given; `sounds` are the pack's classes.
    pub fn new(
        config: &Config,
        mqtt: &config::Mqtt,
        sounds: &[String],
        controls: Arc<Controls>,
    ) -> Self {
        let now = Instant::now();
        let streams: Vec<String> = config.streams.iter().map(|s| s.id.clone()).collect();
        let gate = Gate::new(&mqtt.commands, now);
        let client = config.home_assistant.client.clone();
        Self {
            node: config.node.clone(),
            streams: streams.clone(),
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
            service: Service::new(&config.node, streams, controls, gate),
            gathered: BTreeMap::new(),
            interval: Duration::from_secs(mqtt.vitals_s.max(1)),
            began: now,
            due: now,
            greet: None,
        }
    }

    /// The same where people can be enrolled and forgotten, which is refused elsewhere. What becomes of it comes as `news`.
    pub fn with_people(mut self, people: Arc<dyn People>, news: mpsc::Receiver<News>) -> Self {
        self.service.take_people(people, news);
        self
    }

    /// The next word on somebody who is enrolled or forgotten; waits for ever where none can come.
    pub(super) async fn news(household: &mut Option<Self>) -> News {
        match household {
            Some(household) => household.service.news().await,
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
        all.extend(self.service.first(topics)?);
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
        if self.service.is_open() {
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
            answers_dropped: status.answers_dropped,
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
        self.service.hear(message, topics, states, now)
    }

    /// Word on somebody who is enrolled or forgotten, for whoever asked for it.
    pub(super) fn report(&mut self, news: News, topics: &Topics) -> Option<Reply> {
        self.service.report(news, topics)
    }
}
