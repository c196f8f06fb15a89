//! Packs through the real ONNX Runtime: a good one answers, and every way to break one is a clear error.

use std::path::Path;

use earwitness::config::{Precision, Provider};
use earwitness::dsp::{SPECTRAL_DIM, SpectralView, fbank};
use earwitness::model::{Device, ModelError, Models, Pack, Part, Runtime, Wanted};
use ndarray::Array2;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs"))
}

fn runtime() -> &'static Runtime {
    Runtime::load(None).unwrap_or_else(|e| {
        panic!("these tests need the ONNX Runtime library (`make test` fetches it): {e}")
    })
}

fn tiny() -> Pack {
    Pack::load(&fixtures().join("tiny")).expect("the tiny pack")
}

fn open(pack: &Pack) -> Result<Models, ModelError> {
    Models::open(runtime(), pack, Provider::Cpu)
}

/// A copy of the tiny pack that can be broken.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for entry in std::fs::read_dir(fixtures().join("tiny")).expect("the tiny pack") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces text in the manifest.
    fn edit(&self, old: &str, new: &str) {
        let path = self.path().join("pack.toml");
        let text = std::fs::read_to_string(&path).expect("the manifest");
        assert!(text.contains(old), "`{old}` is not in the manifest");
        std::fs::write(&path, text.replacen(old, new, 1)).expect("the manifest");
    }

    /// Replaces a model and its hash.
    fn replace(&self, part: Part, bytes: &[u8]) {
        let old = Pack::load(self.path())
            .expect("still whole")
            .file_hash(part)
            .to_owned();
        let new: String = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        std::fs::write(self.path().join(format!("{part}.onnx")), bytes).expect("the model");
        self.edit(&old, &new);
    }

    /// Gives the speaker head a cohort file with a hash that is right.
    fn add_cohort(&self, bytes: &[u8], voices: usize) {
        let hash: String = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        std::fs::write(self.path().join("cohort.f32"), bytes).expect("the cohort");
        let section = format!(
            "[speaker.cohort]\nfile = \"cohort.f32\"\nsha256 = \"{hash}\"\nvoices = {voices}\n[spoof]\n"
        );
        self.edit("[spoof]\n", &section);
    }

    fn replace_by(&self, part: Part, fixture: &str) {
        self.replace(
            part,
            &std::fs::read(fixtures().join(fixture)).expect(fixture),
        );
    }

    fn load(&self) -> Result<Pack, ModelError> {
        Pack::load(self.path())
    }

    /// The error of loading and opening.
    fn refusal(&self) -> ModelError {
        match self.load().and_then(|pack| open(&pack)) {
            Ok(_) => panic!("a broken pack was accepted"),
            Err(e) => e,
        }
    }
}

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
    assert_eq!(pack.speaker_calibration().llr(0.5), 2.0);
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
    assert_eq!(hidden.view().dim(), (3, 149, 8));
    let embedding = models.embed(&hidden).expect("an embedding");
    assert_eq!(embedding.len(), 16);
    let spectral = SpectralView::new().compute(&voice);
    let score = models.genuine(&hidden, spectral.view()).expect("a score");
    assert!(score.is_finite());
    // Any number of frames, and any memory layout.
    let short = models.encode(fbank(&voice[..16_000]).view()).expect("1 s");
    assert_eq!(short.view().dim(), (3, 49, 8));
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
    file.set_len(600 << 20).expect("600 MiB");
    assert!(matches!(pack.refusal(), ModelError::TooLarge { .. }));
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
    for shape in [(298, 80), (100, SPECTRAL_DIM)] {
        let spectral = Array2::zeros(shape);
        assert!(
            matches!(
                models.genuine(&hidden, spectral.view()),
                Err(ModelError::Input { .. })
            ),
            "{shape:?}"
        );
    }
    let neither = Wanted {
        spoof: false,
        sound: false,
    };
    let mut without = Models::open_wanted(runtime(), &pack, Provider::Cpu, neither)
        .expect("without the spoof head");
    without.embed(&hidden).expect("an embedding");
    let spectral = Array2::zeros((298, SPECTRAL_DIM));
    assert!(matches!(
        without.genuine(&hidden, spectral.view()),
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
        .genuine(&hidden, SpectralView::new().compute(&voice).view())
        .expect("a score");
    assert_eq!(models.speech(features.view()).expect("speech").len(), 149);
    // Digital silence and full-scale clipping are audio, too.
    for sample in [0.0, 1.0] {
        let window = vec![sample; 48_000];
        let features = fbank(&window);
        models.speech(features.view()).expect("speech");
        let hidden = models.encode(features.view()).expect("hidden states");
        models.embed(&hidden).expect("an embedding");
        let spectral = SpectralView::new().compute(&window);
        models.genuine(&hidden, spectral.view()).expect("a score");
    }
    // Windows of other lengths, odd numbers of frames too.
    for frames in [2, 40, 99, 297, 998] {
        let features = Array2::from_elem((frames, 80), -9.0);
        let hidden = models.encode(features.view()).expect("hidden states");
        assert_eq!(hidden.view().dim().1, frames / 2);
        assert_eq!(
            models.speech(features.view()).expect("speech").len(),
            frames / 2
        );
        models.embed(&hidden).expect("an embedding");
        let spectral = Array2::zeros((frames, SPECTRAL_DIM));
        models.genuine(&hidden, spectral.view()).expect("a score");
    }
}

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
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
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
