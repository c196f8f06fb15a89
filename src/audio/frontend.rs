//! From a source's packets to mono at one rate with positions on the sample clock: repair, downmix, resample, count.

use std::time::Instant;

use super::level::{Level, sanitise};
use super::resample::Resampler;
use super::{Packet, SampleClock, SourceError, check_format};

/// A run of consecutive mono samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The epoch it belongs to, Unix milliseconds.
    pub epoch: u64,
    /// Position of `samples[0]` since the epoch began, at the output rate.
    pub first_sample: u64,
    /// Mono, nominal ±1; never empty, every sample finite.
    pub samples: Vec<f32>,
    /// When the last of `samples` was captured.
    pub captured: Instant,
    /// Level of the native samples behind it (of the chosen channels, before downmix and resampling, so that clipping
    /// is still seen). The resampler's delay of up to 60 ms shifts it against `samples`.
    pub level: Level,
}

/// What the frontend yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The sample clock starts anew: first audio, a rebuilt device, a restarted command. No samples carry over.
    NewEpoch {
        /// Unix milliseconds of the first sample; strictly increasing.
        epoch: u64,
        /// Native rate in Hz.
        rate: u32,
        /// Native channels.
        channels: u16,
    },
    /// Audio.
    Chunk(Chunk),
    /// Samples were lost; the clock has moved on over them.
    Gap {
        /// The epoch it belongs to.
        epoch: u64,
        /// Position of the first lost sample, at the output rate.
        first_sample: u64,
        /// Lost samples at the output rate; may be 0 for a gap shorter than half a sample.
        samples: u64,
    },
}

/// Mono at one rate out of whatever a source delivers. One a stream.
pub struct Frontend {
    what: String,
    rate: u32,
    channel: Option<u16>,
    format: Option<(u32, u16)>,
    running: bool,
    clock: SampleClock,
    resampler: Option<Resampler>,
    mono: Vec<f32>,
    level: Level,
    captured: Option<Instant>,
    repaired: u64,
}

impl Frontend {
    /// For the stream `what` (named in errors): output at `rate` Hz ([`super::SAMPLE_RATE`], or 24 000 for a music
    /// encoder) from one channel (counted from 0) or, without, the mean of all.
    #[must_use]
    pub fn new(what: impl Into<String>, rate: u32, channel: Option<u16>) -> Self {
        Self {
            what: what.into(),
            rate,
            channel,
            format: None,
            running: false,
            clock: SampleClock::new(rate),
            resampler: None,
            mono: Vec::new(),
            level: Level::default(),
            captured: None,
            repaired: 0,
        }
    }

    /// Samples so far that were no numbers (now 0) or beyond ±16 (now limited).
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Takes what [`super::Source::next`] returned together with the samples that it appended, and appends what follows
    /// from it to `out`. `interleaved` is empty afterwards.
    ///
    /// [`Packet::Down`] and [`Packet::End`] hand out what the resampler held back; the caller reports them otherwise.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] when the format is out of range or lacks the chosen channel.
    pub fn push(
        &mut self,
        packet: &Packet,
        interleaved: &mut Vec<f32>,
        out: &mut Vec<Output>,
    ) -> Result<(), SourceError> {
        let done = match *packet {
            Packet::Format { rate, channels } => self.begin(rate, channels, out),
            Packet::Audio { captured } => self.audio(interleaved, captured, out),
            Packet::Gap { frames } => self.gap(frames, out),
            Packet::Idle => Ok(()),
            Packet::Down { .. } | Packet::End => self.finish(out),
        };
        interleaved.clear();
        done
    }

    fn begin(
        &mut self,
        rate: u32,
        channels: u16,
        out: &mut Vec<Output>,
    ) -> Result<(), SourceError> {
        self.finish(out)?;
        check_format(&self.what, rate, channels)?;
        if let Some(channel) = self.channel.filter(|c| *c >= channels) {
            return Err(SourceError::unusable(
                &self.what,
                format!(
                    "expected channel {channel} (counted from 0), found {channels} channel(s); set `channel` to at most {} or leave it out to mix all",
                    channels - 1
                ),
            ));
        }
        self.resampler = Some(
            Resampler::new(rate, self.rate).map_err(|e| SourceError::unusable(&self.what, e))?,
        );
        self.format = Some((rate, channels));
        self.running = false;
        Ok(())
    }

    fn audio(
        &mut self,
        interleaved: &mut [f32],
        captured: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), SourceError> {
        let (Some((rate, channels)), Some(resampler)) = (self.format, &mut self.resampler) else {
            return Err(SourceError::unusable(
                &self.what,
                "expected a format before any audio, found none: the source breaks its contract",
            ));
        };
        let width = usize::from(channels);
        let frames = interleaved.len() / width;
        if frames == 0 {
            return Ok(());
        }
        if !self.running {
            self.running = true;
            let length = std::time::Duration::from_secs_f64(frames as f64 / f64::from(rate));
            let first = captured.checked_sub(length).unwrap_or(captured);
            let epoch = self.clock.begin(rate, first);
            self.level = Level::default();
            out.push(Output::NewEpoch {
                epoch,
                rate,
                channels,
            });
        }
        self.repaired += sanitise(interleaved);
        self.mono.clear();
        let native = interleaved.chunks_exact(width);
        if let Some(channel) = self.channel {
            self.mono.extend(native.map(|f| f[usize::from(channel)]));
            self.level.add(&self.mono);
        } else {
            let scale = 1.0 / f32::from(channels);
            self.mono
                .extend(native.map(|f| f.iter().sum::<f32>() * scale));
            self.level.add(&interleaved[..frames * width]);
        }
        self.clock.advance_native(frames as u64);
        self.captured = Some(captured);
        let mut samples = Vec::new();
        resampler
            .push(&self.mono, &mut samples)
            .map_err(|e| SourceError::unusable(&self.what, e))?;
        self.hand_out(samples, out);
        Ok(())
    }

    fn gap(&mut self, frames: u64, out: &mut Vec<Output>) -> Result<(), SourceError> {
        if !self.running {
            // Nothing was heard yet: the epoch begins with what comes.
            return Ok(());
        }
        self.drain(out)?;
        self.clock.advance_native(frames);
        let (first_sample, samples) = (self.clock.position(), self.clock.due());
        self.clock.advance(samples);
        out.push(Output::Gap {
            epoch: self.clock.epoch(),
            first_sample,
            samples,
        });
        Ok(())
    }

    /// Ends the epoch: the samples in the resampler come out, the next audio needs a format first.
    fn finish(&mut self, out: &mut Vec<Output>) -> Result<(), SourceError> {
        if self.running {
            self.drain(out)?;
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<Output>) -> Result<(), SourceError> {
        let mut samples = Vec::new();
        if let Some(resampler) = &mut self.resampler {
            resampler
                .finish(self.clock.due() as usize, &mut samples)
                .map_err(|e| SourceError::unusable(&self.what, e))?;
        }
        self.hand_out(samples, out);
        Ok(())
    }

    fn hand_out(&mut self, samples: Vec<f32>, out: &mut Vec<Output>) {
        let Some(captured) = self.captured.filter(|_| !samples.is_empty()) else {
            return;
        };
        let first_sample = self.clock.position();
        self.clock.advance(samples.len() as u64);
        let mut level = std::mem::take(&mut self.level);
        if level.samples() == 0 {
            // The tail of a segment: what was measured went out with the chunk before.
            level = Level::of(&samples);
        }
        out.push(Output::Chunk(Chunk {
            epoch: self.clock.epoch(),
            first_sample,
            samples,
            captured: captured
                .checked_sub(self.clock.held_back())
                .unwrap_or(captured),
            level,
        }));
    }
}

#[cfg(test)]
mod tests;
