//! An MQTT client like any other: what the demo prints came over the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::publish::Event;
use anyhow::Context;
use crossbeam_channel::{Receiver, Sender};
use rumqttc::{Client, Event as Mqtt, MqttOptions, Packet, QoS};

/// Events that the printing thread may be behind.
const BACKLOG: usize = 4096;

/// An event and when it arrived.
pub struct Arrival {
    /// As published.
    pub event: Event,
    /// Wall clock at arrival.
    pub at: SystemTime,
}

/// A running subscriber.
pub struct Listener {
    /// What arrives.
    pub arrivals: Receiver<Arrival>,
    client: Client,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Listener {
    /// Subscribes to every event under `prefix` at the broker on this port of the loopback interface and returns once
    /// the broker has confirmed it.
    pub fn start(port: u16, prefix: &str) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new("earwitness-demo-listener", "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 64);
        client.subscribe(format!("{prefix}/+/+/event/#"), QoS::AtLeastOnce)?;
        let (send, arrivals) = crossbeam_channel::bounded(BACKLOG);
        let (ready, is_ready) = crossbeam_channel::bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::Builder::new().name("listener".into()).spawn(move || {
            for notification in connection.iter() {
                match notification {
                    Ok(Mqtt::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                    Ok(Mqtt::Incoming(Packet::Publish(publish))) => deliver(&publish.payload, &send),
                    Ok(_) => (),
                    Err(_) if told.load(Ordering::Relaxed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "the demo's subscriber lost the broker; trying again");
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
            }
        })?;
        is_ready
            .recv_timeout(Duration::from_secs(5))
            .context("the embedded broker did not confirm the subscription within 5 s")?;
        Ok(Self {
            arrivals,
            client,
            thread,
            stop,
        })
    }

    /// Disconnects.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.client.disconnect().is_ok() {
            drop(self.thread.join());
        }
    }
}

fn deliver(payload: &[u8], send: &Sender<Arrival>) {
    match serde_json::from_slice(payload) {
        Ok(event) => {
            if send
                .try_send(Arrival {
                    event,
                    at: SystemTime::now(),
                })
                .is_err()
            {
                tracing::warn!("the demo prints too slowly; an event is missing from its log");
            }
        }
        Err(error) => tracing::error!(%error, "an event on MQTT does not parse"),
    }
}
