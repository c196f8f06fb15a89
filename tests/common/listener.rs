//! A subscriber that writes down what it hears, and comes back after the broker did.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, Publish, QoS};

use super::wait;

pub struct Listener {
    heard: Arc<Mutex<Vec<Publish>>>,
    subscribed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Listener {
    /// Subscribed to everything at QoS 1 when it returns.
    pub fn start(port: u16) -> Self {
        let name = format!("listener-{port}-{:?}", thread::current().id());
        Self::with(MqttOptions::new(name, "127.0.0.1", port), "#")
    }

    /// Subscribed to `topics` at QoS 1 when it returns.
    pub fn with(mut options: MqttOptions, topics: &'static str) -> Self {
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 10);
        let (heard, subscribed, stop) =
            <(Arc<Mutex<Vec<_>>>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let this = Self {
            heard: heard.clone(),
            subscribed: subscribed.clone(),
            stop: stop.clone(),
        };
        thread::spawn(move || {
            for happening in connection.iter() {
                if stop.load(SeqCst) {
                    break;
                }
                match happening {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        client.try_subscribe(topics, QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        subscribed.fetch_add(1, SeqCst);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        heard.lock().unwrap().push(publish)
                    }
                    Ok(_) => {}
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        this.wait_subscribed(1);
        this
    }

    /// Until it has subscribed for the `times`-th time.
    pub fn wait_subscribed(&self, times: u64) {
        wait("the listener to subscribe", || {
            self.subscribed.load(SeqCst) >= times
        });
    }

    pub fn heard(&self) -> Vec<Publish> {
        self.heard.lock().unwrap().clone()
    }

    /// All messages of one topic.
    pub fn on(&self, topic: &str) -> Vec<Publish> {
        let mut all = self.heard();
        all.retain(|p| p.topic == topic);
        all
    }

    /// Waits for `count` messages of a topic.
    pub fn wait_for(&self, topic: &str, count: usize) -> Vec<Publish> {
        wait(&format!("{count} messages on {topic}"), || {
            self.on(topic).len() >= count
        });
        self.on(topic)
    }

    /// Waits until the last message of a topic is this text.
    pub fn wait_last(&self, topic: &str, payload: &str) {
        wait(&format!("`{payload}` on {topic}"), || {
            self.on(topic)
                .last()
                .is_some_and(|p| p.payload == payload.as_bytes())
        });
    }

    /// Sequence numbers heard as gap events, in order of arrival.
    pub fn gaps(&self) -> Vec<u64> {
        self.on("earwitness/test/kitchen/event/gap")
            .iter()
            .map(|p| {
                let event: earwitness::publish::Event = serde_json::from_slice(&p.payload).unwrap();
                event.id.sequence
            })
            .collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}
