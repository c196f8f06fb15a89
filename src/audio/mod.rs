//! Where audio enters: [`Source`] implementations, decoding, the capture ring, resampling, levels, the sample clock.
//! No feature extraction and no inference live here.

mod source;

pub use source::{Packet, Source, SourceError};

/// Rate of everything behind the frontend, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;
