//! Raw little-endian PCM to `f32`, however the bytes are cut.

use crate::config::{Pcm, PcmFormat};

/// Turns bytes into interleaved samples; holds back the bytes of a frame that is not complete yet.
#[derive(Debug, Clone)]
pub struct PcmParser {
    format: PcmFormat,
    frame: usize,
    rest: Vec<u8>,
}

impl PcmParser {
    /// A parser for this layout.
    #[must_use]
    pub fn new(pcm: &Pcm) -> Self {
        let sample = match pcm.format {
            PcmFormat::S16 => 2,
            PcmFormat::F32 => 4,
        };
        Self {
            format: pcm.format,
            frame: sample * usize::from(pcm.channels.max(1)),
            rest: Vec::new(),
        }
    }

    /// Appends the samples of all complete frames. Floats are passed as they are: the frontend repairs and counts those
    /// that are no numbers, for every kind of source alike.
    pub fn push(&mut self, mut bytes: &[u8], samples: &mut Vec<f32>) {
        if !self.rest.is_empty() {
            let missing = self.frame - self.rest.len();
            let taken = missing.min(bytes.len());
            self.rest.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.rest.len() < self.frame {
                return;
            }
            let whole = std::mem::take(&mut self.rest);
            self.convert(&whole, samples);
        }
        let complete = bytes.len() - bytes.len() % self.frame;
        self.convert(&bytes[..complete], samples);
        self.rest.extend_from_slice(&bytes[complete..]);
    }

    /// Bytes of an incomplete frame; at the end of a stream they are what was cut off.
    #[must_use]
    pub fn leftover(&self) -> usize {
        self.rest.len()
    }

    fn convert(&self, bytes: &[u8], samples: &mut Vec<f32>) {
        match self.format {
            PcmFormat::S16 => samples.extend(
                bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0),
            ),
            PcmFormat::F32 => samples.extend(
                bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pcm(channels: u16, format: PcmFormat) -> Pcm {
        Pcm {
            rate: 16_000,
            channels,
            format,
        }
    }

    #[test]
    fn s16_is_scaled_by_two_to_the_fifteenth() {
        let mut out = Vec::new();
        let bytes: Vec<u8> = [0i16, 16_384, -32_768, 32_767]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        PcmParser::new(&pcm(1, PcmFormat::S16)).push(&bytes, &mut out);
        assert_eq!(out, [0.0, 0.5, -1.0, 32_767.0 / 32_768.0]);
    }

    #[test]
    fn an_odd_byte_at_the_end_is_held_back_and_known() {
        let mut parser = PcmParser::new(&pcm(2, PcmFormat::S16));
        let mut out = Vec::new();
        parser.push(&[0, 0, 0, 0, 1, 2, 3], &mut out);
        assert_eq!(out.len(), 2);
        assert_eq!(parser.leftover(), 3);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_samples(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(0usize..40, 0..60),
            channels in 1u16..5,
            float in any::<bool>(),
        ) {
            let layout = pcm(channels, if float { PcmFormat::F32 } else { PcmFormat::S16 });
            let mut whole = Vec::new();
            PcmParser::new(&layout).push(&bytes, &mut whole);
            let (mut parser, mut parts, mut rest) = (PcmParser::new(&layout), Vec::new(), &bytes[..]);
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                parser.push(head, &mut parts);
                rest = tail;
            }
            parser.push(rest, &mut parts);
            // Bits, because NaN is not equal to itself.
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&whole), bits(&parts));
            prop_assert_eq!(whole.len() % usize::from(channels), 0);
        }
    }
}
