//! Raw PCM on standard input. There is one of it: a second stream that wants it is refused.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Input, Pcm};

use super::SourceError;
use super::open::{Kind, Opened};
use super::reader::PipeSource;

pub(super) const KIND: Kind = Kind {
    name: "stdin",
    open: |input, _| match input {
        Input::Stdin { pcm } => Some(open(pcm)),
        _ => None,
    },
};

static TAKEN: AtomicBool = AtomicBool::new(false);

fn open(pcm: &Pcm) -> Opened {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(SourceError::unusable(
            "standard input",
            "expected one stream to read it, found a second; remove one of the streams of kind \"stdin\"",
        ));
    }
    match PipeSource::new("standard input", std::io::stdin(), pcm) {
        Ok(source) => Ok(Box::new(source)),
        Err(e) => {
            TAKEN.store(false, Ordering::Release);
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_stream_gets_standard_input() {
        let bad = Pcm {
            rate: 7,
            ..Pcm::default()
        };
        assert!(open(&bad).is_err());
        // A refused layout does not take it.
        let first = open(&Pcm::default());
        assert!(first.is_ok());
        let second = open(&Pcm::default()).err().map(|e| e.to_string());
        assert!(second.is_some_and(|e| e.contains("a second")));
    }
}
