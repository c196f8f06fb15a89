//! The loop that owns client and event loop. Events come in through the sink's inbox, whatever the broker does.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::{
    AsyncClient, Event as Happening, MqttOptions, NetworkOptions, Outgoing as Sent, Packet, QoS,
};
use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, random};
use super::delivery::{CHANNEL, Delivery};
use super::failure::{Failure, NETWORK_TIMEOUT_S, explain, overflow};
use super::options::{MqttError, Options};
use super::status::{Status, StatusHandle};
use super::topic::{TopicError, Topics};
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
    inbox_closed: bool,
    invalid: Throttle,
    full: Throttle,
    lost: Throttle,
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
    /// Checks the configuration; `info` becomes the retained `<prefix>/<node>/info`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`MqttError`] names the key that is wrong.
    pub fn new(
        config: &config::Mqtt,
        node: &str,
        info: &serde_json::Value,
    ) -> Result<Self, MqttError> {
        let topics = Topics::new(&config.prefix, node)?;
        let mut delivery = Delivery::new(config.backlog);
        delivery.retain(topics.status(), b"online".to_vec());
        delivery.retain(topics.info(), info.to_string().into_bytes());
        Ok(Self {
            options: Options::new(config, node)?,
            topics,
            delivery,
            states: BTreeMap::new(),
            status: StatusHandle::default(),
            inbox_closed: false,
            invalid: Throttle::new(Duration::from_secs(10)),
            full: Throttle::new(Duration::from_secs(60)),
            lost: Throttle::new(Duration::from_secs(60)),
            last_loss: String::new(),
        })
    }

    /// For logs and `doctor`; stays valid while the sink runs and after.
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    async fn serve(&mut self, inbox: &mut Inbox) {
        let mut backoff = Backoff::default();
        loop {
            let end = match self.options.session(&self.topics) {
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
        self.publish_status();
        let pending = self.delivery.pending();
        if pending > 0 {
            tracing::warn!(pending, broker = %self.options.address, "events not acknowledged by the broker are lost");
        }
    }

    /// One connection from the first attempt to its end. A new event loop each time: rumqttc's own memory of a lost
    /// connection is dropped with it, ours is in `delivery`.
    async fn connection(&mut self, options: MqttOptions, inbox: &mut Inbox) -> End {
        // rumqttc notices a silent broker by its missing ping responses, but not while it is stuck in a write.
        let silence = 2 * self.options.keep_alive + Duration::from_secs(2 * NETWORK_TIMEOUT_S);
        let (client, mut eventloop) = AsyncClient::new(options, CHANNEL);
        eventloop.set_network_options(network());
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
                let poll = eventloop.poll();
                tokio::pin!(poll);
                loop {
                    let wake = if self.inbox_closed {
                        Instant::now() + Duration::from_millis(20)
                    } else {
                        heard + silence
                    };
                    tokio::select! {
                        polled = &mut poll => break polled,
                        event = inbox.recv_async(), if !self.inbox_closed => match event {
                            Some(event) => self.take(&event, up.map(|_| &client)),
                            None => self.inbox_closed = true,
                        },
                        () = sleep_until(wake) => {}
                    }
                    if heard.elapsed() > silence {
                        let text =
                            format!("the broker has been silent for {} s", silence.as_secs());
                        let refused = false;
                        return lost(up, Failure { text, refused });
                    }
                    if self.inbox_closed && self.leave(inbox, &client, up, &mut farewell) {
                        return End::Closed;
                    }
                    if up.is_some() && !self.pump(&client, &farewell) {
                        return lost(up, overflow());
                    }
                }
            };
            match polled {
                Ok(Happening::Incoming(packet)) => {
                    heard = Instant::now();
                    match packet {
                        Packet::ConnAck(ack) => {
                            up = Some(heard);
                            self.connected(ack.session_present);
                        }
                        Packet::PubAck(ack) => self.delivery.acknowledged(ack.pkid),
                        _ => {}
                    }
                }
                Ok(Happening::Outgoing(Sent::Publish(pkid))) => {
                    if self.delivery.written(pkid) {
                        self.status.update(|s| s.published += 1);
                    }
                }
                Ok(Happening::Outgoing(Sent::Disconnect)) => return End::Closed,
                Ok(Happening::Outgoing(_)) => {}
                // The broker closes after our farewell; that is no loss.
                Err(_) if farewell == Farewell::Disconnecting => return End::Closed,
                Err(error) => return lost(up, explain(&error, &self.options)),
            }
            if up.is_some() && !self.pump(&client, &farewell) {
                return lost(up, overflow());
            }
            self.publish_status();
        }
    }

    /// Hands the client what it can take. `false`: it took less than the book-keeping says it must.
    fn pump(&mut self, client: &AsyncClient, farewell: &Farewell) -> bool {
        while let Some(out) = self.delivery.next(*farewell != Farewell::None) {
            let handed = client.try_publish(out.topic, QoS::AtLeastOnce, out.retain, out.payload);
            if handed.is_err() {
                return false;
            }
        }
        true
    }

    /// One event from the bus; `client` when the connection stands.
    fn take(&mut self, event: &Event, client: Option<&AsyncClient>) {
        if let Err(error) = self.try_take(event, client) {
            self.status.update(|s| s.invalid += 1);
            if let Some(count) = self.invalid.hit(std::time::Instant::now()) {
                tracing::error!(count, "event not published: {error}");
            }
        }
        self.publish_status();
    }

    fn try_take(&mut self, event: &Event, client: Option<&AsyncClient>) -> Result<(), String> {
        let bad_topic = |e: TopicError| e.to_string();
        let stream = &event.id.stream;
        let topic = self
            .topics
            .event(stream, event.body.kind())
            .map_err(bad_topic)?;
        let payload = event.to_json().map_err(|e| e.to_string())?;
        if matches!(event.body, Body::Window { .. }) {
            let sent = client.is_some_and(|client| {
                self.delivery.offer_window()
                    && client
                        .try_publish(topic, QoS::AtMostOnce, false, payload)
                        .is_ok()
            });
            if !sent {
                self.status.update(|s| s.windows_skipped += 1);
            }
            return Ok(());
        }
        let (size, dropped) = (payload.len(), self.delivery.dropped);
        if !self.delivery.push(topic, payload) {
            return Err(format!("{size} bytes do not fit into an MQTT packet"));
        }
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
        client: &AsyncClient,
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
                self.delivery.retain(topic, b"offline".to_vec());
                *farewell = Farewell::Said;
            }
            Farewell::Said if self.delivery.idle() => {
                *farewell = Farewell::Disconnecting;
                return client.try_disconnect().is_err();
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
                sleep_until(Instant::now() + Duration::from_millis(20)).await;
                continue;
            }
            tokio::select! {
                event = inbox.recv_async() => match event {
                    Some(event) => self.take(&event, None),
                    None => self.inbox_closed = true,
                },
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
            (s.acked, s.dropped, s.pending) = (d.acked, d.dropped, d.pending() as u64);
        });
    }
}

impl Sink for MqttSink {
    fn run(mut self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SinkError(MqttError::Runtime(e).to_string()))?;
        runtime.block_on(self.serve(&mut inbox));
        // A name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
        Ok(())
    }
}

pub(super) fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(NETWORK_TIMEOUT_S);
    // Events are small and wanted at once.
    network.set_tcp_nodelay(true);
    network
}
