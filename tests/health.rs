//! The encoder's health through the program: an encoder that has collapsed is told while it runs, and one that has not is left
//! in peace.

mod common;

use std::fs;
use std::path::Path;

use common::packs::fixtures;
use common::place::Place;
use common::sound::{chirps, write_wav};
use earwitness::publish::{Body, HealthPart};

/// The window of the rank, 32 s of speech, and several looks at it.
const SECONDS: f64 = 60.0;

/// A place in whose `pack/` a pack of the fixtures lies, with this table of what it is like in health, and a minute of sound.
fn place(pack: &str, health: &str) -> Place {
    let place = Place::with_pack(
        "pack",
        "[spoof]\nenabled = false\n[[stream]]\nid = 'door'\nsource = { kind = 'file', path = 'voice.wav', speed = 0.0 }\n",
    );
    fs::create_dir(place.path("pack")).unwrap();
    for folder in ["tiny", pack] {
        copy(&fixtures().join(folder), &place.path("pack"));
    }
    let manifest = place.path("pack/pack.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replacen("[speaker]\n", &format!("{health}\n[speaker]\n"), 1),
    )
    .unwrap();
    write_wav(&place.path("voice.wav"), 16_000, &chirps(SECONDS));
    place
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// In order or not, the measured share, and when: every event about the encoder.
fn told(place: &Place) -> Vec<(bool, f64, f64)> {
    let encoder = |event: &earwitness::publish::Event| match event.body {
        Body::Health {
            part: HealthPart::Encoder,
            ok,
            value,
            ..
        } => Some((ok, value, event.end_s)),
        _ => None,
    };
    place.events_of("door").iter().filter_map(encoder).collect()
}

#[test]
fn an_encoder_that_says_nearly_the_same_of_all_audio_is_told() {
    // What the pack is like in health, as its maker measures it.
    let measured = place("tiny", "").run(&["models", "baseline", "--rank-only", "voice.wav"]);
    let health = measured.expect(0).stdout;
    assert!(
        health.starts_with("[encoder.health]\nrankme = "),
        "{health}"
    );

    let sound = place("tiny", &health);
    sound.run(&["run"]).expect(0);
    assert_eq!(told(&sound), []);

    let broken = place("collapsed", &health);
    broken.run(&["run"]).expect(0);
    let told = told(&broken);
    assert!(
        matches!(told[..], [(false, share, at)] if share < 0.5 && at > 32.0),
        "{told:?}"
    );

    // Whoever does not want to be told is not.
    let deaf = place("collapsed", &health);
    let config = deaf.path("ew.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "[health]\nenabled = false\n").unwrap();
    deaf.run(&["run"]).expect(0);
    assert!(
        deaf.events_of("door")
            .iter()
            .all(|e| !matches!(e.body, Body::Health { .. })),
    );
}
