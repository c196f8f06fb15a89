//! Events in: what is sent at once, what waits for its acknowledgement, and what stands by them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::MqttSink;
use crate::publish::event::{Body, Event};
use crate::publish::mqtt::outbox::Message;
use crate::publish::mqtt::topic::TopicError;
use crate::publish::mqtt::wire::Client;
use crate::publish::state::StreamState;

impl MqttSink {
    /// One event from the bus; `client` when the connection stands.
    pub(super) fn take(&mut self, event: &Event, client: Option<&Client>) {
        if let Err(error) = self.try_take(event, client) {
            self.status.update(|s| s.invalid += 1);
            if let Some(count) = self.invalid.hit(Instant::now()) {
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
        self.disk.place_orders(&mut self.delivery);
        if self.delivery.dropped > dropped && self.full.hit(Instant::now()).is_some() {
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
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
