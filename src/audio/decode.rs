//! Audio files to samples, block by block: symphonia, with libopus for Opus.

use std::cell::Cell;
use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock, Once};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet as Encoded;

use super::{SAMPLE_RATE, SourceError, check_format};

/// Packets in a row that may be broken before the rest of a file is given up.
const BROKEN_IN_A_ROW: u32 = 64;

/// A WAV header with a data size beyond this was written by a program that could not know it (a pipe).
const UNKNOWN_SIZE: u64 = 0x7fff_0000;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut registry = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut registry);
    registry.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
    registry
});

/// What [`Decoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// What follows has this format. Comes first, and again where a chained file changes it.
    Format {
        /// Hz.
        rate: u32,
        /// Interleaved channels.
        channels: u16,
    },
    /// Samples were appended.
    Audio,
    /// This many frames could not be decoded.
    Lost(u64),
    /// Nothing follows; [`Decoder::damage`] says whether there should have been more.
    End,
}

/// A file that is decoded block by block in bounded memory.
pub struct Decoder {
    what: String,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Seconds a tick of the container's clock, for the length of packets that are lost.
    tick: Option<f64>,
    promised: Option<u64>,
    decoded: u64,
    spec: (u32, u16),
    held: Vec<f32>,
    scratch: Vec<f32>,
    broken: u64,
    ended: bool,
    failure: Option<String>,
}

impl Decoder {
    /// Opens a file; the content decides what it is, the extension only helps.
    ///
    /// # Errors
    /// [`SourceError::Io`] when it cannot be read, [`SourceError::Unusable`] when it is no audio that we know.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let what = path.display().to_string();
        let file = File::open(path).map_err(|e| SourceError::io(&what, e))?;
        let meta = file.metadata().map_err(|e| SourceError::io(&what, e))?;
        if !meta.is_file() {
            return Err(SourceError::unusable(
                what,
                "expected an audio file, found a folder or device; pipe it in through a `command` source instead",
            ));
        }
        if meta.len() == 0 {
            return Err(SourceError::unusable(
                what,
                "expected an audio file, found an empty one; record or copy it again",
            ));
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
            hint.with_extension(extension);
        }
        Self::of(what, Box::new(file), hint)
    }

    /// The same of a file's bytes, named `what` in messages.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] when it is no audio that we know.
    pub fn from_bytes(what: &str, bytes: Arc<[u8]>) -> Result<Self, SourceError> {
        if bytes.is_empty() {
            let why = "expected the bytes of an audio file, found none";
            return Err(SourceError::unusable(what, why));
        }
        Self::of(what.to_owned(), Box::new(Cursor::new(bytes)), Hint::new())
    }

    fn of(what: String, source: Box<dyn MediaSource>, hint: Hint) -> Result<Self, SourceError> {
        let stream = MediaSourceStream::new(source, Default::default());
        let reader = guard(|| {
            symphonia::default::get_probe().probe(
                &hint,
                stream,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
        })
        .map_err(|e| not_audio(&what, &e))?;
        let track = select(&what, reader.as_ref())?;
        let mut this = Self {
            what,
            reader,
            decoder: track.decoder,
            track: track.id,
            tick: track.tick,
            promised: track.promised,
            decoded: 0,
            spec: (0, 0),
            held: Vec::new(),
            scratch: Vec::new(),
            broken: 0,
            ended: false,
            failure: None,
        };
        // The format is known for sure from the first decoded block only.
        loop {
            match this.step()? {
                Block::Format { .. } => return Ok(this),
                Block::End => {
                    return Err(SourceError::unusable(
                        &this.what,
                        format!(
                            "expected audio, found none that decodes{}; record or convert it again",
                            this.failure
                                .as_ref()
                                .map(|e| format!(" ({e})"))
                                .unwrap_or_default()
                        ),
                    ));
                }
                Block::Audio | Block::Lost(_) => {}
            }
        }
    }

    /// Samples a second and interleaved channels of what comes next.
    #[must_use]
    pub fn format(&self) -> (u32, u16) {
        self.spec
    }

    /// Appends the next block of interleaved samples.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] when the file changes to a format that cannot be used.
    pub fn next(&mut self, samples: &mut Vec<f32>) -> Result<Block, SourceError> {
        if !self.held.is_empty() {
            samples.append(&mut self.held);
            return Ok(Block::Audio);
        }
        let block = self.step()?;
        if block == Block::Audio {
            samples.append(&mut self.held);
        }
        Ok(block)
    }

    /// What is wrong with the file, for people; known at [`Block::End`].
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let rate = f64::from(self.spec.0.max(1));
        let mut found = Vec::new();
        if self.broken > 0 {
            found.push(format!("{} damaged packet(s) were left out", self.broken));
        }
        if let Some(promised) = self.promised {
            let missing = promised.saturating_sub(self.decoded) as f64 / rate;
            // Encoders round their length to a frame or so.
            if missing > 0.1 {
                found.push(format!(
                    "the file looks cut off: expected {:.2} s as its header says, found {:.2} s; copy or record it again",
                    promised as f64 / rate,
                    self.decoded as f64 / rate
                ));
            }
        }
        found.extend(self.failure.clone());
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// Decodes into `held`.
    fn step(&mut self) -> Result<Block, SourceError> {
        let mut row = 0;
        while !self.ended {
            match guard(|| self.reader.next_packet()) {
                Ok(Some(packet)) if packet.track_id != self.track => {}
                Ok(Some(packet)) => {
                    if let Some(block) = self.decode(&packet)? {
                        return Ok(block);
                    }
                }
                Ok(None) => self.ended = true,
                Err(Failure::Symphonia(Error::IoError(e)))
                    if e.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    self.ended = true;
                }
                Err(Failure::Symphonia(Error::ResetRequired)) => {
                    let track = select(&self.what, self.reader.as_ref())?;
                    (self.decoder, self.track, self.tick) = (track.decoder, track.id, track.tick);
                    self.promised = None;
                }
                Err(Failure::Symphonia(Error::DecodeError(_))) if row < BROKEN_IN_A_ROW => {
                    self.broken += 1;
                    row += 1;
                }
                Err(e) => {
                    self.failure = Some(format!("reading stopped early: {e}"));
                    self.ended = true;
                }
            }
        }
        Ok(Block::End)
    }

    fn decode(&mut self, packet: &Encoded) -> Result<Option<Block>, SourceError> {
        let (decoder, scratch) = (&mut self.decoder, &mut self.scratch);
        let spec = match guard(|| {
            let buffer = decoder.decode(packet)?;
            buffer.copy_to_vec_interleaved(scratch);
            let channels = u16::try_from(buffer.spec().channels().count()).unwrap_or(u16::MAX);
            Ok((buffer.spec().rate(), channels))
        }) {
            Ok(spec) => spec,
            Err(e @ Failure::Panic) => {
                self.failure = Some(format!("decoding stopped early: {e}"));
                self.ended = true;
                return Ok(None);
            }
            Err(Failure::Symphonia(_)) => {
                self.broken += 1;
                let lost = self.tick.map_or(0.0, |tick| packet.dur.get() as f64 * tick)
                    * f64::from(self.spec.0);
                self.decoded += lost as u64;
                return Ok((lost >= 1.0).then_some(Block::Lost(lost as u64)));
            }
        };
        if scratch.is_empty() {
            return Ok(None);
        }
        let changed = spec != self.spec;
        if changed {
            check_format(&self.what, spec.0, spec.1)?;
            self.spec = spec;
        }
        self.decoded += (scratch.len() / usize::from(spec.1.max(1))) as u64;
        self.held.append(scratch);
        Ok(Some(if changed {
            Block::Format {
                rate: spec.0,
                channels: spec.1,
            }
        } else {
            Block::Audio
        }))
    }
}

struct Selected {
    decoder: Box<dyn AudioDecoder>,
    id: u32,
    tick: Option<f64>,
    promised: Option<u64>,
}

/// The default audio track and its decoder.
fn select(what: &str, reader: &dyn FormatReader) -> Result<Selected, SourceError> {
    let none = || {
        SourceError::unusable(
            what,
            "expected an audio track, found none; extract the audio first (ffmpeg -i … out.flac)",
        )
    };
    let track = reader.default_track(TrackType::Audio).ok_or_else(none)?;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .ok_or_else(none)?;
    // Before a decoder is built on them: headers may say anything.
    if let Some(rate) = parameters.sample_rate {
        check_format(what, rate, 1)?;
    }
    if let Some(channels) = &parameters.channels {
        check_format(
            what,
            SAMPLE_RATE,
            u16::try_from(channels.count()).unwrap_or(u16::MAX),
        )?;
    }
    let decoder = guard(|| CODECS.make_audio_decoder(parameters, &AudioDecoderOptions::default()))
        .map_err(|e| {
            SourceError::unusable(
                what,
                format!("expected a codec that we know, found another ({e}); convert it (ffmpeg -i … out.flac)"),
            )
        })?;
    let width = parameters.channels.as_ref().map_or(1, |c| c.count() as u64)
        * u64::from(parameters.bits_per_sample.unwrap_or(16)).div_ceil(8);
    Ok(Selected {
        decoder,
        id: track.id,
        tick: track
            .time_base
            .map(|t| f64::from(t.numer.get()) / f64::from(t.denom.get())),
        promised: track
            .num_frames
            .filter(|frames| frames.saturating_mul(width) < UNKNOWN_SIZE),
    })
}

fn not_audio(what: &str, error: &Failure) -> SourceError {
    SourceError::unusable(
        what,
        format!(
            "expected wav, flac, mp3, ogg (Vorbis, Opus), m4a, aiff or mkv, found something else ({error}); convert it (ffmpeg -i … out.flac)"
        ),
    )
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Symphonia(Error),
    #[error("the decoder gave up on it")]
    Panic,
}

/// Calls into the decoders, which parse hostile input: should one panic on it (symphonia 0.6.1 does on a WAV block size that
/// overflows, where overflow is checked), the file is at fault and the daemon lives. What the caller makes of it is said
/// in its own words; the panic's, with its backtrace, are for `--log-level debug`.
pub(super) fn guard<T>(f: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    thread_local!(static GUARDED: Cell<bool> = const { Cell::new(false) });
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match GUARDED.get() {
            true => tracing::debug!(%panic, "a decoder gave up"),
            false => usual(panic),
        }));
    });
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(false);
    match result {
        Ok(result) => result.map_err(Failure::Symphonia),
        Err(_) => Err(Failure::Panic),
    }
}
