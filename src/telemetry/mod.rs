//! What a running process says about itself: logs on standard error, states to systemd, CPU time and memory of its own, how busy its GPU is.
//! Findings about audio are no telemetry; they are events and leave through `publish`.

mod dumps;
mod gpu;
mod heaps;
mod log;
mod process;
pub mod systemd;

pub use dumps::forbid_dumps;
pub use gpu::GpuMeter;
pub use heaps::share_heaps;
pub use log::{LogError, LogFormat, init_log};
pub use process::{CpuMeter, Usage};
