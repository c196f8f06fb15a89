//! Heads that `models/recipes/heads` trained for a published encoder: the program takes the pack and tells voices,
//! forgeries and registers apart with it. `models/recipes/heads/fixtures.py` made them.

mod common;

use std::fs;

use common::packs::{fixtures, open};
use common::place::Place;
use common::sound::{alice, noise, stranger, write_wav};
use earwitness::model::{Pack, Part};

/// A place with the tiny WavLM pack and the heads on it.
fn place() -> Place {
    let place = Place::with_pack("pack", "");
    let folder = place.path("pack");
    fs::create_dir(&folder).unwrap();
    for file in ["encoder.onnx", "vad.onnx"] {
        fs::copy(fixtures().join("wavlm").join(file), folder.join(file)).unwrap();
    }
    for entry in fs::read_dir(fixtures().join("heads")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    for (name, samples) in [
        ("alice.wav", alice(6.0, 16_000)),
        ("again.wav", alice(5.0, 16_000)),
        ("stranger.wav", stranger(5.0, 16_000)),
        ("hiss.wav", noise(5.0, 16_000, 0.2)),
    ] {
        write_wav(&place.path(name), 16_000, &samples);
    }
    place
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn the_pack_is_whole_and_tells_what_was_measured() {
    let place = place();
    let pack = Pack::load(&place.path("pack")).unwrap();
    assert!(pack.has(Part::Speaker) && pack.has(Part::Spoof));
    assert_eq!(pack.probes().count(), 1);
    let models = open(&pack).unwrap();
    assert!(models.knows_voices() && models.has_probes());
    let measures: Vec<String> = pack.accuracy().into_iter().map(|a| a.measure).collect();
    for name in [
        "held_out_eer_3s_percent",
        "held_out_eer_percent",
        "register.held_out_accuracy_percent",
    ] {
        assert!(measures.iter().any(|m| m == name), "{name}: {measures:?}");
    }
    assert!(pack.data().contains("speaker head: synthetic chords"));
    let ended = place.run(&["models", "check", "pack"]).expect(0);
    assert!(ended.stdout.contains("ok"), "{}", ended.stdout);
}

#[test]
fn a_head_of_the_recipe_knows_a_voice_again() {
    let place = place();
    place
        .run(&["enroll", "--force", "alice", "alice.wav"])
        .expect(0);
    let verify = |file: &str, code| {
        let ended = place.run(&["--json", "verify", "alice", file]).expect(code);
        json(&ended.stdout)
    };
    let (same, other) = (verify("again.wav", 0), verify("stranger.wav", 1));
    assert_eq!(same["verdict"], "accept", "{same}");
    assert_eq!(other["verdict"], "reject", "{other}");
    let ended = place.run(&["--json", "embed", "again.wav"]).expect(0);
    let embedding = json(&ended.stdout)["embedding"].as_array().unwrap().len();
    assert_eq!(embedding, 16);
}

#[test]
fn a_head_of_the_recipe_hears_a_forgery() {
    let place = place();
    place.run(&["detect", "again.wav"]).expect(0);
    place.run(&["detect", "hiss.wav"]).expect(1);
}

#[test]
fn a_probe_of_the_recipe_answers() {
    let place = place();
    for (file, expected) in [("again.wav", "low"), ("stranger.wav", "high")] {
        let ended = place.run(&["tag", file, "--json"]).expect(0);
        let tagged = json(&ended.stdout);
        for window in &tagged["windows"].as_array().unwrap()[4..] {
            let probe = &window["probes"][0];
            assert_eq!(probe["label"], expected, "{file}: {window}");
        }
    }
}
