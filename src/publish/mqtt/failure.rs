//! Lost and refused connections in words: what happened, and what a person can do about it.

use rumqttc::{ConnectReturnCode, ConnectionError, TlsError, v5};

use super::options::Options;
use super::wire::Error;

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
pub fn explain(error: &Error, options: &Options) -> Failure {
    match error {
        Error::V4(error) => explain_v4(error, options),
        Error::V5(error) => explain_v5(error, options),
    }
}

fn explain_v4(error: &ConnectionError, options: &Options) -> Failure {
    use ConnectReturnCode as Code;
    let at = &options.address;
    match error {
        ConnectionError::Io(e) => io(e, options),
        ConnectionError::NetworkTimeout => timeout(options),
        ConnectionError::FlushTimeout => soon(format!("{at} takes nothing any more")),
        ConnectionError::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => {
            credentials(options)
        }
        ConnectionError::ConnectionRefused(Code::BadClientId) => client_id(options),
        ConnectionError::ConnectionRefused(Code::RefusedProtocolVersion) => never(format!(
            "{at} does not speak MQTT 3.1.1; set version = 5 in [mqtt], or use a broker that does"
        )),
        ConnectionError::ConnectionRefused(code) => soon(format!("{at} refused: {code:?}")),
        ConnectionError::Tls(error) => tls(error, options),
        other => soon(format!("{at}: {other}")),
    }
}

fn explain_v5(error: &v5::ConnectionError, options: &Options) -> Failure {
    use v5::mqttbytes::v5::{ConnectReturnCode as Code, DisconnectReasonCode};
    use v5::{ConnectionError, StateError};
    let at = &options.address;
    match error {
        ConnectionError::Io(e) => io(e, options),
        ConnectionError::Timeout(_) => timeout(options),
        ConnectionError::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => {
            credentials(options)
        }
        ConnectionError::ConnectionRefused(Code::BadClientId | Code::ClientIdentifierNotValid) => {
            client_id(options)
        }
        ConnectionError::ConnectionRefused(
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion,
        ) => never(format!(
            "{at} does not speak MQTT 5; leave version out of [mqtt], or use a broker that does"
        )),
        ConnectionError::ConnectionRefused(Code::Banned) => {
            never(format!("{at} has banned us; ask who runs it"))
        }
        ConnectionError::ConnectionRefused(code) => soon(format!("{at} refused: {code:?}")),
        ConnectionError::Tls(error) => tls(error, options),
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => soon(format!(
            "{at}: another client has come with our client id `{}`; two daemons need two",
            options.client_id
        )),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            soon(format!("{at} disconnected us: {reason_code:?}"))
        }
        other => soon(format!("{at}: {other}")),
    }
}

fn soon(text: String) -> Failure {
    Failure {
        text,
        refused: false,
    }
}

fn never(text: String) -> Failure {
    Failure {
        text,
        refused: true,
    }
}

fn io(error: &std::io::Error, options: &Options) -> Failure {
    let at = &options.address;
    soon(if error.kind() == std::io::ErrorKind::ConnectionRefused {
        format!("nobody listens at {at}; is the broker running?")
    } else {
        format!("{at}: {error}")
    })
}

fn timeout(options: &Options) -> Failure {
    soon(format!(
        "{} did not answer within {NETWORK_TIMEOUT_S} s",
        options.address
    ))
}

fn credentials(options: &Options) -> Failure {
    never(format!(
        "{} refused user name or password; check username and password_file in [mqtt]",
        options.address
    ))
}

fn client_id(options: &Options) -> Failure {
    never(format!(
        "{} refused client id `{}`; set client_id in [mqtt]",
        options.address, options.client_id
    ))
}

fn tls(error: &TlsError, options: &Options) -> Failure {
    let at = &options.address;
    match error {
        // rustls reports a certificate that it does not trust as invalid data.
        TlsError::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => never(format!(
            "TLS with {at}: {e}; check ca_file in [mqtt] and the name in the broker's certificate"
        )),
        TlsError::Io(e) => soon(format!("TLS with {at}: {e}")),
        e => never(format!("TLS with {at}: {e}")),
    }
}
