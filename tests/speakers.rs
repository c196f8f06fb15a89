//! The commands that manage the enrolled: sittings, receipts, files for another store, quality, live enrolment.

mod common;

use std::fs;
use std::process::Stdio;

use common::alsa::{RATE, Writer, card, write_conf};
use common::place::Place;
use common::sound::{alice, noise, silence, stranger, to_i16, write_wav};

use earwitness::publish::time;

#[test]
fn people_have_sittings_that_are_shown_and_removed_one_by_one() {
    let place = Place::of_alice();
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
    let place = Place::of_alice();
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
    let (here, there) = (Place::of_alice(), Place::new(""));
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
