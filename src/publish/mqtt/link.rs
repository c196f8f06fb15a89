//! The loop that owns client and event loop. Events come in through the sink's inbox, whatever the broker does.
//!
//! ```text
//! intake  an event → what waits, what stands     disk  what waits, also on disk
//! word    what is told of the connection: log, status
//! ```

mod disk;
mod intake;
mod word;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::disk::Disk;
use super::backoff::{Backoff, random};
use super::delivery::{CHANNEL, Delivery};
use super::failure::{Failure, NETWORK_TIMEOUT_S, explain, overflow};
use super::household::Household;
use super::options::{MqttError, OFFLINE, Options};
use super::outbox::{Limits, Report};
use super::service::{Outcome, Reply};
use super::status::StatusHandle;
use super::topic::Topics;
use super::wire::{self, Client, Happening, Incoming};
use crate::config;
use crate::publish::bus::{Inbox, Sink, SinkError};
use crate::publish::state::StreamState;
use crate::publish::throttle::Throttle;

/// Kept back from the time for shutting down, to say `offline` and disconnect.
const FAREWELL: Duration = Duration::from_millis(400);
/// Kept back from that to return before the bus gives up on us.
const MARGIN: Duration = Duration::from_millis(50);

/// Publishes to a broker. Made on any thread; [`Sink::run`] owns everything from then on.
pub struct MqttSink {
    options: Options,
    topics: Topics,
    delivery: Delivery,
    states: BTreeMap<String, StreamState>,
    status: StatusHandle,
    disk: Disk,
    household: Option<Household>,
    inbox_closed: bool,
    invalid: Throttle,
    full: Throttle,
    refused: Throttle,
    lost: Throttle,
    unanswered: Throttle,
    last_loss: String,
}

/// How a connection ended.
enum End {
    /// As we wished.
    Closed,
    /// Otherwise.
    Lost { lived: Duration, failure: Failure },
}

/// Stages of shutting down.
#[derive(PartialEq)]
enum Farewell {
    None,
    Said,
    Disconnecting,
}

impl MqttSink {
    /// Checks the configuration and opens the outbox; `info` becomes the retained `<prefix>/<node>/info`. Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// [`MqttError`] names the key that is wrong. A disk that refuses is no error: events wait in memory until it does
    /// not.
    pub fn new(
        config: &config::Mqtt,
        node: &str,
        info: &serde_json::Value,
    ) -> Result<Self, MqttError> {
        let topics = Topics::new(&config.prefix, node)?;
        let options = Options::new(config, node)?;
        let status = StatusHandle::default();
        let (mut delivery, disk) = match &config.outbox {
            Some(path) if config.outbox_max_mb > 0 => {
                let limits = Limits {
                    bytes: config.outbox_max_mb * 1_000_000,
                    age: Duration::from_secs(config.outbox_max_age_h * 3600),
                };
                Disk::open(path.clone(), limits, config.backlog, &status)?
            }
            _ => (Delivery::new(config.backlog), Disk::none(&status)),
        };
        delivery.retain(topics.status(), b"online".to_vec());
        delivery.retain(topics.info(), info.to_string().into_bytes());
        Ok(Self {
            options,
            topics,
            delivery,
            states: BTreeMap::new(),
            status,
            disk,
            household: None,
            inbox_closed: false,
            invalid: Throttle::new(Duration::from_secs(10)),
            full: Throttle::new(Duration::from_secs(60)),
            refused: Throttle::new(Duration::from_secs(60)),
            lost: Throttle::new(Duration::from_secs(60)),
            unanswered: Throttle::new(Duration::from_secs(10)),
            last_loss: String::new(),
        })
    }

    /// Tells of streams, vitals and settings too, announces itself to Home Assistant and listens to commands. What an
    /// earlier run announced and this one does not is cleared at the broker.
    ///
    /// # Errors
    /// When a name cannot be part of a topic.
    pub fn with(mut self, household: Household) -> Result<Self, MqttError> {
        let first = household.first(&self.topics)?;
        let topics = household.topics(&self.topics, &first)?;
        for topic in self.disk.announce(&topics) {
            tracing::info!(topic, "cleared: an earlier run announced it");
            self.delivery.retain(topic, Vec::new());
        }
        for (topic, payload) in first {
            if !self.delivery.retain(topic.clone(), payload) {
                tracing::error!(topic, "too many retained topics: not announced");
            }
        }
        self.household = Some(household);
        Ok(self)
    }

    /// For logs and `doctor`; stays valid while the sink runs and after.
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    async fn serve(&mut self, inbox: &mut Inbox) {
        let mut backoff = Backoff::default();
        loop {
            let end = match self.options.connection(Some(&self.topics)) {
                Ok(options) => self.connection(options, inbox).await,
                // A password file that went away since the start.
                Err(error) => End::Lost {
                    lived: Duration::ZERO,
                    failure: Failure {
                        text: error.to_string(),
                        refused: true,
                    },
                },
            };
            self.delivery.disconnected();
            self.status.update(|s| s.connected = false);
            let End::Lost { lived, failure } = end else {
                break;
            };
            let wait = backoff.next(lived, failure.refused, random());
            self.report(failure, wait);
            if !self.absorb(inbox, Instant::now() + wait).await {
                break;
            }
        }
        self.finish(inbox);
    }

    /// Lets the outbox write what it has, and tells what becomes of the rest.
    fn finish(&mut self, inbox: &Inbox) {
        let deadline = inbox.deadline().unwrap_or_else(std::time::Instant::now);
        self.disk.finish(&mut self.delivery, deadline);
        self.publish_status();
        let (pending, exposed) = (self.delivery.pending(), self.delivery.exposed());
        let broker = &self.options.address;
        if exposed > 0 {
            tracing::warn!(
                pending = exposed, %broker,
                "events not acknowledged by the broker are lost"
            );
        }
        if pending > exposed {
            tracing::info!(
                events = pending - exposed, %broker,
                "events wait in the outbox for the next start"
            );
        }
    }

    /// One connection from the first attempt to its end. A new event loop each time: rumqttc's own memory of a lost
    /// connection is dropped with it, ours is in `delivery`.
    async fn connection(&mut self, options: wire::Options, inbox: &mut Inbox) -> End {
        // rumqttc notices a silent broker by its missing ping responses, but not while it is stuck in a write.
        let silence = 2 * self.options.keep_alive + Duration::from_secs(2 * NETWORK_TIMEOUT_S);
        let (client, mut connection) = options.open(CHANNEL);
        let mut up: Option<Instant> = None;
        let mut heard = Instant::now();
        let mut farewell = Farewell::None;
        let lost = |up: Option<Instant>, failure| End::Lost {
            lived: up.map_or(Duration::ZERO, |t| t.elapsed()),
            failure,
        };
        loop {
            // rumqttc's poll loses a request when it is cancelled in the middle of a write: it runs to its end.
            let polled = {
                let poll = connection.poll();
                tokio::pin!(poll);
                loop {
                    let wake = if self.inbox_closed {
                        Instant::now() + Duration::from_millis(20)
                    } else {
                        self.wake()
                            .map_or(heard + silence, |wake| wake.min(heard + silence))
                    };
                    tokio::select! {
                        polled = &mut poll => break polled,
                        event = inbox.recv_async(), if !self.inbox_closed => match event {
                            Some(event) => self.take(&event, up.map(|_| &client)),
                            None => self.inbox_closed = true,
                        },
                        report = self.disk.next() => self.take_report(report),
                        news = Household::news(&mut self.household), if up.is_some() => {
                            let household = self.household.as_mut();
                            if let Some(reply) = household.and_then(|h| h.report(news, &self.topics)) {
                                self.answer(reply, &client);
                            }
                        }
                        () = sleep_until(wake) => {}
                    }
                    if heard.elapsed() > silence {
                        let text =
                            format!("the broker has been silent for {} s", silence.as_secs());
                        let refused = false;
                        return lost(up, Failure { text, refused });
                    }
                    self.tell_vitals();
                    if self.inbox_closed && self.leave(inbox, &client, up, &mut farewell) {
                        return End::Closed;
                    }
                    if up.is_some() && !self.pump(&client, &farewell) {
                        return lost(up, overflow());
                    }
                }
            };
            let happening = match polled {
                Ok(happening) => happening,
                // The broker closes after our farewell; that is no loss.
                Err(_) if farewell == Farewell::Disconnecting => return End::Closed,
                Err(error) => return lost(up, explain(&error, &self.options)),
            };
            if !matches!(
                happening,
                Happening::Written(_) | Happening::Left | Happening::Other
            ) {
                heard = Instant::now();
            }
            match happening {
                Happening::Accepted { session_present } => {
                    up = Some(heard);
                    self.connected(session_present);
                    if !self.subscribe(&client) {
                        return lost(up, overflow());
                    }
                }
                Happening::Acknowledged { pkid, refused } => {
                    let is_event = self.delivery.acknowledged(pkid, refused.is_some());
                    if let Some(reason) = refused {
                        self.broker_refused(&reason, is_event);
                    }
                }
                Happening::Written(pkid) => {
                    if self.delivery.written(pkid) {
                        self.status.update(|s| s.published += 1);
                    }
                }
                Happening::Left => return End::Closed,
                Happening::Subscribed { granted: false } => {
                    let text = format!(
                        "{} refuses our subscriptions; check what user and client id may read",
                        self.options.address
                    );
                    tracing::error!("{text}");
                    self.status.update(|s| s.last_error = Some(text));
                }
                Happening::Message(message) => self.hear(&message, &client),
                Happening::Subscribed { granted: true } | Happening::Heard | Happening::Other => {}
            }
            if up.is_some() && !self.pump(&client, &farewell) {
                return lost(up, overflow());
            }
            self.publish_status();
        }
    }

    /// Hands the client what it can take. `false`: it took less than the book-keeping says it must.
    fn pump(&mut self, client: &Client, farewell: &Farewell) -> bool {
        let mut room = true;
        while room && let Some(out) = self.delivery.next(*farewell != Farewell::None) {
            room = client.publish(out.topic, true, out.retain, out.payload);
        }
        self.disk.place_orders(&mut self.delivery);
        room
    }

    /// Word from the outbox.
    fn take_report(&mut self, report: Option<Report>) {
        self.disk.take(report, &mut self.delivery);
        self.publish_status();
    }

    /// `false`: the client has no room.
    fn subscribe(&self, client: &Client) -> bool {
        let household = self.household.as_ref();
        let wanted = household
            .map(|h| h.subscriptions(&self.topics))
            .unwrap_or_default();
        wanted.is_empty() || client.subscribe(&wanted)
    }

    /// A message to us.
    fn hear(&mut self, message: &Incoming, client: &Client) {
        let Some(household) = &mut self.household else {
            return;
        };
        let now = std::time::Instant::now();
        for reply in household.hear(message, &self.topics, &self.states, now) {
            self.answer(reply, client);
        }
    }

    /// Tells somebody what becomes of their command.
    fn answer(&mut self, reply: Reply, client: &Client) {
        let Reply {
            topic,
            correlation,
            payload,
            retained,
            outcome,
        } = reply;
        if let Some((topic, payload)) = retained {
            self.delivery.retain(topic, payload);
        }
        let answered = self.delivery.offer(false) && client.answer(topic, correlation, payload);
        // At once: who reads the counts must find a command and what became of its answer in the same snapshot.
        self.status.update(|s| {
            match outcome {
                Outcome::Done => s.commands += 1,
                Outcome::Refused => s.commands_refused += 1,
                Outcome::GoesOn => {}
            }
            s.answers_dropped += u64::from(!answered);
        });
        if !answered {
            self.log_unanswered();
        }
    }

    /// When there is something to tell by itself.
    fn wake(&self) -> Option<Instant> {
        self.household.as_ref().map(|h| Instant::from_std(h.wake()))
    }

    /// Vitals and what Home Assistant has to be told again, when their time has come.
    fn tell_vitals(&mut self) {
        let Some(household) = &mut self.household else {
            return;
        };
        let now = std::time::Instant::now();
        if household.greets(now) {
            // Discovery, then state.
            self.delivery.repeat(|topic| household.is_discovery(topic));
            self.delivery.repeat(|_| true);
        }
        let told = household.vitals(&self.topics, &self.states, &self.status.get(), now);
        if told.is_empty() {
            return;
        }
        for (topic, payload) in told {
            self.delivery.retain(topic, payload);
        }
        // A sign of life for what expires.
        let states: Vec<String> = self
            .states
            .keys()
            .filter_map(|s| self.topics.state(s).ok())
            .collect();
        self.delivery
            .repeat(|topic| states.iter().any(|state| state == topic));
    }

    /// Goes through the stages of leaving; `true`: leave now.
    fn leave(
        &mut self,
        inbox: &Inbox,
        client: &Client,
        up: Option<Instant>,
        farewell: &mut Farewell,
    ) -> bool {
        let deadline = inbox
            .deadline()
            .map_or_else(Instant::now, Instant::from_std);
        let left = deadline.saturating_duration_since(Instant::now());
        if left <= MARGIN {
            return true;
        }
        if up.is_none() {
            // Somebody may be about to answer; with nothing to tell, do not wait for that.
            return self.delivery.pending() == 0;
        }
        match farewell {
            Farewell::None if self.delivery.pending() == 0 || left <= FAREWELL => {
                let topic = self.topics.status();
                self.delivery.retain(topic, OFFLINE.as_bytes().to_vec());
                *farewell = Farewell::Said;
            }
            Farewell::Said if self.delivery.idle() => {
                *farewell = Farewell::Disconnecting;
                return !client.disconnect();
            }
            _ => {}
        }
        false
    }

    /// Takes events in until `until`; `false`: the bus shut down, and there is nothing to tell or no time for it.
    async fn absorb(&mut self, inbox: &mut Inbox, until: Instant) -> bool {
        loop {
            if self.inbox_closed {
                // Looked up each time: the deadline may come nearer.
                let deadline = inbox
                    .deadline()
                    .map_or_else(Instant::now, Instant::from_std);
                let left = deadline.saturating_duration_since(Instant::now());
                if self.delivery.pending() == 0 || left <= FAREWELL {
                    return false;
                }
                if Instant::now() >= until {
                    return true;
                }
                tokio::select! {
                    report = self.disk.next() => self.take_report(report),
                    () = sleep_until(Instant::now() + Duration::from_millis(20)) => {}
                }
                continue;
            }
            tokio::select! {
                event = inbox.recv_async() => match event {
                    Some(event) => self.take(&event, None),
                    None => self.inbox_closed = true,
                },
                report = self.disk.next() => self.take_report(report),
                () = sleep_until(until) => return true,
            }
        }
    }
}

impl Sink for MqttSink {
    fn run(mut self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SinkError(MqttError::Runtime(e).to_string()))?;
        self.disk.start()?;
        runtime.block_on(self.serve(&mut inbox));
        // A name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
        Ok(())
    }
}
