//! The contract between a kind of source and the stream thread that reads it.

use std::time::{Duration, Instant};

/// What a source hands over. Samples are interleaved `f32`, nominally ±1, at the format last announced.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// Audio in a new format follows. The first packet of every source, and again after a rebuild (device came back,
    /// command restarted): the sample clock starts a new epoch.
    Format {
        /// Samples a second a channel, in Hz.
        rate: u32,
        /// Interleaved channels.
        channels: u16,
    },
    /// Samples were appended to the caller's buffer.
    Audio {
        /// When the last of them was captured (or would have been, for a paced file).
        captured: Instant,
    },
    /// This many frames (samples a channel) were lost before the next audio.
    Gap {
        /// Lost samples a channel.
        frames: u64,
    },
    /// Nothing came within the timeout; the source is alive.
    Idle,
    /// The source is not delivering and tries again by itself (device absent, command died); or, right before
    /// [`Packet::End`], what was wrong with a file or pipe whose usable part was delivered.
    Down {
        /// What a person would want to read.
        reason: String,
    },
    /// Nothing will ever follow.
    End,
}

/// One kind of audio input. A source is owned by one stream thread, which calls [`Source::next`] in a loop.
pub trait Source: Send {
    /// Waits at most `timeout`, appends what has arrived to `samples` and says what it was.
    ///
    /// A source that can heal (device, command) reports [`Packet::Down`] and keeps trying; an error is final.
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError>;

    /// Whether the world goes on when we are slow. A live source loses its oldest windows and says so; any other waits.
    fn is_live(&self) -> bool;
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The input could not be opened or read.
    #[error("cannot read {what}: {source}")]
    Io {
        /// The path or name.
        what: String,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// The content is not audio that we can use.
    #[error("{what}: {reason}")]
    Unusable {
        /// The path or name.
        what: String,
        /// What was expected, what was found, what to do.
        reason: String,
    },
}

impl SourceError {
    /// Content that cannot be used: `reason` says what was expected, what was found and what to do.
    pub(crate) fn unusable(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unusable {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// The operating system refused.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }
}
