//! Which of a pack's models something is of.

use std::fmt;

/// One of the models in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Voice activity.
    Vad,
    /// Hidden states.
    Encoder,
    /// Speaker embedding.
    Speaker,
    /// Bona fide or spoof.
    Spoof,
    /// Classes of sounds; not every pack has it.
    Sound,
    /// One question more about a window; a pack may have several.
    Probe,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vad => "vad",
            Self::Encoder => "encoder",
            Self::Speaker => "speaker",
            Self::Spoof => "spoof",
            Self::Sound => "sound",
            Self::Probe => "probe",
        })
    }
}
