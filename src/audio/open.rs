//! The table of source kinds. A new kind is one file and one row here (and its variant of [`Input`]).

use crate::config::{self, Input};

use super::net::{hermes, tcp, udp, wyoming};
use super::{Source, SourceError, command, file, mic, stdin};

/// What opening a source gives.
pub type Opened = Result<Box<dyn Source>, SourceError>;

/// One kind of source.
pub struct Kind {
    /// Its name in the configuration (`kind = "…"`).
    pub name: &'static str,
    /// Opens an input of this kind; `None` for an input of any other.
    pub open: fn(&Input, &Context<'_>) -> Option<Opened>,
}

/// What a source may need to know of the configuration around it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'c> {
    /// The daemon's name.
    pub node: &'c str,
    /// The stream's id.
    pub stream: &'c str,
    /// The channel that is listened to, counted from 0; a peer that does not send it is refused.
    pub channel: Option<u16>,
    /// The broker of the daemon.
    pub mqtt: Option<&'c config::Mqtt>,
}

impl<'c> Context<'c> {
    /// For a stream of this configuration.
    #[must_use]
    pub fn new(config: &'c config::Config, stream: &'c config::Stream) -> Self {
        Self {
            node: &config.node,
            stream: &stream.id,
            channel: stream.channel,
            mqtt: config.mqtt.as_ref(),
        }
    }
}

/// Every kind that there is.
pub const KINDS: &[Kind] = &[
    mic::KIND,
    file::KIND,
    stdin::KIND,
    command::KIND,
    wyoming::KIND,
    tcp::KIND,
    udp::KIND,
    hermes::KIND,
];

/// Opens an input that stands alone: as [`open_in`] without a configuration around it.
///
/// # Errors
/// As [`open_in`].
pub fn open(input: &Input) -> Opened {
    open_in(input, &Context::default())
}

/// Opens what the configuration names.
///
/// A microphone, command or satellite that is absent is no error: the source says [`super::Packet::Down`] and keeps trying.
///
/// # Errors
/// [`SourceError::Io`] when a file cannot be read or an address not be listened at, [`SourceError::Unusable`] when its
/// content or a setting makes no sense.
pub fn open_in(input: &Input, context: &Context<'_>) -> Opened {
    KINDS
        .iter()
        .find_map(|kind| (kind.open)(input, context))
        .unwrap_or_else(|| {
            Err(SourceError::unusable(
                format!("{input:?}"),
                "expected a kind of source that this build has, found none; see `earwitness config schema`",
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pcm;

    #[test]
    fn each_row_takes_its_own_kind_only() {
        let inputs = [
            Input::File {
                path: "/nonexistent.wav".into(),
                speed: 0.0,
            },
            Input::Command {
                argv: vec![],
                pcm: Pcm::default(),
            },
            Input::Tcp {
                listen: ([127, 0, 0, 1], 0).into(),
                pcm: Pcm::default(),
            },
        ];
        let alone = Context::default();
        let takes = |k: &&Kind, input| (k.open)(input, &alone).is_some();
        for input in &inputs {
            let takers = KINDS.iter().filter(|k| takes(k, input)).count();
            assert_eq!(takers, 1, "{input:?}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_name() {
        let input = Input::File {
            path: "/nonexistent.wav".into(),
            speed: 0.0,
        };
        let message = open(&input).err().expect("must fail").to_string();
        assert!(message.contains("/nonexistent.wav"), "{message}");
    }
}
