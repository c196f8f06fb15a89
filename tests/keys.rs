//! The keys of the speaker store, through the program: wrong ones, damage, and each way by which one may come.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::place::Place;
use common::program::Ended;
use common::sound::{alice, write_wav};
use common::terminal::Terminal;

use earwitness::publish::Body;

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
    assert!(
        ended.stderr.contains("wrong passphrase") && ended.stderr.contains("EARWITNESS_PASSPHRASE"),
        "{}",
        ended.stderr
    );
    // No terminal, so nobody is asked.
    let ended = place.run(&["speakers", "list"]).expect(3);
    assert!(
        ended.stderr.contains("sealed with a passphrase"),
        "{}",
        ended.stderr
    );
}

/// What a unit with `LoadCredential=earwitness.key:…` gets: the daemon and every command of that unit.
#[test]
fn a_systemd_credential_locks_and_opens_the_store() {
    let place = Place::new(
        "[spoof]\nenabled = false\n[[stream]]\nid = 'door'\nsource = { kind = 'file', path = 'alice.wav', speed = 0.0 }\n",
    );
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    for (unit, byte) in [("ours", 7), ("theirs", 9)] {
        fs::create_dir(place.path(unit)).unwrap();
        private(&place.path(unit).join("earwitness.key"), &[byte; 32]);
    }
    fs::create_dir(place.path("none")).unwrap();
    let in_unit = |unit: &str, arguments: &[&str]| -> Ended {
        let folder = place.path(unit);
        let variables = [("CREDENTIALS_DIRECTORY", folder.as_path())];
        let program = place.start_with(arguments, Stdio::null(), &variables);
        program.end(common::PATIENCE)
    };
    in_unit("ours", &["enroll", "alice", "alice.wav", "--force"]).expect(0);
    assert!(
        !place.path("speakers.key").exists(),
        "a key beside the store would make the credential worth nothing"
    );
    let checked = in_unit("ours", &["doctor"]);
    assert!(checked.stdout.contains("the credential "), "{checked:?}");
    in_unit("ours", &["run"]).expect(0);
    let named =
        |body: &Body| matches!(body, Body::Window { speaker: Some(s), .. } if s.name == "alice");
    let events = place.events_of("door");
    assert!(events.iter().any(|e| named(&e.body)), "{events:?}");
    // Without the unit, or in another, nothing opens it, and nothing is made in its place.
    for (unit, words) in [("none", "a key that is not here"), ("theirs", "wrong key")] {
        for arguments in [&["speakers", "list"][..], &["run"]] {
            let ended = in_unit(unit, arguments).expect(3);
            assert!(ended.stderr.contains(words), "{unit}: {}", ended.stderr);
        }
    }
    let ended = place.run(&["speakers", "list"]).expect(3);
    assert!(
        ended.stderr.contains("a key that is not here"),
        "{}",
        ended.stderr
    );
    assert!(!place.path("speakers.key").exists());
    // A renewal keeps to the credential.
    in_unit("ours", &["speakers", "renew"]).expect(0);
    let list = in_unit("ours", &["speakers", "list"]).expect(0).stdout;
    assert!(list.contains("alice"), "{list}");
    assert!(!place.path("speakers.key").exists());
}

/// Written for its owner alone.
fn private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_passphrase_is_asked_for_at_the_terminal_and_not_shown() {
    let place = Place::new("");
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    let words = [("EARWITNESS_PASSPHRASE", Path::new("correct horse"))];
    let enroll = ["enroll", "alice", "alice.wav", "--force"];
    place
        .start_with(&enroll, Stdio::null(), &words)
        .end(common::PATIENCE)
        .expect(0);
    let list = |answer: &str| {
        let mut terminal = Terminal::open();
        let program = place.start_at(&terminal, &["speakers", "list"]);
        assert!(terminal.echoes());
        terminal.answer("Passphrase of the speaker store: ", answer);
        let ended = program.end(common::PATIENCE);
        assert!(terminal.echoes(), "as it was before");
        (ended, terminal)
    };
    let (ended, terminal) = list("correct horse");
    assert!(ended.expect(0).stdout.contains("alice"));
    let screen = terminal.screen();
    assert!(!screen.contains("horse"), "{screen}");
    let (ended, terminal) = list("correct house");
    assert!(!ended.expect(3).stdout.contains("alice"));
    common::wait("the error", || {
        let screen = terminal.screen();
        screen.contains("wrong passphrase") && screen.contains("speakers.redb")
    });
    let screen = terminal.screen();
    assert!(!screen.contains("house"), "{screen}");
    // An empty line is no passphrase.
    let (ended, _) = list("");
    ended.expect(3);
    let (ended, _) = list("correct horse");
    assert!(ended.expect(0).stdout.contains("alice"), "nothing changed");
}
