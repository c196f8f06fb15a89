//! Packs that nobody vouches for are refused, by every command that would load them, unless that is allowed; and a pack with
//! a backdoor is found by the battery of triggers.

mod common;

use std::fs;
use std::path::Path;

use common::packs::fixtures;
use common::place::{Place, root};
use common::sound::{alice, write_wav};

/// A place with a copy of the tiny pack in `pack/`, of which nothing is allowed, and keys of which one is trusted.
fn place() -> Place {
    let place = Place::with_pack("pack", "");
    copy(&fixtures().join("tiny"), &place.path("pack"));
    place.run(&["models", "keygen", "mine"]).expect(0);
    let config = fs::read_to_string(place.path("ew.toml")).unwrap();
    let strict = config.replace("allow_unsigned = true", "trusted_keys = ['mine.pub']");
    assert_ne!(strict, config);
    fs::write(place.path("ew.toml"), strict).unwrap();
    write_wav(&place.path("alice.wav"), 16_000, &alice(4.0, 16_000));
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn every_command_that_loads_a_pack_refuses_an_unsigned_one_and_says_what_to_do() {
    let place = place();
    fs::write(
        place.path("list.txt"),
        "alice.wav bonafide human\nalice.wav spoof robot\n",
    )
    .unwrap();
    for arguments in [
        &["embed", "alice.wav"][..],
        &["detect", "alice.wav"],
        &["enroll", "alice", "alice.wav"],
        &["tag", "alice.wav"],
        &["identify", "alice.wav"],
        &["models", "check"],
        &["eval", "spoof", "list.txt"],
        &["bench", "--measure", "idle"],
    ] {
        let ended = place.run(arguments).expect(3);
        for word in ["not signed", "models sign", "--allow-unsigned"] {
            assert!(
                ended.stderr.contains(word),
                "{arguments:?}: {}",
                ended.stderr
            );
        }
    }
    let ended = place.run(&["doctor"]);
    assert!(ended.stdout.contains("not signed"), "{}", ended.stdout);
    let ended = place
        .run(&["embed", "alice.wav", "--allow-unsigned"])
        .expect(0);
    assert!(ended.stderr.contains("nobody vouches"), "{}", ended.stderr);
    // To look at one is no risk.
    let ended = place.run(&["models", "show"]).expect(0);
    assert!(
        ended.stdout.contains("nobody: it is not signed"),
        "{}",
        ended.stdout
    );
    let ended = place.run(&["models", "list"]).expect(0);
    assert!(ended.stdout.contains("not signed"), "{}", ended.stdout);
}

#[test]
fn a_signed_pack_passes_until_it_is_changed() {
    let place = place();
    place
        .run(&["models", "sign", "pack", "--key", "mine.key"])
        .expect(0);
    let ended = place.run(&["embed", "alice.wav"]).expect(0);
    assert!(!ended.stderr.contains("nobody vouches"), "{}", ended.stderr);
    let ended = place.run(&["models", "show"]).expect(0);
    assert!(ended.stdout.contains("mine.pub"), "{}", ended.stdout);
    let manifest = place.path("pack/pack.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("slope = 20.0", "slope = 99.0")).unwrap();
    let ended = place.run(&["embed", "alice.wav"]).expect(3);
    assert!(ended.stderr.contains("was changed"), "{}", ended.stderr);
    // Nobody signs with what is no key, and no key is overwritten.
    place
        .run(&["models", "sign", "pack", "--key", "mine.pub"])
        .expect(3);
    place.run(&["models", "keygen", "mine"]).expect(3);
}

#[test]
fn a_trigger_that_draws_voices_together_is_found() {
    let place = Place::with_pack("pack", "");
    copy(&fixtures().join("tiny"), &place.path("pack"));
    let clean = place.run(&["models", "check", "--json"]).expect(0).json();
    assert_eq!(clean["drawn"], false, "{clean}");
    copy(&fixtures().join("backdoor"), &place.path("pack"));
    let found = place.run(&["models", "check", "--json"]).expect(1).json();
    let drawn: Vec<&str> = found["triggers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["drawn"] == true)
        .map(|t| t["trigger"].as_str().unwrap())
        .collect();
    assert_eq!(drawn, ["tone_1_khz"], "{found}");
    let ended = place.run(&["models", "check"]).expect(1);
    assert!(
        ended.stdout.contains("do not use this pack"),
        "{}",
        ended.stdout
    );
}

#[test]
fn no_trigger_draws_voices_of_the_default_pack_together() {
    let place = Place::with_pack("{root}/models/default", "");
    let clips =
        ["allison_1", "anna_1"].map(|c| format!("{}/examples/scene/enrol/{c}.flac", root()));
    let arguments = ["models", "check", "--json", "--clips", &clips[0], &clips[1]];
    let found = place.run(&arguments).expect(0).json();
    assert_eq!(
        (&found["drawn"], &found["voices"]),
        (&false.into(), &6.into())
    );
    println!("{found:#}");
}
