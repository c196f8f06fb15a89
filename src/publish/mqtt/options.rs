//! From the configuration to a connection's options: address, credentials, TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{LastWill, MqttOptions, QoS, TlsConfiguration, Transport, v5};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::address::{Address, AddressError};
use super::delivery::IN_FLIGHT_LIMIT;
use super::outbox::OutboxError;
use super::topic::{TopicError, Topics};
use super::wire;
use crate::config;

/// Longest password file, bytes: an MQTT password has a 16-bit length.
const MAX_PASSWORD: usize = 65_535;
/// Environment variable that may hold the password instead of a file.
pub const PASSWORD_VARIABLE: &str = "EARWITNESS_MQTT_PASSWORD";
/// On the status topic of a daemon that is gone.
pub const OFFLINE: &str = "offline";

/// Why MQTT cannot be set up, or a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// `broker` is wrong.
    #[error("[mqtt] {0}")]
    Address(#[from] AddressError),
    /// `prefix` or the node's name is wrong.
    #[error("[mqtt] {0}")]
    Topic(#[from] TopicError),
    /// `client_id` is wrong.
    #[error(
        "[mqtt] client_id `{0}`: expected 1 to 128 characters without spaces or control characters"
    )]
    ClientId(String),
    /// `keep_alive_s` is out of range.
    #[error("[mqtt] keep_alive_s is {0}; expected 1 to 65535 seconds, with version = 5 at least 5")]
    KeepAlive(u64),
    /// `version` is none that we speak.
    #[error("[mqtt] version is {0}; expected 4 (MQTT 3.1.1) or 5")]
    Version(u8),
    /// The outbox cannot be used, and waiting would not help.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// MQTT 3.1.1 has no password without a user name.
    #[error("[mqtt] password_file is given without username; give both or neither")]
    PasswordAlone,
    /// A file could not be read.
    #[error("[mqtt] {key} = {path}: {reason}")]
    File {
        /// Key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was expected, what was found.
        reason: String,
    },
    /// Keys for TLS beside an address without.
    #[error(
        "[mqtt] {0} is given but `broker` starts with mqtt://, which is not encrypted; write mqtts://"
    )]
    TlsUnused(&'static str),
    /// Half of a client certificate.
    #[error("[mqtt] client_cert_file and client_key_file belong together; give both or neither")]
    HalfIdentity,
    /// The system has no certificate authorities.
    #[error(
        "no certificate authority found on this system ({0}); install ca-certificates or set [mqtt] ca_file"
    )]
    NoRoots(String),
    /// rustls refused certificate or key.
    #[error("[mqtt] TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The broker did not accept us.
    #[error("{0}")]
    Unreachable(String),
    /// The broker accepts us, but not what we publish.
    #[error("{0}")]
    Refused(String),
    /// No thread, no runtime.
    #[error("cannot start the MQTT runtime: {0}")]
    Runtime(std::io::Error),
}

/// All that a connection needs, checked.
#[derive(Debug, Clone)]
pub struct Options {
    pub address: Address,
    pub client_id: String,
    pub keep_alive: Duration,
    /// 4: MQTT 3.1.1, whose protocol level that is; 5: MQTT 5.
    version: u8,
    username: Option<String>,
    password_file: Option<PathBuf>,
    tls: Option<Arc<ClientConfig>>,
}

impl Options {
    /// Checks the configuration and reads every file that it names once, so that a mistake shows at start.
    pub fn new(config: &config::Mqtt, node: &str) -> Result<Self, MqttError> {
        let address: Address = config.broker.parse()?;
        let client_id = config
            .client_id
            .clone()
            .unwrap_or_else(|| format!("earwitness-{node}"));
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if client_id.is_empty() || client_id.len() > 128 || client_id.contains(odd) {
            return Err(MqttError::ClientId(client_id));
        }
        let keep_alive = u16::try_from(config.keep_alive_s)
            .ok()
            // rumqttc ends the process at less than 5 with MQTT 5.
            .filter(|s| *s >= if config.version == 5 { 5 } else { 1 })
            .ok_or(MqttError::KeepAlive(config.keep_alive_s))?;
        if !matches!(config.version, 4 | 5) {
            return Err(MqttError::Version(config.version));
        }
        if config.password_file.is_some() && config.username.is_none() {
            return Err(MqttError::PasswordAlone);
        }
        let tls = if address.tls {
            Some(Arc::new(client_tls(config)?))
        } else {
            let unused = [
                ("ca_file", &config.ca_file),
                ("client_cert_file", &config.client_cert_file),
                ("client_key_file", &config.client_key_file),
            ];
            if let Some((key, _)) = unused.into_iter().find(|(_, value)| value.is_some()) {
                return Err(MqttError::TlsUnused(key));
            }
            None
        };
        let options = Self {
            address,
            client_id,
            keep_alive: Duration::from_secs(keep_alive.into()),
            version: config.version,
            username: config.username.clone(),
            password_file: config.password_file.clone(),
            tls,
        };
        options.password()?;
        Ok(options)
    }

    /// For one connection; the password is read anew, so that it can be changed while the daemon runs. With `topics`: as the
    /// daemon, with a will and a session that the broker keeps.
    pub fn connection(&self, topics: Option<&Topics>) -> Result<wire::Options, MqttError> {
        let (host, port) = (self.address.socket_host(), self.address.port);
        let transport = self
            .tls
            .as_ref()
            .map(|tls| Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        let login = match &self.username {
            Some(username) => Some((username, self.password()?)),
            None => None,
        };
        // One more, so that packet ids never run into one that is under way.
        let in_flight = u16::try_from(IN_FLIGHT_LIMIT + 1).unwrap_or(u16::MAX);
        let largest = u32::try_from(super::MAX_PACKET).unwrap_or(u32::MAX);
        if self.version != 5 {
            let mut options = MqttOptions::new(&self.client_id, host, port);
            options
                .set_keep_alive(self.keep_alive)
                .set_max_packet_size(super::MAX_PACKET, super::MAX_PACKET)
                .set_inflight(in_flight);
            if let Some((username, password)) = login {
                options.set_credentials(username, password);
            }
            if let Some(transport) = transport {
                options.set_transport(transport);
            }
            if let Some(topics) = topics {
                let will = LastWill::new(topics.status(), OFFLINE, QoS::AtLeastOnce, true);
                options.set_clean_session(false).set_last_will(will);
            }
            return Ok(wire::Options::V4(Box::new(options)));
        }
        let mut options = v5::MqttOptions::new(&self.client_id, host, port);
        options
            .set_keep_alive(self.keep_alive)
            .set_max_packet_size(Some(largest))
            .set_outgoing_inflight_upper_limit(in_flight);
        if let Some((username, password)) = login {
            options.set_credentials(username, password);
        }
        if let Some(transport) = transport {
            options.set_transport(transport);
        }
        if let Some(topics) = topics {
            let qos = v5::mqttbytes::QoS::AtLeastOnce;
            let will = v5::mqttbytes::v5::LastWill::new(topics.status(), OFFLINE, qos, true, None);
            options
                .set_clean_start(false)
                .set_session_expiry_interval(Some(wire::SESSION_EXPIRY_S))
                .set_last_will(will);
        }
        Ok(wire::Options::V5(Box::new(options)))
    }

    fn password(&self) -> Result<String, MqttError> {
        password(self.password_file.as_deref())
    }
}

/// The first line of the file; without one what [`PASSWORD_VARIABLE`] holds, or nothing.
pub fn password(path: Option<&Path>) -> Result<String, MqttError> {
    let Some(path) = path else {
        return Ok(std::env::var(PASSWORD_VARIABLE).unwrap_or_default());
    };
    let error = |reason: String| MqttError::File {
        key: "password_file",
        path: path.into(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_PASSWORD {
        return Err(error(format!(
            "expected a password of 1 to {MAX_PASSWORD} bytes in the first line, found {}",
            line.len()
        )));
    }
    Ok(line.to_owned())
}

/// Who is trusted, and who we are: `ca_file`, `client_cert_file`, `client_key_file`.
pub fn client_tls(config: &config::Mqtt) -> Result<ClientConfig, MqttError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        for cert in certificates("ca_file", path)? {
            roots.add(cert)?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(MqttError::NoRoots(why.join("; ")));
        }
    }
    // The provider is named here: without a process-wide default rustls would panic.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match (&config.client_cert_file, &config.client_key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates("client_cert_file", cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| MqttError::File {
                key: "client_key_file",
                path: key.clone(),
                reason: format!("expected a PEM private key: {e}"),
            })?;
            Ok(builder.with_client_auth_cert(chain, key)?)
        }
        _ => Err(MqttError::HalfIdentity),
    }
}

/// At least one certificate out of a PEM file.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let error = |reason: String| MqttError::File {
        key,
        path: path.into(),
        reason,
    };
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| error(format!("expected PEM certificates: {e}")))?;
    if certs.is_empty() {
        return Err(error("expected PEM certificates, found none".into()));
    }
    Ok(certs)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
