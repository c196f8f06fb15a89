//! What is decided from scores: calibration and verdicts, which part of a window is speech, who speaks, whether the
//! voice is real, smoothing over time and state changes, and whether all that is in order. No inference and no sockets live here.

pub mod decision;
pub mod enrol;
mod fusion;
pub mod health;
mod probe;
pub mod quality;
pub mod recording;
mod smooth;
pub mod sound;
pub mod speaker;
pub mod speech;
pub mod spoof;
mod stream;
pub mod timeline;

pub use decision::Policy;
pub use fusion::{Fusion, fused_llr};
pub use probe::{Probe, findings};
pub use stream::{Judge, Newest, Scores, StreamDecider, Utterance};
