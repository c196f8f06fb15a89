//! What is told of the connection: log and status. The same reason is not told all the time.

use std::time::{Duration, Instant};

use super::MqttSink;
use crate::publish::mqtt::failure::Failure;
use crate::publish::mqtt::status::Status;
use crate::publish::throttle::Throttle;

impl MqttSink {
    pub(super) fn connected(&mut self, session_present: bool) {
        let pending = self.delivery.pending();
        tracing::info!(broker = %self.options.address, session_present, pending, "MQTT connected");
        self.last_loss.clear();
        self.status.update(|s| {
            s.connected = true;
            s.connections += 1;
        });
    }

    pub(super) fn report(&mut self, failure: Failure, wait: Duration) {
        let now = Instant::now();
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

    pub(super) fn publish_status(&self) {
        let d = &self.delivery;
        self.status.update(|s: &mut Status| {
            (s.acked, s.refused, s.dropped) = (d.acked, d.refused, d.dropped);
            (s.pending, s.secured) = (d.pending(), d.secured());
        });
    }

    /// What a command asked for is done or refused all the same.
    pub(super) fn log_unanswered(&mut self) {
        if let Some(count) = self.unanswered.hit(Instant::now()) {
            tracing::warn!(
                count,
                "answers to commands are not sent: commands come faster than the connection takes answers"
            );
        }
    }

    /// MQTT 5 only: the broker takes the connection, but not this.
    pub(super) fn broker_refused(&mut self, reason: &str, is_event: bool) {
        let what = if is_event {
            "an event"
        } else {
            "a retained message"
        };
        let text = format!(
            "{} refuses {what}: {reason}; check what user and client id may publish there",
            self.options.address
        );
        if self.refused.hit(Instant::now()).is_some() {
            tracing::error!("{text}");
        }
        self.status.update(|s| s.last_error = Some(text));
    }
}
