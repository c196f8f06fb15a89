//! The demo as a newcomer sees it: the bundled scene in real time, and as fast as the machine can.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Kills a child that a failed assertion leaves behind.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the demo to its end; events and the summary.
fn demo(speed: &str, port: u16) -> (Vec<Value>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_earwitness"))
        .args([
            "demo",
            "--json",
            "--speed",
            speed,
            "--port",
            &port.to_string(),
        ])
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.is_empty(),
        "a demo that works has nothing to log: {errors}"
    );
    let mut lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let summary = lines.pop().expect("a summary");
    assert_eq!(summary["type"], "summary");
    (lines, summary)
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("expected a number, found {value}"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// The answers that do not depend on how fast the scene is played.
fn answers(summary: &Value) -> Vec<(Value, Value)> {
    summary["segments"]
        .as_array()
        .expect("segments")
        .iter()
        .map(|s| (s["speaker"].clone(), s["voice"].clone()))
        .collect()
}

#[test]
fn the_scene_in_real_time_is_told_without_a_gap_and_in_time() {
    let port = free_port();
    // Any client can listen meanwhile: this one knows nothing of the program.
    let watcher = std::thread::spawn(move || watch(port));
    let (events, summary) = demo("1", port);
    let seen = watcher.join().expect("the watcher ends");

    println!(
        "end of window to arrival at an MQTT client: median {:.0} ms, 99 % {:.0} ms; {:.0} % of a core; of {} answers {} right, {} wrong",
        number(&summary["delay_median_ms"]),
        number(&summary["delay_p99_ms"]),
        number(&summary["cpu_percent"]),
        summary["of"],
        summary["right"],
        summary["wrong"]
    );
    assert_eq!(summary["gaps"], 0);
    assert!(number(&summary["delay_median_ms"]) <= 1_000.0);
    // 64 s of scene cannot be over sooner: it was played in real time.
    assert!(number(&summary["wall_s"]) >= 64.0);
    assert_good(&summary);
    assert!(
        seen.iter()
            .any(|topic| topic.ends_with("/scene/event/speaker")),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|topic| topic.ends_with("/scene/state")),
        "{seen:?}"
    );
    let windows = events.iter().filter(|e| e["type"] == "window").count();
    assert!(windows >= 64, "a window a second: {windows}");
}

/// Of twelve answers (who speaks and whether the voice is real, in six segments) the pack may leave three open; who speaks and
/// the clone have to be told, and nothing may be told wrong.
fn assert_good(summary: &Value) {
    assert_eq!(summary["wrong"], 0, "{summary}");
    assert!(number(&summary["right"]) >= 9.0, "{summary}");
    for segment in summary["segments"].as_array().expect("segments") {
        assert_eq!(segment["speaker_grade"], "right", "{summary}");
        assert!(segment["voice_grade"].is_string(), "{summary}");
    }
    assert_eq!(summary["segments"][3]["voice"], "synthetic", "{summary}");
}

#[test]
fn the_answers_do_not_depend_on_the_speed() {
    let (_, first) = demo("0", 0);
    let (_, second) = demo("8", 0);
    assert_eq!(answers(&first), answers(&second));
    assert_good(&first);
    assert!(
        number(&first["wall_s"]) < 60.0,
        "faster than real time: {first}"
    );
}

/// Topics that `mosquitto_sub` receives until the broker goes away.
fn watch(port: u16) -> Vec<String> {
    let mut topics = Vec::new();
    // The broker comes up some time after the program starts.
    for _ in 0..100 {
        let child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "earwitness/#", "-F", "%t %p", "-C", "40"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("expected mosquitto_sub (Debian package mosquitto-clients); scripts/setup.sh --tests installs it");
        let mut child = Guard(child);
        let output = child.0.stdout.take().expect("piped");
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let (topic, payload) = line.split_once(' ').expect("topic and payload");
            if topic.contains("/event/") {
                let event: earwitness::publish::Event =
                    serde_json::from_str(payload).expect("an event");
                assert_eq!(event.schema, earwitness::publish::SCHEMA);
            }
            topics.push(topic.to_owned());
        }
        if topics.len() >= 40 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    topics
}
