//! What a running process says about itself: logs on standard error, states to systemd, its own CPU time and memory.
//! Findings about audio are no telemetry; they are events and leave through `publish`.

mod log;
mod process;
pub mod systemd;

pub use log::{LogError, LogFormat, init_log};
pub use process::{CpuMeter, Usage};
