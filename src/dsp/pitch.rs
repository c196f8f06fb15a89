//! Fundamental frequency and voicing every 10 ms: the YIN difference function (de Cheveigné and Kawahara, "YIN, a
//! fundamental frequency estimator for speech and music", JASA 2002) gives candidates, a Viterbi search over 100 ms
//! chooses among them, so that an octave error has to pay for two jumps.

mod search;

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::framer::Framer;
use super::spectrum::{HOP, SAMPLE_RATE, WINDOW, frames};
use super::tempo::vertex;
use search::Search;

/// Samples that are compared with themselves later: 32 ms, two periods at 62 Hz.
const COMPARED: usize = 512;
/// Candidates a frame at most; one more state is "unvoiced".
const CANDIDATES: usize = 5;
/// Mean square of the compared samples below which a frame is silent: −80 dB of full scale.
const SILENCE: f64 = 1e-8;

/// What an octave below the highest frequency costs: a signal of period T has period 2T as well.
const OCTAVE_COST: f64 = 0.02;

/// Where a voice is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PitchOptions {
    /// Lowest fundamental, Hz, from 31.25 on.
    pub low_hz: f64,
    /// Highest fundamental, Hz, to 2000.
    pub high_hz: f64,
}

impl Default for PitchOptions {
    /// 60 to 500 Hz.
    fn default() -> Self {
        Self {
            low_hz: 60.0,
            high_hz: 500.0,
        }
    }
}

/// Limits between which no pitch can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("expected 31.25 <= low < high <= 2000 Hz, found low {} Hz, high {} Hz", .0.low_hz, .0.high_hz)]
pub struct PitchError(PitchOptions);

/// Pitch of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pitch {
    /// Fundamental frequency, Hz; `None` where the frame is not voiced.
    pub hz: Option<f64>,
    /// One less the least normalised difference within the limits, 0 to 1: near 1 where the frame repeats itself.
    pub periodicity: f64,
}

/// Streaming pitch: frame `t` is centred on sample `160·t + 200`, as the other features' are, and does not depend on
/// how the signal was cut into chunks. Frames come 0.12 s late, the last at [`PitchTracker::finish`].
pub struct PitchTracker {
    framer: Framer,
    difference: Difference,
    search: Search,
    /// Zeros before the first sample and after the last.
    pad: usize,
    /// Samples taken.
    taken: usize,
}

impl PitchTracker {
    /// A stream that has seen nothing.
    ///
    /// # Errors
    /// [`PitchError`] where the limits are out of range or order.
    pub fn new(options: PitchOptions) -> Result<Self, PitchError> {
        let PitchOptions { low_hz, high_hz } = options;
        if !(31.25 <= low_hz && low_hz < high_hz && high_hz <= 2000.0) {
            return Err(PitchError(options));
        }
        let difference = Difference::new(low_hz, high_hz);
        let pad = (difference.frame_length() - WINDOW) / 2;
        let mut tracker = Self {
            framer: Framer::new(difference.frame_length(), HOP),
            difference,
            search: Search::new(),
            pad,
            taken: 0,
        };
        tracker.reset();
        Ok(tracker)
    }

    /// Takes `samples` (±1, finite, 16 kHz) and appends every frame that is decided to `out`. Allocates only when `out`
    /// has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<Pitch>) {
        self.taken += samples.len();
        self.framer.push(samples, |frame| {
            self.search.push(self.difference.candidates(frame), out);
        });
    }

    /// Appends the frames that wait for samples or for a decision, and starts over.
    pub fn finish(&mut self, out: &mut Vec<Pitch>) {
        if frames(self.taken) > 0 {
            // A frame reaches `pad` samples, or one more, past the window that it is centred in.
            let zeros = [0.0; HOP];
            let mut left = self.difference.frame_length() - WINDOW - self.pad;
            while left > 0 {
                let now = left.min(HOP);
                self.framer.push(&zeros[..now], |frame| {
                    self.search.push(self.difference.candidates(frame), out);
                });
                left -= now;
            }
        }
        self.search.finish(out);
        self.reset();
    }

    /// Forgets the signal: the next sample starts frame 0.
    pub fn reset(&mut self) {
        self.framer.reset();
        self.search.reset();
        self.taken = 0;
        // Shorter than a frame, so none comes out.
        let zeros = [0.0; HOP];
        for start in (0..self.pad).step_by(HOP) {
            self.framer
                .push(&zeros[..HOP.min(self.pad - start)], |_| ());
        }
    }
}

/// Pitch of a whole signal (±1, finite, 16 kHz), one value a frame.
///
/// # Errors
/// [`PitchError`] where the limits are out of range or order.
pub fn pitch(samples: &[f32], options: PitchOptions) -> Result<Vec<Pitch>, PitchError> {
    let mut tracker = PitchTracker::new(options)?;
    let mut out = Vec::with_capacity(frames(samples.len()));
    tracker.push(samples, &mut out);
    tracker.finish(&mut out);
    Ok(out)
}

/// A frequency that a frame may have.
#[derive(Debug, Clone, Copy, Default)]
struct Candidate {
    hz: f64,
    cost: f64,
}

/// What one frame may be.
#[derive(Debug, Clone, Copy, Default)]
struct Candidates {
    all: [Candidate; CANDIDATES],
    count: usize,
    periodicity: f64,
}

/// The cumulative mean normalised difference of a frame to itself later, by way of its autocorrelation.
struct Difference {
    shortest: usize,
    longest: usize,
    high_hz: f64,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    head: Vec<f64>,
    whole: Vec<f64>,
    head_spectrum: Vec<Complex<f64>>,
    whole_spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// By lag, to one past the longest.
    normalised: Vec<f64>,
}

impl Difference {
    fn new(low_hz: f64, high_hz: f64) -> Self {
        let rate = f64::from(SAMPLE_RATE);
        let longest = (rate / low_hz).ceil() as usize;
        let points = (COMPARED + longest + 1).next_power_of_two();
        let mut planner = RealFftPlanner::<f64>::new();
        let forward = planner.plan_fft_forward(points);
        let inverse = planner.plan_fft_inverse(points);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            shortest: ((rate / high_hz).floor() as usize).max(2),
            longest,
            high_hz,
            head: forward.make_input_vec(),
            whole: forward.make_input_vec(),
            head_spectrum: forward.make_output_vec(),
            whole_spectrum: forward.make_output_vec(),
            scratch: vec![Complex::default(); scratch],
            normalised: vec![1.0; longest + 2],
            forward,
            inverse,
        }
    }

    fn frame_length(&self) -> usize {
        COMPARED + self.longest + 1
    }

    fn candidates(&mut self, frame: &[f32]) -> Candidates {
        let mut found = Candidates::default();
        if !self.normalise(frame) {
            return found;
        }
        let d = &self.normalised;
        let mut least = 1.0f64;
        for lag in self.shortest..=self.longest {
            least = least.min(d[lag]);
            if d[lag] >= 1.0 || d[lag] > d[lag - 1] || d[lag] >= d[lag + 1] {
                continue;
            }
            let offset = vertex(-d[lag - 1], -d[lag], -d[lag + 1]);
            let bottom = d[lag] - 0.25 * (d[lag - 1] - d[lag + 1]) * offset;
            let hz = f64::from(SAMPLE_RATE) / (lag as f64 + offset);
            let octaves = (self.high_hz / hz).log2();
            found.insert(Candidate {
                hz,
                cost: bottom.max(0.0) + OCTAVE_COST * octaves,
            });
        }
        found.periodicity = 1.0 - least.clamp(0.0, 1.0);
        found
    }

    /// Fills `normalised`; `false` where the frame is silent.
    fn normalise(&mut self, frame: &[f32]) -> bool {
        self.head.fill(0.0);
        self.whole.fill(0.0);
        for (x, s) in self.whole.iter_mut().zip(frame) {
            *x = f64::from(*s);
        }
        self.head[..COMPARED].copy_from_slice(&self.whole[..COMPARED]);
        let energy: f64 = self.head.iter().map(|x| x * x).sum();
        if energy < SILENCE * COMPARED as f64 {
            return false;
        }
        // Energy of the samples that are compared, at each lag; before the transforms overwrite them.
        let mut moved = energy;
        for lag in 0..self.normalised.len() {
            self.normalised[lag] = energy + moved;
            let (out, into) = (f64::from(frame[lag]), frame.get(lag + COMPARED));
            let into = into.map_or(0.0, |s| f64::from(*s));
            moved += into * into - out * out;
        }
        let points = self.whole.len() as f64;
        let done = self
            .forward
            .process_with_scratch(&mut self.head, &mut self.head_spectrum, &mut self.scratch)
            .and_then(|()| {
                self.forward.process_with_scratch(
                    &mut self.whole,
                    &mut self.whole_spectrum,
                    &mut self.scratch,
                )
            });
        debug_assert!(done.is_ok(), "buffers were made by the plan");
        for (a, b) in self.whole_spectrum.iter_mut().zip(&self.head_spectrum) {
            *a *= b.conj();
        }
        // The spectrum of a real signal is real at both ends but for rounding, which the plan would refuse.
        for end in [0, self.whole_spectrum.len() - 1] {
            self.whole_spectrum[end].im = 0.0;
        }
        let done = self.inverse.process_with_scratch(
            &mut self.whole_spectrum,
            &mut self.whole,
            &mut self.scratch,
        );
        debug_assert!(done.is_ok(), "buffers were made by the plan");
        let mut sum = 0.0;
        for (lag, (d, r)) in self.normalised.iter_mut().zip(&self.whole).enumerate() {
            let difference = (*d - 2.0 * r / points).max(0.0);
            sum += if lag == 0 { 0.0 } else { difference };
            *d = if sum > 0.0 && lag > 0 {
                difference * lag as f64 / sum
            } else {
                1.0
            };
        }
        true
    }
}

impl Candidates {
    /// Keeps the cheapest.
    fn insert(&mut self, new: Candidate) {
        if self.count < CANDIDATES {
            self.all[self.count] = new;
            self.count += 1;
        } else if let Some(worst) = self
            .all
            .iter_mut()
            .max_by(|a, b| a.cost.total_cmp(&b.cost))
            .filter(|worst| worst.cost > new.cost)
        {
            *worst = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    /// Ten harmonics that fall by 1/n, with a fundamental that `hz` gives by time.
    fn voice(seconds: f64, hz: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut phase = 0.0;
        (0..(seconds * 16_000.0) as usize)
            .map(|n| {
                phase += TAU * hz(n as f64 / 16_000.0) / 16_000.0;
                let sum: f64 = (1..=10)
                    .map(|h| (f64::from(h) * phase).sin() / f64::from(h))
                    .sum();
                (0.2 * sum) as f32
            })
            .collect()
    }

    #[test]
    fn a_glide_is_followed_to_one_per_cent() {
        let hz = |t: f64| 80.0 * 5f64.powf(t / 2.0);
        let found = pitch(&voice(2.0, hz), PitchOptions::default()).unwrap();
        assert_eq!(found.len(), 198);
        for (t, frame) in found.iter().enumerate().skip(3).take(190) {
            let expected = hz((160 * t + 200) as f64 / 16_000.0);
            let found = frame.hz.unwrap_or_default();
            assert!(
                (found / expected - 1.0).abs() < 0.01,
                "{t}: {found}, {expected}"
            );
            assert!(frame.periodicity > 0.8, "{frame:?}");
        }
    }

    #[test]
    fn noise_and_silence_are_unvoiced() {
        let mut state = 1u32;
        let noise: Vec<f32> = (0..32_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        let found = pitch(&noise, PitchOptions::default()).unwrap();
        assert!(found.iter().all(|p| p.hz.is_none()));
        let found = pitch(&[0.0; 8_000], PitchOptions::default()).unwrap();
        assert_eq!(
            found,
            vec![
                Pitch {
                    hz: None,
                    periodicity: 0.0
                };
                48
            ]
        );
    }

    #[test]
    fn limits_are_checked() {
        for (low_hz, high_hz) in [
            (20.0, 500.0),
            (500.0, 60.0),
            (60.0, 3000.0),
            (f64::NAN, 500.0),
        ] {
            assert!(PitchTracker::new(PitchOptions { low_hz, high_hz }).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chunks_do_not_matter(
            chunks in prop::collection::vec(0usize..4_000, 0..8), low_hz in 32.0..100.0, high_hz in 200.0..2_000.0,
        ) {
            let length: usize = chunks.iter().sum();
            let mut signal = voice(length as f64 / 16_000.0 + 0.01, |t| 150.0 + 40.0 * (9.0 * t).sin());
            signal.truncate(length);
            let options = PitchOptions { low_hz, high_hz };
            let whole = pitch(&signal, options).unwrap();
            prop_assert_eq!(whole.len(), frames(length));
            let (mut stream, mut out, mut at) = (PitchTracker::new(options).unwrap(), Vec::new(), 0);
            stream.push(&voice(0.3, |_| 200.0), &mut out);
            stream.reset();
            out.clear();
            for chunk in chunks {
                stream.push(&signal[at..at + chunk], &mut out);
                at += chunk;
            }
            stream.finish(&mut out);
            prop_assert_eq!(out, whole);
        }
    }
}
