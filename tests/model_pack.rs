//! Packs through the real ONNX Runtime: a good one answers, and every way to break one is a clear error.

mod common;

use std::path::Path;

use common::packs::{Copy, fixtures, open, runtime, tiny};
use earwitness::config::Provider;
use earwitness::dsp::fbank;
use earwitness::model::{Device, ModelError, Models, Opinion, Pack, Part, Wanted};
use ndarray::Array2;

/// 3 s of a tone with harmonics and a little noise.
fn voice() -> Vec<f32> {
    let tone = |n: usize, hz: f32| (std::f32::consts::TAU * hz * n as f32 / 16_000.0).sin();
    let sample = |n| {
        0.2 * tone(n, 140.0)
            + 0.1 * tone(n, 700.0)
            + 0.05 * tone(n, 2600.0)
            + (n * 7919 % 101) as f32 * 1e-4
    };
    (0..48_000).map(sample).collect()
}

#[test]
fn a_good_pack_answers() {
    let pack = tiny();
    assert_eq!(
        (pack.name(), pack.version(), pack.licence()),
        ("tiny", "0.0.1", "CC0-1.0")
    );
    assert_eq!(
        (
            pack.window_samples(),
            pack.embedding_dim(),
            pack.hash().len()
        ),
        (48_000, 16, 64)
    );
    assert_eq!(
        pack.speaker_calibration().unwrap().llr(0.5, (3.0, 3.0)),
        2.0
    );
    let table: Vec<String> = pack
        .accuracy()
        .iter()
        .map(|a| format!("{} {} {}", a.part, a.measure, a.value))
        .collect();
    assert_eq!(
        table,
        [
            "vad f1 0.0",
            "speaker eer_3s_percent 50.0",
            "spoof eer_percent 50.0"
        ]
    );

    let mut models = open(&pack).expect("the tiny models");
    assert_eq!(models.provider(), Device::Cpu);
    let voice = voice();
    let features = fbank(&voice);
    let speech = models.speech(features.view()).expect("speech");
    assert_eq!(speech.len(), 149);
    let loud = speech
        .iter()
        .filter(|p| **p > pack.speech_threshold())
        .count();
    assert!(
        loud > 140,
        "{loud} of 149 frames of a loud signal are speech to the tiny detector"
    );
    let silence = models
        .speech(fbank(&[0.0; 48_000]).view())
        .expect("silence");
    assert!(silence.iter().all(|p| *p < 0.01));
    let hidden = models.encode(features.view()).expect("hidden states");
    assert_eq!(hidden.shape(), [3, 149, 8]);
    assert_eq!(hidden.view().expect("at hand").dim(), (3, 149, 8));
    let embedding = models.embed(&hidden).expect("an embedding");
    assert_eq!(embedding.len(), 16);
    let score = models.genuine(&hidden, &voice).expect("a score");
    assert!(score.is_finite());
    // Any number of frames, and any memory layout.
    let short = models.encode(fbank(&voice[..16_000]).view()).expect("1 s");
    assert_eq!(short.shape(), [3, 49, 8]);
    let reversed = features.t().as_standard_layout().into_owned();
    assert_eq!(
        models.encode(reversed.t()).expect("a transposed view"),
        hidden
    );
}

#[test]
fn enrolments_are_bound_to_encoder_and_speaker_head() {
    let hash = || Copy::new().load().expect("a copy").hash().to_owned();
    assert_eq!(hash(), hash());
    let other = Copy::new();
    other.replace_by(Part::Speaker, "bad/norm.onnx");
    assert_ne!(other.load().expect("hashes fit").hash(), hash());
    let spoof = Copy::new();
    spoof.edit("slope = 1.0", "slope = 2.0");
    assert_eq!(spoof.load().expect("another calibration").hash(), hash());
}

#[test]
fn wrong_files_are_refused() {
    let pack = Copy::new();
    let path = pack.path().join("encoder.onnx");
    let mut bytes = std::fs::read(&path).expect("the encoder");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("a damaged encoder");
    let error = pack.refusal();
    assert!(
        matches!(error, ModelError::Hash { .. })
            && error.to_string().contains("fetch the pack again"),
        "{error}"
    );

    let pack = Copy::new();
    std::fs::remove_file(pack.path().join("vad.onnx")).expect("removed");
    let error = pack.refusal();
    assert!(
        matches!(&error, ModelError::Read { path, .. } if path.ends_with("vad.onnx")),
        "{error}"
    );

    let pack = Copy::new();
    std::fs::remove_file(pack.path().join("pack.toml")).expect("removed");
    assert!(matches!(pack.refusal(), ModelError::Read { .. }));

    let pack = Copy::new();
    pack.edit("schema = 1", "schema = ");
    let error = pack.refusal();
    assert!(
        matches!(error, ModelError::Manifest { .. }) && error.to_string().contains("line 1"),
        "{error}"
    );

    let pack = Copy::new();
    std::fs::remove_file(pack.path().join("vad.onnx")).expect("removed");
    std::fs::create_dir(pack.path().join("vad.onnx")).expect("a folder");
    assert!(matches!(pack.refusal(), ModelError::Read { .. }));
}

#[test]
fn files_outside_of_the_pack_are_refused() {
    for name in [
        "../vad.onnx",
        "/etc/passwd",
        "a/../../vad.onnx",
        "./vad.onnx/..",
        "",
    ] {
        let pack = Copy::new();
        pack.edit("file = \"vad.onnx\"", &format!("file = \"{name}\""));
        assert!(
            matches!(
                pack.refusal(),
                ModelError::Outside {
                    part: Part::Vad,
                    ..
                }
            ),
            "{name}"
        );
    }
    #[cfg(unix)]
    {
        let pack = Copy::new();
        std::fs::remove_file(pack.path().join("vad.onnx")).expect("removed");
        std::os::unix::fs::symlink(
            fixtures().join("tiny/vad.onnx"),
            pack.path().join("vad.onnx"),
        )
        .expect("a link");
        assert!(
            matches!(pack.refusal(), ModelError::Outside { .. }),
            "a link out of the pack"
        );
    }
}

#[test]
fn oversized_files_are_refused_unread() {
    let pack = Copy::new();
    // Sparse: no block of it is ever written.
    let file = std::fs::File::create(pack.path().join("vad.onnx")).expect("a file");
    file.set_len(2 << 30).expect("2 GiB");
    let error = pack.refusal();
    assert!(
        matches!(&error, ModelError::TooLarge { limit, .. } if *limit == (2 << 30) - 1),
        "{error}"
    );
}

#[test]
fn damaged_models_with_the_right_hash_are_refused() {
    // Truncated protobuf, no protobuf at all, and a graph that only the runtime finds to be broken.
    let whole = std::fs::read(fixtures().join("tiny/encoder.onnx")).expect("the encoder");
    let unknown_operator = {
        let (from, to) = (b"MatMul", b"MatMud");
        let at = whole.windows(6).position(|w| w == from).expect("a MatMul");
        let mut bytes = whole.clone();
        bytes[at..at + 6].copy_from_slice(to);
        bytes
    };
    for (what, bytes) in [
        ("truncated", whole[..whole.len() - 100].to_vec()),
        (
            "garbage",
            b"<html><body>404 not found</body></html>".to_vec(),
        ),
        ("empty", Vec::new()),
        ("unknown operator", unknown_operator),
    ] {
        let pack = Copy::new();
        pack.replace(Part::Encoder, &bytes);
        let error = pack.refusal();
        assert!(
            matches!(
                error,
                ModelError::Refused {
                    part: Part::Encoder,
                    ..
                }
            ),
            "{what}: {error}"
        );
    }
    for (fixture, word) in [
        ("bad/contrib.onnx", "com.microsoft.Gelu"),
        ("bad/external.onnx", "another file"),
        ("bad/opset11.onnx", "opset 11"),
    ] {
        let pack = Copy::new();
        pack.replace_by(Part::Vad, fixture);
        let error = pack.refusal().to_string();
        assert!(error.contains(word), "{fixture}: {error}");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    // Another model's inputs and outputs.
    let pack = Copy::new();
    pack.replace_by(Part::Encoder, "tiny/vad.onnx");
    let error = pack.refusal().to_string();
    assert!(
        error.contains("hidden f32 [dynamic, 3, dynamic, 8]")
            && error.contains("speech f32 [dynamic, dynamic]"),
        "{error}"
    );

    // A dimension that differs from the manifest.
    let pack = Copy::new();
    pack.edit("dim = 8", "dim = 9");
    let error = pack.refusal().to_string();
    assert!(
        error.contains("dynamic, 9]") && error.contains("dynamic, 8]"),
        "{error}"
    );

    // Right as declared, wrong when it runs.
    let pack = Copy::new();
    pack.replace_by(Part::Vad, "bad/frames.onnx");
    let error = pack.refusal();
    assert!(
        matches!(
            error,
            ModelError::Contract {
                part: Part::Vad,
                ..
            }
        ) && error.to_string().contains("298"),
        "{error}"
    );
}

#[test]
fn moved_known_answers_are_refused() {
    let pack = Copy::new();
    pack.edit("output = [0.632", "output = [0.642");
    let error = pack.refusal();
    assert!(
        matches!(
            error,
            ModelError::KnownAnswer {
                part: Part::Encoder,
                index: 0,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("do not trust"), "{error}");
}

#[test]
fn unusable_values_are_errors() {
    let pack = Copy::new();
    pack.replace_by(Part::Vad, "bad/nan.onnx");
    assert!(matches!(
        pack.refusal(),
        ModelError::Output {
            part: Part::Vad,
            ..
        }
    ));

    let mut models = open(&tiny()).expect("the tiny models");
    let broken = Array2::from_elem((298, 80), f32::NAN);
    assert!(matches!(
        models.speech(broken.view()),
        Err(ModelError::Output { .. })
    ));
    assert!(matches!(
        models.encode(broken.view()),
        Err(ModelError::Output { .. })
    ));
    // The session is still good.
    models
        .speech(fbank(&voice()).view())
        .expect("speech after a broken window");
}

#[test]
fn wrong_inputs_are_errors() {
    let pack = tiny();
    let mut models = open(&pack).expect("the tiny models");
    for shape in [(298, 64), (1, 80), (0, 80), (7000, 80)] {
        let features = Array2::zeros(shape);
        assert!(
            matches!(
                models.encode(features.view()),
                Err(ModelError::Input { .. })
            ),
            "{shape:?}"
        );
        assert!(
            matches!(
                models.speech(features.view()),
                Err(ModelError::Input { .. })
            ),
            "{shape:?}"
        );
    }
    let hidden = models
        .encode(fbank(&voice()).view())
        .expect("hidden states");
    for samples in [0, 100, 16_000, 1_000_000] {
        let found = models.genuine(&hidden, &vec![0.1; samples]);
        assert!(matches!(found, Err(ModelError::Input { .. })), "{samples}");
    }
    let neither = Wanted {
        spoof: false,
        ..Wanted::default()
    };
    let mut without = Models::open_wanted(runtime(), &pack, Provider::Cpu, neither)
        .expect("without the spoof head");
    without.embed(&hidden).expect("an embedding");
    assert!(!without.tells_spoofs());
    assert!(matches!(
        without.genuine(&hidden, &voice()),
        Err(ModelError::NotOpen { part: Part::Spoof })
    ));
}

#[test]
fn the_provider_in_use_is_reported() {
    let pack = tiny();
    let cuda = Models::open(runtime(), &pack, Provider::Cuda).map(|m| m.provider());
    let auto = Models::open(runtime(), &pack, Provider::Auto)
        .expect("auto always works")
        .provider();
    match cuda {
        // A machine with CUDA and the GPU build of the runtime.
        Ok(device) => assert_eq!((device, auto), (Device::Cuda, Device::Cuda)),
        Err(e) => {
            assert!(matches!(e, ModelError::Provider { .. }), "{e}");
            assert!(e.to_string().contains("models.provider"), "{e}");
            assert_eq!(auto, Device::Cpu);
        }
    }
}

#[test]
fn the_default_pack_keeps_its_contract() {
    let pack = Pack::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default"))
        .expect("the default pack");
    let mut models = open(&pack).expect("the default models");
    let voice = voice();
    let features = fbank(&voice[..pack.window_samples()]);
    let hidden = models.encode(features.view()).expect("hidden states");
    assert_eq!(
        models.embed(&hidden).expect("an embedding").len(),
        pack.embedding_dim()
    );
    models
        .genuine(&hidden, &voice[..pack.window_samples()])
        .expect("a score");
    assert_eq!(models.speech(features.view()).expect("speech").len(), 149);
    // Short windows are read by themselves, and each reading is the sum of its parts.
    let short = hidden.span(0.5..2.0);
    let asked = [(&short, &voice[8_000..32_240])];
    let only = |answers: Vec<Result<Opinion, ModelError>>| {
        answers
            .into_iter()
            .next()
            .expect("one")
            .expect("an opinion")
    };
    let (always, own) = (
        only(models.opinions(&asked)),
        only(models.short_opinions(&asked)),
    );
    assert_ne!(always.score, own.score);
    for (opinion, names) in [
        (&always, pack.spoof_parts()),
        (&own, pack.spoof_short_parts()),
    ] {
        assert_eq!(opinion.parts.len(), names.len());
        let sum: f32 = opinion.parts.iter().sum();
        assert!((sum - opinion.score).abs() < 1e-3, "{opinion:?}");
    }
    // Whoever does not want that reading has the score, to the last bit.
    let plain = Wanted {
        spoof: true,
        ..Wanted::default()
    };
    let mut plain = Models::open_wanted(runtime(), &pack, Provider::Cpu, plain).expect("plain");
    let found = only(plain.short_opinions(&asked));
    assert_eq!((found.score, found.parts.len()), (always.score, 0));
    // Digital silence and full-scale clipping are audio, too.
    for sample in [0.0, 1.0] {
        let window = vec![sample; 48_000];
        let features = fbank(&window);
        models.speech(features.view()).expect("speech");
        let hidden = models.encode(features.view()).expect("hidden states");
        models.embed(&hidden).expect("an embedding");
        models.genuine(&hidden, &window).expect("a score");
    }
    // Windows of other lengths, odd numbers of frames too.
    for frames in [2, 40, 99, 297, 998] {
        let features = Array2::from_elem((frames, 80), -9.0);
        let hidden = models.encode(features.view()).expect("hidden states");
        assert_eq!(hidden.shape()[1], frames / 2);
        assert_eq!(
            models.speech(features.view()).expect("speech").len(),
            frames / 2
        );
        models.embed(&hidden).expect("an embedding");
        let samples = vec![0.01; 160 * (frames - 1) + 400];
        models.genuine(&hidden, &samples).expect("a score");
    }
}
