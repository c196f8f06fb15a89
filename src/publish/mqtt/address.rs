//! `mqtt://host:port` and `mqtts://host:port`.

use std::fmt;
use std::str::FromStr;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

/// Why a text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither of the schemes.
    #[error("broker `{0}`: expected mqtt://host:port or mqtts://host:port")]
    Scheme(String),
    /// Credentials in the address would end up in logs.
    #[error(
        "broker address holds a user name or password; put them into `username` and `password_file`"
    )]
    Credentials,
    /// Nothing, or something that is no host, between `//` and the port.
    #[error("broker `{0}`: expected a host name or an IP address (IPv6 in brackets) after `//`")]
    Host(String),
    /// Not a number from 1 to 65535.
    #[error("broker `{text}`: port `{port}` is not a number from 1 to 65535")]
    Port {
        /// The whole text.
        text: String,
        /// What stands for the port.
        port: String,
    },
    /// A path or a query, which MQTT has no use for.
    #[error("broker `{0}`: nothing may follow the port")]
    Trailing(String),
    /// A limit of rumqttc: it passes one text for both the socket and the certificate's name.
    #[error(
        "broker `{0}`: mqtts needs a host name or an IPv4 address, not an IPv6 literal; give the host a name"
    )]
    TlsIpv6(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        // First, so that no other message repeats a password.
        if rest.contains('@') {
            return Err(AddressError::Credentials);
        }
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(AddressError::Scheme(text.into())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(AddressError::Trailing(text.into()));
        }
        let bad_host = || AddressError::Host(text.into());
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, port) = bracketed.split_once(']').ok_or_else(bad_host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
            if tls {
                return Err(AddressError::TlsIpv6(text.into()));
            }
            match port.strip_prefix(':') {
                None if port.is_empty() => (host, None),
                None => return Err(bad_host()),
                some => (host, some),
            }
        } else {
            let (host, port) = match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            };
            let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
                return Err(bad_host());
            }
            (host, port)
        };
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(port) => digits(port).ok_or_else(|| AddressError::Port {
                text: text.into(),
                port: port.into(),
            })?,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// 1 to 65535 in digits only: `u16::from_str` would also take `+1`.
fn digits(text: &str) -> Option<u16> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port != 0)
}

impl Address {
    /// The host as rumqttc has to be given it: it puts `:port` behind without a look.
    pub fn socket_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.socket_host(), self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn addresses_and_default_ports() {
        for (text, tls, host, port) in [
            ("mqtt://localhost", false, "localhost", 1883),
            (
                "mqtts://broker.example.org",
                true,
                "broker.example.org",
                8883,
            ),
            ("MQTT://10.0.0.1:1884/", false, "10.0.0.1", 1884),
            ("mqtt://[::1]:1885", false, "::1", 1885),
            ("mqtt://[::1]", false, "::1", 1883),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(
                (address.tls, address.host.as_str(), address.port),
                (tls, host, port)
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        use AddressError::{Credentials, Host, Port, Scheme, TlsIpv6, Trailing};
        assert!(matches!(parse("localhost:1883"), Err(Scheme(_))));
        assert!(matches!(parse("http://localhost"), Err(Scheme(_))));
        assert!(matches!(parse("mqtt://"), Err(Host(_))));
        assert!(matches!(parse("mqtt://:1883"), Err(Host(_))));
        assert!(matches!(parse("mqtt://a b"), Err(Host(_))));
        assert!(matches!(parse("mqtt://[::1"), Err(Host(_))));
        assert!(matches!(parse("mqtt://[::1]x"), Err(Host(_))));
        assert!(matches!(parse("mqtt://h:0"), Err(Port { .. })));
        assert!(matches!(parse("mqtt://h:65536"), Err(Port { .. })));
        assert!(matches!(parse("mqtt://h:+1"), Err(Port { .. })));
        assert!(matches!(parse("mqtt://h:"), Err(Port { .. })));
        assert!(matches!(parse("mqtt://h/topic"), Err(Trailing(_))));
        assert!(matches!(parse("mqtts://[::1]"), Err(TlsIpv6(_))));
        let error = parse("mqtt://me:secret@h").unwrap_err();
        assert_eq!(error, Credentials);
        assert!(!error.to_string().contains("secret"));
        assert_eq!(parse("me:secret@h"), Err(Credentials));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_and_parses_the_same(text in "(mqtts?://)?\\PC{0,40}") {
            if let Ok(address) = parse(&text) {
                prop_assert!(address.port != 0 && !address.host.is_empty());
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn every_good_address_parses(tls: bool, host in "[a-z0-9][a-z0-9.-]{0,30}", port in 1u16..) {
            let address = Address { tls, host, port };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn every_ipv6_address_parses(ip: std::net::Ipv6Addr, port in 1u16..) {
            let address = Address { tls: false, host: ip.to_string(), port };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }
    }
}
