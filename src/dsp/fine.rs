//! The fine structure of a window's spectrum, which cepstra smooth away: how rough the log spectrum is and how the phase bends,
//! along frequency and along time. Vocoders repair the envelope of speech well and this badly: the bins between two harmonics,
//! the phase from one frame to the next. (Phase features: Saratxaga et al., "Synthetic speech detection using phase
//! information", Speech Communication 2016; ours are second differences of the phase, averaged over bands.)

use realfft::num_complex::Complex;

use super::log::logarithms;
use super::spectrum::BINS;

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
        let mut energy = FLOOR;
        let mut log = [0.0; BINS];
        let mut phase = [Complex::default(); BINS];
        for ((log, phase), x) in log.iter_mut().zip(&mut phase).zip(spectrum) {
            let x = x * gain;
            energy += x.norm_sqr();
            *log = x.norm_sqr() + FLOOR;
            // Not `norm`, whose care about overflow costs more than all the rest.
            *phase = x / (x.norm_sqr().sqrt() + 1e-9);
        }
        logarithms(&mut log);
        Self {
            turn: std::array::from_fn(|k| phase[k + 1] * phase[k].conj()),
            log,
            phase,
            energy,
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
        let (l, turn) = (&here.log, &here.turn);
        let mut values = [0.0; BINS];
        let mut bands = out.chunks_exact_mut(FINE_BANDS);
        let mut put = |n: usize, value: &dyn Fn(&mut [f64])| {
            value(&mut values[..n]);
            if let Some(out) = bands.next() {
                band_means(&values[..n], out);
            }
        };
        put(BINS - 1, &|v| each(v, |k| (l[k + 1] - l[k]).abs()));
        put(BINS - 2, &|v| {
            each(v, |k| (l[k + 2] + l[k] - 2.0 * l[k + 1]).abs());
        });
        put(BINS - 2, &|v| {
            each(v, |k| (turn[k + 1] * turn[k].conj()).re);
        });
        put(BINS, &|v| {
            each(v, |k| (after.log[k] - at.log[k]).abs());
        });
        put(BINS, &|v| {
            each(v, |k| {
                (after.log[k] + before.log[k] - 2.0 * at.log[k]).abs()
            });
        });
        put(BINS, &|v| {
            each(v, |k| {
                let back = at.phase[k].conj();
                (after.phase[k] * before.phase[k] * back * back).re
            });
        });
        put(BINS - 1, &|v| {
            each(v, |k| (at.turn[k] * before.turn[k].conj()).re);
        });
        out[FINE_DIM - 1] = (here.energy / self.loudest).ln() as f32;
    }
}

#[inline(always)]
fn each(values: &mut [f64], value: impl Fn(usize) -> f64) {
    for (k, out) in values.iter_mut().enumerate() {
        *out = value(k);
    }
}

/// Means of values along frequency over the bands; bin 0 belongs to none.
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
