//! Where audio enters: [`Source`] implementations, decoding, the capture ring, resampling, levels, the sample clock.
//! No feature extraction and no inference live here.
//!
//! A stream thread is a loop: [`open`] a source, [`Source::next`], [`Frontend::push`], hand on what comes out.

mod backoff;
mod capture;
mod clip;
mod clock;
mod command;
mod decode;
mod devices;
mod file;
mod frontend;
mod level;
mod mic;
pub mod net;
mod open;
mod pcm;
mod reader;
mod resample;
mod signal;
mod source;
mod stdin;
mod worker;

pub use capture::{CaptureReader, CaptureWriter, Fault, Health, capture_ring};
pub use clip::{Clip, MAX_CLIP, decode, decode_clip, decode_signal};
pub use clock::SampleClock;
pub use decode::{Block, Decoder};
pub use devices::{Device, devices};
pub use frontend::{Chunk, Frontend, Output};
pub use level::{Level, SilenceWatch, sanitise};
pub use open::{Context, KINDS, Kind, Opened, open, open_in};
pub use pcm::PcmParser;
pub use reader::PipeSource;
pub use signal::Signal;
pub(crate) use signal::wide;
pub use source::{Packet, Source, SourceError};

/// Rate of everything behind the frontend, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Rate that music encoders hear at beside it, in Hz: three samples to two of [`SAMPLE_RATE`].
pub const WIDE_RATE: u32 = 24_000;

/// Sample rates that a source may announce, in Hz. Outside of them a header is damaged rather than unusual.
pub const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Channel counts that a source may announce.
pub const CHANNELS: std::ops::RangeInclusive<u16> = 1..=64;

/// Checks a format that came from outside.
pub(crate) fn check_format(what: &str, rate: u32, channels: u16) -> Result<(), SourceError> {
    if !RATES.contains(&rate) {
        return Err(SourceError::unusable(
            what,
            format!(
                "expected a sample rate from {} to {} Hz, found {rate} Hz; convert it (ffmpeg -i … -ar 16000) or correct the configured rate",
                RATES.start(),
                RATES.end()
            ),
        ));
    }
    if !CHANNELS.contains(&channels) {
        return Err(SourceError::unusable(
            what,
            format!(
                "expected {} to {} channels, found {channels}; the header is damaged, or mix it down first (ffmpeg -i … -ac 1)",
                CHANNELS.start(),
                CHANNELS.end()
            ),
        ));
    }
    Ok(())
}
