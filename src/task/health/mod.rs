//! Whether what is heard and what hears it are in order: the health of a stream and of its encoder while they run, how a
//! score holds in the neighbourhood of a recording, and a battery of triggers for packs. Measures and decisions; no
//! inference and no sockets.

mod eigen;
pub mod measure;
pub mod neighbours;
pub mod rankme;
pub mod triggers;
mod watch;

pub use measure::Measured;
pub use watch::{Change, EVERY, HealthPolicy, HealthTracker, SKETCHES};
