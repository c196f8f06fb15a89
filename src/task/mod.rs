//! What is decided from scores: calibration and verdicts, which part of a window is speech, who speaks, whether the
//! voice is real, smoothing over time and state changes. No inference and no sockets live here.

pub mod decision;
mod fusion;
mod probe;
pub mod recording;
mod smooth;
pub mod sound;
pub mod speaker;
pub mod speech;
pub mod spoof;
mod stream;
pub mod timeline;

pub use decision::Policy;
pub use fusion::fused_llr;
pub use probe::{Probe, findings};
pub use stream::{Judge, Scores, StreamDecider, Utterance};
