//! Whole audio files as 16 kHz mono, for enrolment, verification and detection.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decode::{Block, Decoder};
use super::signal::wide;
use super::{Frontend, Output, Packet, SAMPLE_RATE, Signal, SourceError, WIDE_RATE};

/// Longest clip that [`decode`] takes.
pub const MAX_CLIP: Duration = Duration::from_secs(4 * 3600);

/// The most bytes that are taken from standard input.
const MAX_STDIN: u64 = 1 << 30;

/// A whole file at 16 kHz, mono.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// 16 kHz, mono, nominal ±1, finite. Packets that were lost are silence.
    pub samples: Vec<f32>,
    /// The file's own rate in Hz.
    pub rate: u32,
    /// The file's own channels.
    pub channels: u16,
    /// What is wrong with the file, for people: cut off, damaged packets, samples that are no numbers.
    pub damage: Option<String>,
}

/// Reads a file as 16 kHz mono, from `channel` (counted from 0) or, without, the mean of all. Damage is logged.
///
/// # Errors
/// As [`decode_clip`].
pub fn decode(path: &Path, channel: Option<u16>) -> Result<Vec<f32>, SourceError> {
    let clip = decode_clip(path, channel)?;
    if let Some(damage) = &clip.damage {
        tracing::warn!(file = %path.display(), %damage, "damaged audio file");
    }
    Ok(clip.samples)
}

/// As [`decode`], at 24 kHz as well where `is_wide`; then both are of one length. `-` is standard input, which has to bring the
/// bytes of a file.
///
/// # Errors
/// As [`decode_clip`].
pub fn decode_signal(
    path: &Path,
    channel: Option<u16>,
    is_wide: bool,
) -> Result<Signal, SourceError> {
    if path != Path::new("-") {
        let mut signal = Signal::from(decode(path, channel)?);
        if is_wide {
            signal.wide = decode_at(path, channel, WIDE_RATE)?.samples;
            signal.wide.resize(wide(signal.len()), 0.0);
        }
        return Ok(signal);
    }
    let (what, mut bytes) = ("standard input", Vec::new());
    let mut stdin = std::io::stdin().lock().take(MAX_STDIN + 1);
    let read = stdin.read_to_end(&mut bytes);
    read.map_err(|e| SourceError::io(what, e))?;
    if bytes.len() as u64 > MAX_STDIN {
        let why = "expected a file of at most 1 GiB, found more; save it and name the file";
        return Err(SourceError::unusable(what, why));
    }
    let bytes: Arc<[u8]> = bytes.into();
    let at = |hz| {
        let decoder = Decoder::from_bytes(what, bytes.clone())?;
        decode_with(decoder, what.to_owned(), channel, hz)
    };
    let clip = at(SAMPLE_RATE)?;
    if let Some(damage) = &clip.damage {
        tracing::warn!(file = what, %damage, "damaged audio file");
    }
    let mut signal = Signal::from(clip.samples);
    if is_wide {
        signal.wide = at(WIDE_RATE)?.samples;
        signal.wide.resize(wide(signal.len()), 0.0);
    }
    Ok(signal)
}

/// As [`decode`], with what is known about the file.
///
/// # Errors
/// [`SourceError::Io`] when it cannot be read; [`SourceError::Unusable`] when it is no audio, lacks the channel or is longer
/// than [`MAX_CLIP`].
pub fn decode_clip(path: &Path, channel: Option<u16>) -> Result<Clip, SourceError> {
    decode_at(path, channel, SAMPLE_RATE)
}

/// The file at an output rate of `hz`.
fn decode_at(path: &Path, channel: Option<u16>, hz: u32) -> Result<Clip, SourceError> {
    let what = path.display().to_string();
    decode_with(Decoder::open(path)?, what, channel, hz)
}

fn decode_with(
    mut decoder: Decoder,
    what: String,
    channel: Option<u16>,
    hz: u32,
) -> Result<Clip, SourceError> {
    let (rate, channels) = decoder.format();
    let mut frontend = Frontend::new(&what, hz, channel);
    let limit = MAX_CLIP.as_secs() * u64::from(hz);
    let (mut native, mut out, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    frontend.push(&Packet::Format { rate, channels }, &mut native, &mut out)?;
    loop {
        let packet = match decoder.next(&mut native)? {
            Block::Format { rate, channels } => Packet::Format { rate, channels },
            Block::Audio => Packet::Audio {
                captured: Instant::now(),
            },
            Block::Lost(frames) => Packet::Gap { frames },
            Block::End => Packet::End,
        };
        frontend.push(&packet, &mut native, &mut out)?;
        for o in out.drain(..) {
            match o {
                Output::NewEpoch { .. } => {}
                Output::Chunk(chunk) => samples.extend_from_slice(&chunk.samples),
                Output::Gap { samples: lost, .. } => {
                    samples.resize(samples.len() + lost.min(limit) as usize, 0.0);
                }
            }
        }
        if samples.len() as u64 > limit {
            return Err(SourceError::unusable(
                what,
                format!(
                    "expected at most {} h, found more; cut the part that matters (ffmpeg -ss … -t …)",
                    MAX_CLIP.as_secs() / 3600
                ),
            ));
        }
        if packet == Packet::End {
            break;
        }
    }
    let repaired = frontend.repaired();
    let numbers = (repaired > 0)
        .then(|| format!("{repaired} sample(s) were not numbers in ±16 and were replaced"));
    let damage: Vec<String> = decoder.damage().into_iter().chain(numbers).collect();
    Ok(Clip {
        samples,
        rate,
        channels,
        damage: (!damage.is_empty()).then(|| damage.join("; ")),
    })
}
