//! Cuts a stream into overlapping windows. Log-mel frames are computed once, as the audio arrives, and shared by all
//! windows that hold them.

use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::audio::{SAMPLE_RATE, Signal, wide};
use crate::config;
use crate::dsp::{Fbank, HOP, MELS};
use crate::model::{Moment, Stretch};

/// A stretch of one stream, ready for the models.
#[derive(Debug, Clone)]
pub struct Window {
    /// Position of its first sample on the stream's 16 kHz clock.
    pub first_sample: u64,
    /// The audio, mono.
    pub signal: Signal,
    /// Its log-mel frames `[T, 80]`, 10 ms apart.
    pub fbank: Array2<f32>,
    /// Samples at its end that no earlier window held.
    pub new_samples: usize,
    /// When its last sample was captured.
    pub captured: Instant,
    /// Which run without a break it is of: windows of one run that overlap hold the same audio there.
    pub run: u64,
}

impl Window {
    /// Position after its last sample.
    pub fn end_sample(&self) -> u64 {
        self.first_sample + self.signal.len() as u64
    }

    /// Its audio that no earlier window held.
    pub fn newest(&self) -> &[f32] {
        let samples = &self.signal.samples;
        &samples[samples.len().saturating_sub(self.new_samples)..]
    }

    /// Where it lies.
    pub fn moment(&self) -> Moment {
        Moment {
            run: self.run,
            first_sample: self.first_sample,
        }
    }

    /// What models read of it.
    pub fn stretch(&self) -> Stretch<'_> {
        Stretch {
            samples: &self.signal.samples,
            wide: &self.signal.wide,
            fbank: self.fbank.view(),
        }
    }
}

/// Cutting state of one stream.
///
/// A window ends at each multiple of the hop. The first ones of a stream (and after a gap) are shorter than the
/// configured length: a first verdict need not wait for a full window.
pub struct Segmenter {
    length: usize,
    hop: usize,
    fbank: Fbank,
    /// Audio and frames from `first_sample` on; all start at the same instant.
    signal: Signal,
    frames: Vec<f32>,
    /// Whether windows hold audio at 24 kHz as well.
    is_wide: bool,
    /// Audio that waits for its other half: the two rates come out of resamplers with blocks of their own.
    waiting: Vec<f32>,
    first_sample: u64,
    /// Samples in the buffer that some window has held.
    seen: usize,
    /// Breaks so far.
    run: u64,
}

/// Length and hop at 16 kHz, rounded to whole frames of 10 ms.
pub(super) fn in_samples(window: &config::Window) -> (usize, usize) {
    let whole =
        |seconds: f64| (seconds * f64::from(SAMPLE_RATE) / HOP as f64).round() as usize * HOP;
    let length = whole(window.length_s).max(HOP);
    (length, whole(window.hop_s).clamp(HOP, length))
}

impl Segmenter {
    /// A segmenter at sample 0.
    pub fn new(window: &config::Window) -> Self {
        let (length, hop) = in_samples(window);
        // The most that is there before a window is cut, or they would grow to the double.
        let most = length + hop;
        Self {
            length,
            hop,
            fbank: Fbank::new(),
            signal: Vec::with_capacity(most).into(),
            frames: Vec::with_capacity(most.div_ceil(HOP) * MELS),
            is_wide: false,
            waiting: Vec::new(),
            first_sample: 0,
            seen: 0,
            run: 0,
        }
    }

    /// The same for windows that hold audio at 24 kHz as well, or not.
    pub fn wide(mut self, is_wide: bool) -> Self {
        self.is_wide = is_wide;
        self
    }

    /// Forgets the audio so far and goes on at `first_sample`: no window spans a gap.
    pub fn restart(&mut self, first_sample: u64) {
        self.fbank.reset();
        self.signal.samples.clear();
        self.signal.wide.clear();
        self.waiting.clear();
        self.frames.clear();
        self.first_sample = first_sample;
        self.seen = 0;
        self.run += 1;
    }

    /// Takes the same audio at 24 kHz; before its windows can be cut.
    pub fn push_wide(&mut self, audio: &[f32]) {
        self.signal.wide.extend_from_slice(audio);
    }

    /// Takes audio whose last sample was captured at `captured`; hands each completed window to `emit`.
    pub fn push(&mut self, audio: &[f32], captured: Instant, emit: impl FnMut(Window)) {
        if !self.is_wide {
            return self.take(audio, captured, emit);
        }
        self.waiting.extend_from_slice(audio);
        let mut ready = self.waiting.len();
        let there = self.signal.len();
        while ready > 0 && wide(there + ready) > self.signal.wide.len() {
            ready = (self.signal.wide.len() * 2 / 3)
                .saturating_sub(there)
                .min(ready - 1);
        }
        let later = self.waiting.split_off(ready);
        let now = std::mem::replace(&mut self.waiting, later);
        let captured = captured - seconds(self.waiting.len());
        self.take(&now, captured, emit);
    }

    fn take(&mut self, mut audio: &[f32], captured: Instant, mut emit: impl FnMut(Window)) {
        while !audio.is_empty() {
            let missing = self.seen + self.hop - self.signal.len();
            let (now, later) = audio.split_at(missing.min(audio.len()));
            self.signal.samples.extend_from_slice(now);
            self.fbank.push(now, &mut self.frames);
            audio = later;
            if self.signal.len() == self.seen + self.hop {
                emit(self.cut(captured - seconds(later.len())));
            }
        }
    }

    /// The stream ended: hands what no window has held yet to `emit`, if it is at least one frame.
    pub fn finish(&mut self, captured: Instant, mut emit: impl FnMut(Window)) {
        // The two resamplers may round the end of the same audio differently, by a sample.
        let rest = std::mem::take(&mut self.waiting);
        let end = wide(self.signal.len() + rest.len());
        if self.is_wide && self.signal.wide.len() < end {
            self.signal.wide.resize(end, 0.0);
        }
        self.take(&rest, captured, &mut emit);
        if self.signal.len() >= self.seen + HOP {
            emit(self.cut(captured));
        }
    }

    /// The window that ends with the buffer.
    fn cut(&mut self, captured: Instant) -> Window {
        let there = self.signal.len();
        // Whole frames leave the front, so that samples and frames stay aligned.
        let excess = there.saturating_sub(self.length).next_multiple_of(HOP);
        self.signal.samples.drain(..excess);
        self.signal
            .wide
            .drain(..wide(excess).min(self.signal.wide.len()));
        self.frames
            .drain(..(excess / HOP * MELS).min(self.frames.len()));
        self.first_sample += excess as u64;
        let new_samples = there - self.seen;
        self.seen = self.signal.len();
        let frames = self.frames.len() / MELS;
        let fbank = ndarray::ArrayView2::from_shape((frames, MELS), &self.frames[..frames * MELS])
            .map(|view| view.to_owned())
            .unwrap_or_else(|_| Array2::zeros((0, MELS)));
        Window {
            first_sample: self.first_sample,
            // Not what is there at 24 kHz beyond the window.
            signal: self.signal.cut(0..self.signal.len()),
            fbank,
            new_samples,
            captured,
            run: self.run,
        }
    }
}

fn seconds(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(SAMPLE_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(audio: &[f32], pieces: &[usize]) -> Vec<Window> {
        let mut segmenter = Segmenter::new(&config::Window::default());
        let (mut out, mut rest, now) = (Vec::new(), audio, Instant::now());
        for &n in pieces.iter().cycle() {
            let (piece, later) = rest.split_at(n.min(rest.len()));
            segmenter.push(piece, now, |w| out.push(w));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        segmenter.finish(now, |w| out.push(w));
        out
    }

    fn noise(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5)
            .collect()
    }

    #[test]
    fn windows_grow_to_their_length_then_slide() {
        let cut = windows(&noise(80_000 + 1_000), &[1_000]);
        let spans: Vec<_> = cut
            .iter()
            .map(|w| (w.first_sample, w.end_sample(), w.new_samples))
            .collect();
        assert_eq!(
            spans,
            [
                (0, 16_000, 16_000),
                (0, 32_000, 16_000),
                (0, 48_000, 16_000),
                (16_000, 64_000, 16_000),
                (32_000, 80_000, 16_000),
                (33_120, 81_000, 1_000),
            ]
        );
        assert_eq!(cut[3].fbank.dim(), (298, 80));
    }

    #[test]
    fn shared_frames_equal_those_of_the_window_alone() {
        let audio = noise(70_000);
        let window = &windows(&audio, &[777])[3];
        let mut alone = Vec::new();
        Fbank::new().push(&audio[16_000..64_000], &mut alone);
        let shared: Vec<f32> = window.fbank.iter().copied().collect();
        assert_eq!(shared, alone);
    }

    #[test]
    fn the_capture_time_is_that_of_the_last_sample_of_the_window() {
        let mut segmenter = Segmenter::new(&config::Window::default());
        let now = Instant::now();
        let mut captured = Vec::new();
        segmenter.push(&noise(24_000), now, |w| captured.push(w.captured));
        assert_eq!(captured, [now - Duration::from_millis(500)]);
    }

    #[test]
    fn no_window_spans_a_restart() {
        let mut segmenter = Segmenter::new(&config::Window::default());
        segmenter.push(&noise(20_000), Instant::now(), |_| ());
        segmenter.restart(100_000);
        let mut cut = Vec::new();
        segmenter.push(&noise(16_000), Instant::now(), |w| {
            cut.push((w.first_sample, w.end_sample()))
        });
        assert_eq!(cut, [(100_000, 116_000)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn both_rates_of_a_window_are_of_one_time(
            pieces in prop::collection::vec((0usize..9_000, 0usize..9_000), 1..6), lacking in 0usize..3
        ) {
            // Sample n of either is its own time in units of 1/48 000 s.
            let audio: Vec<f32> = (0..70_000).map(|n| (3 * n) as f32).collect();
            let wide_audio: Vec<f32> = (0..105_000 - lacking).map(|n| (2 * n) as f32).collect();
            let mut segmenter = Segmenter::new(&config::Window::default()).wide(true);
            let (mut out, now) = (Vec::new(), Instant::now());
            let (mut a, mut b) = (&audio[..], &wide_audio[..]);
            for &(m, n) in pieces.iter().cycle().take(400) {
                let (piece, later) = b.split_at(n.min(b.len()));
                segmenter.push_wide(piece);
                b = later;
                let (piece, later) = a.split_at(m.min(a.len()));
                segmenter.push(piece, now, |w| out.push(w));
                a = later;
            }
            segmenter.push_wide(b);
            segmenter.push(a, now, |w| out.push(w));
            segmenter.finish(now, |w| out.push(w));
            prop_assert_eq!(out.len(), 5, "four whole hops and the rest");
            for window in &out {
                let signal = &window.signal;
                prop_assert_eq!(signal.wide.len(), wide(signal.len()));
                prop_assert_eq!(signal.samples[0], signal.wide[0]);
                prop_assert_eq!(signal.samples[0], (3 * window.first_sample) as f32);
            }
        }

        #[test]
        fn windows_do_not_depend_on_the_size_of_pieces(pieces in prop::collection::vec(1usize..40_000, 1..6)) {
            let audio = noise(90_000);
            let (a, b) = (windows(&audio, &pieces), windows(&audio, &[90_000]));
            prop_assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                prop_assert_eq!((a.first_sample, &a.signal, &a.fbank), (b.first_sample, &b.signal, &b.fbank));
            }
        }
    }
}
