//! `devices`: what can be captured here.

use crate::audio::{self, Device};

use super::hush::without_library_chatter;
use super::output::{Cell, style};
use super::{Failure, Outcome, Output};

/// Arguments of `devices`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Lists the capture devices, the default first.
pub fn run(_args: Args, output: &Output) -> Result<Outcome, Failure> {
    let devices = without_library_chatter(audio::devices)?;
    if output.is_json() {
        for device in &devices {
            output.record(device)?;
        }
    } else if devices.is_empty() {
        output.line("no capture device; plug one in, or see `earwitness doctor`")?;
    } else {
        let rows: Vec<Vec<Cell>> = devices.iter().map(row).collect();
        output.table(&["id", "name", "capture"], &rows)?;
    }
    Ok(Outcome::Success)
}

fn row(device: &Device) -> Vec<Cell> {
    let name = if device.default {
        format!("{} (default)", device.name)
    } else {
        device.name.clone()
    };
    let capture = match &device.capture {
        Some(format) => Cell::styled(format, style::GOOD),
        None => Cell::styled(
            device.problem.as_deref().unwrap_or("cannot be opened now"),
            style::WARN,
        ),
    };
    vec![Cell::new(&device.id), Cell::new(name), capture]
}
