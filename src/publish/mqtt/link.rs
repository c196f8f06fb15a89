//! The loop that owns client and event loop. Events come in through the sink's inbox, whatever the broker does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, random};
use super::delivery::{CHANNEL, Delivery, Order};
use super::failure::{Failure, NETWORK_TIMEOUT_S, explain, overflow};
use super::household::{Household, Outcome, Reply};
use super::options::{MqttError, OFFLINE, Options};
use super::outbox::{Limits, Message, OutboxError, Report, Store, Writer};
use super::status::{Status, StatusHandle};
use super::topic::{TopicError, Topics};
use super::wire::{self, Client, Happening, Incoming};
use crate::config;
use crate::publish::bus::{Inbox, Sink, SinkError};
use crate::publish::event::{Body, Event};
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
    disk: Option<Disk>,
    writer: Option<Writer>,
    household: Option<Household>,
    inbox_closed: bool,
    invalid: Throttle,
    full: Throttle,
    evicted: Throttle,
    refused: Throttle,
    lost: Throttle,
    last_loss: String,
}

/// The outbox before its thread runs.
struct Disk {
    path: PathBuf,
    limits: Limits,
    /// None when the disk refused; it is tried again.
    store: Option<Store>,
    /// The first key that it does not have.
    end: u64,
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
                open(path.clone(), limits, config.backlog, &status)?
            }
            _ => (Delivery::new(config.backlog), None),
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
            writer: None,
            household: None,
            inbox_closed: false,
            invalid: Throttle::new(Duration::from_secs(10)),
            full: Throttle::new(Duration::from_secs(60)),
            evicted: Throttle::new(Duration::from_secs(60)),
            refused: Throttle::new(Duration::from_secs(60)),
            lost: Throttle::new(Duration::from_secs(60)),
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
        if let Some(store) = self.disk.as_mut().and_then(|disk| disk.store.as_mut()) {
            match store.announce(&topics) {
                Ok(gone) => {
                    for topic in gone {
                        tracing::info!(topic, "cleared: an earlier run announced it");
                        self.delivery.retain(topic, Vec::new());
                    }
                }
                Err(error) => outbox_fails(&self.status, &error.to_string()),
            }
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

    /// Starts the outbox's thread.
    fn start_outbox(&mut self) -> Result<(), SinkError> {
        let Some(disk) = self.disk.take() else {
            return Ok(());
        };
        let writer = Writer::start(&disk.path, disk.limits, disk.store, disk.end)
            .map_err(|e| SinkError(format!("cannot start the outbox's thread: {e}")))?;
        self.writer = Some(writer);
        Ok(())
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
        self.place_orders();
        if let Some(mut writer) = self.writer.take() {
            writer.desk.close();
            let deadline = inbox.deadline().unwrap_or_else(std::time::Instant::now);
            while let Some(report) = writer.next_until(deadline) {
                self.take_report(Some(report));
            }
            if !writer.finish(deadline) {
                tracing::warn!("the outbox was not written in time");
            }
        }
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
                        report = Writer::next(&mut self.writer) => self.take_report(report),
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
        self.place_orders();
        room
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
        self.status.update(|s| match outcome {
            Outcome::Done => s.commands += 1,
            Outcome::Refused => s.commands_refused += 1,
            Outcome::GoesOn => {}
        });
        if !(self.delivery.offer(false) && client.answer(topic, correlation, payload)) {
            tracing::warn!("no room for the answer to a command: the connection is slow");
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

    /// Hands the outbox what there is to do.
    fn place_orders(&mut self) {
        let orders = std::mem::take(&mut self.delivery.orders);
        let Some(writer) = &self.writer else {
            return;
        };
        for order in orders {
            match order {
                Order::Insert(key, message) => writer.desk.insert(key, message),
                Order::Remove(key) => writer.desk.remove(key),
                Order::Load(from) => writer.desk.load(from),
                Order::Forget(topic) => writer.desk.forget(topic),
            }
        }
    }

    /// Word from the outbox; `None`: its thread has died.
    fn take_report(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Stored {
                below,
                events,
                bytes,
            }) => {
                self.delivery.stored(below);
                self.status.update(|s| {
                    if s.outbox_error.take().is_some() {
                        tracing::info!(events, "the outbox works again");
                    }
                    (s.stored, s.stored_bytes) = (events, bytes);
                });
            }
            Some(Report::Evicted(evicted)) => {
                let aged = self.delivery.evicted(&evicted.aged);
                let crowded = self.delivery.evicted(&evicted.crowded);
                self.status.update(|s| s.evicted += aged + crowded);
                if aged + crowded > 0 && self.evicted.hit(std::time::Instant::now()).is_some() {
                    let total = self.status.get().evicted;
                    tracing::warn!(
                        aged,
                        crowded,
                        total,
                        "the oldest events left the outbox undelivered: outbox_max_age_h or outbox_max_mb is reached"
                    );
                }
            }
            Some(Report::Loaded {
                from,
                below,
                messages,
            }) => self.delivery.loaded(from, below, messages),
            Some(Report::Failing(reason)) => outbox_fails(&self.status, &reason),
            Some(Report::Reset) => self.delivery.reset(),
            None => {
                self.writer = None;
                self.delivery.abandon();
                outbox_fails(&self.status, "its thread has ended; restart earwitness");
            }
        }
        self.place_orders();
        self.publish_status();
    }

    /// MQTT 5 only: the broker takes the connection, but not this.
    fn broker_refused(&mut self, reason: &str, is_event: bool) {
        let what = if is_event {
            "an event"
        } else {
            "a retained message"
        };
        let text = format!(
            "{} refuses {what}: {reason}; check what user and client id may publish there",
            self.options.address
        );
        if self.refused.hit(std::time::Instant::now()).is_some() {
            tracing::error!("{text}");
        }
        self.status.update(|s| s.last_error = Some(text));
    }

    /// One event from the bus; `client` when the connection stands.
    fn take(&mut self, event: &Event, client: Option<&Client>) {
        if let Err(error) = self.try_take(event, client) {
            self.status.update(|s| s.invalid += 1);
            if let Some(count) = self.invalid.hit(std::time::Instant::now()) {
                tracing::error!(count, "event not published: {error}");
            }
        }
        self.publish_status();
    }

    fn try_take(&mut self, event: &Event, client: Option<&Client>) -> Result<(), String> {
        if let Some(household) = &mut self.household {
            household.take(event);
        }
        let bad_topic = |e: TopicError| e.to_string();
        let stream = &event.id.stream;
        let topic = self
            .topics
            .event(stream, event.body.kind())
            .map_err(bad_topic)?;
        let payload = event.to_json().map_err(|e| e.to_string())?;
        if matches!(event.body, Body::Window { .. }) {
            let sent = client.is_some_and(|client| {
                self.delivery.offer(true) && client.publish(topic, false, false, payload)
            });
            if !sent {
                self.status.update(|s| s.windows_skipped += 1);
            }
            return Ok(());
        }
        let (size, dropped) = (payload.len(), self.delivery.dropped);
        let message = Message {
            topic,
            payload,
            taken_ms: unix_ms(),
        };
        if !self.delivery.push(message) {
            return Err(format!("{size} bytes do not fit into an MQTT packet"));
        }
        // At once, so that it is in memory only for as short as can be.
        self.place_orders();
        if self.delivery.dropped > dropped && self.full.hit(std::time::Instant::now()).is_some() {
            let total = self.delivery.dropped;
            tracing::warn!(total, "MQTT backlog is full: the oldest events are dropped");
        }
        let state = self
            .states
            .entry(stream.clone())
            .or_insert_with(|| StreamState::new(&event.id));
        if state.apply(event) {
            let topic = self.topics.state(stream).map_err(bad_topic)?;
            let payload = serde_json::to_vec(state).map_err(|e| e.to_string())?;
            if !self.delivery.retain(topic, payload) {
                self.states.remove(stream);
                return Err("too many streams to keep a state of each".into());
            }
        }
        Ok(())
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
                    report = Writer::next(&mut self.writer) => self.take_report(report),
                    () = sleep_until(Instant::now() + Duration::from_millis(20)) => {}
                }
                continue;
            }
            tokio::select! {
                event = inbox.recv_async() => match event {
                    Some(event) => self.take(&event, None),
                    None => self.inbox_closed = true,
                },
                report = Writer::next(&mut self.writer) => self.take_report(report),
                () = sleep_until(until) => return true,
            }
        }
    }

    fn connected(&mut self, session_present: bool) {
        let pending = self.delivery.pending();
        tracing::info!(broker = %self.options.address, session_present, pending, "MQTT connected");
        self.last_loss.clear();
        self.status.update(|s| {
            s.connected = true;
            s.connections += 1;
        });
    }

    fn report(&mut self, failure: Failure, wait: Duration) {
        let now = std::time::Instant::now();
        // A new reason is always told, the same one once a minute.
        if failure.text != self.last_loss {
            self.lost = Throttle::new(Duration::from_secs(60));
        }
        if self.lost.hit(now).is_some() {
            let (reason, broker) = (&failure.text, &self.options.address);
            let pending = self.delivery.pending();
            let retry_s = wait.as_secs_f64();
            if failure.refused {
                tracing::error!(%broker, retry_s, pending, "MQTT refused: {reason}");
            } else {
                tracing::warn!(%broker, retry_s, pending, "MQTT not connected: {reason}");
            }
        }
        self.last_loss.clone_from(&failure.text);
        self.status.update(|s| s.last_error = Some(failure.text));
        self.publish_status();
    }

    fn publish_status(&self) {
        let d = &self.delivery;
        self.status.update(|s: &mut Status| {
            (s.acked, s.refused, s.dropped) = (d.acked, d.refused, d.dropped);
            (s.pending, s.secured) = (d.pending(), d.secured());
        });
    }
}

impl Sink for MqttSink {
    fn run(mut self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SinkError(MqttError::Runtime(e).to_string()))?;
        self.start_outbox()?;
        runtime.block_on(self.serve(&mut inbox));
        // A name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
        Ok(())
    }
}

/// Opens the outbox. One that another daemon has, or that is none, is an error; a disk that refuses is waited for.
fn open(
    path: PathBuf,
    limits: Limits,
    backlog: usize,
    status: &StatusHandle,
) -> Result<(Delivery, Option<Disk>), MqttError> {
    let opened = Store::open(&path, limits).and_then(|(store, _)| {
        let (first, end) = store.range()?;
        Ok((store, first, end))
    });
    let (store, first, end) = match opened {
        Ok((store, first, end)) => (Some(store), first, end),
        Err(error @ OutboxError::Disk { .. }) => {
            outbox_fails(status, &error.to_string());
            // Whatever the disk holds, its keys are lower: a daemon would need centuries to count so far.
            (None, 1 << 62, 1 << 62)
        }
        Err(error) => return Err(error.into()),
    };
    let waiting = store.as_ref().map_or(0, Store::events);
    if waiting > 0 {
        tracing::info!(waiting, outbox = %path.display(), "events of an earlier run wait in the outbox");
    }
    let disk = Disk {
        path,
        limits,
        store,
        end,
    };
    Ok((Delivery::durable(backlog, first, end, waiting), Some(disk)))
}

/// Events are not safe any more: told once for each reason.
fn outbox_fails(status: &StatusHandle, reason: &str) {
    status.update(|s| {
        if s.outbox_error.as_deref() != Some(reason) {
            tracing::error!(
                "events wait in memory only, and would be lost with the process: {reason}"
            );
            s.outbox_error = Some(reason.to_owned());
        }
    });
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
