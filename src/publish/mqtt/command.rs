//! Commands that come over MQTT: topic and payload to a [`Command`] or the reason why not, who may give which, and how
//! often. Nothing is carried out here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::people::{self, Wish};
use super::topic::Topics;
use super::wire::Incoming;
use crate::config::{self, Decision, Verb};
use crate::publish::SCHEMA;
use crate::publish::control::Settings;
use crate::publish::enrolment::Progress;

/// Longest payload of a command, bytes.
pub const MAX_PAYLOAD: usize = 4096;
/// Longest topic for an answer, correlation and `id`, bytes.
const MAX_REPLY: usize = 256;

/// A command that is understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// With which stream.
    pub stream: String,
    /// `mute`: whether it is muted.
    pub muted: bool,
    /// `set`: what changes.
    pub set: Set,
    /// `enrol`, `cancel` and `forget`: what is asked for.
    pub wish: Option<Wish>,
}

/// What `set` changes; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// Of who speaks.
    pub speaker: Change,
    /// Of whether the voice is real.
    pub spoof: Change,
}

/// Changes of a decision, each in the range that the configuration has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Prior probability of the target.
    pub prior: Option<f64>,
    /// Cost of rejecting a target.
    pub cost_miss: Option<f64>,
    /// Cost of accepting a non-target.
    pub cost_false_accept: Option<f64>,
    /// Half width of the inconclusive band, in nats.
    pub margin: Option<f64>,
}

/// The payload of a command: one JSON object of at most 4096 bytes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Payload {
    /// Which stream; `forget` needs none.
    pub stream: String,
    /// Comes back in the answer, at most 256 bytes.
    pub id: Option<String>,
    /// Where the answer goes: below `<prefix>/<node>/response/`. MQTT 5's response topic does the same.
    pub reply_to: Option<String>,
    /// `mute` only: false is the same as `unmute`.
    pub muted: Option<bool>,
    /// `set` only.
    pub speaker: Option<Change>,
    /// `set` only.
    pub spoof: Option<Change>,
    /// `enrol`: whom; absent: the name that was kept before. `forget`: whom.
    pub name: Option<String>,
    /// `enrol`: false only keeps the name for an `enrol` without one.
    pub start: Option<bool>,
    /// `enrol`: seconds of speech, 3 to 120; absent: 20.
    pub seconds: Option<f64>,
    /// `enrol`: seconds that they may take, 10 to 600; absent: 120, or three times as many as of speech.
    pub within_s: Option<u64>,
    /// `enrol`: what it was recorded with; absent: the stream's name.
    pub label: Option<String>,
    /// `enrol`: what the person agreed to.
    pub consent: Option<String>,
    /// `enrol`: days for which the sitting may be kept; absent: as configured.
    pub keep_days: Option<u32>,
    /// `enrol`: in place of the sittings before.
    pub replace: Option<bool>,
}

/// The answer to a command, done or refused.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Answer {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// What was asked for, as it came; `null` where that was no verb.
    pub verb: Option<Verb>,
    /// The `id` of the command.
    pub id: Option<String>,
    /// Whether it was done, or goes on.
    pub ok: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What the stream is set to now.
    pub settings: Option<Settings>,
    /// `verify`: what stands, as in the stream's `state`.
    pub state: Option<Value>,
    /// `enrol`: how it goes, until the phase is `enrolled` or `refused`, or `idle` where it was cancelled. `cancel`: what is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Progress>,
    /// `forget`: the receipt, once it is done; `earwitness forget --check` reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Value>,
}

/// A command as it came: whom to answer, and what it is or why it is none.
#[derive(Debug)]
pub struct Asked {
    /// Where the answer goes.
    pub reply_to: String,
    /// What MQTT 5 wants to see again.
    pub correlation: Option<Vec<u8>>,
    /// The payload's `id`.
    pub id: Option<String>,
    /// The topic's verb.
    pub verb: Option<Verb>,
    /// What to do, or why nothing.
    pub command: Result<Command, String>,
}

/// Who may do what, how often.
#[derive(Debug)]
pub struct Gate {
    allow: Vec<Verb>,
    clients: BTreeMap<String, Vec<Verb>>,
    per_minute: f64,
    tokens: f64,
    filled: Instant,
}

impl Gate {
    /// As configured; full.
    pub fn new(config: &config::Commands, now: Instant) -> Self {
        let per_minute = f64::from(config.per_minute);
        Self {
            allow: config.allow.clone(),
            clients: config.clients.clone(),
            per_minute,
            tokens: per_minute,
            filled: now,
        }
    }

    /// Whether anybody may do anything: else nothing is listened to.
    pub fn is_open(&self) -> bool {
        self.per_minute > 0.0
            && (!self.allow.is_empty() || self.clients.values().any(|verbs| !verbs.is_empty()))
    }

    /// Whether anybody may use a verb.
    pub fn allows(&self, verb: Verb) -> bool {
        let listed = |verbs: &Vec<Verb>| verbs.contains(&verb);
        self.per_minute > 0.0 && (listed(&self.allow) || self.clients.values().any(listed))
    }

    /// The verbs of a client, or of anybody.
    pub fn verbs(&self, client: Option<&str>) -> &[Verb] {
        let verbs = match client {
            Some(client) => self.clients.get(client),
            None => Some(&self.allow),
        };
        let verbs = verbs.filter(|_| self.per_minute > 0.0);
        verbs.map(Vec::as_slice).unwrap_or_default()
    }

    /// Reads a message on one of the command topics; `None`: it is on none.
    pub fn read(&mut self, topics: &Topics, message: &Incoming, now: Instant) -> Option<Asked> {
        let (client, verb) = topics.command_of(&message.topic)?;
        let known = Verb::ALL.into_iter().find(|v| v.name() == verb);
        let default_reply = format!(
            "{}{}",
            topics.responses(),
            known.map_or("refused", Verb::name)
        );
        let mut asked = Asked {
            reply_to: default_reply,
            correlation: None,
            id: None,
            verb: known,
            command: Err(String::new()),
        };
        // First: what is too much is not even read.
        if !self.take_token(now) {
            asked.command = Err(format!("more than {} commands a minute", self.per_minute));
            return Some(asked);
        }
        asked.command = self.understand(topics, message, client, &mut asked);
        Some(asked)
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let since = now
            .saturating_duration_since(self.filled)
            .min(Duration::from_secs(60));
        self.filled = now;
        self.tokens =
            (self.tokens + since.as_secs_f64() * self.per_minute / 60.0).min(self.per_minute);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// Fills in whom to answer on its way.
    fn understand(
        &self,
        topics: &Topics,
        message: &Incoming,
        client: Option<&str>,
        asked: &mut Asked,
    ) -> Result<Command, String> {
        if message.payload.len() > MAX_PAYLOAD {
            return Err(format!(
                "expected at most {MAX_PAYLOAD} bytes, found {}",
                message.payload.len()
            ));
        }
        let correlation = message.correlation.as_ref();
        if correlation.is_some_and(|c| c.len() > MAX_REPLY) {
            return Err(format!(
                "expected a correlation of at most {MAX_REPLY} bytes"
            ));
        }
        asked.correlation = correlation.cloned();
        let mut payload: Payload = serde_json::from_slice(&message.payload)
            .map_err(|e| format!("expected a JSON object with `stream`: {e}"))?;
        if payload.id.as_ref().is_some_and(|id| id.len() > MAX_REPLY) {
            return Err(format!("expected an id of at most {MAX_REPLY} bytes"));
        }
        asked.id = payload.id.take();
        if let Some(reply_to) = message
            .response_topic
            .as_ref()
            .or(payload.reply_to.as_ref())
        {
            // Or a command could make us write wherever we may.
            if !topics.is_response(reply_to) || reply_to.len() > MAX_REPLY {
                return Err(format!(
                    "expected an answer's topic below {}",
                    topics.responses()
                ));
            }
            reply_to.clone_into(&mut asked.reply_to);
        }
        if message.retain {
            return Err("a retained command would be given again at each connection; publish it without retain".into());
        }
        let Some(verb) = asked.verb else {
            let verbs = Verb::ALL.map(Verb::name).join(", ");
            return Err(format!("unknown verb, expected one of {verbs}"));
        };
        let verbs = match client {
            None => Some(&self.allow),
            Some(client) => self.clients.get(client),
        };
        let allowed = verbs.is_some_and(|verbs| verbs.iter().any(|listed| listed.covers(verb)));
        if !allowed {
            let whom = client.map_or("allow".to_owned(), |client| format!("clients.{client}"));
            return Err(format!(
                "`{}` is not among [mqtt.commands] {whom}",
                verb.name()
            ));
        }
        if payload.muted.is_some() && verb != Verb::Mute {
            return Err("`muted` belongs to the verb mute".into());
        }
        if (payload.speaker.is_some() || payload.spoof.is_some()) != (verb == Verb::Set) {
            return Err(
                "`speaker` and `spoof` belong to the verb set, which needs one of them".into(),
            );
        }
        Ok(Command {
            verb,
            stream: std::mem::take(&mut payload.stream),
            muted: verb == Verb::Mute && payload.muted.unwrap_or(true),
            set: Set {
                speaker: payload.speaker.take().unwrap_or_default(),
                spoof: payload.spoof.take().unwrap_or_default(),
            },
            wish: people::wish(verb, payload)?,
        })
    }
}

impl Change {
    /// The decision with these changes. A prior or a cost takes the place of stated error rates.
    ///
    /// # Errors
    /// What is out of range.
    pub fn applied(&self, to: Decision) -> Result<Decision, String> {
        let by_costs = [self.prior, self.cost_miss, self.cost_false_accept]
            .iter()
            .any(Option::is_some);
        let decision = Decision {
            target_far: to.target_far.filter(|_| !by_costs),
            target_frr: to.target_frr.filter(|_| !by_costs),
            prior: self.prior.unwrap_or(to.prior),
            cost_miss: self.cost_miss.unwrap_or(to.cost_miss),
            cost_false_accept: self.cost_false_accept.unwrap_or(to.cost_false_accept),
            margin: self.margin.unwrap_or(to.margin),
        };
        match decision.problems().into_iter().next() {
            None => Ok(decision),
            Some((key, problem)) => Err(format!("{key}: {problem}")),
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
