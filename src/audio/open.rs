//! The table of source kinds. A new kind is one file and one row here (and its variant of [`Input`]).

use crate::config::Input;

use super::{Source, SourceError, command, file, mic, stdin};

/// What opening a source gives.
pub type Opened = Result<Box<dyn Source>, SourceError>;

/// One kind of source.
pub struct Kind {
    /// Its name in the configuration (`kind = "…"`).
    pub name: &'static str,
    /// Opens an input of this kind; `None` for an input of any other.
    pub open: fn(&Input) -> Option<Opened>,
}

/// Every kind that there is.
pub const KINDS: &[Kind] = &[mic::KIND, file::KIND, stdin::KIND, command::KIND];

/// Opens what the configuration names.
///
/// A microphone or command that is absent is no error: the source says [`super::Packet::Down`] and keeps trying.
///
/// # Errors
/// [`SourceError::Io`] when a file cannot be read, [`SourceError::Unusable`] when its content or a setting makes no sense.
pub fn open(input: &Input) -> Opened {
    KINDS
        .iter()
        .find_map(|kind| (kind.open)(input))
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
        ];
        for input in &inputs {
            let takers = KINDS.iter().filter(|k| (k.open)(input).is_some()).count();
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
