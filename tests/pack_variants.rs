//! What a pack may have beside its models: a cohort of voices, an encoder of another precision.

mod common;

use common::packs::{Copy, open, sha256, tiny};
use earwitness::config::Precision;
use earwitness::model::{ModelError, Pack, Part};

#[test]
fn a_cohort_is_read_and_checked() {
    assert_eq!(tiny().cohort().expect("none is none"), None);
    let dim = tiny().embedding_dim();
    let bytes: Vec<u8> = (0..2 * dim)
        .flat_map(|i| (i as f32 * 0.5).to_le_bytes())
        .collect();
    let whole = Copy::new();
    whole.add_cohort(&bytes, 2);
    let pack = Pack::load(whole.path()).expect("a pack with a cohort");
    let cohort = pack.cohort().expect("readable").expect("there");
    assert_eq!(cohort.dim(), (2, dim));
    assert_eq!(cohort[[1, 1]], (dim + 1) as f32 * 0.5);
    std::fs::write(whole.path().join("cohort.f32"), &bytes[4..]).expect("damaged");
    assert!(matches!(pack.cohort(), Err(ModelError::Hash { .. })));

    let not_a_number = [f32::NAN.to_le_bytes().to_vec(), bytes[4..].to_vec()].concat();
    for (bytes, voices, word) in [
        (&bytes[..], 3, "expected 3 voices"),
        (&bytes[..bytes.len() - 2], 2, "expected 2 voices"),
        (&not_a_number[..], 2, "not finite"),
        (&bytes[..], 0, "speaker.cohort.voices is 0"),
    ] {
        let broken = Copy::new();
        broken.add_cohort(bytes, voices);
        let error = Pack::load(broken.path()).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn an_encoder_of_another_precision_takes_the_firsts_place() {
    let error = tiny().at(Precision::Int8).expect_err("there is none");
    assert!(
        error.to_string().contains("encoder.int8 is absent"),
        "{error}"
    );
    assert_eq!(tiny().precisions(), [Precision::Fp32]);

    // What makes it another file is a field that no session reads.
    let whole = Copy::new();
    let mut bytes = std::fs::read(whole.path().join("encoder.onnx")).expect("the encoder");
    bytes.extend_from_slice(b"\x12\x04test");
    std::fs::write(whole.path().join("encoder.int8.onnx"), &bytes).expect("another encoder");
    let hash = sha256(&bytes);
    let text = std::fs::read_to_string(whole.path().join("pack.toml")).expect("the manifest");
    let answer = text.split("[encoder.known_answer]\noutput = ").nth(1);
    let answer = answer.and_then(|t| t.lines().next()).expect("the answer");
    let variant = |answer: &str, tolerance: f64| {
        format!(
            "[encoder.int8]\nfile = \"encoder.int8.onnx\"\nsha256 = \"{hash}\"\n\
             [encoder.int8.known_answer]\noutput = {answer}\ntolerance = {tolerance}\n[speaker]\n"
        )
    };
    whole.edit("[speaker]\n", &variant(answer, 0.05));
    let pack = Pack::load(whole.path()).expect("both encoders");
    assert_eq!(pack.precisions(), [Precision::Fp32, Precision::Int8]);
    let int8 = pack.clone().at(Precision::Int8).expect("int8");
    assert_ne!(int8.hash(), pack.hash(), "voices are not mixed");
    assert_eq!(int8.file_hash(Part::Encoder), hash);
    open(&int8).expect("its answers are known");

    let moved = Copy::new();
    std::fs::write(moved.path().join("encoder.int8.onnx"), &bytes).expect("another encoder");
    moved.edit("[speaker]\n", &variant(answer, 0.5));
    let error = Pack::load(moved.path()).expect_err("too loose").to_string();
    assert!(error.contains("known_answer.tolerance is 0.5"), "{error}");
    std::fs::write(whole.path().join("encoder.int8.onnx"), b"another").expect("damaged");
    assert!(matches!(
        Pack::load(whole.path()),
        Err(ModelError::Hash { .. })
    ));
}
