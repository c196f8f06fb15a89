//! The whole program where a GPU is wished for: what it says where there is none, and that running windows together changes
//! nothing of what is told. On a machine with a GPU the same tests run on it.

mod common;

use common::place::Place;
use common::sound::{alice, noise, silence, stranger, write_wav};
use earwitness::config::Provider;
use earwitness::model::{Models, Runtime};
use earwitness::publish::Event;

const STREAM: &str =
    "[[stream]]\nid = 'a'\nsource = { kind = 'file', path = 'a.wav', speed = 0 }\n";

/// Whether models run on this provider here.
fn works(provider: Provider) -> bool {
    let runtime = Runtime::load(None).expect("the library that `make test` fetches");
    Models::open(runtime, &common::packs::tiny(), provider).is_ok()
}

#[test]
fn a_provider_that_is_named_and_not_there_stops_the_daemon() {
    for (name, provider) in [("cuda", Provider::Cuda), ("tensorrt", Provider::Tensorrt)] {
        if works(provider) {
            continue;
        }
        let place = Place::new(&format!("provider = '{name}'\n{STREAM}"));
        write_wav(&place.path("a.wav"), 16_000, &alice(2.0, 16_000));
        for command in ["run", "bench"] {
            let ended = place.run(&[command]).expect(3);
            let said = format!("{name} does not work here");
            assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        }
        let doctor = place.run(&["doctor", "--json"]).expect(3);
        let line = doctor.stdout.lines().find(|l| l.contains("\"models\""));
        assert!(line.is_some_and(|l| l.contains("\"fail\"")), "{line:?}");
        assert!(place.events().is_empty());
    }
}

#[test]
fn a_second_choice_is_told_in_the_log_and_by_doctor() {
    let place = Place::new(&format!("provider = 'auto'\n{STREAM}"));
    write_wav(&place.path("a.wav"), 16_000, &alice(3.0, 16_000));
    let ended = place.run(&["run"]).expect(0);
    assert!(!place.windows_of("a").is_empty());
    let doctor = place.run(&["doctor", "--json"]).expect(0);
    let line = doctor.stdout.lines().find(|l| l.contains("\"models\""));
    let line = line.expect("a line on models");
    if works(Provider::Tensorrt) {
        assert!(
            line.contains("\"ok\"") && line.contains("on tensorrt"),
            "{line}"
        );
        return;
    }
    let device = if works(Provider::Cuda) { "cuda" } else { "cpu" };
    assert!(line.contains("\"warn\""), "{line}");
    let found = format!("known answers given on {device} only");
    assert!(line.contains(&found), "{line}");
    assert!(line.contains("tensorrt does not work here"), "{line}");
    assert!(
        ended.stderr.contains("models do not run on tensorrt") && ended.stderr.contains("WARN"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(device), "{}", ended.stderr);
}

/// What was found, without what differs from run to run.
fn told(events: Vec<Event>) -> Vec<(u64, String)> {
    let body = |event: Event| {
        let mut body = serde_json::to_value(&event.body).expect("JSON");
        round(&mut body);
        (event.id.sequence, body.to_string())
    };
    events.into_iter().map(body).collect()
}

/// To three digits: batches may differ in the last ones.
fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(n) if n.is_f64() => {
            let rounded = n.as_f64().map(|x| format!("{x:.2}"));
            *value = rounded.into();
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(round),
        serde_json::Value::Object(map) => map.values_mut().for_each(round),
        _ => (),
    }
}

#[test]
fn streams_hear_the_same_whatever_runs_together() {
    let rate = 16_000;
    let mut turns = alice(4.0, rate);
    turns.extend(silence(1.5, rate));
    turns.extend(stranger(3.3, rate));
    let mut steps = noise(2.2, rate, 0.1);
    steps.extend(alice(5.0, rate));
    let run = |batch: usize| {
        let streams: String = ["a", "b", "c", "d"]
            .map(|id| STREAM.replace("'a", &format!("'{id}")))
            .concat();
        let place = Place::hearing(&format!("workers = 1\nbatch = {batch}\n{streams}"));
        write_wav(&place.path("a.wav"), rate, &turns);
        write_wav(&place.path("b.wav"), rate, &steps);
        write_wav(&place.path("c.wav"), rate, &stranger(4.1, rate));
        write_wav(&place.path("d.wav"), 48_000, &alice(6.0, 48_000));
        let ended = place.run(&["run"]).expect(0);
        let of = |id| told(place.events_of(id));
        (["a", "b", "c", "d"].map(of), ended.stderr)
    };
    let (single, log) = run(1);
    assert!(log.contains("mean_batch=1.0"), "{log}");
    let (together, log) = run(8);
    assert!(
        !log.contains("mean_batch=1.0") && log.contains("retried=0"),
        "{log}"
    );
    for (single, together) in single.iter().zip(&together) {
        let scored = |(_, body): &&(u64, String)| body.contains("\"spoof\":{");
        assert!(single.iter().filter(scored).count() >= 2, "{single:?}");
        assert_eq!(single, together);
    }
}

#[test]
fn bench_says_where_and_how_many_at_once() {
    let place = Place::new("");
    write_wav(&place.path("a.wav"), 16_000, &alice(3.0, 16_000));
    let arguments = [
        "bench",
        "--measure",
        "streams",
        "--streams",
        "3",
        "--seconds",
        "2",
        "--audio",
        "a.wav",
        "--provider",
        "cpu",
        "--batch",
        "4",
    ];
    let table = place.run(&arguments).expect(0).stdout;
    let head = table.lines().next().expect("a head");
    for word in ["streams", "on", "batch", "gpu %", "lag p99 ms"] {
        assert!(head.contains(word), "{table}");
    }
    assert!(table.contains("cpu"), "{table}");
    let lines = place.run(&[&arguments[..], &["--json"]].concat()).expect(0);
    let one: serde_json::Value =
        serde_json::from_str(lines.stdout.lines().next().expect("a try")).expect("JSON");
    assert_eq!(one["provider"], "cpu");
    assert!(one["gpu_percent"].is_null(), "{one}");
    assert!(one["mean_batch"].as_f64() >= Some(1.0), "{one}");
    let (runs, ran) = (
        &one["models"]["encoder"]["runs"],
        &one["models"]["encoder"]["ran_us"],
    );
    assert!(runs.as_u64() > Some(0) && ran.as_u64() > Some(0), "{one}");
    assert!(one["models"]["speech"]["waited_us"].is_u64(), "{one}");
}
