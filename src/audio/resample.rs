//! One channel from any rate to the output rate, in blocks of any size, with the filter's delay taken out: output sample
//! `n` lies at the time `n / rate_out` of the input. How the input was cut makes no difference to a single bit.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Indexing, Resampler as _, SincInterpolationParameters,
    WindowFunction,
};

/// Wanted block of the FFT resampler, in seconds. 40 ms keep the pass band flat to 7.66 kHz at 16 kHz (the features use
/// up to 7.6 kHz) at a delay of 20 ms.
const BLOCK_S: f64 = 0.04;

/// Longest block of the FFT resampler, in seconds. Rates with little in common (44 099 and 16 000 Hz) would need blocks
/// of a second; they take the sinc resampler instead, which is right to half a sample: 31 µs at 16 kHz.
const LONGEST_BLOCK_S: f64 = 0.1;

/// A streaming resampler of one channel.
pub(crate) struct Resampler {
    engine: Option<Box<dyn rubato::Resampler<f32>>>,
    pending: Vec<f32>,
    scratch: Vec<f32>,
    /// Output samples that the filter puts in front.
    delay: usize,
    /// How many of them are still to come.
    skip: usize,
}

impl Resampler {
    /// From `rate_in` to `rate_out` Hz.
    ///
    /// # Errors
    /// What rubato says; the rates are checked before, so none is known.
    pub(crate) fn new(rate_in: u32, rate_out: u32) -> Result<Self, String> {
        let (engine, delay) = if rate_in == rate_out {
            (None, 0)
        } else {
            let (engine, delay) = engine(rate_in, rate_out).map_err(|e| e.to_string())?;
            (Some(engine), delay)
        };
        let scratch = engine.as_ref().map_or(0, |e| e.output_frames_max());
        Ok(Self {
            engine,
            pending: Vec::new(),
            scratch: vec![0.0; scratch],
            delay,
            skip: delay,
        })
    }

    /// Takes samples and appends what is complete.
    pub(crate) fn push(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<(), String> {
        let Some(engine) = &mut self.engine else {
            out.extend_from_slice(input);
            return Ok(());
        };
        self.pending.extend_from_slice(input);
        let mut used = 0;
        loop {
            let need = engine.input_frames_next();
            let Some(block) = self.pending.get(used..used + need) else {
                break;
            };
            run(
                engine.as_mut(),
                block,
                None,
                &mut self.scratch,
                &mut self.skip,
                out,
            )?;
            used += need;
        }
        self.pending.drain(..used);
        Ok(())
    }

    /// Ends a segment: appends exactly `wanted` more samples, what the filter still holds, and forgets everything.
    pub(crate) fn finish(&mut self, wanted: usize, out: &mut Vec<f32>) -> Result<(), String> {
        let end = out.len() + wanted;
        if let Some(engine) = &mut self.engine {
            let mut left = std::mem::take(&mut self.pending);
            while out.len() < end {
                let need = engine.input_frames_next();
                let partial = left.len().min(need);
                run(
                    engine.as_mut(),
                    &left[..partial],
                    Some(partial),
                    &mut self.scratch,
                    &mut self.skip,
                    out,
                )?;
                left.drain(..partial);
            }
            engine.reset();
            self.skip = self.delay;
        }
        out.resize(end, 0.0);
        Ok(())
    }
}

/// The engine for these rates, and its delay in output samples.
fn engine(
    rate_in: u32,
    rate_out: u32,
) -> Result<(Box<dyn rubato::Resampler<f32>>, usize), rubato::ResamplerConstructionError> {
    let unit = (rate_in / gcd(rate_in, rate_out)) as usize;
    let seconds = unit as f64 / f64::from(rate_in);
    if seconds <= LONGEST_BLOCK_S {
        let mut units = ((BLOCK_S / seconds).round() as usize).max(1);
        // The delay is half a block: with an odd one the output would lie half an input sample beside the clock.
        units += units * unit % 2;
        let fft = Fft::<f32>::new_custom(
            rate_in as usize,
            rate_out as usize,
            unit * units,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )?;
        let delay = fft.output_delay();
        return Ok((Box::new(fft), delay));
    }
    // When decimating, the filter has to span as many output samples as it does otherwise.
    let decimation = (rate_in as usize).div_ceil(rate_out as usize).clamp(1, 16);
    let taps = 256 * decimation;
    let ratio = f64::from(rate_out) / f64::from(rate_in);
    let parameters = SincInterpolationParameters::new(taps, WindowFunction::BlackmanHarris2);
    let sinc = Async::<f32>::new_sinc(
        ratio,
        1.0,
        &parameters,
        ((f64::from(rate_in) * BLOCK_S / 2.0) as usize).max(16),
        1,
        FixedAsync::Input,
    )?;
    // Its own `output_delay` drops the fraction, and its first sample already lies one step in: measured with tones.
    let delay = ((taps / 2) as f64 * ratio - 1.0).round().max(0.0) as usize;
    Ok((Box::new(sinc), delay))
}

fn run(
    engine: &mut dyn rubato::Resampler<f32>,
    input: &[f32],
    partial: Option<usize>,
    scratch: &mut [f32],
    skip: &mut usize,
    out: &mut Vec<f32>,
) -> Result<(), String> {
    let frames = scratch.len();
    let source = InterleavedSlice::new(input, 1, input.len()).map_err(|e| e.to_string())?;
    let mut sink = InterleavedSlice::new_mut(scratch, 1, frames).map_err(|e| e.to_string())?;
    let indexing = partial.map(|n| Indexing::new().partial_len(n));
    let (_, made) = engine
        .process_into_buffer(&source, &mut sink, indexing.as_ref())
        .map_err(|e| e.to_string())?;
    let dropped = made.min(*skip);
    *skip -= dropped;
    out.extend_from_slice(&scratch[dropped..made]);
    Ok(())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
