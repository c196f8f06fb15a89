//! The keys of the speaker store, through the program: wrong ones, damage, and each way by which one may come.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::place::Place;
use common::sound::{alice, write_wav};

#[test]
fn wrong_keys_and_damage_are_told_and_change_nothing() {
    let place = Place::of_alice();
    let (path, key) = (place.path("speakers.redb"), place.path("speakers.key"));
    let (good, right) = (fs::read(&path).unwrap(), fs::read(&key).unwrap());
    let refused = |word: &str| {
        for arguments in [
            &["speakers", "list"][..],
            &["verify", "alice", "alice.wav"],
            &["enroll", "bob", "alice.wav", "--force"],
            &["forget", "alice"],
        ] {
            let ended = place.run(arguments).expect(3);
            assert!(
                ended.stderr.contains(word),
                "{arguments:?}: {}",
                ended.stderr
            );
            assert!(ended.stderr.contains("speakers.redb"), "{}", ended.stderr);
        }
    };
    fs::write(&key, "12".repeat(32)).unwrap();
    refused("wrong key");
    fs::remove_file(&key).unwrap();
    refused("a key that is not here");
    fs::write(&key, right).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    refused("damaged");
    // Where something is: the first page of the tables.
    let mut flipped = good.clone();
    let at = (4_096..good.len()).find(|&i| good[i] != 0).unwrap();
    flipped[at] ^= 1;
    fs::write(&path, &flipped).unwrap();
    refused("damaged");
    fs::write(&path, &good).unwrap();
    let list = place.run(&["speakers", "list"]).expect(0).stdout;
    assert!(list.contains("alice") && !list.contains("bob"), "{list}");
}

#[test]
fn a_passphrase_protects_the_store() {
    let place = Place::new("");
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    let run = |words: &str, arguments: &[&str]| {
        let variables = [("EARWITNESS_PASSPHRASE", Path::new(words))];
        let program = place.start_with(arguments, Stdio::null(), &variables);
        program.end(common::PATIENCE)
    };
    run(
        "correct horse",
        &["enroll", "alice", "alice.wav", "--force"],
    )
    .expect(0);
    assert!(!place.path("speakers.key").exists());
    let list = run("correct horse", &["speakers", "list"]).expect(0);
    assert!(list.stdout.contains("alice"));
    let ended = run("correct house", &["speakers", "list"]).expect(3);
    assert!(ended.stderr.contains("wrong key"), "{}", ended.stderr);
    // No terminal, so nobody is asked.
    let ended = place.run(&["speakers", "list"]).expect(3);
    assert!(
        ended.stderr.contains("sealed with a passphrase"),
        "{}",
        ended.stderr
    );
}
