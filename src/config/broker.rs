//! The address of an MQTT broker, taken apart.

use std::str::FromStr;

/// An MQTT broker's address: `mqtt://host[:1883]`, or with TLS `mqtts://host[:8883]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Broker {
    type Err = String;

    /// The error says what was expected and what was found.
    fn from_str(url: &str) -> Result<Self, String> {
        let expected = "expected mqtt://host:1883 or mqtts://host:8883";
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(format!("{expected}, found `{url}`")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(format!(
                "{expected}; the user goes into `username`, the password into `password_file`"
            ));
        }
        let (host, port) = if let Some(v6) = rest.strip_prefix('[') {
            let (host, port) = v6
                .split_once(']')
                .ok_or_else(|| format!("{expected}, found `{url}` with an unclosed `[`"))?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("")),
            }
        };
        if host.is_empty() || host.contains(|c: char| "/?# ".contains(c) || c.is_control()) {
            return Err(format!("{expected}, found `{url}`"));
        }
        let port = match port {
            Some("") if !rest.ends_with(':') => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                format!("expected a port from 1 to 65535, found `{port}` in `{url}`")
            })?,
            None => return Err(format!("{expected}, found `{url}`")),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_default_by_scheme() {
        let plain: Broker = "mqtt://localhost".parse().expect("valid");
        assert_eq!((plain.tls, plain.port), (false, 1883));
        let tls: Broker = "mqtts://broker.example/".parse().expect("valid");
        assert_eq!(
            (tls.tls, tls.port, tls.host.as_str()),
            (true, 8883, "broker.example")
        );
        let v6: Broker = "mqtt://[::1]:1884".parse().expect("valid");
        assert_eq!((v6.host.as_str(), v6.port), ("::1", 1884));
    }

    #[test]
    fn refuses_what_is_no_broker() {
        for url in [
            "",
            "localhost",
            "http://x",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:0",
            "mqtt://h:70000",
            "mqtt://h:",
            "mqtt://a/b",
            "mqtt://u:p@h",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://a b",
        ] {
            assert!(url.parse::<Broker>().is_err(), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(url in "\\PC{0,40}") {
            let _ = url.parse::<Broker>();
        }

        #[test]
        fn a_written_address_is_read_back(host in "[a-z0-9.-]{1,20}", port in 1u16.., tls: bool) {
            let url = format!("mqtt{}://{host}:{port}", if tls { "s" } else { "" });
            proptest::prop_assert_eq!(url.parse::<Broker>(), Ok(Broker { tls, host, port }));
        }
    }
}
