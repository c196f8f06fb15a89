//! The Rust features against golden vectors: those of the Python that the models are trained with
//! (`models/recipes/goldens/make.py`, float64 inside), and those of other people's libraries
//! (`models/recipes/goldens/peers.py`).

use std::collections::BTreeMap;
use std::path::Path;

use earwitness::dsp::{
    CQT_BINS, Cepstra, Cqt, KaldiOptions, Pitch, PitchOptions, SpectralView, Stft, StftOptions,
    cepstra, fbank, frames, kaldi_fbank, pitch,
};
use ndarray::Array2;

#[derive(serde::Deserialize)]
struct Golden {
    file: String,
    arrays: BTreeMap<String, Place>,
}

/// In little-endian f32 values.
#[derive(serde::Deserialize)]
struct Place {
    offset: usize,
    shape: Vec<usize>,
}

struct Vectors {
    places: BTreeMap<String, Place>,
    values: Vec<f32>,
}

impl Vectors {
    fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let head = std::fs::read(folder.join(name).with_extension("json")).expect("the head");
        let head: Golden = serde_json::from_slice(&head).expect("the head of the golden vectors");
        let bytes = std::fs::read(folder.join(&head.file)).expect("the golden vectors");
        let values = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Self {
            places: head.arrays,
            values,
        }
    }

    fn signal(&self) -> &[f32] {
        self.samples("signal")
    }

    fn samples(&self, name: &str) -> &[f32] {
        let place = &self.places[name];
        &self.values[place.offset..place.offset + place.shape[0]]
    }

    fn array(&self, name: &str) -> Array2<f32> {
        let place = &self.places[name];
        let (rows, columns) = (place.shape[0], place.shape[1]);
        let values = &self.values[place.offset..place.offset + rows * columns];
        Array2::from_shape_vec((rows, columns), values.to_vec()).expect("the shape in the head")
    }

    fn compare(&self, name: &str, found: &Array2<f32>, tolerance: f32) {
        let expected = self.array(name);
        assert_eq!(found.dim(), expected.dim(), "{name}");
        assert!(
            expected.len() > 1000 && expected.iter().any(|x| x.abs() > 1.0),
            "{name}: empty vectors"
        );
        assert!(found.iter().all(|x| x.is_finite()), "{name}");
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        println!("{name}: worst difference {worst:e}");
        assert!(
            worst <= tolerance,
            "{name}: {worst:e} from the reference, at most {tolerance:e}"
        );
    }
}

#[test]
fn log_mel_equals_the_training_code() {
    let golden = Vectors::load("features");
    golden.compare("fbank", &fbank(golden.signal()), 1e-4);
}

#[test]
fn cepstra_equal_the_training_code() {
    let golden = Vectors::load("features");
    for (name, kind) in [
        ("mfcc", Cepstra::Mfcc),
        ("lfcc", Cepstra::Lfcc),
        ("cqcc", Cepstra::Cqcc),
    ] {
        golden.compare(name, &cepstra(golden.signal(), kind), 1e-4);
    }
}

/// Normalisation divides by the deviation of a column, which for a delta is well below 1 and so makes differences
/// larger than those of the cepstra. Both sides are float64 until the end, so 1e-4 still holds with room.
#[test]
fn spectral_view_equals_the_training_code() {
    let golden = Vectors::load("features");
    golden.compare(
        "spectral",
        &SpectralView::new().compute(golden.signal()),
        1e-4,
    );
}

/// Both peers compute in `f32` and are up to 1.4e-3 from each other: in a quiet band beside a loud one the rounding shows.
#[test]
fn kaldi_fbank_equals_kaldi_native_fbank_and_torchaudio() {
    let golden = Vectors::load("peers");
    let eighty = kaldi_fbank(golden.signal(), &KaldiOptions::default());
    golden.compare("kaldi_80_native", &eighty, 2e-3);
    golden.compare("kaldi_80_torchaudio", &eighty, 2e-3);
    let beats = kaldi_fbank(golden.signal(), &KaldiOptions::beats());
    golden.compare("kaldi_128_torchaudio", &beats, 2e-3);
}

fn stft(samples: &[f32], hop: usize, points: usize) -> Array2<f32> {
    let lengths = StftOptions {
        window: 400,
        hop,
        points,
    };
    let mut stream = Stft::new(lengths).expect("lengths that fit");
    let mut out = Vec::new();
    stream.push(samples, &mut out);
    let parts: Vec<f32> = out
        .iter()
        .flat_map(|x| [x.re as f32, x.im as f32])
        .collect();
    let columns = 2 * stream.bins();
    Array2::from_shape_vec((parts.len() / columns, columns), parts).expect("whole frames")
}

/// Values reach 50 here; both sides are `f64` until the end.
#[test]
fn stft_equals_torch_and_scipy() {
    let golden = Vectors::load("peers");
    golden.compare("stft_torch", &stft(golden.signal(), 1000, 400), 1e-5);
    golden.compare("stft_scipy", &stft(golden.signal(), 1500, 512), 1e-5);
}

/// librosa's filters are `f64`, torchaudio's `f32`, where a narrow filter's weights are off by up to 1e-4 of themselves.
#[test]
fn log_mel_equals_librosa_and_torchaudio() {
    let golden = Vectors::load("peers");
    golden.compare("mel_librosa", &fbank(golden.signal()), 1e-5);
    golden.compare("mel_torchaudio", &fbank(golden.signal()), 5e-4);
}

#[test]
fn cepstra_equal_torchaudio_and_scipy() {
    let golden = Vectors::load("peers");
    let of = |kind| cepstra(golden.signal(), kind);
    golden.compare("mfcc_torchaudio", &of(Cepstra::Mfcc), 1e-4);
    golden.compare("lfcc_torchaudio", &of(Cepstra::Lfcc), 1e-4);
}

/// The same kernels at the full rate, which the decimation only approximates: its filter passes 31 taps' worth of
/// aliases, and kernel lengths and centres are rounded at the lower rates. So the loud bins are compared.
#[test]
fn constant_q_is_near_a_direct_evaluation() {
    let golden = Vectors::load("peers");
    let expected = golden.array("cqt_direct");
    let mut found = Vec::new();
    Cqt::new().log_power(golden.signal(), &mut found);
    assert_eq!(found.len(), expected.len());
    let (mut worst, mut sum, mut count) = (0.0f64, 0.0, 0);
    for (found, row) in found.chunks_exact(CQT_BINS).zip(expected.rows()) {
        let loudest = row.iter().copied().fold(f32::MIN, f32::max);
        for (found, expected) in found.iter().zip(row) {
            // Within 20 dB.
            if *expected > loudest - 4.6 {
                let difference = (found - f64::from(*expected)).abs();
                worst = worst.max(difference);
                sum += difference;
                count += 1;
            }
        }
    }
    let mean = sum / f64::from(count);
    println!("constant Q: worst {worst}, mean {mean} neper of {count}");
    assert!(count > 500 && worst < 0.25 && mean < 0.02);
}

#[test]
fn pitch_of_a_glide_equals_librosa_and_the_truth() {
    let golden = Vectors::load("peers");
    let found = pitch(golden.samples("glide"), PitchOptions::default()).expect("limits in order");
    let yin = golden.samples("yin_glide");
    assert_eq!((found.len(), yin.len()), (198, 198));
    // At both ends the frame reaches past the signal.
    for (t, frame) in found.iter().enumerate().skip(3).take(190) {
        let hz = frame.hz.expect("a voiced frame");
        let truth = 80.0 * 5f64.powf((160 * t + 200) as f64 / 32_000.0);
        assert!((hz / truth - 1.0).abs() < 0.01, "{t}: {hz}, truth {truth}");
        let theirs = f64::from(yin[t]);
        assert!((hz / theirs - 1.0).abs() < 0.03, "{t}: {hz}, {theirs}");
    }
}

/// Speech of the bundled scene, beside noise and music, against pYIN. A gross error is more than 20 % off where both
/// find a voice (Rabiner et al., IEEE TASSP 1976).
#[test]
fn pitch_of_speech_is_near_librosa() {
    let golden = Vectors::load("peers");
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scene/scene.flac");
    let scene = earwitness::audio::decode(&scene, None).expect("the bundled scene");
    let found = pitch(&scene, PitchOptions::default()).expect("limits in order");
    let theirs = golden.samples("pyin_scene");
    assert_eq!(
        (found.len(), theirs.len()),
        (frames(scene.len()), frames(scene.len()))
    );
    let voiced = |p: &Pitch| p.hz.is_some();
    let agree = found
        .iter()
        .zip(theirs)
        .filter(|(a, b)| voiced(a) == (**b > 0.0))
        .count();
    let both: Vec<f64> = found
        .iter()
        .zip(theirs)
        .filter(|(_, b)| **b > 0.0)
        .filter_map(|(a, b)| a.hz.map(|hz| (hz / f64::from(*b) - 1.0).abs()))
        .collect();
    let gross = both.iter().filter(|e| **e > 0.2).count() as f64 / both.len() as f64;
    let agreement = agree as f64 / found.len() as f64;
    println!(
        "voicing agrees in {agreement:.3}, gross errors {gross:.4} of {}",
        both.len()
    );
    assert!(both.len() > 1_000 && gross < 0.01 && agreement > 0.85);
}
