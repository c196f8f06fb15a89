//! What an encoder hears: log-mel frames of our own, the waveform itself, or Kaldi's filter bank, each with its constants.

use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use serde::Deserialize;

use super::error::ModelError;
use super::part::Part;
use crate::audio::WIDE_RATE;
use crate::dsp::{self, KaldiFbank, KaldiOptions, MELS};

/// The longest clip that is encoded at once, seconds.
const LONGEST_S: usize = 60;

/// What goes into the encoder; the key `encoder.input` of a manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// The log-mel of `docs/features.md`, `[T, 80]`, two frames a hidden frame. What a manifest without the key means.
    LogMel {},
    /// Samples, ±1, `[1, samples]`: wav2vec 2.0, HuBERT, WavLM, MERT, SPEAR.
    Waveform {
        /// Hz: 16 000 or 24 000.
        sample_rate: u32,
        /// Whether a clip's mean is taken off and its variance made 1 first.
        normalise: bool,
        /// Samples that one hidden frame is made of.
        receptive_field: usize,
        /// Samples from one hidden frame to the next.
        hop: usize,
    },
    /// Kaldi's log filter bank, `[T, mels]`: BEATs.
    KaldiFbank {
        /// Hz: 16 000.
        sample_rate: u32,
        /// Filters.
        mels: usize,
        /// Lower band limit, Hz.
        low_hz: f64,
        /// Upper band limit, Hz.
        high_hz: f64,
        /// What samples in ±1 are multiplied by first.
        scale: f64,
        /// Taken off every value;
        mean: f64,
        /// and what remains is divided by this.
        deviation: f64,
        /// Frames of 10 ms a hidden frame.
        stride: usize,
        /// Hidden vectors a hidden frame.
        tokens: usize,
    },
}

impl Default for Input {
    fn default() -> Self {
        Self::LogMel {}
    }
}

/// One stretch of audio in the forms that models read.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// 16 kHz mono, ±1.
    pub samples: &'a [f32],
    /// The same at 24 kHz; empty where no encoder asks for it ([`super::Pack::is_wide`]).
    pub wide: &'a [f32],
    /// Its log-mel frames `[T, 80]`.
    pub fbank: ArrayView2<'a, f32>,
}

impl Input {
    /// Hz of the samples that it is made of.
    pub fn sample_rate(&self) -> u32 {
        match self {
            Self::LogMel {} => dsp::SAMPLE_RATE,
            Self::Waveform { sample_rate, .. } | Self::KaldiFbank { sample_rate, .. } => {
                *sample_rate
            }
        }
    }

    /// Hidden frames a second.
    pub fn frame_rate(&self) -> f64 {
        let tens = f64::from(dsp::SAMPLE_RATE) / dsp::HOP as f64;
        match self {
            Self::LogMel {} => tens / 2.0,
            Self::Waveform {
                sample_rate, hop, ..
            } => f64::from(*sample_rate) / *hop as f64,
            Self::KaldiFbank { stride, .. } => tens / *stride as f64,
        }
    }

    /// Hidden vectors a hidden frame.
    pub fn tokens(&self) -> usize {
        match self {
            Self::KaldiFbank { tokens, .. } => *tokens,
            _ => 1,
        }
    }

    /// Columns of the features; of a waveform none is fixed.
    pub(super) fn columns(&self) -> Option<usize> {
        match self {
            Self::LogMel {} => Some(MELS),
            Self::Waveform { .. } => None,
            Self::KaldiFbank { mels, .. } => Some(*mels),
        }
    }

    /// Hidden vectors that the encoder makes of features `[rows, columns]`.
    pub(super) fn vectors(&self, (rows, columns): (usize, usize)) -> usize {
        match self {
            Self::LogMel {} => rows / 2,
            Self::Waveform {
                receptive_field,
                hop,
                ..
            } => match columns.checked_sub(*receptive_field) {
                Some(more) => 1 + more / hop,
                None => 0,
            },
            Self::KaldiFbank { stride, tokens, .. } => rows / stride * tokens,
        }
    }

    /// Shape of the features of so many samples at 16 kHz.
    pub(super) fn shape(&self, samples: usize) -> (usize, usize) {
        match self {
            Self::LogMel {} => (dsp::frames(samples), MELS),
            Self::Waveform { sample_rate, .. } => {
                let rate = *sample_rate as usize;
                (1, samples * rate / dsp::SAMPLE_RATE as usize)
            }
            Self::KaldiFbank { mels, .. } => (dsp::frames(samples), *mels),
        }
    }

    /// Shape of the features of three seconds, and scale and offset of the wave that a known answer is made of.
    pub(super) fn known(&self) -> ((usize, usize), f64, f64) {
        let shape = self.shape(3 * dsp::SAMPLE_RATE as usize);
        match self {
            Self::LogMel {} => (shape, 3.0, -8.0),
            Self::Waveform { .. } => (shape, 0.1, 0.0),
            Self::KaldiFbank { .. } => (shape, 1.0, 0.0),
        }
    }

    /// Whether every constant is one that the program can do: the key, what was found, what was expected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String, String)> {
        let range = |key, found: usize, range: std::ops::RangeInclusive<usize>| {
            if range.contains(&found) {
                return Ok(());
            }
            let expected = format!("{} to {}", range.start(), range.end());
            Err((key, found.to_string(), expected))
        };
        match *self {
            Self::LogMel {} => Ok(()),
            Self::Waveform {
                sample_rate,
                receptive_field,
                hop,
                ..
            } => {
                if sample_rate != dsp::SAMPLE_RATE && sample_rate != WIDE_RATE {
                    let expected = format!("{} or {WIDE_RATE}", dsp::SAMPLE_RATE);
                    let key = "encoder.input.sample_rate";
                    return Err((key, sample_rate.to_string(), expected));
                }
                let second = sample_rate as usize;
                range("encoder.input.hop", hop, 16..=second)?;
                range(
                    "encoder.input.receptive_field",
                    receptive_field,
                    hop..=second,
                )
            }
            Self::KaldiFbank {
                sample_rate,
                mels,
                low_hz,
                high_hz,
                scale,
                mean,
                deviation,
                stride,
                tokens,
            } => {
                let rate = dsp::SAMPLE_RATE;
                range(
                    "encoder.input.sample_rate",
                    sample_rate as usize,
                    rate as usize..=rate as usize,
                )?;
                range("encoder.input.mels", mels, 8..=256)?;
                range("encoder.input.stride", stride, 1..=100)?;
                range("encoder.input.tokens", tokens, 1..=64)?;
                let band = 0.0 <= low_hz && low_hz < high_hz && high_hz <= f64::from(rate) / 2.0;
                if !band {
                    let found = format!("{low_hz} to {high_hz}");
                    let expected = format!("a band between 0 and {} Hz", rate / 2);
                    return Err(("encoder.input.high_hz", found, expected));
                }
                for (key, value) in [
                    ("encoder.input.scale", scale),
                    ("encoder.input.deviation", deviation),
                ] {
                    if !(value.is_finite() && value > 0.0) {
                        return Err((key, value.to_string(), "a finite number above 0".into()));
                    }
                }
                if !mean.is_finite() {
                    let key = "encoder.input.mean";
                    return Err((key, mean.to_string(), "a finite number".into()));
                }
                Ok(())
            }
        }
    }
}

/// Makes an encoder's features; its buffers are kept from one window to the next.
pub(super) struct FrontEnd {
    input: Input,
    kaldi: Option<KaldiFbank>,
    scratch: Vec<f32>,
}

impl FrontEnd {
    pub fn new(input: Input) -> Self {
        let kaldi = match input {
            Input::KaldiFbank {
                mels,
                low_hz,
                high_hz,
                scale,
                ..
            } => Some(KaldiFbank::new(KaldiOptions {
                mels,
                low_hz,
                high_hz,
                scale: scale as f32,
            })),
            _ => None,
        };
        Self {
            input,
            kaldi,
            scratch: Vec::new(),
        }
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// What the encoder is given of `stretch`: `[T, columns]`, of a waveform `[1, samples]`.
    pub fn features<'a>(
        &mut self,
        stretch: Stretch<'a>,
    ) -> Result<CowArray<'a, f32, Ix2>, ModelError> {
        match self.input {
            Input::LogMel {} => Ok(stretch.fbank.into()),
            Input::Waveform {
                sample_rate,
                normalise,
                ..
            } => {
                let wide = sample_rate == WIDE_RATE;
                let samples = if wide { stretch.wide } else { stretch.samples };
                let row =
                    ArrayView2::from_shape((1, samples.len()), samples).map_err(|e| odd(&e))?;
                Ok(match normalise {
                    true => standardised(row).into(),
                    false => row.into(),
                })
            }
            Input::KaldiFbank {
                mels,
                mean,
                deviation,
                ..
            } => {
                let Some(kaldi) = &mut self.kaldi else {
                    return Err(ModelError::NotOpen {
                        part: Part::Encoder,
                    });
                };
                kaldi.reset();
                self.scratch.clear();
                kaldi.push(stretch.samples, &mut self.scratch);
                let (mean, deviation) = (mean as f32, deviation as f32);
                let values = self.scratch.iter().map(|x| (x - mean) / deviation);
                Array2::from_shape_vec((self.scratch.len() / mels, mels), values.collect())
                    .map(Into::into)
                    .map_err(|e| odd(&e))
            }
        }
    }

    /// Features held to what the encoder can take, in memory order.
    pub fn accept<'a>(
        &self,
        features: ArrayView2<'a, f32>,
    ) -> Result<CowArray<'a, f32, Ix2>, ModelError> {
        let (rows, columns) = features.dim();
        let (fits, expected) = match self.input {
            Input::Waveform {
                sample_rate,
                receptive_field,
                ..
            } => {
                let most = LONGEST_S * sample_rate as usize;
                let fits = rows == 1 && (receptive_field..=most).contains(&columns);
                (
                    fits,
                    format!("{receptive_field} to {most} samples at {sample_rate} Hz"),
                )
            }
            _ => {
                let most = LONGEST_S * 100;
                let mels = self.input.columns().unwrap_or_default();
                let least = match self.input {
                    Input::KaldiFbank { stride, .. } => stride,
                    _ => 2,
                };
                let fits = columns == mels && (least..=most).contains(&rows);
                (fits, format!("{least} to {most} frames of {mels} values"))
            }
        };
        if !fits {
            return Err(ModelError::Input {
                part: Part::Encoder,
                expected,
                found: format!("{:?}", (rows, columns)),
            });
        }
        // Half a hidden frame has no place in its output, and models differ in whether they make one of it.
        let whole = match self.input {
            Input::LogMel {} => rows / 2 * 2,
            _ => rows,
        };
        let even = features.slice_move(ndarray::s![..whole, ..]);
        Ok(match even.is_standard_layout() {
            true => even.into(),
            false => even.as_standard_layout().into_owned().into(),
        })
    }
}

/// Mean 0 and variance 1 over the clip, as the feature extractors of wav2vec 2.0 and its kin do it (`+1e-7` under the root).
fn standardised(row: ArrayView2<f32>) -> Array2<f32> {
    let n = row.len().max(1) as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = row
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / n;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    row.mapv(|x| ((f64::from(x) - mean) * scale) as f32)
}

fn odd(error: &ndarray::ShapeError) -> ModelError {
    ModelError::Run {
        part: Part::Encoder,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waveform(normalise: bool, sample_rate: u32) -> Input {
        Input::Waveform {
            sample_rate,
            normalise,
            receptive_field: 400,
            hop: 320,
        }
    }

    fn beats() -> Input {
        Input::KaldiFbank {
            sample_rate: 16_000,
            mels: 128,
            low_hz: 20.0,
            high_hz: 8_000.0,
            scale: 32_768.0,
            mean: 15.416_63,
            deviation: 13.111_64,
            stride: 16,
            tokens: 8,
        }
    }

    #[test]
    fn hidden_vectors_are_counted_as_the_encoders_make_them() {
        // 3 s of WavLM, MERT and BEATs: 149, 224 and 18 · 8 vectors.
        let (wavlm, mert) = (waveform(false, 16_000), waveform(false, WIDE_RATE));
        assert_eq!(wavlm.vectors((1, 48_000)), 149);
        assert_eq!((mert.vectors((1, 72_000)), mert.frame_rate()), (224, 75.0));
        assert_eq!(wavlm.vectors((1, 399)), 0);
        assert_eq!(beats().vectors((298, 128)), 144);
        assert_eq!((beats().frame_rate(), beats().tokens()), (6.25, 8));
        assert_eq!(Input::default().vectors((298, 80)), 149);
    }

    #[test]
    fn a_clip_is_standardised_and_another_front_end_leaves_it() {
        let samples: Vec<f32> = (0..1_000).map(|i| (i % 2) as f32).collect();
        let fbank = Array2::zeros((4, MELS));
        let stretch = Stretch {
            samples: &samples,
            wide: &samples[..500],
            fbank: fbank.view(),
        };
        let row = |input| {
            let mut front_end = FrontEnd::new(input);
            let features = front_end.features(stretch).unwrap();
            features.iter().copied().collect::<Vec<f32>>()
        };
        let even = row(waveform(true, 16_000));
        assert!((even[0] + 1.0).abs() < 1e-6 && (even[1] - 1.0).abs() < 1e-6);
        assert_eq!(row(waveform(false, 16_000)), samples);
        assert_eq!(row(waveform(false, WIDE_RATE)), samples[..500]);
        assert_eq!(row(Input::default()).len(), 4 * MELS);
        // 1 000 samples are four frames; silence is below the mean of speech.
        let silent = vec![0.0; 1_000];
        let silence = Stretch {
            samples: &silent,
            ..stretch
        };
        let mut front_end = FrontEnd::new(beats());
        let frames = front_end.features(silence).unwrap();
        assert_eq!(frames.dim(), (4, 128));
        assert!(frames.iter().all(|x| *x < -2.0));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_so() {
        let refuse = |input: Input, dim, word: &str| {
            let features = Array2::zeros(dim);
            let front_end = FrontEnd::new(input);
            let found = front_end.accept(features.view()).unwrap_err().to_string();
            assert!(found.contains(word), "{found}");
        };
        refuse(waveform(false, 16_000), (1, 399), "400 to 960000 samples");
        refuse(waveform(false, 16_000), (2, 16_000), "samples at 16000 Hz");
        refuse(waveform(false, 16_000), (1, 960_001), "400 to 960000");
        refuse(beats(), (15, 128), "16 to 6000 frames of 128");
        refuse(Input::default(), (100, 128), "2 to 6000 frames of 80");
    }

    #[test]
    fn constants_out_of_range_are_named() {
        for (text, word) in [
            ("kind = \"tape\"", "tape"),
            ("kind = \"log_mel\"\nhop = 3", "hop"),
            ("kind = \"waveform\"\nsample_rate = 16000", "normalise"),
        ] {
            let error = toml::from_str::<Input>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(waveform(true, WIDE_RATE).check().is_ok() && beats().check().is_ok());
        assert_eq!(
            waveform(true, 8_000).check().unwrap_err().0,
            "encoder.input.sample_rate"
        );
        let mut wrong = beats();
        if let Input::KaldiFbank { deviation, .. } = &mut wrong {
            *deviation = 0.0;
        }
        assert_eq!(wrong.check().unwrap_err().0, "encoder.input.deviation");
        if let Input::KaldiFbank { high_hz, .. } = &mut wrong {
            *high_hz = 9_000.0;
        }
        assert_eq!(wrong.check().unwrap_err().0, "encoder.input.high_hz");
    }
}
