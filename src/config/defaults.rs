//! Every default of the daemon, and nowhere else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::types::*;

impl Default for Config {
    fn default() -> Self {
        Self {
            node: node(),
            models: Models::default(),
            streams: Vec::new(),
            window: Window::default(),
            speaker: Speaker::default(),
            spoof: Spoof::default(),
            sound: Sound::default(),
            health: Health::default(),
            mqtt: None,
            home_assistant: HomeAssistant::default(),
            jsonl: None,
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            pack: "models/default".into(),
            trusted_keys: Vec::new(),
            allow_unsigned: false,
            runtime: None,
            provider: Provider::Cpu,
            device_id: 0,
            engine_cache: None,
            precision: Precision::Fp32,
            workers: 0,
            batch: 0,
            batch_wait_ms: 10,
        }
    }
}

impl Default for Pcm {
    fn default() -> Self {
        Self {
            rate: 16_000,
            channels: 1,
            format: PcmFormat::S16,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            length_s: 3.0,
            hop_s: 1.0,
            min_speech: 0.5,
            queue: 8,
        }
    }
}

impl Default for Speaker {
    fn default() -> Self {
        Self {
            store: "speakers.redb".into(),
            key_file: None,
            passphrase_file: None,
            keep_days: None,
            decision: Decision::default(),
        }
    }
}

impl Default for Spoof {
    fn default() -> Self {
        Self {
            enabled: true,
            decision: Decision::default(),
        }
    }
}

impl Default for Sound {
    fn default() -> Self {
        Self {
            enabled: true,
            on: 0.6,
            off: 0.4,
            min_windows: 2,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            enabled: true,
            stuck_s: 30.0,
            rank_share: 0.5,
            neighbours: Neighbours::Never,
        }
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            prior: 0.5,
            cost_miss: 1.0,
            cost_false_accept: 1.0,
            // Odds of 7 to 3. Nobody is called a forgery, nor vouched for, at less: models err most on recordings unlike those
            // that they were measured on.
            margin: 0.85,
            target_far: None,
            target_frr: None,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            broker: "mqtt://localhost:1883".into(),
            prefix: "earwitness".into(),
            client_id: None,
            username: None,
            password_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            version: 4,
            keep_alive_s: 15,
            outbox: None,
            outbox_max_mb: 256,
            outbox_max_age_h: 168,
            backlog: 10_000,
            vitals_s: 30,
            commands: Commands::default(),
        }
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            allow: Verb::ANYBODY_S.to_vec(),
            clients: BTreeMap::new(),
            per_minute: 60,
        }
    }
}

impl Default for HomeAssistant {
    fn default() -> Self {
        Self {
            enabled: true,
            prefix: "homeassistant".into(),
            client: None,
        }
    }
}

/// Name of the outbox beside the speaker store.
pub(super) const OUTBOX: &str = "outbox.redb";

/// Name of a daemon that was given none.
pub(super) fn node() -> String {
    "home".into()
}

/// A stream hears sounds unless it says otherwise.
pub(super) fn sound() -> bool {
    true
}

/// Files play in real time.
pub(super) fn speed() -> f64 {
    1.0
}

/// Where Wyoming satellites connect to.
pub(super) fn wyoming() -> SocketAddr {
    loopback(10_700)
}

/// Where raw PCM comes in.
pub(super) fn tcp() -> SocketAddr {
    loopback(10_800)
}

/// Where RTP comes in.
pub(super) fn udp() -> SocketAddr {
    loopback(5_004)
}

/// The first of the dynamic ones.
pub(super) fn payload_type() -> u8 {
    96
}

/// Mono.
pub(super) fn channels() -> u16 {
    1
}

/// Three packets of the usual 20 ms.
pub(super) fn jitter_ms() -> u64 {
    60
}

/// What Rhasspy calls a satellite that was given no name.
pub(super) fn site() -> String {
    "default".into()
}

/// Only this machine is heard unless the configuration says otherwise.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
