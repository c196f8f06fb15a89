//! A broker inside the process, for the demo: on loopback only, without a password, gone when the process ends.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::mqtt;
use crate::config;

/// `tracing` directive that keeps the broker's own log lines out; it reports every disconnection as an error.
pub const QUIET: &str = "rumqttd=off";

/// How long the broker may take to accept its first connection.
const START: Duration = Duration::from_secs(5);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Somebody else listens there.
    #[error("port {0} is in use on this machine; choose another one, or 0 for any that is free")]
    PortInUse(u16),
    /// The operating system refused.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The operating system's word.
        source: io::Error,
    },
    /// It was started, but does not answer.
    #[error("the embedded broker did not start: {0}")]
    NotUp(String),
}

/// A broker that runs until the process ends: rumqttd has no way to stop one.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
}

impl Embedded {
    /// Starts a broker on 127.0.0.1 and returns when it accepts MQTT connections. Port 0: any free one.
    ///
    /// # Errors
    /// [`BrokerError`] when the port is taken or the broker does not come up.
    pub fn start(port: u16) -> Result<Self, BrokerError> {
        // Somebody may take a free port before rumqttd does: then there are others.
        for _ in 0..4 {
            match Self::attempt(port) {
                Err(BrokerError::NotUp(_)) if port == 0 => {}
                outcome => return outcome,
            }
        }
        Self::attempt(port)
    }

    fn attempt(port: u16) -> Result<Self, BrokerError> {
        // rumqttd only logs that it could not bind: ask first. The port is free again when `address` is known.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| listener.local_addr())
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => BrokerError::PortInUse(port),
                _ => BrokerError::Listen { port, source },
            })?;
        let (ended, end) = mpsc::channel();
        let mut broker = Broker::new(settings(address));
        thread::Builder::new()
            .name("broker".into())
            .spawn(move || {
                let outcome = match broker.start() {
                    Ok(()) => "it could not listen".to_owned(),
                    Err(error) => error.to_string(),
                };
                // Nobody listens any more once it was up.
                let _ = ended.send(outcome);
            })
            .map_err(|source| BrokerError::Listen { port, source })?;
        let this = Self { address };
        let probe = config::Mqtt {
            broker: this.url(),
            ..config::Mqtt::default()
        };
        let limit = Instant::now() + START;
        loop {
            match mqtt::probe(&probe, Duration::from_secs(1)) {
                // Ours, unless our server has ended: then it was another one that has the port.
                Ok(_) => {
                    return end
                        .try_recv()
                        .map_or(Ok(this), |r| Err(BrokerError::NotUp(r)));
                }
                Err(error) if Instant::now() > limit => {
                    return Err(BrokerError::NotUp(error.to_string()));
                }
                Err(_) => {}
            }
            if let Ok(reason) = end.recv_timeout(Duration::from_millis(20)) {
                return Err(BrokerError::NotUp(reason));
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `mqtt://127.0.0.1:port`, as the configuration wants it.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

/// Sizes for a handful of clients: the commit log of a topic is at most 10 segments of 1 MiB.
fn settings(listen: SocketAddr) -> Config {
    let server = ServerSettings {
        name: "demo".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: mqtt::MAX_PACKET,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("1".to_owned(), server)])),
        ..Config::default()
    }
}
