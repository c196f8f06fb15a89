//! Lost and refused connections in words: what happened, and what a person can do about it.

use rumqttc::{ConnectReturnCode, ConnectionError, TlsError};

use super::options::Options;

/// For the connection to come to be, and for each write.
pub const NETWORK_TIMEOUT_S: u64 = 5;

/// What a person has to know of a lost or refused connection.
pub struct Failure {
    pub text: String,
    /// Trying again soon is of no use.
    pub refused: bool,
}

/// The client took less than the book-keeping says it must.
pub fn overflow() -> Failure {
    Failure {
        text: "the client's request queue overflowed".into(),
        refused: false,
    }
}

/// What happened, and what a person can do about it.
pub fn explain(error: &ConnectionError, options: &Options) -> Failure {
    use ConnectReturnCode as Code;
    let at = &options.address;
    let (text, refused) = match error {
        ConnectionError::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => (
            format!("nobody listens at {at}; is the broker running?"),
            false,
        ),
        ConnectionError::Io(e) => (format!("{at}: {e}"), false),
        ConnectionError::NetworkTimeout => (
            format!("{at} did not answer within {NETWORK_TIMEOUT_S} s"),
            false,
        ),
        ConnectionError::FlushTimeout => (format!("{at} takes nothing any more"), false),
        ConnectionError::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => (
            format!(
                "{at} refused user name or password; check username and password_file in [mqtt]"
            ),
            true,
        ),
        ConnectionError::ConnectionRefused(Code::BadClientId) => (
            format!(
                "{at} refused client id `{}`; set client_id in [mqtt]",
                options.client_id
            ),
            true,
        ),
        ConnectionError::ConnectionRefused(Code::RefusedProtocolVersion) => (
            format!("{at} does not speak MQTT 3.1.1; use a broker that does"),
            true,
        ),
        ConnectionError::ConnectionRefused(code) => (format!("{at} refused: {code:?}"), false),
        // rustls reports a certificate that it does not trust as invalid data.
        ConnectionError::Tls(TlsError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => (
            format!(
                "TLS with {at}: {e}; check ca_file in [mqtt] and the name in the broker's certificate"
            ),
            true,
        ),
        ConnectionError::Tls(TlsError::Io(e)) => (format!("TLS with {at}: {e}"), false),
        ConnectionError::Tls(e) => (format!("TLS with {at}: {e}"), true),
        other => (format!("{at}: {other}"), false),
    };
    Failure { text, refused }
}
