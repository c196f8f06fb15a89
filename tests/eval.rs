//! `earwitness eval`: its figures against an independent reference in Python, its scores against the library's own models, and
//! what it says of lists that it cannot use.

mod common;

use std::fs;
use std::path::Path;

use common::place::{Place, root};
use earwitness::audio::decode;
use earwitness::config::Provider;
use earwitness::dsp::fbank;
use earwitness::metrics::{Trials, det_points};
use earwitness::model::{Models, Pack, Runtime};
use earwitness::task::speaker::Scoring;
use serde_json::Value;

fn golden(name: &str) -> String {
    format!("{}/tests/golden/eval/{name}", root())
}

fn expected() -> Value {
    let text = fs::read_to_string(golden("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every value that is expected is found, numbers to 1e-6; returns how many numbers were compared.
fn compare(at: &str, expected: &Value, found: &Value) -> usize {
    match expected {
        Value::Object(map) => {
            let each = map.iter();
            each.map(|(key, value)| compare(&format!("{at}.{key}"), value, &found[key]))
                .sum()
        }
        Value::Number(number) => {
            let (expected, found) = (number.as_f64().unwrap(), found.as_f64());
            let found = found.unwrap_or_else(|| panic!("{at}: no number"));
            assert!(
                (found - expected).abs() <= 1e-6,
                "{at}: {found}, the reference says {expected}"
            );
            1
        }
        other => {
            assert_eq!(other, found, "{at}");
            0
        }
    }
}

#[test]
fn given_scores_give_the_figures_of_the_reference() {
    let place = Place::new("");
    let expected = expected();
    for (task, list, key, numbers) in [
        ("speaker", "speaker.txt", "speaker", 31),
        ("speaker", "spoofing.txt", "spoofing", 65),
        ("spoof", "spoof.txt", "spoof", 72),
        ("sound", "sound.txt", "sound", 40),
    ] {
        let ended = place
            .run(&["--json", "eval", task, &golden(list), "--given"])
            .expect(0);
        let compared = compare(key, &expected[key], &ended.json());
        assert!(compared >= numbers, "{key}: only {compared} numbers");
    }
}

#[test]
fn the_det_curve_is_that_of_the_reference() {
    let text = fs::read_to_string(golden("speaker.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let trials = lines.map(|line| {
        let columns: Vec<_> = line.split(' ').collect();
        (columns[8].parse().unwrap(), columns[4] == "target")
    });
    let found = det_points(&Trials::new(trials).unwrap());
    let expected: Vec<(f64, f64)> = serde_json::from_value(expected()["det"].clone()).unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6);
    }
}

#[test]
fn a_table_for_people_and_plots() {
    let place = Place::new("");
    let ended = place
        .run(&[
            "eval",
            "speaker",
            &golden("spoofing.txt"),
            "--given",
            "--det",
            "det.svg",
            "--histogram",
            "h.svg",
        ])
        .expect(0);
    for word in [
        "EER %",
        "minDCF",
        "a-DCF",
        "targets, spoofs of clone",
        "prior of target 0.05",
    ] {
        assert!(
            ended.stdout.contains(word),
            "no {word} in\n{}",
            ended.stdout
        );
    }
    let det = fs::read_to_string(place.path("det.svg")).unwrap();
    assert_eq!(det.matches("<polyline").count(), 4, "all, a, b, spoofs");
    assert!(det.contains("Targets rejected (%)"));
    let histogram = fs::read_to_string(place.path("h.svg")).unwrap();
    assert_eq!(histogram.matches("<polyline").count(), 3);
    let ended = place
        .run(&["eval", "spoof", &golden("spoof.txt"), "--given"])
        .expect(0);
    assert!(
        ended.stdout.contains("at BPCER 5 %") && ended.stdout.contains("gan"),
        "{}",
        ended.stdout
    );
}

/// Segments of the bundled scene: two people, and one of them forged.
/// Also the README's example.
const SCENE: &str = include_str!("../examples/scene/trials.txt");

fn scene_place() -> Place {
    let place = Place::with_pack("{root}/models/default", "");
    fs::write(place.path("scene.txt"), SCENE).unwrap();
    place
}

fn column(path: &Path, n: usize) -> Vec<f64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.split('\t').nth(n).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn segments_are_scored_by_the_packs_own_models() {
    let place = scene_place();
    let audio = format!("{}/examples/scene", root());
    let both = [
        "--json",
        "eval",
        "speaker",
        "scene.txt",
        "--audio",
        &audio,
        "--scores",
    ];
    place
        .run(&[&both[..], &["speaker.tsv", "--score", "speaker"]].concat())
        .expect(0);
    let record = place
        .run(&[&both[..], &["fused.tsv"]].concat())
        .expect(0)
        .json();
    assert_eq!(record["overall"]["positives"], 3);
    assert_eq!(record["spoofing"]["spoofs"], 1);
    assert_eq!(record["scored_by"]["score"], "fused");

    let pack = Pack::load(Path::new(&format!("{}/models/default", root()))).unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut models = Models::open(runtime, &pack, Provider::Cpu).unwrap();
    let mut embed = |name: &str, start: usize| {
        let samples = decode(&Path::new(&audio).join(name), None).unwrap();
        let hidden = models
            .encode(fbank(&samples[start..start + 48_000]).view())
            .unwrap();
        models.embed(&hidden).unwrap()
    };
    let (a, b) = (
        embed("enrol/allison_1.flac", 8_000),
        embed("scene.flac", 24_000),
    );
    let scoring = Scoring::of(&pack).unwrap();
    let llr = scoring
        .compare(&scoring.voice(a, 3.0), &scoring.voice(b, 3.0))
        .llr;
    let (speaker, fused) = (
        column(&place.path("speaker.tsv"), 8),
        column(&place.path("fused.tsv"), 8),
    );
    assert!((speaker[0] - llr).abs() < 1e-3, "{} {llr}", speaker[0]);
    assert_eq!((speaker.len(), fused.len()), (7, 7));
    // The second head can only take away.
    assert!(
        speaker.iter().zip(&fused).all(|(s, f)| *f < s + 1.1),
        "{speaker:?} {fused:?}"
    );

    // What was written is a list, and says the same once more.
    let given = ["--json", "eval", "speaker", "fused.tsv", "--given"];
    let again = place.run(&given).expect(0).json();
    compare("again", &record["overall"], &again["overall"]);
    compare("again", &record["spoofing"], &again["spoofing"]);

    let spoken = place
        .run(&[&both[..], &["spoken.tsv", "--spoken"]].concat())
        .expect(0)
        .json();
    assert_eq!(spoken["scored_by"]["spoken"], true);
    assert_ne!(column(&place.path("spoken.tsv"), 8), fused);

    // After nothing a stream is the segment itself; after two seconds it is nearly that.
    let streamed = |seconds| {
        let arguments = ["streamed.tsv", "--score", "speaker", "--streamed", seconds];
        place.run(&[&both[..], &arguments].concat()).expect(0);
        column(&place.path("streamed.tsv"), 8)
    };
    let apart = |scores: Vec<f64>| {
        let pairs = scores.iter().zip(&speaker);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(apart(streamed("0")) < 1e-4);
    let after_two = apart(streamed("2"));
    assert!((1e-3..3.0).contains(&after_two), "{after_two}");
}

#[test]
fn files_are_judged_by_their_windows() {
    let place = scene_place();
    let list =
        "scene.flac bonafide scene\nenrol/anna_1.flac spoof enrol\nenrol/allison_1.flac 1 enrol\n";
    fs::write(place.path("files.txt"), list).unwrap();
    let audio = format!("{}/examples/scene", root());
    let arguments = [
        "--json",
        "eval",
        "spoof",
        "files.txt",
        "--audio",
        &audio,
        "--scores",
        "f.tsv",
    ];
    let record = place.run(&arguments).expect(0).json();
    assert_eq!(
        (&record["trials"], &record["overall"]["negatives"]),
        (&3.into(), &1.into())
    );
    assert!(
        column(&place.path("f.tsv"), 4)
            .iter()
            .all(|s| s.is_finite())
    );
    let again = place
        .run(&["--json", "eval", "spoof", "f.tsv", "--given"])
        .expect(0)
        .json();
    compare("again", &record["detection"], &again["detection"]);
}

#[test]
fn a_list_that_cannot_be_used_is_told_with_its_line() {
    let place = Place::new("");
    let line = "a.wav 0 b.wav 0 1 g 1.5\n";
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        (
            "speaker",
            line,
            &["--given"],
            2,
            "1 target and 0 non-target",
        ),
        (
            "speaker",
            "a.wav 0 b.wav 0 1 g\n",
            &[],
            3,
            "line 1: expected an audio file, found",
        ),
        (
            "speaker",
            "\n\na.wav x b.wav 0 1\n",
            &[],
            2,
            "line 3: expected the first sample",
        ),
        (
            "speaker",
            line,
            &[],
            2,
            "expected path_a start_a path_b start_b label",
        ),
        (
            "speaker",
            "# nothing\n",
            &["--given"],
            2,
            "expected a trial a line, found none",
        ),
        ("spoof", "a.wav 3 x\n", &[], 2, "expected 1 or bonafide"),
        ("spoof", "a.wav 1 x 2.0\n", &["--given"], 2, "0 spoof"),
        (
            "spoof",
            "a.wav 1 x nan\n",
            &["--given"],
            2,
            "expected a finite score",
        ),
        (
            "spoof",
            "a.wav 1 x 2.0\n",
            &["--given", "--prior", "1"],
            2,
            "--prior",
        ),
    ];
    for (task, text, more, code, word) in cases {
        fs::write(place.path("list.txt"), text).unwrap();
        let ended = place
            .run(&[&["eval", task, "list.txt"], more].concat())
            .expect(code);
        assert!(
            ended.stderr.contains(word) && ended.stdout.is_empty(),
            "{word}: {}",
            ended.stderr
        );
    }
    let ended = place.run(&["eval", "speaker", "nowhere.txt"]).expect(2);
    assert!(ended.stderr.contains("nowhere.txt"), "{}", ended.stderr);
    for wrong in [
        &["--priors", "0.5,0.5,0.5"][..],
        &["--costs", "1,2"],
        &["--costs", "1,2,-3"],
    ] {
        let ended = place.run(&[&["eval", "speaker", "list.txt", "--given"], wrong].concat());
        assert!(
            ended.expect(2).stderr.contains("expected three numbers"),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_segment_beyond_its_file_is_told() {
    let place = scene_place();
    let list = "enrol/anna_1.flac 90000000 scene.flac 0 1\nscene.flac 0 scene.flac 0 0\n";
    fs::write(place.path("list.txt"), list).unwrap();
    let audio = format!("{}/examples/scene", root());
    let ended = place
        .run(&["eval", "speaker", "list.txt", "--audio", &audio])
        .expect(2);
    let word = "line 1: expected a file of at least 90048000 samples at 16 kHz, found";
    assert!(ended.stderr.contains(word), "{}", ended.stderr);
}
