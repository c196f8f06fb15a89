//! Who is speaking: scores against enrolled people, and the state that survives from window to window.

mod matcher;
mod scoring;
mod strangers;
mod tracker;

pub use matcher::{Candidate, Matcher, centroid, cosine};
pub use scoring::{Likeness, Scoring, Voice};
pub use strangers::name as stranger_name;
pub use tracker::{SpeakerTracker, Turn};
