//! The Rust features against golden vectors: those of the Python that the models are trained with
//! (`models/recipes/goldens/make.py`, float64 inside), and those of other people's libraries
//! (`models/recipes/goldens/peers.py`).

use std::collections::BTreeMap;
use std::path::Path;

use earwitness::dsp::{Cepstra, KaldiOptions, SpectralView, cepstra, fbank, kaldi_fbank};
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
        let place = &self.places["signal"];
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
