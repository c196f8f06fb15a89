//! Cuts a stream into overlapping windows. Log-mel frames are computed once, as the audio arrives, and shared by all
//! windows that hold them.

use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::audio::SAMPLE_RATE;
use crate::config;
use crate::dsp::{Fbank, HOP, MELS};

/// A stretch of one stream, ready for the models.
#[derive(Debug, Clone)]
pub struct Window {
    /// Position of its first sample on the stream's 16 kHz clock.
    pub first_sample: u64,
    /// The audio, 16 kHz mono.
    pub samples: Vec<f32>,
    /// Its log-mel frames `[T, 80]`, 10 ms apart.
    pub fbank: Array2<f32>,
    /// Samples at its end that no earlier window held.
    pub new_samples: usize,
    /// When its last sample was captured.
    pub captured: Instant,
}

impl Window {
    /// Position after its last sample.
    pub fn end_sample(&self) -> u64 {
        self.first_sample + self.samples.len() as u64
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
    /// Audio and frames from `first_sample` on; both start at the same sample.
    samples: Vec<f32>,
    frames: Vec<f32>,
    first_sample: u64,
    /// Samples in the buffer that some window has held.
    seen: usize,
}

impl Segmenter {
    /// A segmenter at sample 0. Length and hop are rounded to whole frames of 10 ms.
    pub fn new(window: &config::Window) -> Self {
        let whole =
            |seconds: f64| (seconds * f64::from(SAMPLE_RATE) / HOP as f64).round() as usize * HOP;
        let length = whole(window.length_s).max(HOP);
        Self {
            length,
            hop: whole(window.hop_s).clamp(HOP, length),
            fbank: Fbank::new(),
            samples: Vec::with_capacity(2 * length),
            frames: Vec::new(),
            first_sample: 0,
            seen: 0,
        }
    }

    /// Forgets the audio so far and goes on at `first_sample`: no window spans a gap.
    pub fn restart(&mut self, first_sample: u64) {
        self.fbank.reset();
        self.samples.clear();
        self.frames.clear();
        self.first_sample = first_sample;
        self.seen = 0;
    }

    /// Takes audio whose last sample was captured at `captured`; hands each completed window to `emit`.
    pub fn push(&mut self, mut audio: &[f32], captured: Instant, mut emit: impl FnMut(Window)) {
        while !audio.is_empty() {
            let missing = self.seen + self.hop - self.samples.len();
            let (now, later) = audio.split_at(missing.min(audio.len()));
            self.samples.extend_from_slice(now);
            self.fbank.push(now, &mut self.frames);
            audio = later;
            if self.samples.len() == self.seen + self.hop {
                emit(self.cut(captured - seconds(later.len())));
            }
        }
    }

    /// The stream ended: what no window has held yet, if it is at least one frame.
    pub fn finish(&mut self, captured: Instant) -> Option<Window> {
        (self.samples.len() >= self.seen + HOP).then(|| self.cut(captured))
    }

    /// The window that ends with the buffer.
    fn cut(&mut self, captured: Instant) -> Window {
        // Whole frames leave the front, so that samples and frames stay aligned.
        let excess = self
            .samples
            .len()
            .saturating_sub(self.length)
            .next_multiple_of(HOP);
        self.samples.drain(..excess);
        self.frames
            .drain(..(excess / HOP * MELS).min(self.frames.len()));
        self.first_sample += excess as u64;
        let new_samples = self.samples.len() + excess - self.seen;
        self.seen = self.samples.len();
        let frames = self.frames.len() / MELS;
        let fbank = ndarray::ArrayView2::from_shape((frames, MELS), &self.frames[..frames * MELS])
            .map(|view| view.to_owned())
            .unwrap_or_else(|_| Array2::zeros((0, MELS)));
        Window {
            first_sample: self.first_sample,
            samples: self.samples.clone(),
            fbank,
            new_samples,
            captured,
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
        out.extend(segmenter.finish(now));
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
        fn windows_do_not_depend_on_the_size_of_pieces(pieces in prop::collection::vec(1usize..40_000, 1..6)) {
            let audio = noise(90_000);
            let (a, b) = (windows(&audio, &pieces), windows(&audio, &[90_000]));
            prop_assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                prop_assert_eq!((a.first_sample, &a.samples, &a.fbank), (b.first_sample, &b.samples, &b.fbank));
            }
        }
    }
}
