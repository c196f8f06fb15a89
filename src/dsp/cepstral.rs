//! MFCC, LFCC and CQCC as streams and of whole signals. Davis and Mermelstein, IEEE TASSP 1980; Todisco, Delgado and Evans,
//! "Constant Q cepstral coefficients", CSL 2017.

use ndarray::Array2;

use super::cepstrum::{CEPSTRA, Dct};
use super::cqt::{CQT_BINS, Cqt};
use super::filterbank::{Filterbank, LOG_FLOOR};
use super::framer::Framer;
use super::spectrum::{BINS, HOP, Spectrum, WINDOW, frames};

/// Which cepstra; their order is that of the columns of the spectral view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cepstra {
    /// Of the mel-spaced bank.
    Mfcc = 0,
    /// Of the linearly spaced bank.
    Lfcc = 1,
    /// Of the constant-Q transform.
    Cqcc = 2,
}

/// From a power spectrum to cepstra.
pub(super) struct FilterCepstra {
    bank: Filterbank,
    dct: Dct,
    energies: Vec<f64>,
}

impl FilterCepstra {
    pub(super) fn new(bank: Filterbank) -> Self {
        Self {
            dct: Dct::new(bank.len(), CEPSTRA),
            energies: vec![0.0; bank.len()],
            bank,
        }
    }

    /// Writes [`CEPSTRA`] coefficients.
    pub(super) fn write(&mut self, power: &[f64; BINS], out: &mut [f64]) {
        self.bank.log_energies(power, LOG_FLOOR, &mut self.energies);
        self.dct.apply(&self.energies, out);
    }
}

/// Streaming cepstra, neither normalised nor with deltas: the frames of a signal do not depend on how it was cut into
/// chunks.
pub struct CepstraStream(Kind);

enum Kind {
    Filters {
        framer: Framer,
        spectrum: Spectrum,
        power: Box<[f64; BINS]>,
        cepstra: FilterCepstra,
    },
    ConstantQ {
        cqt: Cqt,
        dct: Dct,
        /// Frames of the transform that were not yet turned into cepstra; empty between calls.
        log_power: Vec<f64>,
    },
}

impl CepstraStream {
    /// A stream that has seen nothing.
    pub fn new(kind: Cepstra) -> Self {
        let filters = |bank| Kind::Filters {
            framer: Framer::new(WINDOW, HOP),
            spectrum: Spectrum::new(),
            power: Box::new([0.0; BINS]),
            cepstra: FilterCepstra::new(bank),
        };
        Self(match kind {
            Cepstra::Mfcc => filters(Filterbank::mfcc()),
            Cepstra::Lfcc => filters(Filterbank::lfcc()),
            Cepstra::Cqcc => Kind::ConstantQ {
                cqt: Cqt::new(),
                dct: Dct::new(CQT_BINS, CEPSTRA),
                log_power: Vec::new(),
            },
        })
    }

    /// Takes `samples` (±1, finite) and appends every frame that they complete to `out`: [`CEPSTRA`] values a frame, c0
    /// first. Constant-Q frames come 0.4 s late. Once warm, allocates only when `out` has to grow.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        match &mut self.0 {
            Kind::Filters {
                framer,
                spectrum,
                power,
                cepstra,
            } => framer.push(samples, |frame| {
                spectrum.power(frame, power.as_mut_slice());
                let mut row = [0.0; CEPSTRA];
                cepstra.write(power, &mut row);
                out.extend(row.map(|c| c as f32));
            }),
            Kind::ConstantQ {
                cqt,
                dct,
                log_power,
            } => {
                // Piece by piece, so that the frames in between stay few however long the signal is.
                for samples in samples.chunks(16 * HOP) {
                    cqt.push(samples, log_power);
                    transform(dct, log_power, out);
                }
            }
        }
    }

    /// Appends the frames that still wait for samples to come, with zeros in their place, and starts over.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        match &mut self.0 {
            Kind::Filters { framer, .. } => framer.reset(),
            Kind::ConstantQ {
                cqt,
                dct,
                log_power,
            } => {
                cqt.finish(log_power);
                transform(dct, log_power, out);
            }
        }
    }

    /// Forgets the signal: the next sample starts frame 0.
    pub fn reset(&mut self) {
        match &mut self.0 {
            Kind::Filters { framer, .. } => framer.reset(),
            Kind::ConstantQ { cqt, .. } => cqt.reset(),
        }
    }
}

/// Moves the rows of `log_power` to `out`, as cepstra.
fn transform(dct: &Dct, log_power: &mut Vec<f64>, out: &mut Vec<f32>) {
    for bins in log_power.chunks_exact(CQT_BINS) {
        let mut row = [0.0; CEPSTRA];
        dct.apply(bins, &mut row);
        out.extend(row.map(|c| c as f32));
    }
    log_power.clear();
}

/// Cepstra of a whole signal, neither normalised nor with deltas: `[frames, CEPSTRA]`.
pub fn cepstra(samples: &[f32], kind: Cepstra) -> Array2<f32> {
    let count = frames(samples.len());
    let mut out = Vec::with_capacity(count * CEPSTRA);
    let mut stream = CepstraStream::new(kind);
    stream.push(samples, &mut out);
    stream.finish(&mut out);
    // There are CEPSTRA values a frame, so the fallback is never taken.
    Array2::from_shape_vec((count, CEPSTRA), out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Cepstra; 3] = [Cepstra::Mfcc, Cepstra::Lfcc, Cepstra::Cqcc];

    /// White noise keeps every band far from the floor.
    fn noise(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect()
    }

    #[test]
    fn a_level_change_moves_only_c0() {
        let loud = noise(8_000);
        let soft: Vec<f32> = loud.iter().map(|x| x * 0.5).collect();
        for kind in KINDS {
            let (a, b) = (cepstra(&loud, kind), cepstra(&soft, kind));
            for ((_, c), x) in (&a - &b).indexed_iter() {
                assert!(
                    if c == 0 { *x > 1.0 } else { x.abs() < 1e-3 },
                    "{kind:?} c{c}: {x}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chunks_do_not_matter(chunks in prop::collection::vec(0usize..4_000, 0..8)) {
            let signal = noise(chunks.iter().sum());
            for kind in KINDS {
                let whole = cepstra(&signal, kind);
                prop_assert_eq!(whole.nrows(), frames(signal.len()));
                let (mut stream, mut out, mut at) = (CepstraStream::new(kind), Vec::new(), 0);
                stream.push(&[0.3; 7_777], &mut out);
                stream.reset();
                out.clear();
                for chunk in &chunks {
                    stream.push(&signal[at..at + chunk], &mut out);
                    at += chunk;
                }
                stream.finish(&mut out);
                prop_assert!(out.iter().map(|x| x.to_bits()).eq(whole.iter().map(|x| x.to_bits())), "{:?}", kind);
            }
        }
    }
}
