//! `detect` on recordings that are partly synthetic, and on those that are nothing of the kind; the picture; figures on a list.

mod common;

use std::fs;
use std::path::Path;

use common::place::Place;
use common::sound::{noise, silence, write_wav};
use earwitness::audio::decode;
use serde_json::Value;

const RATE: u32 = 16_000;

fn place() -> Place {
    Place::with_pack("{root}/models/default", "")
}

/// Seconds of the bundled scene: its first part is a real voice, its fourth a resynthesis of the same person.
fn scene(parts: &[(f64, f64)]) -> Vec<f32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scene/scene.flac");
    let scene = decode(&file, None).expect("the bundled scene");
    let at = |s: f64| (s * f64::from(RATE)) as usize;
    let parts = parts.iter().map(|&(from, to)| &scene[at(from)..at(to)]);
    parts.collect::<Vec<_>>().concat()
}

/// The real voice, the synthetic one from 3.2 s to 13.2 s, the real one again, with pauses between.
fn spliced() -> Vec<f32> {
    let pause = silence(0.3, RATE);
    let parts = [(1.2, 4.1), (34.8, 44.8), (6.85, 11.2)];
    parts.map(|part| scene(&[part])).join(&pause[..])
}

fn segments(record: &Value) -> Vec<(f64, f64, String)> {
    let number = |s: &Value, key: &str| s[key].as_f64().unwrap_or_else(|| panic!("{key}: {s}"));
    let all = record["segments"].as_array().expect("segments").iter();
    all.map(|s| {
        let probability = number(s, "probability");
        assert!((0.0..=1.0).contains(&probability), "{s}");
        let evidence = s["evidence"].as_object().expect("evidence");
        let sum: f64 = evidence.values().map(|v| v.as_f64().unwrap()).sum();
        assert!(
            evidence.len() > 1 && (sum - number(s, "llr")).abs() < 1e-3,
            "{s}"
        );
        let verdict = s["verdict"].as_str().unwrap().to_owned();
        (number(s, "start_s"), number(s, "end_s"), verdict)
    })
    .collect()
}

#[test]
fn a_synthetic_stretch_within_a_recording_is_found_and_drawn() {
    let place = place();
    write_wav(&place.path("spliced.wav"), RATE, &spliced());
    let arguments = ["--json", "detect", "spliced.wav", "--image", "spliced.png"];
    let ended = place.run(&arguments);
    let record = ended.json();
    let found = segments(&record);
    for pair in found.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{found:?}");
    }
    let synthetic: Vec<_> = found.iter().filter(|s| s.2 == "reject").collect();
    let (first, last) = (synthetic.first().expect("one"), synthetic.last().unwrap());
    assert!(
        (first.0 - 3.2).abs() <= 0.5 && (last.1 - 13.2).abs() <= 0.5,
        "{found:?}"
    );
    assert!(
        found[0].2 == "accept" && found.last().unwrap().2 == "accept",
        "{found:?}"
    );
    let mut at = 0.0;
    for piece in record["curve"].as_array().unwrap() {
        let (start, end) = (
            piece["start_s"].as_f64().unwrap(),
            piece["end_s"].as_f64().unwrap(),
        );
        assert!(
            start >= at && end > start && piece["llr"].is_number(),
            "{piece}"
        );
        at = end;
        let holding = found.iter().filter(|s| s.0 <= start && end <= s.1).count();
        assert_eq!(holding, 1, "{piece} {found:?}");
    }

    let bytes = fs::read(place.path("spliced.png")).expect("a picture");
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((info.width, info.height), (1280, 660));

    let table = place.run(&["detect", "spliced.wav"]).stdout;
    assert!(
        table.contains("synthetic") && table.contains("real"),
        "{table}"
    );
    assert!(table.lines().count() >= found.len() + 2, "{table}");
}

#[test]
fn a_recording_that_is_real_on_the_whole_is_not_accepted_with_a_synthetic_sentence_in_it() {
    let place = Place::with_pack("{root}/models/default", "[spoof.decision]\nmargin = 0.5\n");
    let pause = silence(0.3, RATE);
    let more = scene(&[(6.85, 11.2)]);
    let real = [&scene(&[(1.2, 4.1)])[..], &more].join(&pause[..]);
    let fake = scene(&[(34.8, 37.4)]);
    let spliced = [&real, &real, &fake, &more, &real, &real].map(|p| &p[..]);
    write_wav(&place.path("spliced.wav"), RATE, &spliced.join(&pause[..]));
    write_wav(&place.path("whole.wav"), RATE, &real);
    let whole = place.run(&["--json", "detect", "whole.wav"]).expect(0);
    assert_eq!(whole.json()["verdict"], "accept");
    let record = place.run(&["--json", "detect", "spliced.wav"]).expect(1);
    let record = record.json();
    // Its mean alone would be accepted.
    assert!(record["llr"].as_f64().unwrap() >= 0.5, "{record}");
    assert_eq!(record["verdict"], "inconclusive", "{record}");
    assert!(segments(&record).iter().any(|s| s.2 == "reject"));
}

#[test]
fn utterances_too_short_for_a_window_are_judged_by_their_pieces() {
    let place = place();
    let pause = silence(1.0, RATE);
    for (name, from, exit) in [("real.wav", 1.2, 0), ("fake.wav", 34.8, 1)] {
        let words = [(from, from + 1.0), (from + 1.0, from + 2.0)].map(|part| scene(&[part]));
        write_wav(&place.path(name), RATE, &words.join(&pause[..]));
        let arguments = ["--json", "detect", name, "--window", "3"];
        let record = place.run(&arguments).expect(exit).json();
        assert_eq!(record["windows"].as_array().unwrap().len(), 0, "{record}");
        let speech_s = record["speech_s"].as_f64().unwrap();
        assert!((1.2..=2.5).contains(&speech_s), "{record}");
        let number = |value: &Value| value.as_f64().unwrap();
        let curve = record["curve"].as_array().unwrap();
        let pieces = curve.iter().map(|p| {
            (
                number(&p["end_s"]) - number(&p["start_s"]),
                number(&p["llr"]),
            )
        });
        let mean = pieces.map(|(seconds, llr)| seconds * llr).sum::<f64>() / speech_s;
        assert!((number(&record["llr"]) - mean).abs() < 1e-6, "{record}");
    }
}

#[test]
fn what_holds_no_speech_is_told() {
    let place = place();
    let music = scene(&[(46.0, 54.0)]);
    for (name, samples) in [
        ("silence.wav", silence(4.0, RATE)),
        ("hiss.wav", noise(4.0, RATE, 0.01)),
        ("music.wav", music),
        ("blink.wav", scene(&[(3.0, 3.2)])),
        ("nothing.wav", silence(0.01, RATE)),
    ] {
        write_wav(&place.path(name), RATE, &samples);
        let ended = place
            .run(&["--json", "detect", name, "--image", "out.png"])
            .expect(3);
        assert!(
            ended.stderr.contains("found none"),
            "{name}: {}",
            ended.stderr
        );
        assert!(!place.path("out.png").exists(), "{name}");
    }
}

#[test]
fn several_recordings_are_judged_each_by_itself_and_one_that_cannot_be_does_not_end_it() {
    let place = place();
    write_wav(&place.path("real.wav"), RATE, &scene(&[(6.0, 11.2)]));
    write_wav(&place.path("fake.wav"), RATE, &scene(&[(34.8, 39.8)]));
    write_wav(&place.path("silence.wav"), RATE, &silence(4.0, RATE));
    let alone = [("real.wav", 0), ("fake.wav", 1)]
        .map(|(name, exit)| place.run(&["--json", "detect", name]).expect(exit).json());
    let names = ["real.wav", "silence.wav", "none.wav", "fake.wav"];
    let ended = place.run(&[&["--json", "detect"][..], &names].concat());
    let ended = ended.expect(3);
    let lines = ended.stdout.lines();
    let records: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(records, alone);
    for told in ["silence.wav: expected", "none.wav"] {
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    // One that is rejected is enough for the exit code, whatever comes after it.
    let table = place.run(&["detect", "fake.wav", "real.wav"]).expect(1);
    let at = |word: &str| table.stdout.find(word).unwrap_or_else(|| panic!("{word}"));
    assert!(at("fake.wav") < at("REJECT") && at("REJECT") < at("real.wav"));
    let arguments = ["detect", "fake.wav", "real.wav", "--image", "both.png"];
    let ended = place.run(&arguments).expect(2);
    assert!(ended.stderr.contains("one recording"), "{}", ended.stderr);
}

#[test]
fn a_picture_is_a_png_in_a_place_that_can_be_written() {
    let place = place();
    write_wav(&place.path("real.wav"), RATE, &scene(&[(1.2, 5.0)]));
    let ended = place
        .run(&["detect", "real.wav", "--image", "real.gif"])
        .expect(2);
    assert!(ended.stderr.contains("ends in .png"), "{}", ended.stderr);
    let ended = place
        .run(&["detect", "real.wav", "--image", "no/real.png"])
        .expect(3);
    assert!(ended.stderr.contains("no/real.png"), "{}", ended.stderr);
}

#[test]
fn figures_on_a_list() {
    let place = place();
    write_wav(&place.path("spliced.wav"), RATE, &spliced());
    write_wav(&place.path("real.wav"), RATE, &scene(&[(1.2, 11.2)]));
    fs::write(
        place.path("list.txt"),
        "spliced.wav world 3.2 13.2\nreal.wav bonafide\n",
    )
    .unwrap();
    let arguments = [
        "--json",
        "eval",
        "timeline",
        "list.txt",
        "--curve",
        "curve.tsv",
    ];
    let record = place.run(&arguments).expect(0).json();
    let overall = &record["overall"];
    assert_eq!(
        (&overall["fakes"], &overall["found_percent"]),
        (&1.into(), &100.0.into())
    );
    assert!(
        overall["border_error_90_percent_s"].as_f64().unwrap() <= 0.5,
        "{overall}"
    );
    assert!(
        overall["real_speech_s"].as_f64().unwrap() > 10.0,
        "{overall}"
    );
    assert_eq!(record["systems"]["bonafide"]["fakes"], 0);
    let curve = fs::read_to_string(place.path("curve.tsv")).unwrap();
    assert!(curve.lines().all(|l| l.split('\t').count() == 9), "{curve}");
    let table = place
        .run(&["eval", "timeline", "list.txt"])
        .expect(0)
        .stdout;
    assert!(
        table.lines().count() == 4 && table.contains("world"),
        "{table}"
    );

    fs::write(place.path("list.txt"), "spliced.wav world 5.0\n").unwrap();
    let ended = place.run(&["eval", "timeline", "list.txt"]).expect(2);
    assert!(ended.stderr.contains("line 1"), "{}", ended.stderr);
}
