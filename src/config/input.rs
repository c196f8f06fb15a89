//! How a `source` table is read: a flat raw struct whose keys keep their positions, resolved by hand into [`Input`].

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};

use super::document::Positions;
use super::error::Problem;
use super::types::{Encoding, Input, Pcm, Speaker};
use super::{Config, defaults};

/// Keys of a kind of source: all that it takes, and those of them that it needs. `kind` itself is left out.
struct Kind {
    name: &'static str,
    takes: &'static [&'static str],
    needs: &'static [&'static str],
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "mic",
        takes: &["device"],
        needs: &[],
    },
    Kind {
        name: "file",
        takes: &["path", "speed"],
        needs: &["path"],
    },
    Kind {
        name: "stdin",
        takes: &["pcm"],
        needs: &[],
    },
    Kind {
        name: "command",
        takes: &["argv", "pcm"],
        needs: &["argv"],
    },
    Kind {
        name: "wyoming",
        takes: &["listen"],
        needs: &[],
    },
    Kind {
        name: "tcp",
        takes: &["listen", "pcm"],
        needs: &[],
    },
    Kind {
        name: "udp",
        takes: &[
            "channels",
            "encoding",
            "jitter_ms",
            "listen",
            "payload_type",
            "rate",
        ],
        needs: &[],
    },
    Kind {
        name: "hermes",
        takes: &["broker", "site"],
        needs: &[],
    },
];

/// The union of the keys of all kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInput {
    kind: String,
    device: Option<String>,
    path: Option<PathBuf>,
    speed: Option<f64>,
    argv: Option<Vec<String>>,
    pcm: Option<Pcm>,
    listen: Option<SocketAddr>,
    encoding: Option<Encoding>,
    payload_type: Option<u8>,
    rate: Option<u32>,
    channels: Option<u16>,
    jitter_ms: Option<u64>,
    site: Option<String>,
    broker: Option<String>,
}

impl<'de> Deserialize<'de> for Input {
    /// Keys that do not belong to the kind are found by `check_sources`, which knows where they stand.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawInput::deserialize(deserializer)?;
        match raw.kind.as_str() {
            "mic" => Ok(Self::Mic { device: raw.device }),
            "file" => Ok(Self::File {
                path: raw.path.ok_or_else(|| D::Error::missing_field("path"))?,
                speed: raw.speed.unwrap_or_else(defaults::speed),
            }),
            "stdin" => Ok(Self::Stdin {
                pcm: raw.pcm.unwrap_or_default(),
            }),
            "command" => Ok(Self::Command {
                argv: raw.argv.ok_or_else(|| D::Error::missing_field("argv"))?,
                pcm: raw.pcm.unwrap_or_default(),
            }),
            "wyoming" => Ok(Self::Wyoming {
                listen: raw.listen.unwrap_or_else(defaults::wyoming),
            }),
            "tcp" => Ok(Self::Tcp {
                listen: raw.listen.unwrap_or_else(defaults::tcp),
                pcm: raw.pcm.unwrap_or_default(),
            }),
            "udp" => Ok(Self::Udp {
                listen: raw.listen.unwrap_or_else(defaults::udp),
                encoding: raw.encoding.unwrap_or_default(),
                payload_type: raw.payload_type.unwrap_or_else(defaults::payload_type),
                rate: raw.rate,
                channels: raw.channels.unwrap_or_else(defaults::channels),
                jitter_ms: raw.jitter_ms.unwrap_or_else(defaults::jitter_ms),
            }),
            "hermes" => Ok(Self::Hermes {
                site: raw.site.unwrap_or_else(defaults::site),
                broker: raw.broker,
            }),
            other => {
                // `check_sources` has named the kinds to whoever reads a file.
                Err(D::Error::custom(format!(
                    "unknown kind of source `{other}`"
                )))
            }
        }
    }
}

/// Finds keys that a source's kind does not take, and keys that it needs and lacks. What is not even a table is left
/// to serde.
pub(super) fn check_sources(root: &DeTable<'_>, positions: &Positions) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(DeValue::Array(streams)) = root.get("stream").map(|value| value.get_ref()) else {
        return problems;
    };
    for (i, stream) in streams.iter().enumerate() {
        let DeValue::Table(stream) = stream.get_ref() else {
            continue;
        };
        if let Some(DeValue::Table(source)) = stream.get("source").map(|value| value.get_ref()) {
            check_source(
                source,
                &format!("stream[{i}].source"),
                positions,
                &mut problems,
            );
        }
    }
    problems
}

fn check_source(
    source: &DeTable<'_>,
    path: &str,
    positions: &Positions,
    problems: &mut Vec<Problem>,
) {
    let kinds = KINDS.map(|kind| kind.name).join("`, `");
    let Some(kind) = source.get("kind") else {
        problems.push(positions.problem(
            &format!("{path}.kind"),
            format!("missing key `kind`, expected one of `{kinds}`"),
        ));
        return;
    };
    let DeValue::String(name) = kind.get_ref() else {
        return;
    };
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        problems.push(positions.problem(
            &format!("{path}.kind"),
            format!("unknown kind of source `{name}`, expected one of `{kinds}`"),
        ));
        return;
    };
    let expected = kind.takes.join("`, `");
    for key in source.keys().map(|key| key.get_ref().as_ref()) {
        if key != "kind" && !kind.takes.contains(&key) {
            problems.push(positions.problem_with_key(
                &format!("{path}.{key}"),
                format!("unknown key `{key}` for a source of kind `{name}`, expected one of `kind`, `{expected}`"),
            ));
        }
    }
    for key in kind.needs {
        if !source.contains_key(*key) {
            problems.push(positions.problem(
                &format!("{path}.{key}"),
                format!("missing key `{key}`: a source of kind `{name}` needs it"),
            ));
        }
    }
}

/// Every path of the configuration, for resolving against the folder of its file.
pub(super) fn paths_of(config: &mut Config) -> impl Iterator<Item = &mut PathBuf> {
    let files = config
        .streams
        .iter_mut()
        .filter_map(|stream| match &mut stream.source {
            Input::File { path, .. } => Some(path),
            _ => None,
        });
    let mqtt = config.mqtt.iter_mut().flat_map(|mqtt| {
        [
            mqtt.password_file.as_mut(),
            mqtt.ca_file.as_mut(),
            mqtt.client_cert_file.as_mut(),
            mqtt.client_key_file.as_mut(),
            mqtt.outbox.as_mut(),
        ]
        .into_iter()
        .flatten()
    });
    let models = config.models.engine_cache.iter_mut();
    let models = models.chain(&mut config.models.trusted_keys);
    let jsonl = config
        .jsonl
        .iter_mut()
        .map(|jsonl| &mut jsonl.path)
        .filter(|path| path.as_os_str() != "-");
    let Speaker {
        store,
        key_file,
        passphrase_file,
        ..
    } = &mut config.speaker;
    [&mut config.models.pack, store]
        .into_iter()
        .chain(key_file.as_mut())
        .chain(passphrase_file.as_mut())
        .chain(config.models.runtime.as_mut())
        .chain(files)
        .chain(mqtt)
        .chain(models)
        .chain(jsonl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_kinds_agrees_with_the_schema() {
        let schema = super::super::schema();
        let branches = schema["properties"]["stream"]["items"]["properties"]["source"]["oneOf"]
            .as_array()
            .expect("a tagged enum has branches");
        assert_eq!(branches.len(), KINDS.len());
        for branch in branches {
            let name = &branch["properties"]["kind"]["const"];
            let kind = KINDS
                .iter()
                .find(|kind| kind.name == name)
                .expect("a known kind");
            let mut keys: Vec<&str> = branch["properties"]
                .as_object()
                .expect("an object")
                .keys()
                .map(String::as_str)
                .filter(|key| *key != "kind")
                .collect();
            keys.sort_unstable();
            assert_eq!(keys, kind.takes, "{name}");
            let required: Vec<&str> = branch["required"]
                .as_array()
                .expect("required")
                .iter()
                .filter_map(|key| key.as_str())
                .filter(|key| *key != "kind")
                .collect();
            assert_eq!(required, kind.needs, "{name}");
        }
    }
}
