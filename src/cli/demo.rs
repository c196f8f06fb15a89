//! `demo`: the whole pipeline on the bundled scene.

use super::{Failure, Outcome, Output};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Playback speed, 0 to 1000: 1 is real time, 0 as fast as the machine can.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Port of the demo's own MQTT broker on the loopback address; 0 takes a free one.
    #[arg(long, default_value_t = 1883)]
    pub port: u16,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text
        .parse()
        .map_err(|_| format!("expected a number, found `{text}`"))?;
    if (0.0..=1000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("expected 0 to 1000, found {text}"))
    }
}

/// Plays the scene and compares what was found with what is true.
pub fn run(_args: Args, _output: &Output) -> Result<Outcome, Failure> {
    Err(Failure::not_built("demo"))
}
