//! The whole way from samples to scores against the same models driven from Python with the training code's features
//! (`models/recipes/goldens/pipeline.py`).

mod common;

use std::path::Path;

use common::sound::chirps;
use earwitness::config::Provider;
use earwitness::dsp::fbank;
use earwitness::model::{Models, Pack, Runtime};

#[derive(serde::Deserialize)]
struct Golden {
    tolerance: f64,
    hidden_first: Vec<f64>,
    embedding: Vec<f64>,
    spoof_score: f64,
    spoof_llr: f64,
    spoof_tolerance: f64,
    speech_mean: f64,
    speech_first: Vec<f64>,
}

#[test]
fn rust_and_python_agree_from_samples_to_scores() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read(root.join("tests/golden/pipeline.json")).expect("the golden values");
    let golden: Golden = serde_json::from_slice(&golden).expect("golden values");
    let pack = Pack::load(&root.join("models/default")).expect("the default pack");
    let runtime = Runtime::load(None).expect("ONNX Runtime: run scripts/setup.sh");
    let mut models = Models::open(runtime, &pack, Provider::Cpu).expect("the default pack opens");

    let samples = chirps(3.0);
    let frames = fbank(&samples);
    let speech = models.speech(frames.view()).expect("speech");
    let hidden = models.encode(frames.view()).expect("hidden states");
    let embedding = models.embed(&hidden).expect("embedding");
    let score = models.genuine(&hidden, &samples).expect("score");

    let near =
        |what: &str, found: &mut dyn Iterator<Item = f64>, expected: &[f64], tolerance: f64| {
            for (i, &expected) in expected.iter().enumerate() {
                let found = found.next().unwrap_or(f64::NAN);
                assert!(
                    (found - expected).abs() <= tolerance * expected.abs().max(1.0),
                    "{what}[{i}]: {found}, Python says {expected}"
                );
            }
        };
    let close = |what: &str, found: &mut dyn Iterator<Item = f64>, expected: &[f64]| {
        near(what, found, expected, golden.tolerance);
    };
    close(
        "hidden",
        &mut hidden.view().expect("at hand").iter().map(|&x| x.into()),
        &golden.hidden_first,
    );
    close(
        "embedding",
        &mut embedding.iter().map(|&x| x.into()),
        &golden.embedding,
    );
    close(
        "speech",
        &mut speech.iter().map(|&x| x.into()),
        &golden.speech_first,
    );
    let mean = speech.iter().map(|&x| f64::from(x)).sum::<f64>() / speech.len() as f64;
    close(
        "mean speech",
        &mut std::iter::once(mean),
        &[golden.speech_mean],
    );
    near(
        "spoof score",
        &mut std::iter::once(f64::from(score)),
        &[golden.spoof_score],
        golden.spoof_tolerance,
    );
    let llr = pack.spoof_calibration().unwrap().llr(f64::from(score));
    near(
        "spoof LLR",
        &mut std::iter::once(llr),
        &[golden.spoof_llr],
        golden.spoof_tolerance,
    );
}
