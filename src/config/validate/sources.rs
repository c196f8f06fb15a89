//! Where streams come from: what sources ask for, and what two of them cannot both have.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::publish::mqtt::Address;

use super::super::{Encoding, Input, Pcm, Stream};
use super::{Check, MAX_CHANNELS};

impl Check<'_> {
    pub(super) fn streams(&mut self, streams: &[Stream], has_mqtt: bool) {
        let mut seen = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        let mut stdin = None;
        for (i, stream) in streams.iter().enumerate() {
            let key = format!("stream[{i}]");
            self.identifier(&format!("{key}.id"), &stream.id);
            if let Some(first) = seen.insert(&stream.id, i) {
                self.fail(
                    &format!("{key}.id"),
                    format!(
                        "expected a unique id, found `{}`, which stream[{first}] has too",
                        stream.id
                    ),
                );
            }
            if matches!(stream.source, Input::Stdin { .. })
                && let Some(first) = stdin.replace(i)
            {
                self.fail(
                    &format!("{key}.source.kind"),
                    format!("there is one standard input, and stream[{first}] reads it"),
                );
            }
            if let Some(listener) = listener(&stream.source)
                && let Some(first) = listeners.insert(listener, i)
            {
                self.fail(
                    &format!("{key}.source.listen"),
                    format!("expected an address of its own, found that of stream[{first}]"),
                );
            }
            self.source(&format!("{key}.source"), &stream.source, has_mqtt);
            if let Some(channel) = stream.channel {
                let channels = match &stream.source {
                    Input::Stdin { pcm } | Input::Command { pcm, .. } | Input::Tcp { pcm, .. } => {
                        pcm.channels
                    }
                    Input::Mic { .. }
                    | Input::File { .. }
                    | Input::Wyoming { .. }
                    | Input::Udp { .. }
                    | Input::Hermes { .. } => MAX_CHANNELS,
                };
                if channel >= channels {
                    self.fail(
                        &format!("{key}.channel"),
                        format!(
                            "expected less than {channels} (channels count from 0), found {channel}"
                        ),
                    );
                }
            }
        }
    }

    fn source(&mut self, key: &str, source: &Input, has_mqtt: bool) {
        match source {
            Input::Mic { device } => {
                let empty = device.as_deref().is_some_and(|name| name.trim().is_empty());
                self.filled(&format!("{key}.device"), empty);
            }
            Input::File { path, speed } => {
                self.filled(&format!("{key}.path"), path.as_os_str().is_empty());
                self.number(&format!("{key}.speed"), *speed, 0.0..=1000.0);
            }
            Input::Stdin { pcm } => self.pcm(key, pcm),
            Input::Command { argv, pcm } => {
                if argv.first().is_none_or(|program| program.is_empty()) {
                    self.fail(
                        &format!("{key}.argv"),
                        "expected a program and its arguments, found none".into(),
                    );
                }
                self.pcm(key, pcm);
            }
            Input::Wyoming { listen } => self.port(key, listen),
            Input::Tcp { listen, pcm } => {
                self.port(key, listen);
                self.pcm(key, pcm);
            }
            Input::Udp { .. } => self.rtp(key, source),
            Input::Hermes { site, broker } => self.hermes(key, site, broker.as_deref(), has_mqtt),
        }
    }

    /// A satellite has to know where to connect to, so no port is chosen for it.
    fn port(&mut self, key: &str, listen: &SocketAddr) {
        self.integer(
            &format!("{key}.listen"),
            usize::from(listen.port()),
            1..=65_535,
        );
    }

    fn rtp(&mut self, key: &str, source: &Input) {
        let Input::Udp {
            listen,
            encoding,
            payload_type,
            rate,
            channels,
            jitter_ms,
        } = source
        else {
            return;
        };
        self.port(key, listen);
        let payload_type = usize::from(*payload_type);
        self.integer(&format!("{key}.payload_type"), payload_type, 96..=127);
        let jitter = usize::try_from(*jitter_ms).unwrap_or(usize::MAX);
        self.integer(&format!("{key}.jitter_ms"), jitter, 0..=2_000);
        let rate = rate.map(|rate| usize::try_from(rate).unwrap_or(usize::MAX));
        let most = match (encoding, rate) {
            (Encoding::L16, Some(rate)) => {
                self.integer(&format!("{key}.rate"), rate, 1_000..=384_000);
                MAX_CHANNELS
            }
            (Encoding::L16, None) => MAX_CHANNELS,
            (Encoding::Opus, None | Some(48_000)) => 2,
            (Encoding::Opus, Some(rate)) => {
                self.fail(
                    &format!("{key}.rate"),
                    format!("expected 48000, which all Opus is decoded at, found {rate}"),
                );
                2
            }
        };
        let range = 1..=usize::from(most);
        self.integer(&format!("{key}.channels"), usize::from(*channels), range);
    }

    fn hermes(&mut self, key: &str, site: &str, broker: Option<&str>, has_mqtt: bool) {
        if site.is_empty() || site.contains(['+', '#', '/', '\0']) {
            self.fail(
                &format!("{key}.site"),
                format!("expected one topic level without `+`, `#` and `/`, found `{site}`"),
            );
        }
        match broker.map(str::parse::<Address>) {
            None if !has_mqtt => self.fail(
                &format!("{key}.broker"),
                "expected a broker here or in `[mqtt]`, found neither".into(),
            ),
            Some(Err(error)) => self.fail(&format!("{key}.broker"), error.to_string()),
            None | Some(Ok(_)) => (),
        }
    }

    fn pcm(&mut self, key: &str, pcm: &Pcm) {
        let rate = usize::try_from(pcm.rate).unwrap_or(usize::MAX);
        self.integer(&format!("{key}.pcm.rate"), rate, 1_000..=384_000);
        let channels = usize::from(pcm.channels);
        self.integer(
            &format!("{key}.pcm.channels"),
            channels,
            1..=usize::from(MAX_CHANNELS),
        );
    }
}

/// Where a source listens, and by which protocol: each has ports of its own.
fn listener(source: &Input) -> Option<(bool, SocketAddr)> {
    match source {
        Input::Wyoming { listen } | Input::Tcp { listen, .. } => Some((true, *listen)),
        Input::Udp { listen, .. } => Some((false, *listen)),
        _ => None,
    }
}
