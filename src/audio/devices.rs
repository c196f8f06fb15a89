//! What can be captured here, for `earwitness devices` and `doctor`.

use std::collections::BTreeSet;

use cpal::traits::{DeviceTrait, HostTrait};

use super::{SourceError, mic};

/// A capture device.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Device {
    /// What to put into the configuration: stable across restarts.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whether it is what a microphone without a name means.
    pub default: bool,
    /// Least and greatest sample rate in Hz; absent when it cannot be opened now.
    pub rates: Option<(u32, u32)>,
    /// Channel counts it offers; empty when it cannot be opened now.
    pub channels: Vec<u16>,
    /// What capturing would use, `48000 Hz, 2 channels, f32`.
    pub capture: Option<String>,
    /// Why it cannot be opened now.
    pub problem: Option<String>,
}

/// Lists the capture devices, the default first. Each is opened briefly to see what it offers.
///
/// # Errors
/// [`SourceError::Unusable`] when there is no audio system.
pub fn devices() -> Result<Vec<Device>, SourceError> {
    let unusable = |e: String| SourceError::unusable("capture devices", e);
    let host = mic::host().map_err(unusable)?;
    let default = host.default_input_device();
    let default_id = default.as_ref().and_then(|d| d.id().ok());
    let others = host.devices().map_err(|e| {
        unusable(format!(
            "expected a list from the audio system, found {e}; is it running?"
        ))
    })?;
    let others = others
        .filter(DeviceTrait::supports_input)
        .filter(|d| d.id().ok() != default_id);
    Ok(default
        .map(|d| describe(&d, true))
        .into_iter()
        .chain(others.map(|d| describe(&d, false)))
        .collect())
}

fn describe(device: &cpal::Device, default: bool) -> Device {
    let ranges: Vec<_> = device
        .supported_input_configs()
        .map(Iterator::collect)
        .unwrap_or_default();
    let channels: BTreeSet<u16> = ranges.iter().map(|r| r.channels()).collect();
    let rates = ranges
        .iter()
        .map(|r| (r.min_sample_rate(), r.max_sample_rate()))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (capture, problem) = match device.default_input_config() {
        Ok(c) => (
            Some(format!(
                "{} Hz, {} channels, {}",
                c.sample_rate(),
                c.channels(),
                c.sample_format()
            )),
            None,
        ),
        Err(e) => (None, Some(e.to_string())),
    };
    Device {
        id: device.id().map(|id| id.id().to_owned()).unwrap_or_default(),
        name: device
            .description()
            .map(|d| d.name().to_owned())
            .unwrap_or_default(),
        default,
        rates,
        channels: channels.into_iter().collect(),
        capture,
        problem,
    }
}
