//! Encoders of other people: the program's hidden states against those of PyTorch, from the recording on. The packs of
//! `tests/fixtures/packs` have the true architectures, narrow and with random weights (`models/recipes/published/fixtures.py`).

mod common;

use std::fs;
use std::path::Path;

use common::packs::{fixtures, open};
use common::place::{Place, root};
use common::sound::{alice, write_wav};
use earwitness::model::{ModelError, Pack, Part};
use earwitness::publish::Body;

/// How far a hidden state may be from the reference.
const TOLERANCE: f32 = 1e-3;

#[derive(serde::Deserialize)]
struct Golden {
    sample_rate: u32,
    arrays: std::collections::BTreeMap<String, Array>,
}

/// In values of `golden.f32`.
#[derive(serde::Deserialize)]
struct Array {
    offset: usize,
    shape: Vec<usize>,
}

impl Golden {
    fn load(pack: &str) -> (Self, Vec<f32>) {
        let folder = fixtures().join(pack);
        let head = fs::read(folder.join("golden.json")).unwrap();
        (
            serde_json::from_slice(&head).unwrap(),
            floats(&fs::read(folder.join("golden.f32")).unwrap()),
        )
    }

    fn array<'a>(&self, name: &str, values: &'a [f32]) -> (&[usize], &'a [f32]) {
        let array = &self.arrays[name];
        let length: usize = array.shape.iter().product();
        (&array.shape, &values[array.offset..array.offset + length])
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// A NumPy file's shape as its header has it, and its values.
fn npy(path: &Path) -> (String, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    (shape.to_owned(), floats(&bytes[end..]))
}

fn place(pack: &str, more: &str) -> Place {
    Place::with_pack(&format!("{{root}}/tests/fixtures/packs/{pack}"), more)
}

#[test]
fn hidden_states_are_those_of_pytorch() {
    for pack in ["wavlm", "hubert", "wav2vec2", "mert", "beats", "spear"] {
        let (golden, values) = Golden::load(pack);
        let (_, signal) = golden.array("signal", &values);
        let place = Place::new("");
        write_wav(&place.path("a.wav"), golden.sample_rate, signal);
        let folder = format!("{}/tests/fixtures/packs/{pack}", root());
        let arguments = ["embed", "a.wav", "--states", "a.npy", "--pack", &folder];
        place.run(&arguments).expect(0);
        let (shape, found) = npy(&place.path("a.npy"));
        let (expected_shape, expected) = golden.array("hidden", &values);
        let text: Vec<String> = expected_shape.iter().map(usize::to_string).collect();
        assert_eq!(shape, text.join(", "), "{pack}");
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let worst = apart.fold(0.0, f32::max);
        assert!(worst <= TOLERANCE, "{pack}: {worst}");
    }
}

#[test]
fn a_music_encoder_hears_a_stream_as_it_hears_the_file() {
    let stream = "[[stream]]\nid = 'hifi'\nsource = { kind = 'file', path = 'a.wav', speed = 0 }\n";
    let place = place("mert", &format!("[spoof]\nenabled = false\n{stream}"));
    // Neither of the encoder's rates: both come out of resamplers.
    write_wav(&place.path("a.wav"), 44_100, &alice(4.3, 44_100));
    place.run(&["run"]).expect(0);
    let ended = place.run(&["tag", "a.wav", "--json"]).expect(0);
    let tagged: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let tagged = tagged["windows"].as_array().unwrap();
    let windows = place.windows_of("hifi");
    assert_eq!(windows.len(), tagged.len());
    assert!(windows.len() >= 8, "{}", windows.len());
    for (window, tagged) in windows.iter().zip(tagged) {
        let Body::Window { probes, .. } = &window.body else {
            panic!("{window:?}")
        };
        let of = |name: &str| probes.iter().filter(|p| p.probe == name).count();
        assert_eq!((of("genre"), of("tempo")), (1, 1), "{probes:?}");
        let same = tagged["probes"].as_array().unwrap();
        assert_eq!(probes.len(), same.len());
        for (a, b) in probes.iter().zip(same) {
            assert_eq!(b["label"], *a.label);
            let apart = (b["value"].as_f64().unwrap() - a.value).abs();
            assert!(apart < 1e-4, "{a:?} {b}");
        }
    }
    let told = place.run(&["tag", "a.wav"]).expect(0).stdout;
    assert!(told.contains("genre") && told.contains("bpm"), "{told}");
}

#[test]
fn a_fine_tuned_encoder_names_what_it_hears() {
    let pack = Pack::load(&fixtures().join("beats")).unwrap();
    let mut models = open(&pack).unwrap();
    assert!(models.hears_sounds() && !models.knows_voices());
    let audio = alice(2.0, 16_000);
    let fbank = earwitness::dsp::fbank(&audio);
    let hidden = models
        .hear(earwitness::model::Stretch {
            samples: &audio,
            wide: &[],
            fbank: fbank.view(),
        })
        .unwrap();
    // 198 frames of 10 ms are twelve of 160 ms, with eight vectors each.
    assert_eq!((hidden.frames(), hidden.shape()[1]), (12, 96));
    assert_eq!(hidden.span(0.5..1.0).frames(), 4);
    let sounds = models.sounds(&hidden).unwrap();
    assert_eq!(sounds.len(), pack.sound_classes().len());
    assert!(sounds.iter().all(|p| (0.0..=1.0).contains(p)));
}

#[test]
fn what_a_pack_cannot_do_is_told_before_anything_is_analysed() {
    let place = place("wavlm", "");
    write_wav(&place.path("a.wav"), 16_000, &alice(3.0, 16_000));
    // Detection is on unless it is switched off, and nobody must believe that it is.
    let ended = place.run(&["detect", "a.wav"]).expect(3);
    assert!(ended.stderr.contains("no spoof model"), "{}", ended.stderr);
    let place = self::place("wavlm", "[spoof]\nenabled = false\n");
    write_wav(&place.path("a.wav"), 16_000, &alice(3.0, 16_000));
    for arguments in [&["enroll", "ann", "a.wav"][..], &["embed", "a.wav"]] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("no speaker model"),
            "{}",
            ended.stderr
        );
    }
    let ended = place.run(&["tag", "a.wav"]).expect(2);
    assert!(ended.stderr.contains("found neither"), "{}", ended.stderr);
    let ended = place.run(&["models", "check"]).expect(0);
    assert!(ended.stdout.contains("ok"), "{}", ended.stdout);

    let pack = Pack::load(&fixtures().join("wavlm")).unwrap();
    assert!(!pack.has(Part::Speaker) && pack.embedding_dim() == 0);
    assert!(matches!(
        pack.spoof_calibration(),
        Err(ModelError::Absent { part: Part::Spoof })
    ));
}

#[test]
fn the_front_end_is_part_of_what_enrolments_are_bound_to() {
    let hash = |from: &str, to: &str| {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixtures().join("wav2vec2")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let manifest = copy.path().join("pack.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(from));
        fs::write(&manifest, text.replace(from, to)).unwrap();
        Pack::load(copy.path()).unwrap().hash().to_owned()
    };
    let same = hash("normalise = true", "normalise = true");
    assert_ne!(same, hash("normalise = true", "normalise = false"));
}

#[test]
fn a_long_recording_is_refused_with_advice() {
    let place = place("wavlm", "");
    write_wav(&place.path("a.wav"), 16_000, &vec![0.1; 61 * 16_000]);
    let ended = place
        .run(&["embed", "a.wav", "--states", "a.npy"])
        .expect(3);
    assert!(ended.stderr.contains("at most 60 s"), "{}", ended.stderr);
}
