//! Who is speaking: scores against enrolled people, and the state that survives from window to window.

mod matcher;
mod tracker;

pub use matcher::{Candidate, Matcher, centroid, cosine};
pub use tracker::{SpeakerTracker, Turn};
