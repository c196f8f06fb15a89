//! The real backend: cpal.

use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Data, ErrorKind, InputCallbackInfo, SampleFormat};

use super::pattern::matches;
use super::{Backend, Live};
use crate::audio::capture::{CaptureWriter, Fault, capture_ring};
use crate::audio::check_format;

/// At most this many devices that answer to a pattern are tried in one attempt.
const CANDIDATES: usize = 16;

/// How long cpal waits for the driver before it looks whether the device still exists.
const DRIVER_TIMEOUT: Duration = Duration::from_millis(500);

/// The system's audio. Opened afresh for each attempt, so that devices which came meanwhile are seen.
pub(in crate::audio) fn host() -> Result<cpal::Host, String> {
    let id = cpal::available_hosts()
        .into_iter()
        .next()
        .ok_or("expected an audio system, found none on this machine")?;
    // `default_host` would panic where ALSA's configuration is broken.
    cpal::host_from_id(id).map_err(|e| format!("the audio system is not available: {e}"))
}

pub(super) struct CpalBackend {
    asked: Option<String>,
}

impl CpalBackend {
    pub(super) fn new(asked: Option<String>) -> Self {
        Self { asked }
    }

    fn candidates(&self) -> Result<Vec<cpal::Device>, String> {
        let host = host()?;
        let Some(asked) = &self.asked else {
            return Ok(host.default_input_device().into_iter().collect());
        };
        let mut found: Vec<_> = host
            .devices()
            .map_err(|e| format!("cannot list capture devices: {e}"))?
            .filter(DeviceTrait::supports_input)
            .filter_map(|device| {
                let id = device.id().ok()?;
                let name = device.description().ok()?.name().to_owned();
                let rank = matches(asked, &[&id.to_string(), id.id()], &name)?;
                Some((rank, device))
            })
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.truncate(CANDIDATES);
        Ok(found.into_iter().map(|(_, device)| device).collect())
    }
}

impl Backend for CpalBackend {
    type Handle = cpal::Stream;

    fn open(&mut self) -> Result<Live<cpal::Stream>, String> {
        let asked = self.asked.as_deref().unwrap_or("the default device");
        let mut why = None;
        for device in self.candidates()? {
            match start(&device) {
                Ok(live) => {
                    tracing::info!(device = %device, rate = live.rate, channels = live.channels, "microphone is up");
                    return Ok(live);
                }
                // The best match's reason says most.
                Err(e) => why = why.or(Some(format!("{asked}: {e}"))),
            }
        }
        Err(why.unwrap_or_else(|| {
            format!("expected a capture device {asked:?}, found none; `earwitness devices` lists them, waiting for it")
        }))
    }
}

fn start(device: &cpal::Device) -> Result<Live<cpal::Stream>, String> {
    let config = device.default_input_config().map_err(|e| e.to_string())?;
    let (rate, channels, format) = (
        config.sample_rate(),
        config.channels(),
        config.sample_format(),
    );
    check_format("the device", rate, channels).map_err(|e| e.to_string())?;
    if format.is_dsd() {
        return Err(format!(
            "expected PCM, found {format}; choose another device"
        ));
    }
    let (mut writer, reader) = capture_ring(rate, channels);
    let (health, faults) = (writer.health(), writer.health());
    let handle = device
        .build_input_stream_raw(
            config.config(),
            format,
            move |data, info| capture(&mut writer, data, info),
            move |error: cpal::Error| match error.kind() {
                ErrorKind::Xrun => faults.xrun(),
                // The stream goes on in these cases.
                ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
                ErrorKind::DeviceNotAvailable => faults.fail(Fault::Gone),
                ErrorKind::StreamInvalidated => faults.fail(Fault::Changed),
                _ => faults.fail(Fault::Backend),
            },
            Some(DRIVER_TIMEOUT),
        )
        .map_err(|e| e.to_string())?;
    handle.play().map_err(|e| e.to_string())?;
    Ok(Live {
        handle,
        rate,
        channels,
        reader,
        health,
    })
}

/// The capture callback. No lock, no allocation, no log, no panic.
fn capture(writer: &mut CaptureWriter, data: &Data, info: &InputCallbackInfo) {
    let at = info.timestamp();
    let waited = at.callback.saturating_duration_since(at.capture);
    macro_rules! write {
        ($($format:ident => $sample:ty),*) => {
            match data.sample_format() {
                $(SampleFormat::$format => {
                    if let Some(samples) = data.as_slice::<$sample>() {
                        writer.write(samples, waited);
                    }
                })*
                // DSD was refused when the stream was built.
                _ => {}
            }
        };
    }
    write!(
        I8 => i8, I16 => i16, I24 => cpal::I24, I32 => i32, I64 => i64,
        U8 => u8, U16 => u16, U24 => cpal::U24, U32 => u32, U64 => u64,
        F32 => f32, F64 => f64
    );
}
