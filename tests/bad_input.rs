//! What the program makes of damaged, hostile and endless input, and of models that it cannot use: a clear word and the
//! right exit code, never a panic, and no number that is none.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::place::{Place, root};
use common::sound::{alice, wav, write_wav};
use earwitness::config;
use earwitness::publish::{Body, SourceState};
use earwitness::store::SpeakerStore;
use sha2::{Digest, Sha256};

fn file(id: &str, path: &str, speed: f64) -> String {
    format!(
        "[[stream]]\nid = '{id}'\nsource = {{ kind = 'file', path = '{path}', speed = {speed:?} }}\n"
    )
}

/// Ten seconds of alice in `whole.wav`, of which six are left in `cut.wav`.
fn write_cut(place: &Place) {
    write_wav(&place.path("whole.wav"), 16_000, &alice(10.0, 16_000));
    let bytes = fs::read(place.path("whole.wav")).unwrap();
    fs::write(place.path("cut.wav"), &bytes[..44 + 6 * 32_000]).unwrap();
}

#[test]
fn of_a_truncated_recording_commands_use_what_is_there_and_warn() {
    let place = Place::new("");
    write_cut(&place);
    place
        .run(&["enroll", "--force", "alice", "whole.wav"])
        .expect(0);
    for arguments in [
        &["--json", "verify", "alice", "cut.wav"][..],
        &["--json", "detect", "cut.wav"],
    ] {
        let ended = place.run(arguments);
        // What this pack says about the voice is no matter.
        let code = if ended.code == Some(1) { 1 } else { 0 };
        let ended = ended.expect(code);
        assert!(
            ended.stderr.contains("cut off") && ended.stderr.contains("10.00 s"),
            "{}",
            ended.stderr
        );
        let record = ended.json();
        let speech = record["speech_s"].as_f64().unwrap();
        assert!((5.5..6.1).contains(&speech), "{record}");
        if arguments[1] == "verify" {
            assert_eq!(record["speaker"]["verdict"], "accept", "{record}");
        }
    }
}

#[test]
fn a_truncated_file_ends_its_own_stream_only() {
    let place = Place::new(&(file("cut", "cut.wav", 0.0) + &file("whole", "whole.wav", 10.0)));
    write_cut(&place);
    place.run(&["run"]).expect(0);
    let told = place.source_of("cut");
    let states: Vec<SourceState> = told.iter().map(|(state, _)| *state).collect();
    assert_eq!(
        states,
        [SourceState::Up, SourceState::Down, SourceState::Ended]
    );
    assert!(told[1].1.as_ref().unwrap().contains("cut off"), "{told:?}");
    let end = |stream| place.windows_of(stream).last().unwrap().end_s;
    assert!((end("cut") - 6.0).abs() < 0.01, "{}", end("cut"));
    assert!((end("whole") - 10.0).abs() < 0.01, "{}", end("whole"));
    let last = place.source_of("whole").pop();
    assert_eq!(last, Some((SourceState::Ended, None)));
}

#[test]
fn what_is_no_audio_is_refused_with_its_name() {
    let place = Place::new(&file("door", "placeholder", 0.0));
    let noise: Vec<u8> = (0..32_000u32).map(|i| (i * 7) as u8).collect();
    let hostile = [
        ("zero_channels.wav", wav(1, 0, 16_000, 16, &noise)),
        ("many_channels.wav", wav(1, 65_535, 16_000, 16, &noise)),
        ("seven_hertz.wav", wav(1, 1, 7, 16, &noise)),
        ("zero_hertz.wav", wav(1, 1, 0, 16, &noise)),
        ("zero_bits.wav", wav(1, 1, 16_000, 0, &noise)),
        ("no_samples.wav", wav(1, 1, 16_000, 16, &[])),
        ("text.wav", b"This is a letter. ".repeat(500)),
        ("empty.wav", Vec::new()),
    ];
    for (name, bytes) in &hostile {
        fs::write(place.path(name), bytes).unwrap();
    }
    fs::create_dir(place.path("folder.wav")).unwrap();
    let names = hostile.iter().map(|(name, _)| *name);
    for name in names.chain(["folder.wav", "missing.wav"]) {
        let text = fs::read_to_string(place.path("ew.toml")).unwrap();
        let (head, _) = text.split_once("[[stream]]").unwrap();
        let text = head.to_owned() + &file("door", name, 0.0);
        fs::write(place.path("ew.toml"), text).unwrap();
        for arguments in [&["detect", name][..], &["enroll", "eve", name], &["run"]] {
            let ended = place.run(arguments).expect(3);
            let message = ended.stderr.lines().last().unwrap_or_default();
            assert!(
                message.starts_with("error: ") && message.contains(name),
                "{arguments:?}: {}",
                ended.stderr
            );
            assert_eq!(ended.stdout, "", "{arguments:?}");
        }
    }
    assert!(!place.path("speakers.redb").exists());
    assert!(place.events().is_empty());
}

#[test]
fn samples_that_are_no_numbers_never_become_findings() {
    let pipe = "[[stream]]\nid = 'pipe'\nsource = { kind = 'stdin', pcm = { rate = 16000, format = 'f32' } }\n";
    let place = Place::new(&(file("some", "some.wav", 0.0) + &file("all", "all.wav", 0.0) + pipe));
    let mut samples = alice(6.0, 16_000);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, 1e-42];
    for (i, x) in samples.iter_mut().step_by(997).enumerate() {
        *x = odd[i % odd.len()];
    }
    let bytes = |samples: &[f32]| -> Vec<u8> {
        samples.iter().copied().flat_map(f32::to_le_bytes).collect()
    };
    let some = bytes(&samples);
    fs::write(place.path("some.wav"), wav(3, 1, 16_000, 32, &some)).unwrap();
    fs::write(place.path("some.pcm"), some).unwrap();
    let all = bytes(&vec![f32::NAN; 48_000]);
    fs::write(place.path("all.wav"), wav(3, 1, 16_000, 32, &all)).unwrap();
    write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
    place
        .run(&["enroll", "--force", "alice", "alice.wav"])
        .expect(0);

    let stdin = File::open(place.path("some.pcm")).unwrap();
    let ended = place.start_with(&["run"], stdin.into(), &[]);
    let ended = ended.end(common::PATIENCE).expect(0);
    // An event with such a number would not be written, but complained about; a model would fail on it.
    for complaint in ["not written", "a model failed"] {
        assert!(!ended.stderr.contains(complaint), "{}", ended.stderr);
    }
    assert!(ended.stderr.contains("failed=0"), "{}", ended.stderr);
    let warnings = ended.stderr.matches("were not numbers").count();
    assert_eq!(warnings, 3, "one a stream: {}", ended.stderr);
    for stream in ["some", "pipe"] {
        let windows = place.windows_of(stream);
        assert_eq!(windows.len(), 12, "{stream}");
        let scored = |body: &Body| matches!(body, Body::Window { speaker: Some(s), spoof: Some(_), .. } if s.cosine.abs() <= 1.001);
        let scored = windows.iter().filter(|e| scored(&e.body)).count();
        assert!(scored >= 9, "{stream}: {scored}");
    }
    let windows = place.windows_of("all");
    assert_eq!(windows.len(), 6);
    for event in windows {
        assert!(
            matches!(event.body, Body::Window { speech, level_dbfs, .. } if speech == 0.0 && level_dbfs <= -120.0),
            "{event:?}"
        );
    }
    let ended = place.run(&["--json", "verify", "alice", "some.wav"]);
    assert!(
        ended.stderr.contains("were not numbers"),
        "{}",
        ended.stderr
    );
    assert!(ended.json()["speaker"]["cosine"].is_number());
}

#[test]
fn a_gigabyte_of_zeros_passes_in_bounded_memory() {
    // Many channels and a high rate: much data, little time.
    let pcm = "{ rate = 384000, channels = 8, format = 'f32' }";
    let stream = format!("[[stream]]\nid = 'pipe'\nsource = {{ kind = 'stdin', pcm = {pcm} }}\n");
    let peak = |bytes: u64| {
        let place = Place::new(&stream);
        // Sparse: zeros that nobody has to store.
        File::create(place.path("zeros"))
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let zeros: Stdio = File::open(place.path("zeros")).unwrap().into();
        let start = Instant::now();
        let mut daemon = place.start_with(&["run"], zeros, &[]);
        let mut peak = 0;
        while daemon.is_running() {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{}",
                daemon.stderr()
            );
            peak = daemon.peak_kib().unwrap_or(0).max(peak);
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.end(common::PATIENCE).expect(0);
        let seconds = bytes as f64 / (384_000.0 * 32.0);
        let windows = place.windows_of("pipe");
        assert!((windows.last().unwrap().end_s - seconds).abs() < 0.01);
        assert_eq!(windows.len(), (2.0 * seconds).ceil() as usize);
        println!(
            "{} MiB: {:.1} s, at most {} MiB",
            bytes >> 20,
            start.elapsed().as_secs_f64(),
            peak >> 10
        );
        peak
    };
    let (little, much) = (peak(16 << 20), peak(1 << 30));
    assert!(
        much < little + (48 << 10),
        "{little} KiB for 16 MiB, {much} KiB for 1 GiB"
    );
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let place = Place::new("[[stream]]\nid = 'a'\nsource = { kind = 'mic' }\nvolume = 3\n");
    let ended = place.run(&["run"]).expect(2);
    let text = fs::read_to_string(place.path("ew.toml")).unwrap();
    let line = 1 + text.lines().position(|l| l.starts_with("volume")).unwrap();
    assert!(
        ended.stderr.contains(&format!("ew.toml:{line}:1: ")) && ended.stderr.contains("`volume`"),
        "{}",
        ended.stderr
    );
}

/// A copy of the tiny pack in `place`, with another file for one of its models.
fn copy_pack(place: &Place, other: impl FnOnce(Vec<u8>) -> Vec<u8>, fix_manifest: bool) {
    let (from, to) = (
        format!("{}/tests/fixtures/packs/tiny", root()),
        place.path("pack"),
    );
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let hash = |bytes: &[u8]| -> String {
        let digest = Sha256::digest(bytes);
        digest.iter().map(|b| format!("{b:02x}")).collect()
    };
    let model = fs::read(to.join("encoder.onnx")).unwrap();
    let good = hash(&model);
    let model = other(model);
    fs::write(to.join("encoder.onnx"), &model).unwrap();
    if fix_manifest {
        let manifest = fs::read_to_string(to.join("pack.toml")).unwrap();
        assert!(manifest.contains(&good));
        fs::write(to.join("pack.toml"), manifest.replace(&good, &hash(&model))).unwrap();
    }
}

#[test]
fn models_that_cannot_be_used_are_runtime_failures_with_a_reason() {
    let stream = file("a", "alice.wav", 0.0);
    let check = |place: &Place, reasons: &[&str]| {
        write_wav(&place.path("alice.wav"), 16_000, &alice(3.0, 16_000));
        for arguments in [&["run"][..], &["detect", "alice.wav"]] {
            let ended = place.run(arguments).expect(3);
            assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
            for reason in reasons {
                assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
            }
        }
        assert!(place.events().is_empty());
    };
    check(
        &Place::with_pack("nowhere", &stream),
        &["nowhere/pack.toml", "a pack is a folder"],
    );

    let flipped = Place::with_pack("pack", &stream);
    copy_pack(
        &flipped,
        |mut model| {
            model[4_000] ^= 1;
            model
        },
        false,
    );
    check(&flipped, &["encoder.onnx", "SHA-256", "damaged"]);
    let cut = Place::with_pack("pack", &stream);
    copy_pack(&cut, |model| model[..4_000].to_vec(), true);
    check(&cut, &["the encoder model"]);
    let garbage = Place::with_pack("pack", &stream);
    copy_pack(&garbage, |_| b"no model at all".repeat(99), true);
    check(&garbage, &["the encoder model"]);

    let runtime = |library| format!("runtime = '{library}'\n{stream}");
    let missing = Place::new(&runtime("nowhere.so"));
    check(&missing, &["no ONNX Runtime library", "nowhere.so"]);
    let text = Place::new(&runtime("text.so"));
    fs::write(text.path("text.so"), "not a library").unwrap();
    check(&text, &["text.so is no ONNX Runtime that works here"]);
}

#[test]
fn people_enrolled_with_other_models_are_named_and_left_out() {
    let place = Place::new(&file("a", "alice.wav", 0.0));
    write_wav(&place.path("alice.wav"), 16_000, &alice(4.0, 16_000));
    place
        .run(&["enroll", "--force", "alice", "alice.wav"])
        .expect(0);
    let store = SpeakerStore::open(&config::Speaker {
        store: place.path("speakers.redb"),
        ..config::Speaker::default()
    })
    .unwrap();
    let alice = store.get("alice").unwrap().unwrap();
    let mut stale = alice.sittings[0].clone();
    stale.pack_hash = "0".repeat(64);
    store.add("stale", stale, false).unwrap();

    let warned = |stderr: &str| {
        let about = |name: &str| {
            let mut lines = stderr
                .lines()
                .filter(|l| l.contains("enrolled with other models"));
            lines.any(|l| l.contains(name))
        };
        about("stale") && !about("alice")
    };
    let ended = place.run(&["run"]).expect(0);
    assert!(warned(&ended.stderr), "{}", ended.stderr);
    for event in place.windows_of("a") {
        let Body::Window { speaker, .. } = event.body else {
            unreachable!()
        };
        assert!(speaker.is_none_or(|s| s.name == "alice"));
    }
    let ended = place.run(&["verify", "stale", "alice.wav"]).expect(3);
    assert!(warned(&ended.stderr), "{}", ended.stderr);
}

#[test]
fn a_damaged_store_is_named_and_left_alone() {
    let place = Place::new(&file("a", "alice.wav", 0.0));
    write_wav(&place.path("alice.wav"), 16_000, &alice(4.0, 16_000));
    let garbage = b"no database".repeat(1_000);
    fs::write(place.path("speakers.redb"), &garbage).unwrap();
    for arguments in [&["run"][..], &["enroll", "alice", "alice.wav"]] {
        let ended = place.run(arguments).expect(3);
        assert!(
            ended.stderr.contains("speakers.redb is damaged"),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(fs::read(place.path("speakers.redb")).unwrap(), garbage);
}
