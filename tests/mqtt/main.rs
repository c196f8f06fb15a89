//! The MQTT sink against a real mosquitto broker on loopback: topics, retention, will, reconnection, refusal, TLS.

#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod durable;
mod hermes;
mod household;
mod proxy;
mod security;
mod storm;
mod topics;

pub use common::{PATIENCE, broker, listener, wait};
use earwitness::config;
use earwitness::publish::mqtt::{MqttSink, StatusHandle};
use earwitness::publish::{
    Body, Bus, Event, EventId, GapReason, QUEUE, SCHEMA, SourceState, Verdict,
};

pub fn event(sequence: u64, body: Body) -> Event {
    Event {
        schema: SCHEMA,
        id: EventId {
            node: "test".into(),
            stream: "kitchen".into(),
            epoch: 1_790_000_000_000,
            sequence,
        },
        time: "2026-11-23T08:30:00.250Z".into(),
        start_s: 0.0,
        end_s: 3.0,
        lag_ms: 12.0,
        body,
    }
}

pub fn gap(sequence: u64) -> Event {
    event(
        sequence,
        Body::Gap {
            samples: 160,
            reason: GapReason::Overrun,
        },
    )
}

pub fn window(sequence: u64) -> Event {
    event(
        sequence,
        Body::Window {
            level_dbfs: -30.0,
            clipped: 0.0,
            speech: 1.0,
            speaker: None,
            spoof: None,
            sound: None,
            probes: Vec::new(),
        },
    )
}

pub fn source_up(sequence: u64) -> Event {
    event(
        sequence,
        Body::Source {
            state: SourceState::Up,
            reason: None,
        },
    )
}

pub fn speaker(sequence: u64, name: &str) -> Event {
    event(
        sequence,
        Body::Speaker {
            speaker: Some(name.into()),
            speaking: true,
            since_s: 1.0,
            verdict: Verdict::Accept,
            llr: Some(5.0),
            stranger: None,
            speech_s: None,
            fused: None,
        },
    )
}

pub fn spoof(sequence: u64) -> Event {
    event(
        sequence,
        Body::Spoof {
            verdict: Verdict::Reject,
            llr: -4.0,
            since_s: 2.0,
            parts: Vec::new(),
        },
    )
}

/// The default configuration with this port on loopback.
pub fn config(port: u16) -> config::Mqtt {
    config::Mqtt {
        broker: format!("mqtt://127.0.0.1:{port}"),
        ..config::Mqtt::default()
    }
}

/// A bus with an MQTT sink of this configuration.
pub fn start(config: &config::Mqtt) -> (Bus, StatusHandle) {
    let info = serde_json::json!({"version": "test", "schema": SCHEMA});
    let sink = MqttSink::new(config, "test", &info).unwrap();
    let status = sink.status();
    let mut bus = Bus::new();
    bus.add("mqtt", QUEUE, sink).unwrap();
    (bus, status)
}
