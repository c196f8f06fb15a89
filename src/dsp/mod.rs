//! Signal processing: log-mel, MFCC, LFCC, CQCC as pure functions and streaming states over slices. `docs/features.md`
//! defines each exactly. No I/O and no ONNX live here.
//!
//! All input is mono `f32` in ±1 at [`SAMPLE_RATE`]; frames are those of [`frames`], the same for every feature. The
//! arithmetic is `f64` inside: beside a loud tone, an `f32` transform buries quiet bands under its own rounding noise,
//! which the logarithm then shows.

mod cepstral;
mod cepstrum;
mod cqt;
mod dot;
mod exp;
mod fbank;
mod filterbank;
mod fine;
mod framer;
mod kaldi;
mod key;
mod log;
mod overlap;
mod pitch;
mod spectral;
mod spectrum;
mod stft;
mod synchrony;
mod tempo;
mod wide;
pub(crate) use dot::dot;
pub(crate) use exp::exp;
pub(crate) use wide::wide;

pub use cepstral::{Cepstra, CepstraStream, cepstra};
pub use cepstrum::{CEPSTRA, Dct, delta, normalise};
pub use cqt::{CQT_BINS, Cqt};
pub use fbank::{Fbank, fbank};
pub use filterbank::{
    Filterbank, HIGH_HZ, LFCC_FILTERS, LOG_FLOOR, LOW_HZ, MELS, MFCC_FILTERS, Scale,
};
pub use fine::{FINE_BANDS, FINE_DIM, FineStructure};
pub use kaldi::{KaldiFbank, KaldiOptions, kaldi_fbank};
pub use key::{Key, key};
pub use pitch::{Pitch, PitchError, PitchOptions, PitchTracker, pitch};
pub use spectral::{SPECTRAL_DIM, SpectralView};
pub use spectrum::{BINS, HOP, N_FFT, SAMPLE_RATE, Spectrum, WINDOW, frames};
pub use stft::{Complex, Stft, StftError, StftOptions};
pub use synchrony::{SYNCHRONY_DIM, Synchrony};
pub use tempo::{Tempo, tempo};
