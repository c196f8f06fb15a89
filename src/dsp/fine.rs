//! The fine structure of a window's spectrum, which cepstra smooth away: how rough the log spectrum is and how the phase bends,
//! along frequency and along time. Vocoders repair the envelope of speech well and this badly: the bins between two harmonics,
//! the phase from one frame to the next. (Phase features: Saratxaga et al., "Synthetic speech detection using phase
//! information", Speech Communication 2016; ours are second differences of the phase, averaged over bands.)

use realfft::num_complex::Complex;

use super::log::ln_all;
use super::spectrum::BINS;
use super::wide::wide;

/// Bands of equal width.
pub const FINE_BANDS: usize = 32;
/// Values a frame: seven measures in each band, and the frame's level.
pub const FINE_DIM: usize = 7 * FINE_BANDS + 1;
/// Values a frame of the picture: of each bin but the first its log power, and cosine and sine of the phase's turn from the bin below.
pub const PICTURE_DIM: usize = 3 * (BINS - 1);

const FLOOR: f64 = 1e-10;

/// What is kept of a frame until its neighbours are known.
#[derive(Clone)]
struct Frame {
    /// Natural log of the power.
    log: [f64; BINS],
    /// The spectrum's phase, as a number of modulus 1 (0 where there is nothing).
    phase: [Complex<f64>; BINS],
    /// From the phase of each bin to that of the next.
    turn: [Complex<f64>; BINS - 1],
    energy: f64,
}

impl Frame {
    fn new(spectrum: &[Complex<f64>], gain: f64) -> Self {
        let mut frame = Self {
            log: [0.0; BINS],
            phase: [Complex::default(); BINS],
            turn: [Complex::default(); BINS - 1],
            energy: FLOOR,
        };
        look(spectrum, gain, &mut frame);
        frame
    }
}

wide! {
    fn look(spectrum: &[Complex<f64>], gain: f64, frame: &mut Frame) {
        for ((log, phase), x) in frame.log.iter_mut().zip(&mut frame.phase).zip(spectrum) {
            let x = x * gain;
            let power = x.norm_sqr();
            *log = power;
            // Not `norm`, whose care about overflow costs more than all the rest.
            *phase = x / (power.sqrt() + 1e-9);
        }
        // By itself, for a sum waits for the one before.
        for power in &frame.log {
            frame.energy += power;
        }
        for log in &mut frame.log {
            *log += FLOOR;
        }
        ln_all(&mut frame.log);
        let pairs = frame.phase.iter().zip(&frame.phase[1..]);
        for (turn, (here, next)) in frame.turn.iter_mut().zip(pairs) {
            *turn = next * here.conj();
        }
    }
}

/// Collects the frames of one window; its buffers are kept from one window to the next.
#[derive(Default)]
pub struct FineStructure {
    frames: Vec<Frame>,
    /// Energy of the loudest frame.
    loudest: f64,
}

impl FineStructure {
    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.loudest = 0.0;
    }

    /// Takes the next frame's spectrum, multiplied by `gain` (one over the window's peak: what follows does not depend on level).
    pub fn push(&mut self, spectrum: &[Complex<f64>], gain: f64) {
        let frame = Frame::new(spectrum, gain);
        self.loudest = self.loudest.max(frame.energy);
        self.frames.push(frame);
    }

    /// Writes the values of the picture of frame `t` as they are, for a network that looks for itself: `[log power, cosine, sine]`.
    pub fn write_picture(&self, t: usize, out: &mut [f32]) {
        let frame = &self.frames[t];
        let (log, turns) = out.split_at_mut(BINS - 1);
        let (cosine, sine) = turns.split_at_mut(BINS - 1);
        for (out, x) in log.iter_mut().zip(&frame.log[1..]) {
            *out = *x as f32;
        }
        for ((cosine, sine), turn) in cosine.iter_mut().zip(sine).zip(&frame.turn) {
            (*cosine, *sine) = (turn.re as f32, turn.im as f32);
        }
    }

    /// Writes the [`FINE_DIM`] values of frame `t`. The first and the last frame lack a neighbour and repeat the measures along
    /// time of the next; with fewer than three frames all is zero.
    pub fn write(&self, t: usize, out: &mut [f32]) {
        let last = self.frames.len().saturating_sub(1);
        if last < 2 {
            out.fill(0.0);
            return;
        }
        let here = &self.frames[t];
        let c = t.clamp(1, last - 1);
        let (before, at, after) = (&self.frames[c - 1], &self.frames[c], &self.frames[c + 1]);
        measure(here, before, at, after, out);
        out[FINE_DIM - 1] = (here.energy / self.loudest).ln() as f32;
    }
}

wide! {
    /// The measures in each band.
    fn measure(here: &Frame, before: &Frame, at: &Frame, after: &Frame, out: &mut [f32]) {
        let (l, turn) = (&here.log, &here.turn);
        let mut bands = out.chunks_exact_mut(FINE_BANDS);
        let mut next = || bands.next().unwrap_or_default();
        put(next(), BINS - 1, |k| (l[k + 1] - l[k]).abs());
        put(next(), BINS - 2, |k| (l[k + 2] + l[k] - 2.0 * l[k + 1]).abs());
        put(next(), BINS - 2, |k| (turn[k + 1] * turn[k].conj()).re);
        put(next(), BINS, |k| (after.log[k] - at.log[k]).abs());
        put(next(), BINS, |k| (after.log[k] + before.log[k] - 2.0 * at.log[k]).abs());
        put(next(), BINS, |k| {
            let back = at.phase[k].conj();
            (after.phase[k] * before.phase[k] * back * back).re
        });
        put(next(), BINS - 1, |k| (at.turn[k] * before.turn[k].conj()).re);
    }
}

/// Writes the means over the bands of `n` values along frequency.
#[inline(always)]
fn put(out: &mut [f32], n: usize, value: impl Fn(usize) -> f64) {
    let mut values = [0.0; BINS];
    for (k, out) in values[..n].iter_mut().enumerate() {
        *out = value(k);
    }
    band_means(&values[..n], out);
}

/// Means of values along frequency over the bands; bin 0 belongs to none.
#[inline(always)]
fn band_means(values: &[f64], out: &mut [f32]) {
    let edge = |i: usize| (1 + (BINS - 2) * i / FINE_BANDS).min(values.len());
    for (i, out) in out.iter_mut().enumerate() {
        let band = &values[edge(i)..edge(i + 1)];
        *out = (band.iter().sum::<f64>() / band.len() as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_tone_bends_no_phase_along_time_and_noise_bends_it_at_random() {
        let mut fine = FineStructure::default();
        // Every bin turns by its own constant angle from frame to frame.
        for t in 0..5 {
            let spectrum: Vec<_> = (0..BINS)
                .map(|k| Complex::from_polar(1.0 + (k % 2) as f64, 0.7 * k as f64 * t as f64))
                .collect();
            fine.push(&spectrum, 1.0);
        }
        let mut row = [0.0; FINE_DIM];
        fine.write(2, &mut row);
        let measure = |i: usize| &row[i * FINE_BANDS..(i + 1) * FINE_BANDS];
        let rough = 4f64.ln() as f32;
        assert!(measure(0).iter().all(|x| (x - rough).abs() < 1e-4));
        assert!(measure(1).iter().all(|x| (x - 2.0 * rough).abs() < 1e-4));
        assert!(measure(3).iter().all(|x| x.abs() < 1e-6));
        assert!(measure(5).iter().all(|x| (x - 1.0).abs() < 1e-6));
        assert_eq!(row[FINE_DIM - 1], 0.0);
        let mut picture = [0.0; PICTURE_DIM];
        fine.write_picture(2, &mut picture);
        let ((log, _), (cosine, sine)) = (
            picture.split_at(BINS - 1),
            (picture[BINS - 1..].split_at(BINS - 1)),
        );
        assert!(
            (log[0] - rough).abs() < 1e-4 && log[1].abs() < 1e-4,
            "bins 1 and 2"
        );
        assert!(cosine.iter().all(|x| (x - 1.4f32.cos()).abs() < 1e-6));
        assert!(sine.iter().all(|x| (x - 1.4f32.sin()).abs() < 1e-6));
    }

    #[test]
    fn silence_and_too_few_frames_are_zero() {
        let mut fine = FineStructure::default();
        let mut row = [1.0; FINE_DIM];
        fine.push(&[Complex::default(); BINS], 1.0);
        fine.write(0, &mut row);
        assert_eq!(row, [0.0; FINE_DIM]);
        for _ in 0..3 {
            fine.push(&[Complex::default(); BINS], 1.0);
        }
        fine.write(0, &mut row);
        assert_eq!(row, [0.0; FINE_DIM]);
        let mut picture = [1.0; PICTURE_DIM];
        fine.write_picture(0, &mut picture);
        let (log, turns) = picture.split_at(BINS - 1);
        assert!(log.iter().all(|x| *x == FLOOR.ln() as f32));
        assert!(turns.iter().all(|x| *x == 0.0));
        fine.clear();
        assert!(fine.frames.is_empty());
    }
}
