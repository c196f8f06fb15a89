//! One WAV file that came as a message, for Hermes. No I/O.

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

/// Largest message, bytes: 8 s of 16-bit mono at 16 kHz.
pub const MAX_WAV: usize = 256 << 10;

/// What it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Wav {
    /// Hz.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Interleaved, ±1, whole frames.
    pub samples: Vec<f32>,
}

/// Why bytes are no such file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// Longer than [`MAX_WAV`].
    #[error("expected a WAV file of at most {MAX_WAV} bytes, found {0}")]
    Length(usize),
    /// Not such a file, or one that is cut off.
    #[error(
        "expected a whole WAV file with PCM of 8 to 32 bits or 32-bit float, found something else ({0})"
    )]
    Content(#[from] hound::Error),
}

/// Reads a whole file.
///
/// # Errors
/// [`WavError`]: nothing of a damaged file is used, since what is missing could not be told.
pub fn read_wav(bytes: &[u8]) -> Result<Wav, WavError> {
    if bytes.len() > MAX_WAV {
        return Err(WavError::Length(bytes.len()));
    }
    let mut reader = WavReader::new(Cursor::new(bytes))?;
    let spec = reader.spec();
    let mut samples = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect::<Result<Vec<_>, _>>()?,
        SampleFormat::Int => {
            let full = f64::from(spec.bits_per_sample.clamp(1, 32) - 1).exp2();
            let scaled = |x: i32| (f64::from(x) / full) as f32;
            let samples = reader.samples::<i32>().map(|x| x.map(scaled));
            samples.collect::<Result<_, _>>()?
        }
    };
    let width = usize::from(spec.channels.max(1));
    samples.truncate(samples.len() - samples.len() % width);
    Ok(Wav {
        rate: spec.sample_rate,
        channels: spec.channels,
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bits: u16, channels: u16, samples: &[i32]) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: 16_000,
            bits_per_sample: bits,
            sample_format: SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        samples
            .iter()
            .for_each(|x| writer.write_sample(*x).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_width_has_one_scale() {
        for bits in [8, 16, 24, 32] {
            let half = 1 << (bits - 2);
            let wav = read_wav(&file(bits, 2, &[half, -half])).unwrap();
            assert_eq!((wav.rate, wav.channels), (16_000, 2));
            assert_eq!(wav.samples, [0.5, -0.5], "{bits}");
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_refused() {
        let whole = file(16, 1, &[1; 100]);
        assert!(read_wav(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(read_wav(&whole[..end]).is_err(), "{end}");
        }
        assert!(matches!(
            read_wav(&vec![0; MAX_WAV + 1]),
            Err(WavError::Length(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_wav(&bytes);
        }

        #[test]
        fn no_damage_panics_and_whole_frames_come_out(
            at in 0usize..60, with: u8, bits in prop::sample::select(vec![8u16, 16, 24, 32]), channels in 1u16..5,
        ) {
            let mut bytes = file(bits, channels, &vec![1; 40 * usize::from(channels)]);
            bytes[at] = with;
            if let Ok(wav) = read_wav(&bytes) {
                prop_assert_eq!(wav.samples.len() % usize::from(wav.channels.max(1)), 0);
                prop_assert!(wav.samples.len() <= bytes.len());
            }
        }
    }
}
