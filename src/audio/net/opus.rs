//! Opus packets without a container to samples, by the decoder that files use.

use symphonia::core::audio::layouts;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::RegisterableAudioDecoder;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia_adapter_libopus::OpusDecoder;

use super::super::decode::guard;

/// Rate of everything that Opus decodes to here, Hz.
pub(super) const RATE: u32 = 48_000;

/// The decoder of one run of packets.
pub(super) struct Opus(Box<dyn AudioDecoder>);

impl Opus {
    /// For 1 or 2 channels.
    pub(super) fn new(channels: u16) -> Result<Self, String> {
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(CODEC_ID_OPUS)
            .with_sample_rate(RATE)
            .with_channels(match channels {
                1 => layouts::CHANNEL_LAYOUT_MONO,
                _ => layouts::CHANNEL_LAYOUT_STEREO,
            });
        guard(|| OpusDecoder::try_registry_new(&parameters, &AudioDecoderOptions::default()))
            .map(Self)
            .map_err(|e| format!("cannot decode Opus: {e}"))
    }

    /// The interleaved samples of one packet; `None` for one that is damaged.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Option<Vec<f32>> {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, packet);
        let mut samples = Vec::new();
        guard(|| {
            self.0
                .decode_ref(&packet)?
                .copy_to_vec_interleaved(&mut samples);
            Ok(())
        })
        .ok()?;
        Some(samples)
    }
}
