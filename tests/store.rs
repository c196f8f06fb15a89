//! The speaker store against what happens to it: kills at any moment, two processes at once, wrong keys, damage. And the
//! commands that manage it.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::alsa::{RATE, Writer, card, write_conf};
use common::place::Place;
use common::sound::{alice, noise, silence, stranger, to_i16, write_wav};
use common::wait;

use earwitness::config;
use earwitness::publish::time;
use earwitness::store::{Enrolment, Note, Sitting, SpeakerStore};

const FOLDER: &str = "EARWITNESS_TEST_FOLDER";
const FROM: &str = "EARWITNESS_TEST_FROM";

fn store(folder: &Path) -> SpeakerStore {
    SpeakerStore::open(&config::Speaker {
        store: folder.join("speakers.redb"),
        ..config::Speaker::default()
    })
    .unwrap()
}

/// Told apart by its date; in order of `n`.
fn sitting(n: u64) -> Sitting {
    let mut embedding = vec![0.0; 192];
    embedding[n as usize % 192] = 1.0;
    Sitting {
        embedding: embedding.into(),
        pack_hash: "abc".into(),
        note: Note {
            created: time::rfc3339_millis(1_800_000_000_000 + n),
            windows: 1,
            speech_s: 3.0,
            ..Note::default()
        },
    }
}

/// Who is enrolled, by the dates of their sittings.
type State = BTreeMap<String, Vec<String>>;

fn state(store: &SpeakerStore) -> State {
    let dates = |e: Enrolment| {
        (
            e.name,
            e.sittings.into_iter().map(|s| s.note.created).collect(),
        )
    };
    store.list().unwrap().into_iter().map(dates).collect()
}

/// Step `n` of a life of writes, on a store and on paper.
fn step(n: u64, store: Option<&SpeakerStore>, paper: &mut State) {
    let name = format!("person-{}", n % 7);
    let date = sitting(n).note.created;
    match n % 6 {
        0 | 1 | 4 => {
            let replace = n % 6 == 4;
            if let Some(store) = store {
                store.add(&name, sitting(n), replace).unwrap();
            }
            let dates = paper.entry(name).or_default();
            if replace {
                dates.clear();
            }
            dates.push(date);
        }
        2 => {
            store.map(|store| store.renew().unwrap());
        }
        _ => {
            store.map(|store| store.forget(&name).unwrap());
            paper.remove(&name);
        }
    }
}

fn child(scenario: &str, folder: &Path, from: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", scenario, "--ignored", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(FROM, from.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER)
        .expect("run through the other test")
        .into()
}

fn from() -> u64 {
    std::env::var(FROM).unwrap().parse().unwrap()
}

#[test]
#[ignore = "run by a_store_killed_at_any_moment_holds_the_old_or_the_new"]
fn child_writes_for_ever() {
    let (folder, mut paper) = (folder(), State::new());
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .unwrap();
    let store = store(&folder);
    for n in from().. {
        writeln!(log, "begin {n}").unwrap();
        step(n, Some(&store), &mut paper);
        writeln!(log, "done {n}").unwrap();
    }
}

/// The last step begun and the last one done.
fn log(folder: &Path) -> (u64, u64) {
    let text = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let last = |word: &str| {
        let of = text.lines().rev().find_map(|line| line.strip_prefix(word));
        of.map_or(0, |n| n.trim().parse().unwrap())
    };
    (last("begin "), last("done "))
}

#[test]
fn a_store_killed_at_any_moment_holds_the_old_or_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let (mut paper, mut next, mut inside, mut state_of_dice) = (State::new(), 1, 0, 1u32);
    for kill in 0..60 {
        let mut child = child("child_writes_for_ever", dir.path(), next);
        wait("the first write", || log(dir.path()).1 >= next);
        state_of_dice = state_of_dice
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_micros(u64::from(state_of_dice >> 16)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (begun, done) = log(dir.path());
        while next <= done {
            step(next, None, &mut paper);
            next += 1;
        }
        let found = state(&store(dir.path()));
        if begun > done {
            inside += 1;
            let mut new = paper.clone();
            step(begun, None, &mut new);
            assert!(
                found == paper || found == new,
                "kill {kill} in step {begun} ({}): {found:?}\nold {paper:?}\nnew {new:?}",
                begun % 6
            );
            // The next child goes on from here. A step that changed nothing to see is done again, which does no harm.
            if found == new {
                (paper, next) = (new, begun + 1);
            }
        } else {
            assert_eq!(found, paper, "kill {kill} after step {done}");
        }
        fs::remove_file(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log"), format!("done {}\n", next - 1)).unwrap();
    }
    println!(
        "60 kills, {inside} of them inside of a write, after {} writes",
        next - 1
    );
    assert!(inside >= 20, "{inside} of 60 kills fell into a write");
    // What the killed left behind goes with the next writes.
    store(dir.path()).renew().unwrap();
    let mut left: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("speakers.key."))
        .collect();
    left.sort();
    assert_eq!(left, ["log", "speakers.key", "speakers.redb"]);
}

#[test]
#[ignore = "run by two_processes_at_once_lose_nothing"]
fn child_writes_fifteen() {
    let store = store(&folder());
    for n in from()..from() + 15 {
        store
            .add(&format!("person-{n}"), sitting(n), false)
            .unwrap();
        if n % 5 == 0 {
            store.renew().unwrap();
        }
    }
}

#[test]
fn two_processes_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let children = [0, 100].map(|from| child("child_writes_fifteen", dir.path(), from));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(state(&store(dir.path())).len(), 30);
}

/// With alice enrolled by a chord of hers, by force: nobody would call it real.
fn place_of_alice() -> Place {
    let place = Place::new("");
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    place
        .run(&["enroll", "alice", "alice.wav", "--force"])
        .expect(0);
    place
}

#[test]
fn wrong_keys_and_damage_are_told_and_change_nothing() {
    let place = place_of_alice();
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

#[test]
fn people_have_sittings_that_are_shown_and_removed_one_by_one() {
    let place = place_of_alice();
    let more = [
        "--json",
        "enroll",
        "alice",
        "alice.wav",
        "--force",
        "--label",
        "headset",
        "--consent",
        "for the door",
        "--keep-days",
        "30",
    ];
    let record = place.run(&more).expect(0).json();
    assert_eq!(
        (&record["sittings"], &record["enrolled"]),
        (&2.into(), &true.into())
    );
    let (one, both) = (
        record["speech_s"].as_f64().unwrap(),
        record["total_speech_s"].as_f64().unwrap(),
    );
    assert!((both - 2.0 * one).abs() < 1e-6, "{record}");
    let percent = record["percent"].as_f64().unwrap();
    assert!((percent - 5.0 * both).abs() < 1e-6, "{record}");
    let shown = place.run(&["speakers", "show", "alice"]).expect(0).stdout;
    for word in [
        "headset",
        "for the door",
        "synthetic",
        "sitting 2 was forced",
    ] {
        assert!(shown.contains(word), "{shown}");
    }
    let json = place
        .run(&["--json", "speakers", "show", "alice"])
        .expect(0)
        .stdout;
    let second: serde_json::Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["note"]["consent"], "for the door");
    let end = time::parse(second["note"]["expires"].as_str().unwrap()).unwrap();
    let days = end
        .duration_since(std::time::SystemTime::now())
        .unwrap()
        .as_secs_f64()
        / 86_400.0;
    assert!((29.9..30.0).contains(&days), "{days}");
    assert!(!json.contains("embedding"));
    place
        .run(&["speakers", "remove", "alice", "--sitting", "3"])
        .expect(3);
    place
        .run(&["speakers", "remove", "alice", "--sitting", "1"])
        .expect(0);
    let shown = place.run(&["speakers", "show", "alice"]).expect(0).stdout;
    assert!(
        shown.contains("headset") && !shown.contains("sitting 2"),
        "{shown}"
    );
    let record = place.run(&[
        "--json",
        "enroll",
        "alice",
        "alice.wav",
        "--force",
        "--replace",
    ]);
    assert_eq!(record.expect(0).json()["sittings"], 1);
    place.run(&["speakers", "show", "bob"]).expect(1);
    place.run(&["verify", "alice", "alice.wav"]);
}

#[test]
fn forgetting_gives_a_receipt_that_can_be_checked() {
    let place = place_of_alice();
    let ended = place
        .run(&["forget", "alice", "--receipt", "receipt.json"])
        .expect(0);
    assert!(
        ended.stdout.contains("alice is forgotten"),
        "{}",
        ended.stdout
    );
    let text = fs::read_to_string(place.path("receipt.json")).unwrap();
    assert!(!text.contains("alice"));
    let check = |code| {
        place
            .run(&["forget", "--check", "receipt.json"])
            .expect(code)
            .stdout
    };
    assert!(check(0).contains("genuine") && check(0).contains("nobody of that name"));
    place.run(&["speakers", "renew"]).expect(0);
    place
        .run(&["enroll", "alice", "alice.wav", "--force"])
        .expect(0);
    assert!(check(0).contains("is enrolled now"));
    fs::write(
        place.path("receipt.json"),
        text.replace("\"sittings\":1", "\"sittings\":9"),
    )
    .unwrap();
    assert!(check(1).contains("altered"));
    // On standard output where no file is named; never over a file that is there.
    place
        .run(&["forget", "alice", "--receipt", "receipt.json"])
        .expect(3);
    let receipt = place.run(&["forget", "alice"]).expect(0).json();
    assert_eq!(receipt["sittings"], 1);
    place.run(&["forget", "alice"]).expect(1);
}

#[test]
fn a_person_goes_from_store_to_store_in_an_encrypted_file() {
    let (here, there) = (place_of_alice(), Place::new(""));
    fs::write(here.path("words"), "correct horse battery staple\n").unwrap();
    let export = ["speakers", "export", "alice", "--to", "alice.ew"];
    let ended = here.run(&export).expect(2);
    assert!(
        ended.stderr.contains("expected a passphrase"),
        "{}",
        ended.stderr
    );
    let with_words = [&export[..], &["--passphrase-file", "words"]].concat();
    here.run(&with_words).expect(0);
    let ended = here.run(&with_words).expect(3);
    assert!(
        ended.stderr.contains("alice.ew"),
        "a file that is there stays: {}",
        ended.stderr
    );
    fs::copy(here.path("alice.ew"), there.path("alice.ew")).unwrap();
    let import = |words: &str, more: &[&str]| {
        fs::write(there.path("words"), words).unwrap();
        let arguments = [
            "speakers",
            "import",
            "alice.ew",
            "--passphrase-file",
            "words",
        ];
        there.run(&[&arguments[..], more].concat())
    };
    let ended = import("wrong", &[]).expect(3);
    assert!(
        ended.stderr.contains("wrong passphrase"),
        "{}",
        ended.stderr
    );
    import("correct horse battery staple", &[]).expect(0);
    let ended = import("correct horse battery staple", &[]).expect(3);
    assert!(
        ended.stderr.contains("enrolled already"),
        "{}",
        ended.stderr
    );
    import("correct horse battery staple", &["--replace"]).expect(0);
    write_wav(&there.path("alice.wav"), 16_000, &alice(4.0, 16_000));
    let verdict = there
        .run(&["--json", "verify", "alice", "alice.wav"])
        .json();
    assert_eq!(verdict["speaker"]["verdict"], "accept", "{verdict}");
}

/// Without the spoof head, which takes every chord for a forgery; this is about the others.
fn place_without_spoof() -> Place {
    Place::new("[spoof]\nenabled = false\n")
}

#[test]
fn bad_recordings_are_refused_with_the_reason_unless_forced() {
    let place = place_without_spoof();
    let faults = |file: &str, code: i32| {
        let record = place
            .run(&["--json", "enroll", "eve", file])
            .expect(code)
            .json();
        assert_eq!(record["enrolled"], code == 0, "{record}");
        record["faults"].to_string()
    };
    // A voice of many partials, which like speech has few samples near its peak, and pauses with a faint noise.
    let voice = |hz: f64| -> Vec<f32> {
        let tone = |n: usize| -> f64 {
            let t = n as f64 / 16_000.0;
            let partials = (1..20)
                .map(|k| (std::f64::consts::TAU * hz * f64::from(k) * t + f64::from(k * k)).sin());
            0.05 * partials.sum::<f64>() * (1.0 + 0.5 * (2.3 * t).sin())
        };
        (0..48_000).map(|n| tone(n) as f32).collect()
    };
    let pause = noise(1.5, 16_000, 0.000_5);
    let clean = [
        pause.clone(),
        voice(110.0),
        pause.clone(),
        voice(110.0),
        pause.clone(),
    ]
    .concat();
    write_wav(&place.path("clean.wav"), 16_000, &clean);
    faults("clean.wav", 0);
    let over: Vec<f32> = clean.iter().map(|x| (8.0 * x).clamp(-1.0, 1.0)).collect();
    write_wav(&place.path("over.wav"), 16_000, &over);
    assert!(faults("over.wav", 1).contains("clipped"));
    let two = [
        alice(6.0, 16_000),
        silence(1.0, 16_000),
        stranger(6.0, 16_000),
    ]
    .concat();
    write_wav(&place.path("two.wav"), 16_000, &two);
    assert!(faults("two.wav", 1).contains("more than one speaker"));
    let person = place.run(&["speakers", "show", "eve"]).expect(0).stdout;
    assert!(!person.contains("forced"), "{person}");
    let forced = place
        .run(&["enroll", "eve", "two.wav", "--force"])
        .expect(0)
        .stdout;
    assert!(
        forced.contains("overridden: two.wav: more than one speaker"),
        "{forced}"
    );
    // Too little cannot be forced.
    write_wav(&place.path("short.wav"), 16_000, &alice(2.0, 16_000));
    let ended = place
        .run(&["enroll", "zoe", "short.wav", "--force"])
        .expect(3);
    assert!(
        ended.stderr.contains("expected at least 3 s of speech"),
        "{}",
        ended.stderr
    );
    let place = Place::new("");
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    let ended = place.run(&["enroll", "alice", "alice.wav"]).expect(1);
    assert!(ended.stdout.contains("synthetic"), "{}", ended.stdout);
    assert!(!place.path("speakers.redb").exists());
}

#[test]
fn a_person_is_enrolled_live() {
    let place = Place::new("");
    write_conf(place.dir(), &card(place.dir(), "ew_card", false));
    let _writer = Writer::start(&place.path("ew_card.fifo"), to_i16(&alice(60.0, RATE)));
    let conf = place.path("asound.conf");
    let variables = [("ALSA_CONFIG_PATH", conf.as_path())];
    // One channel: the test card's right is the negative of its left.
    let arguments = [
        "--json",
        "enroll",
        "alice",
        "--mic",
        "5s",
        "--device",
        "Test card ew_card",
        "--channel",
        "0",
        "--force",
    ];
    let program = place.start_with(&arguments, Stdio::null(), &variables);
    let ended = program.end(common::PATIENCE).expect(0);
    for words in [
        "0 % recorded, 5 s to go",
        " 50 % recorded",
        "100 % recorded, 0 s to go",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let record = ended.json();
    let speech = record["speech_s"].as_f64().unwrap();
    assert!((4.0..=5.01).contains(&speech), "{record}");
    let shown = place.run(&["speakers", "show", "alice"]).expect(0).stdout;
    assert!(shown.contains("Test card ew_card"), "{shown}");
    write_wav(&place.path("alice.wav"), 16_000, &alice(4.0, 16_000));
    let verdict = place
        .run(&["--json", "verify", "alice", "alice.wav"])
        .json();
    assert_eq!(verdict["speaker"]["verdict"], "accept", "{verdict}");
}
