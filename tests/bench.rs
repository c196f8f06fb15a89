//! `earwitness bench`: each measurement on the tiny pack, briefly. What a figure is depends on the machine; that it is there,
//! and that it is of what it says, does not.

mod common;

use std::fs;

use common::place::Place;
use common::sound::{alice, silence, write_wav};
use serde_json::Value;

const RATE: u32 = 16_000;

/// A place with the tiny pack, its sound head, and 4 s of a voice with a pause.
fn place() -> Place {
    let place = Place::hearing("");
    let audio = [alice(2.0, RATE), silence(1.0, RATE), alice(1.0, RATE)];
    write_wav(&place.path("voice.wav"), RATE, &audio.concat());
    place
}

fn bench(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let fixed = ["--json", "bench", "--audio", "voice.wav", "--measure"];
    let ended = place.run(&[&fixed, arguments].concat()).expect(0);
    ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no number `{key}` in {record}"))
}

/// The bar is told with the figure, and whether it is met is what the two say.
fn is_judged(record: &Value, figure: &str, bar: &str) {
    let meets = number(record, figure) <= number(record, bar);
    assert_eq!(record["meets"].as_bool(), Some(meets), "{record}");
}

#[test]
fn throughput_is_of_the_whole_file_for_voices_alone_and_for_everything() {
    let records = bench(&place(), &["throughput", "--rounds", "2"]);
    let kinds = [
        ("speaker", 1.0),
        ("all", 1.0),
        ("speaker", 4.0),
        ("all", 4.0),
    ];
    assert_eq!(records.len(), kinds.len(), "{records:?}");
    for (record, (heads, streams)) in records.iter().zip(kinds) {
        assert_eq!(record["heads"], heads);
        assert_eq!(record["type"], "throughput");
        assert_eq!(number(record, "streams"), streams);
        assert_eq!(number(record, "audio_s"), 4.0 * streams, "{record}");
        assert_eq!(
            number(record, "windows"),
            8.0 * streams,
            "one each half second"
        );
        let speed = number(record, "audio_s") / number(record, "cpu_s");
        assert!((number(record, "speed") - speed).abs() < 1e-6 * speed);
    }
    // Sounds are looked for in every window that is not silent; what runs together is the same work.
    let encoded: Vec<f64> = records.iter().map(|r| number(r, "encoded")).collect();
    assert!(encoded[1] >= encoded[0]);
    assert_eq!([4.0 * encoded[0], 4.0 * encoded[1]], encoded[2..]);
}

#[test]
fn the_load_is_that_which_was_asked_for_and_the_lags_are_in_order() {
    let records = bench(&place(), &["load", "--seconds", "1", "--load", "3"]);
    let [load] = &records[..] else {
        panic!("{records:?}")
    };
    assert!(number(load, "streams") >= 1.0 && number(load, "windows") >= 1.0);
    let lags = ["lag_median_ms", "lag_p95_ms", "lag_p99_ms"].map(|key| number(load, key));
    assert!(lags[0] > 0.0 && lags.is_sorted(), "{lags:?}");
    assert!(number(load, "load") > 0.0);
    is_judged(load, "lag_p99_ms", "at_most_ms");
}

#[test]
fn an_idle_stream_is_cheap_and_its_windows_are_looked_at() {
    let records = bench(&place(), &["idle", "--seconds", "2"]);
    let [idle] = &records[..] else {
        panic!("{records:?}")
    };
    // 16 streams, two windows a second, on a machine that may be slow.
    assert!((40.0..=80.0).contains(&number(idle, "windows")), "{idle}");
    let percent = number(idle, "percent_of_a_core");
    assert!(percent > 0.0 && percent < 5.0, "{idle}");
    is_judged(idle, "percent_of_a_core", "at_most_percent");
}

#[test]
fn memory_is_what_32_further_streams_take() {
    let place = place();
    let short = ["bench", "--measure", "memory", "--audio", "voice.wav"];
    let ended = place.run(&short).expect(2);
    assert!(ended.stderr.contains("--audio"), "{}", ended.stderr);
    write_wav(&place.path("voice.wav"), RATE, &alice(9.0, RATE));
    let records = bench(&place, &["memory", "--seconds", "1"]);
    let [memory] = &records[..] else {
        panic!("{records:?}")
    };
    let (few, many) = (
        number(memory, "few_streams"),
        number(memory, "many_streams"),
    );
    assert_eq!(many - few, 32.0);
    let each = number(memory, "mb_per_stream");
    assert!(each > 0.01 && each < 10.0, "{memory}");
    is_judged(memory, "mb_per_stream", "at_most_mb");
}

#[test]
fn a_verdict_is_timed_on_the_ten_seconds_in_which_most_is_said() {
    let place = place();
    let short = ["bench", "--measure", "verdict", "--audio", "voice.wav"];
    let ended = place.run(&short).expect(0);
    assert!(ended.stdout.contains("not measured"), "{}", ended.stdout);
    assert!(bench(&place, &["verdict"]).is_empty());
    let audio = [
        silence(8.0, RATE),
        alice(2.0, RATE),
        alice(10.0, RATE),
        silence(5.0, RATE),
    ];
    write_wav(&place.path("voice.wav"), RATE, &audio.concat());
    let records = bench(&place, &["verdict", "--rounds", "2"]);
    let [verdict] = &records[..] else {
        panic!("{records:?}")
    };
    assert!(number(verdict, "speech_s") > 9.0, "{verdict}");
    assert!(number(verdict, "cpu_s") > 0.0 && number(verdict, "wall_s") > 0.0);
    is_judged(verdict, "cpu_s", "at_most_s");
}

#[test]
fn what_was_measured_is_saved_by_name_with_the_machine() {
    let place = place();
    let arguments = ["streams,throughput", "--streams", "1,2", "--seconds", "2"];
    let records = bench(&place, &[&arguments[..], &["--save", "all.json"]].concat());
    assert_eq!(records.len(), 7, "two tries, their summary, four speeds");
    let saved = fs::read_to_string(place.path("all.json")).expect("saved");
    let saved: Value = serde_json::from_str(&saved).expect("JSON");
    assert!(number(&saved["machine"], "cores") >= 1.0);
    assert_eq!(saved["streams"]["tries"][1], records[1]);
    assert_eq!(saved["throughput"], Value::from(records[3..].to_vec()));
    assert!(saved.get("idle").is_none(), "was not asked for");
}

#[test]
fn what_cannot_be_measured_is_a_mistake_in_the_arguments() {
    let place = place();
    for (arguments, word) in [
        (&["--measure", "taste"][..], "taste"),
        (&["--features", "--save", "all.json"], "--save"),
        (&["--load", "0"], "--load"),
        (&["--seconds", "0.5"], "--seconds"),
        (&["--streams", "0"], "--streams"),
    ] {
        let ended = place.run(&[&["bench"], arguments].concat()).expect(2);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    let nowhere = ["--measure", "throughput", "--rounds", "1"];
    let nowhere = [
        &["bench", "--audio", "voice.wav"][..],
        &nowhere,
        &["--save", "no/such/folder.json"],
    ]
    .concat();
    let ended = place.run(&nowhere).expect(3);
    assert!(ended.stderr.contains("no/such/folder.json"));
}
