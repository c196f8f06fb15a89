//! earwitness listens to audio streams and says who is speaking and whether the voice is real.
//!
//! Data flows one way: [`audio`] sources → frontend → [`pipeline`] segmenter → engine ([`dsp`] features and
//! [`model`] sessions) → [`task`] deciders → event bus → [`publish`] sinks. A stage owns its state and hands a value
//! to the next over a bounded queue; no stage calls back, and analysis never waits for the network.
#![warn(missing_docs)]

pub mod audio;
pub mod cli;
pub mod config;
pub mod dsp;
pub mod metrics;
pub mod model;
mod percentile;
pub mod pipeline;
pub mod publish;
pub mod store;
pub mod task;
pub mod telemetry;
