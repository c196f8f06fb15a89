//! How the energies of narrow bands rise and fall together within a frame. A glottal pulse excites all frequencies at one
//! instant; a vocoder that puts phases together by rule smears it, differently in each band. The frames of the other features
//! are too long to see it: here the window is 4 ms and moves by 1 ms.

use super::log::logarithms;
use super::overlap::Common;
use super::spectrum::{HOP, Spectrum, WINDOW, hann, squares};
use super::wide::wide;

/// Samples of the short window: 4 ms.
const SHORT: usize = 64;
/// Samples from one short window to the next: 1 ms.
const STEP: usize = 16;
/// Points of its Fourier transform.
const POINTS: usize = 128;
/// Bands of 500 Hz, of four bins each; the bin at 0 Hz belongs to none.
const BANDS: usize = 16;
/// Short windows that lie wholly within a frame.
const SLOTS: usize = 1 + (WINDOW - SHORT) / STEP;
/// How far apart, in bands, the pairs are whose energies are compared at the same instant.
const GAPS: [usize; 6] = [1, 2, 3, 4, 6, 8];
/// The same for pairs of which one is a step later than the other, and then the other way round.
const LATE_GAPS: [usize; 2] = [1, 2];
/// Added to the energy of a band, of samples whose peak is 1.
const FLOOR: f64 = 1e-7;

/// Values a frame: correlations of pairs of bands, and three moments of each band.
pub const SYNCHRONY_DIM: usize = pairs(&GAPS) + 3 * BANDS + 2 * pairs(&LATE_GAPS);

const fn pairs(gaps: &[usize]) -> usize {
    let (mut i, mut count) = (0, 0);
    while i < gaps.len() {
        count += BANDS - gaps[i];
        i += 1;
    }
    count
}

/// Log energies of one frame, less their mean over the frame: by time, then by band, so that all bands are compared at once. Beyond
/// the last band stand zeros, for partners that are not there.
type Bands = [Slot; SLOTS];
type Slot = [f64; BANDS + GAPS[GAPS.len() - 1]];

/// Collects the short windows of one window; its buffers are kept from one window to the next.
pub struct Synchrony {
    spectrum: Spectrum,
    power: [f64; POINTS / 2 + 1],
    /// Energies of the short windows, which do not depend on the window that they lie in.
    energies: Vec<[f64; BANDS]>,
    logs: Vec<[f64; BANDS]>,
}

impl Synchrony {
    /// Plans the short transform.
    pub fn new() -> Self {
        let window = (0..SHORT).map(|n| hann(n, SHORT)).collect();
        Self {
            spectrum: Spectrum::with_window(window, POINTS),
            power: [0.0; POINTS / 2 + 1],
            energies: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// Takes a window of samples, multiplied by `gain` (one over its peak: what follows does not depend on level); what it has in
    /// common with the last one is not transformed again.
    pub fn fill(&mut self, samples: &[f32], common: Common, gain: f64) {
        let known = match common.length.checked_sub(SHORT) {
            Some(more) => 1 + more / STEP,
            None => 0,
        };
        let gone = (common.shift / STEP).min(self.energies.len());
        self.energies.drain(..gone);
        self.energies.truncate(known);
        let new = samples.windows(SHORT).step_by(STEP);
        for short in new.skip(self.energies.len()) {
            squares(self.spectrum.complex(short), &mut self.power);
            let mut energies = [0.0; BANDS];
            for (energy, bins) in energies.iter_mut().zip(self.power[1..].chunks_exact(4)) {
                *energy = bins.iter().sum::<f64>();
            }
            self.energies.push(energies);
        }
        self.logs.clear();
        for energies in &self.energies {
            let mut logs = energies.map(|energy| energy * gain * gain + FLOOR);
            logarithms(&mut logs);
            self.logs.push(logs);
        }
    }

    /// Writes the [`SYNCHRONY_DIM`] values of frame `t`, which must lie within the window.
    pub fn write(&self, t: usize, out: &mut [f32]) {
        let from = t * HOP / STEP;
        let mut values = [0.0; SYNCHRONY_DIM];
        measure(&self.logs[from..from + SLOTS], &mut values);
        for (out, value) in out.iter_mut().zip(values) {
            *out = value as f32;
        }
    }
}

impl Default for Synchrony {
    fn default() -> Self {
        Self::new()
    }
}

wide! {
    /// All measures of one frame, of its [`SLOTS`] log energies.
    fn measure(logs: &[[f64; BANDS]], out: &mut [f64; SYNCHRONY_DIM]) {
        let bands = centred(logs);
        let (early, late) = (&bands[..SLOTS - 1], &bands[1..]);
        let squares = mean_squares(&bands);
        let (squares_early, squares_late) = (mean_squares(early), mean_squares(late));
        let mut out = out.iter_mut();
        let mut put = |values: &[f64]| {
            for (value, out) in values.iter().zip(out.by_ref()) {
                *out = *value;
            }
        };
        for gap in GAPS {
            put(&correlations((&bands, &squares), (&bands, &squares), gap)[..BANDS - gap]);
        }
        let (mut cubes, mut steps) = ([0.0; BANDS], [0.0; BANDS]);
        for slot in &bands {
            for i in 0..BANDS {
                cubes[i] += slot[i] * slot[i] * slot[i] / SLOTS as f64;
            }
        }
        for (before, slot) in early.iter().zip(late) {
            for i in 0..BANDS {
                steps[i] += (slot[i] - before[i]).abs() / (SLOTS - 1) as f64;
            }
        }
        put(&squares.map(f64::sqrt)[..BANDS]);
        put(&std::array::from_fn::<f64, BANDS, _>(|i| {
            let spread = squares[i] + 1e-3;
            cubes[i] / (spread * spread.sqrt())
        }));
        put(&steps);
        for gap in LATE_GAPS {
            let (early, late) = ((early, &squares_early), (late, &squares_late));
            put(&correlations(late, early, gap)[..BANDS - gap]);
            put(&correlations(early, late, gap)[..BANDS - gap]);
        }
    }
}

#[inline(always)]
fn centred(logs: &[[f64; BANDS]]) -> Bands {
    let mut mean = [0.0; BANDS];
    for slot in logs {
        for i in 0..BANDS {
            mean[i] += slot[i] / SLOTS as f64;
        }
    }
    let mut bands = [[0.0; _]; SLOTS];
    for (out, slot) in bands.iter_mut().zip(logs) {
        for i in 0..BANDS {
            out[i] = slot[i] - mean[i];
        }
    }
    bands
}

#[inline(always)]
fn mean_squares(slots: &[Slot]) -> Slot {
    let mut squares = [0.0; _];
    for slot in slots {
        for i in 0..BANDS {
            squares[i] += slot[i] * slot[i];
        }
    }
    squares.map(|sum: f64| sum / slots.len() as f64)
}

/// Slots of all bands, and their mean squares.
type Moving<'a> = (&'a [Slot], &'a Slot);

/// Of each band `i` of `low` and `i + gap` of `high`, whose means are (nearly) zero already; 0 where there is next to nothing.
/// The last `gap` bands have no partner: theirs are of no use.
#[inline(always)]
fn correlations(low: Moving, high: Moving, gap: usize) -> [f64; BANDS] {
    let mut products = [0.0; BANDS];
    for (low, high) in low.0.iter().zip(high.0) {
        let partners = &high[gap..gap + BANDS];
        for i in 0..BANDS {
            products[i] += low[i] * partners[i];
        }
    }
    let (n, partners) = (low.0.len() as f64, &high.1[gap..]);
    std::array::from_fn(|i| products[i] / n / (low.1[i] * partners[i] + 1e-6).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Common = Common {
        shift: 0,
        length: 0,
    };

    fn values(samples: &[f32], t: usize) -> [f32; SYNCHRONY_DIM] {
        let mut synchrony = Synchrony::new();
        synchrony.fill(samples, NOTHING, 1.0);
        let mut out = [0.0; SYNCHRONY_DIM];
        synchrony.write(t, &mut out);
        out
    }

    #[test]
    fn pulses_move_all_bands_together_and_a_smeared_pulse_does_not() {
        // Clicks 8 ms apart, and chirps as long as that instead of them; judged by bands 4 kHz apart.
        let mut clicks = vec![0.0f32; 4000];
        clicks.iter_mut().step_by(128).for_each(|x| *x = 1.0);
        let chirps: Vec<f32> = (0..4000)
            .map(|n| {
                let t = (n % 128) as f64 / 128.0;
                (std::f64::consts::PI * 64.0 * t * t).sin() as f32 * 0.1
            })
            .collect();
        let far = |values: [f32; SYNCHRONY_DIM]| values[pairs(&GAPS[..5])..pairs(&GAPS)].to_vec();
        let (sharp, smeared) = (far(values(&clicks, 5)), far(values(&chirps, 5)));
        assert!(sharp.iter().all(|x| *x > 0.99), "{sharp:?}");
        assert!(smeared.iter().all(|x| *x < 0.3), "{smeared:?}");
    }

    #[test]
    fn a_later_band_is_found_a_step_later() {
        let mut synchrony = Synchrony::new();
        for n in 0..SLOTS {
            let log = |band: usize| f64::from(u8::from(n % 7 == band % 3));
            synchrony.logs.push(std::array::from_fn(log));
        }
        let mut out = [0.0; SYNCHRONY_DIM];
        synchrony.write(0, &mut out);
        let late = pairs(&GAPS) + 3 * BANDS + BANDS - 1;
        assert!(out[0] < 0.0, "bands 0 and 1 never at once");
        assert!(out[late] > 0.9, "band 1 a step after band 0: {}", out[late]);
        assert!(out[late - (BANDS - 1)] < 0.0, "and not before it");
    }

    #[test]
    fn silence_is_zero_and_level_does_not_matter() {
        let silence = values(&[0.0; WINDOW], 0);
        assert!(silence.iter().all(|x| x.abs() < 1e-12));
        let signal: Vec<f32> = (0..2000)
            .map(|n| (n as f32 * 0.3).sin() * (n as f32 * 0.01).cos())
            .collect();
        let soft: Vec<f32> = signal.iter().map(|x| x * 0.125).collect();
        let mut synchrony = Synchrony::new();
        let (mut loud, mut quiet) = ([0.0; SYNCHRONY_DIM], [0.0; SYNCHRONY_DIM]);
        synchrony.fill(&signal, NOTHING, 1.0);
        synchrony.write(3, &mut loud);
        synchrony.fill(&soft, NOTHING, 8.0);
        synchrony.write(3, &mut quiet);
        for (a, b) in loud.iter().zip(&quiet) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
