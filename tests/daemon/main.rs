//! `earwitness run`, the real program: from a sound card, files, pipes and commands to MQTT and JSON lines, and its end.

#![cfg(target_os = "linux")]

mod broker;
#[path = "../common/mod.rs"]
mod common;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use common::alsa::{RATE, Writer, card, write_conf};
use common::broker::Mosquitto;
use common::listener::Listener;
use common::place::{Place, root};
use common::program::Program;
use common::sound::{alice, silence, stranger, to_i16, write_wav};
use common::{PATIENCE, wait};
use earwitness::publish::{Body, Event, GapReason, SourceState, Verdict};

const BASE: &str = "earwitness/test";

fn mqtt(broker: &Mosquitto) -> String {
    format!("[mqtt]\nbroker = 'mqtt://127.0.0.1:{}'\n", broker.port)
}

fn file(id: &str, path: &str, speed: f64) -> String {
    format!(
        "[[stream]]\nid = '{id}'\nsource = {{ kind = 'file', path = '{path}', speed = {speed:?} }}\n"
    )
}

/// Half a minute in which alice speaks, with pauses.
fn write_long(place: &Place) {
    let turn = [alice(3.0, 16_000), silence(3.0, 16_000)].concat();
    write_wav(&place.path("long.wav"), 16_000, &turn.repeat(5));
}

/// By force: her voice is a chord, which nobody would call real.
fn enrol_alice(place: &Place) {
    write_wav(&place.path("alice.wav"), RATE, &alice(6.0, RATE));
    place
        .run(&["enroll", "--force", "alice", "alice.wav"])
        .expect(0);
}

/// Events of one kind that a subscriber heard, without those that came twice.
fn heard(listener: &Listener, stream: &str, kind: &str) -> Vec<Event> {
    let messages = listener.on(&format!("{BASE}/{stream}/event/{kind}"));
    let mut events: Vec<Event> = messages
        .iter()
        .map(|p| serde_json::from_slice(&p.payload).unwrap())
        .collect();
    events.dedup_by(|a, b| a.id == b.id);
    events
}

/// Who spoke, whether anybody did, and the verdict.
fn turns(events: &[Event]) -> Vec<(Option<&str>, bool, Verdict)> {
    let turn = |event| match event {
        &Event {
            body:
                Body::Speaker {
                    ref speaker,
                    speaking,
                    verdict,
                    ..
                },
            ..
        } => Some((speaker.as_deref(), speaking, verdict)),
        _ => None,
    };
    events.iter().filter_map(turn).collect()
}

#[test]
fn a_microphone_is_heard_and_the_right_name_reaches_a_subscriber() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let place = Place::new(
        // One channel: the test card's right is the negative of its left.
        &(mqtt(&broker)
            + "[[stream]]\nid = 'door'\nchannel = 0\nsource = { kind = 'mic', device = 'Test card ew_card' }\n"),
    );
    enrol_alice(&place);
    write_conf(place.dir(), &card(place.dir(), "ew_card", false));
    let scene = [
        silence(0.5, RATE),
        alice(4.0, RATE),
        silence(3.0, RATE),
        stranger(3.0, RATE),
    ];
    let _writer = Writer::start(&place.path("ew_card.fifo"), to_i16(&scene.concat()));
    let conf = place.path("asound.conf");
    let variables = [("ALSA_CONFIG_PATH", conf.as_path())];
    let mut daemon = place.start_with(&["run"], Stdio::null(), &variables);
    let status = format!("{BASE}/status");
    daemon.until("`online`", || !listener.on(&status).is_empty());
    assert_eq!(listener.on(&status)[0].payload, "online");
    daemon.until("three turns", || {
        heard(&listener, "door", "speaker").len() >= 3
    });

    let sources = heard(&listener, "door", "source");
    assert!(
        matches!(
            sources[0].body,
            Body::Source {
                state: SourceState::Up,
                ..
            }
        ),
        "{sources:?}"
    );
    let speaker = heard(&listener, "door", "speaker");
    assert_eq!(
        turns(&speaker)[..3],
        [
            (Some("alice"), true, Verdict::Accept),
            (None, false, Verdict::Inconclusive),
            (None, true, Verdict::Reject),
        ]
    );
    // On the clock of the card, from its first sample: the writer may have filled the pipe before.
    let Body::Speaker { since_s: first, .. } = speaker[0].body else {
        unreachable!()
    };
    let Body::Speaker { since_s: third, .. } = speaker[2].body else {
        unreachable!()
    };
    assert!(
        ((third - first) - 7.0).abs() < 0.2,
        "7 s from turn to turn: {first} {third}"
    );
    assert!(!heard(&listener, "door", "spoof").is_empty());
    let windows = heard(&listener, "door", "window");
    assert!(windows.len() > 10, "{}", windows.len());
    let of_alice = |e: &&Event| matches!(&e.body, Body::Window { speaker: Some(s), spoof: Some(_), .. } if s.name == "alice" && s.verdict == Verdict::Accept);
    assert!(windows.iter().filter(of_alice).count() >= 3);
    let mut lags: Vec<f64> = windows.iter().map(|e| e.lag_ms).collect();
    lags.sort_by(f64::total_cmp);
    println!(
        "lag of {} windows: median {:.0} ms, worst {:.0} ms",
        lags.len(),
        lags[lags.len() / 2],
        lags[lags.len() - 1]
    );

    // Somebody who comes late finds what is retained.
    let late = Listener::start(broker.port);
    late.wait_last(&status, "online");
    let info = late.wait_for(&format!("{BASE}/info"), 1);
    let info: serde_json::Value = serde_json::from_slice(&info[0].payload).unwrap();
    assert_eq!(info["models"]["provider"], "cpu", "{info}");
    assert_eq!(info["models"]["refused"], serde_json::json!([]), "{info}");
    let state = late.wait_for(&format!("{BASE}/door/state"), 1);
    assert!(state[0].retain);
    let state: serde_json::Value = serde_json::from_slice(&state[0].payload).unwrap();
    assert_eq!(state["source"], "up", "{state}");

    let (ended, _) = daemon.stop();
    listener.wait_last(&status, "offline");
    assert!(
        ended.stderr.contains("microphone is up"),
        "{}",
        ended.stderr
    );
    // What was published is what was written.
    let written = place.events_of("door");
    let published = heard(&listener, "door", "speaker");
    assert!(published.iter().all(|e| written.contains(e)));
    assert_eq!(turns(&written), turns(&published));
}

#[test]
fn sixteen_streams_with_work_waiting_stop_in_time() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let scene = format!("{}/examples/scene/scene.flac", root());
    // As fast as the machine can, so that every queue is full when the signal comes.
    let streams: String = (0..16)
        .map(|i| file(&format!("s{i}"), &scene, 0.0))
        .collect();
    // So few workers that no machine is done within the stop.
    let more = "workers = 2\n".to_owned() + &mqtt(&broker) + &streams;
    let place = Place::with_pack("{root}/models/default", &more);
    let mut daemon = place.start(&["run"]);
    // The first second of the scene is silence, which costs nothing.
    daemon.until("windows of speech", || place.count() >= 200);
    let (ended, _) = daemon.stop();
    assert!(ended.stderr.contains("stopped"), "{}", ended.stderr);
    listener.wait_last(&format!("{BASE}/status"), "offline");
    // What was not analysed is told, once a stream.
    let lost: Vec<String> = place
        .events()
        .into_iter()
        .filter(|e| matches!(e.body, Body::Gap { reason, .. } if reason == GapReason::EngineBehind))
        .map(|e| e.id.stream)
        .collect();
    let streams: HashSet<&String> = lost.iter().collect();
    assert!(!lost.is_empty() && streams.len() == lost.len(), "{lost:?}");
}

#[test]
fn a_stream_is_muted_and_heard_again_and_its_decisions_change_while_it_runs() {
    let broker = Mosquitto::start();
    let place = Place::new(&(mqtt(&broker) + &file("hall", "long.wav", 1.0)));
    enrol_alice(&place);
    write_long(&place);
    let listener = Listener::start(broker.port);
    let mut daemon = place.start(&["run"]);
    let command = |verb: &str, fields: &str| {
        let options = rumqttc::MqttOptions::new(format!("asker-{verb}"), "127.0.0.1", broker.port);
        let (client, mut connection) = rumqttc::Client::new(options, 4);
        let (topic, payload) = (
            format!("{BASE}/command/{verb}"),
            format!("{{\"stream\": \"hall\"{fields}}}"),
        );
        client
            .publish(topic, rumqttc::QoS::AtLeastOnce, false, payload)
            .unwrap();
        let sent = |happening: &Result<rumqttc::Event, _>| {
            matches!(
                happening,
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)))
            )
        };
        assert!(connection.iter().any(|happening| sent(&happening)));
        let answer = listener.wait_for(&format!("{BASE}/response/{verb}"), 1);
        let answer: serde_json::Value = serde_json::from_slice(&answer[0].payload).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    };
    daemon.until("a turn", || turns(&place.events_of("hall")).len() == 1);
    let speakers = || {
        let mut events = place.events_of("hall");
        events.retain(|e| matches!(e.body, Body::Speaker { .. }));
        events
    };
    let told = speakers().len();
    let answer = command("verify", "");
    assert_eq!(answer["state"]["speaker"], "alice", "{answer}");
    daemon.until("the same again", || speakers().len() > told);
    assert_eq!(speakers()[told].body, speakers()[told - 1].body);
    // By this nobody is ever accepted.
    command("set", ", \"speaker\": {\"cost_false_accept\": 1e300}");
    daemon.until("a stranger", || {
        let last = speakers().pop().map(|e| e.body);
        matches!(
            last,
            Some(Body::Speaker {
                verdict: Verdict::Reject,
                ..
            })
        )
    });
    command("mute", "");
    let muted = (SourceState::Down, Some("muted by a command".to_owned()));
    daemon.until("word of it", || place.source_of("hall").contains(&muted));
    let before = place.windows_of("hall");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(place.windows_of("hall").len(), before.len(), "it is heard");
    command("unmute", "");
    daemon.until("windows of another epoch", || {
        let last = place.windows_of("hall").pop();
        last.map(|e| e.id.epoch) > before.last().map(|e| e.id.epoch)
    });
    daemon.stop();
}

#[test]
fn an_absent_microphone_is_told_and_waited_for() {
    let place = Place::new(
        &("[[stream]]\nid = 'door'\nsource = { kind = 'mic', device = 'No such card' }\n"
            .to_owned()
            + &file("tape", "long.wav", 0.0)),
    );
    write_long(&place);
    write_conf(place.dir(), "");
    let conf = place.path("asound.conf");
    let variables = [("ALSA_CONFIG_PATH", conf.as_path())];
    let mut daemon = place.start_with(&["run"], Stdio::null(), &variables);
    let ended = (SourceState::Ended, None);
    daemon.until("the tape's end", || {
        place.source_of("tape").contains(&ended)
    });
    daemon.until("word of the microphone", || {
        !place.source_of("door").is_empty()
    });
    let (state, reason) = place.source_of("door").remove(0);
    assert_eq!(state, SourceState::Down);
    assert!(reason.is_some_and(|r| r.contains("No such card")));
    assert_eq!(place.windows_of("tape").len(), 60);
    assert!(daemon.is_running(), "{}", daemon.stderr());
    daemon.stop();
}

/// What was measured on one window, by name.
fn measured(event: &Event) -> Vec<(&'static str, f64)> {
    let Body::Window {
        level_dbfs,
        clipped,
        speech,
        speaker,
        spoof,
        sound: None,
        ..
    } = &event.body
    else {
        panic!("{event:?}")
    };
    let mut all = vec![
        ("start", event.start_s),
        ("end", event.end_s),
        ("level", *level_dbfs),
        ("clipped", *clipped),
        ("speech", *speech),
    ];
    all.extend(speaker.iter().map(|s| ("cosine", s.cosine)));
    all.extend(spoof.iter().map(|s| ("spoof", s.llr)));
    all
}

fn assert_same_windows(expected: &[Event], found: &[Event], what: &str) {
    assert_eq!(expected.len(), found.len(), "{what}");
    for (a, b) in expected.iter().zip(found) {
        let (a, b) = (measured(a), measured(b));
        let same = a.len() == b.len()
            && a.iter()
                .zip(&b)
                .all(|(x, y)| x.0 == y.0 && (x.1 - y.1).abs() < 1e-4);
        assert!(same, "{what}\nexpected {a:?}\n   found {b:?}");
    }
}

#[test]
fn scores_depend_neither_on_the_speed_nor_on_the_way_in() {
    let speech = format!("{}/examples/scene/enrol/anna_1.flac", root());
    let alone = Place::new(&file("fast", &speech, 0.0));
    alone.run(&["enroll", "--force", "anna", &speech]).expect(0);
    // The only stream ends, and so does the daemon.
    let ended = alone.run(&["run"]).expect(0);
    assert!(ended.stderr.contains("every source has ended"));
    let expected = alone.windows_of("fast");
    let seconds = expected.last().unwrap().end_s;
    assert!(expected.len() as f64 >= 2.0 * seconds, "{seconds}");
    let scored = expected.iter().filter(|e| measured(e).len() == 7).count();
    assert!(scored >= 5, "{scored} windows of speech");

    let place = Place::new(
        &(file("paced", &speech, 20.0)
            + "[[stream]]\nid = 'pipe'\nsource = { kind = 'stdin' }\n"
            + "[[stream]]\nid = 'program'\nsource = { kind = 'command', argv = ['cat', 'speech.pcm'] }\n"),
    );
    for name in ["speakers.redb", "speakers.key"] {
        std::fs::copy(alone.path(name), place.path(name)).unwrap();
    }
    let samples = earwitness::audio::decode(Path::new(&speech), None).unwrap();
    let bytes: Vec<u8> = to_i16(&samples)
        .into_iter()
        .flat_map(i16::to_le_bytes)
        .collect();
    std::fs::write(place.path("speech.pcm"), bytes).unwrap();
    let stdin = File::open(place.path("speech.pcm")).unwrap();
    let mut daemon = place.start_with(&["run"], stdin.into(), &[]);
    let ended = (SourceState::Ended, None);
    daemon.until("the ends of the file and the pipe", || {
        place.source_of("paced").contains(&ended) && place.source_of("pipe").contains(&ended)
    });
    // A command that ends is started again, in a new epoch.
    daemon.until("the end of the command's first run", || {
        let told = place.source_of("program");
        told.iter().any(|(state, _)| *state == SourceState::Down)
    });
    daemon.stop();
    for stream in ["paced", "pipe", "program"] {
        let mut windows = place.windows_of(stream);
        let first = windows[0].id.epoch;
        windows.retain(|e| e.id.epoch == first);
        assert_same_windows(&expected, &windows, stream);
    }
}

fn names(place: &Place) -> String {
    place.run(&["speakers", "list"]).expect(0).stdout
}

#[test]
fn a_killed_daemon_starts_again_and_people_can_be_enrolled_meanwhile() {
    let place = Place::new(&file("hall", "long.wav", 1.0));
    enrol_alice(&place);
    write_long(&place);
    // In this run: whoever comes while she speaks has her named once more.
    let named = |daemon: &mut Program| {
        daemon.until("alice is named", || {
            let mut events = place.events_of("hall");
            let epoch = events.last().map(|e| e.id.epoch);
            events.retain(|e| Some(e.id.epoch) == epoch);
            turns(&events).iter().any(|t| t.0 == Some("alice"))
        });
    };
    let mut daemon = place.start(&["run"]);
    named(&mut daemon);
    // The running daemon does not hold the store.
    write_wav(&place.path("bob.wav"), 16_000, &stranger(4.0, 16_000));
    place
        .run(&["enroll", "--force", "bob", "bob.wav"])
        .expect(0);
    daemon.signal(libc::SIGKILL);
    assert_eq!(daemon.end(PATIENCE).code, None);
    assert!(names(&place).contains("alice") && names(&place).contains("bob"));

    let mut daemon = place.start(&["run"]);
    wait("another epoch", || {
        let events = place.events_of("hall");
        events.last().map(|e| e.id.epoch) > events.first().map(|e| e.id.epoch)
    });
    named(&mut daemon);
    daemon.stop();
}
