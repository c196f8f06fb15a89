//! The sound head: a timeline of a recording, events of a stream, figures on a list; and packs without one, which stay as they
//! were.

mod common;

use std::fs;

use common::place::Place;
use common::sound::{alice, noise, silence, stranger, write_wav};
use earwitness::config::Provider;
use earwitness::model::{ModelError, Models, Pack, Part, Runtime};
use earwitness::publish::{Body, Event, StreamState};

const RATE: u32 = 16_000;

/// Low chord 0–5 s, faint noise 5–10 s, high chord 10–15 s, digital silence 15–19 s.
fn write_scene(place: &Place) {
    let scene = [
        alice(5.0, RATE),
        noise(5.0, RATE, 0.000_4),
        stranger(5.0, RATE),
        silence(4.0, RATE),
    ];
    write_wav(&place.path("scene.wav"), RATE, &scene.concat());
}

#[test]
fn a_recording_is_told_as_a_timeline() {
    let place = Place::hearing("");
    write_scene(&place);
    let record = place.run(&["--json", "tag", "scene.wav"]).expect(0).json();
    let spans = record["timeline"].as_array().unwrap();
    let told: Vec<(&str, f64, f64)> = spans
        .iter()
        .map(|s| {
            let number = |key: &str| s[key].as_f64().unwrap();
            assert!((0.6..=1.0).contains(&number("probability")), "{s}");
            (
                s["class"].as_str().unwrap(),
                number("start_s"),
                number("end_s"),
            )
        })
        .collect();
    let near = |i: usize, class: &str, start: f64, end: f64| {
        let (found, from, to) = told[i];
        assert!(
            found == class && (from - start).abs() <= 2.0 && (to - end).abs() <= 2.0,
            "{told:?}"
        );
    };
    assert_eq!(told.len(), 4, "{told:?}");
    near(0, "low_chord", 0.0, 5.0);
    near(1, "silence", 5.0, 10.0);
    near(2, "high_chord", 10.0, 15.0);
    near(3, "silence", 15.0, 19.0);
    let windows = record["windows"].as_array().unwrap();
    assert_eq!(windows[0]["class"], "low_chord");
    assert!(
        windows.last().unwrap()["class"].is_null(),
        "below the silence floor"
    );

    let table = place.run(&["tag", "scene.wav"]).expect(0).stdout;
    assert!(
        table.contains("high_chord") && table.lines().count() == 5,
        "{table}"
    );
    let ended = place.run(&["--json", "models", "show"]).expect(0).json();
    assert_eq!(ended["sound_classes"][1], "high_chord");
    assert_eq!(ended["sha256"].as_object().unwrap().len(), 5);
    let ended = place.run(&["models", "check"]).expect(0);
    assert!(ended.stdout.contains("5 models"), "{}", ended.stdout);
}

#[test]
fn a_pack_without_the_head_or_the_wish_is_told() {
    for (place, word) in [
        (Place::new(""), "found neither in \"tiny\""),
        (
            Place::hearing("[sound]\nenabled = false\n"),
            "sound.enabled",
        ),
    ] {
        write_wav(&place.path("a.wav"), RATE, &alice(3.0, RATE));
        let ended = place.run(&["tag", "a.wav"]).expect(2);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    let place = Place::new("");
    fs::write(place.path("list.txt"), "a.wav 0 1 noise\n").unwrap();
    let ended = place.run(&["eval", "sound", "list.txt"]).expect(2);
    assert!(ended.stderr.contains("sound head"), "{}", ended.stderr);
}

fn stream(id: &str, sound: bool) -> String {
    format!(
        "[[stream]]\nid = '{id}'\nsound = {sound}\nsource = {{ kind = 'file', path = 'scene.wav', speed = 0 }}\n"
    )
}

fn sounds(events: &[Event]) -> Vec<(String, bool)> {
    let changes = events.iter().filter_map(|e| match &e.body {
        Body::Sound { class, on, .. } => Some((class.clone(), *on)),
        _ => None,
    });
    changes.collect()
}

#[test]
fn a_stream_tells_what_begins_and_ends_and_another_one_does_not() {
    let place = Place::hearing(&(stream("hears", true) + &stream("deaf", false)));
    write_scene(&place);
    place.run(&["run"]).expect(0);

    let events = place.events_of("hears");
    let changes = sounds(&events);
    let of = |class: &str| -> Vec<bool> {
        changes
            .iter()
            .filter(|c| c.0 == class)
            .map(|c| c.1)
            .collect()
    };
    assert_eq!(of("low_chord"), [true, false], "{changes:?}");
    assert_eq!(of("high_chord"), [true, false], "{changes:?}");
    assert_eq!(of("silence"), [true, false, true], "{changes:?}");
    assert_eq!(of("noise"), Vec::<bool>::new(), "{changes:?}");
    // Windows that hold no speech are scored as well.
    let unspoken = place.windows_of("hears").into_iter().filter(|e| {
        matches!(&e.body, Body::Window { speech, sound: Some(s), .. } if *speech == 0.0 && s.class == "silence")
    });
    let unspoken = unspoken.count();
    assert!(unspoken >= 3, "{unspoken}: {:?}", place.windows_of("hears"));
    let mut state = StreamState::new(&events[0].id);
    for event in events.iter().take_while(|e| {
        !matches!(
            e.body,
            Body::Source {
                state: earwitness::publish::SourceState::Ended,
                ..
            }
        )
    }) {
        state.apply(event);
    }
    assert_eq!(state.sounds, ["silence"]);

    assert_eq!(sounds(&place.events_of("deaf")), []);
    let deaf = place.windows_of("deaf");
    assert_eq!(deaf.len(), place.windows_of("hears").len());
    assert!(
        deaf.iter()
            .all(|e| matches!(e.body, Body::Window { sound: None, .. }))
    );
    // What else is decided is not touched by it.
    let speakers = |stream: &str| {
        let mut events = place.events_of(stream);
        events.retain(|e| matches!(e.body, Body::Speaker { .. } | Body::Spoof { .. }));
        events.into_iter().map(|e| e.body).collect::<Vec<_>>()
    };
    assert_eq!(speakers("hears"), speakers("deaf"));
}

#[test]
fn a_list_of_segments_is_measured() {
    let place = Place::hearing("");
    write_scene(&place);
    write_wav(&place.path("noise.wav"), RATE, &noise(8.0, RATE, 0.1));
    let list = "scene.wav 0 4 low_chord\nscene.wav 10.5 1 high_chord\nscene.wav 5 5 silence\n\
                noise.wav 0 8 noise\nnoise.wav 1 0.5 low_chord\n";
    fs::write(place.path("list.txt"), list).unwrap();
    let arguments = [
        "--json",
        "eval",
        "sound",
        "list.txt",
        "--scores",
        "found.tsv",
    ];
    let record = place.run(&arguments).expect(0).json();
    assert_eq!(record["accuracy"], 0.8, "{record}");
    assert_eq!(record["confusion"]["low_chord"]["noise"], 1.0);
    assert_eq!(record["classes"]["low_chord"]["recall"], 0.5);
    let again = place
        .run(&["--json", "eval", "sound", "found.tsv", "--given"])
        .expect(0)
        .json();
    assert_eq!(
        (&again["classes"], &again["macro_f1"]),
        (&record["classes"], &record["macro_f1"])
    );
    let table = place.run(&["eval", "sound", "list.txt"]).expect(0).stdout;
    assert!(
        table.contains("noise (1)") && table.contains("accuracy 0.800"),
        "{table}"
    );

    for (line, code, word) in [
        (
            "scene.wav 0 4 cat\n",
            2,
            "line 1: expected a class of the pack (low_chord, high_chord, noise, silence), found \"cat\"",
        ),
        (
            "scene.wav 18 4 noise\n",
            2,
            "expected a file of at least 352000 samples",
        ),
        (
            "nowhere.wav 0 4 noise\n",
            3,
            "line 1: expected an audio file",
        ),
        ("scene.wav 0 4\n", 2, "expected path start_s seconds label"),
    ] {
        fs::write(place.path("list.txt"), line).unwrap();
        let ended = place.run(&["eval", "sound", "list.txt"]).expect(code);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn a_sound_head_is_held_to_its_contract() {
    let open = |place: &Place| -> Result<Models, ModelError> {
        let pack = Pack::load(&place.path("pack"))?;
        Models::open(Runtime::load(None)?, &pack, Provider::Cpu)
    };
    assert!(open(&Place::hearing("")).unwrap().hears_sounds());
    for (old, new, word) in [
        ("[0.07826561,", "[0.17826561,", "known answer"),
        (
            "\"noise\", \"silence\"]",
            "\"noise\"]",
            "known_answer.output is 4 values",
        ),
        ("bcb7496e", "00000000", "sound.onnx"),
    ] {
        let place = Place::hearing("");
        let manifest = place.path("pack/pack.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(old), "{old}");
        fs::write(&manifest, text.replacen(old, new, 1)).unwrap();
        let error = open(&place)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains(word), "{word}: {error}");
    }
    let tiny = Pack::load(std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/packs/tiny"
    )))
    .unwrap();
    assert!(tiny.sound_classes().is_empty() && !tiny.parts().contains(&Part::Sound));
    let mut models = Models::open(Runtime::load(None).unwrap(), &tiny, Provider::Cpu).unwrap();
    let hidden = models
        .encode(earwitness::dsp::fbank(&alice(3.0, RATE)).view())
        .unwrap();
    assert!(matches!(
        models.sounds(&hidden),
        Err(ModelError::NotOpen { part: Part::Sound })
    ));
}
