//! Enrolling and forgetting people while the daemon runs, against the real program and a real broker: who may over MQTT, what is
//! refused and why, and that the running daemon knows who came and who went, also by the command line.

#![cfg(target_os = "linux")]

mod common;

use common::broker::Mosquitto;
use common::listener::Listener;
use common::place::Place;
use common::program::Program;
use common::sound::{alice, silence, stranger, write_wav};
use rumqttc::{Client, MqttOptions, QoS};
use serde_json::{Value, json};

const BASE: &str = "earwitness/test";

fn place(broker: &Mosquitto, more: &str, streams: &[&str]) -> Place {
    let stream = |id: &&str| {
        format!(
            "[[stream]]\nid = '{id}'\nsource = {{ kind = 'file', path = '{id}.wav', speed = 1.0 }}\n"
        )
    };
    let streams: String = streams.iter().map(stream).collect();
    Place::new(&format!(
        "{more}[mqtt]\nbroker = 'mqtt://127.0.0.1:{}'\n[mqtt.commands.clients]\nadmin = ['enrol', 'forget']\npanel = ['verify']\n{streams}",
        broker.port
    ))
}

fn publish(broker: &Mosquitto, topic: &str, payload: &Value) {
    let id = format!("asker-{topic}-{}", payload.to_string().len());
    let (client, mut connection) = Client::new(MqttOptions::new(id, "127.0.0.1", broker.port), 10);
    let topic = format!("{BASE}/{topic}");
    client
        .publish(topic, QoS::AtLeastOnce, false, payload.to_string())
        .unwrap();
    for happening in connection.iter() {
        if let Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) = happening {
            break;
        }
    }
}

/// The answers to the command of this id.
fn answers(listener: &Listener, id: &str) -> Vec<Value> {
    let mut all = listener.heard();
    all.retain(|p| p.topic.starts_with(&format!("{BASE}/response/")));
    let read = |p: &rumqttc::Publish| serde_json::from_slice::<Value>(&p.payload).unwrap();
    all.iter().map(read).filter(|a| a["id"] == id).collect()
}

/// Waits for the last answer to a command.
fn end(daemon: &mut Program, listener: &Listener, id: &str) -> Value {
    let is_last = |answer: &Value| answer["enrolment"]["phase"] != "listening";
    daemon.until(&format!("the end of {id}"), || {
        answers(listener, id).last().is_some_and(|a| {
            // `forget` is taken first, and then done.
            is_last(a) && (a["ok"] == false || a["verb"] != "forget" || a["receipt"].is_object())
        })
    });
    answers(listener, id).pop().unwrap()
}

fn wait_up(daemon: &mut Program, listener: &Listener, stream: &str) {
    let topic = format!("{BASE}/{stream}/state");
    daemon.until("a source that is up", || !listener.on(&topic).is_empty());
}

/// A chord has many peaks, which looks as if it were clipped: a click each second is higher than they are.
fn clicking(mut samples: Vec<f32>) -> Vec<f32> {
    samples.iter_mut().step_by(16_000).for_each(|x| *x = 0.9);
    samples
}

/// Whom the newest speaker event of the door names; `None`: nobody known, or nobody.
fn speaks(listener: &Listener) -> Option<String> {
    speaks_at(listener, "door")
}

/// The same of any stream.
fn speaks_at(listener: &Listener, stream: &str) -> Option<String> {
    let events = listener.on(&format!("{BASE}/{stream}/event/speaker"));
    let last: Value = serde_json::from_slice(&events.last()?.payload).unwrap();
    last["speaker"].as_str().map(str::to_owned)
}

/// Whether somewhere in it are more numbers in a row than any message of ours has.
fn has_vector(value: &Value) -> bool {
    match value {
        Value::Array(all) => {
            all.iter().filter(|v| v.is_number()).count() > 8 || all.iter().any(has_vector)
        }
        Value::Object(all) => all.values().any(has_vector),
        _ => false,
    }
}

#[test]
fn a_person_is_enrolled_known_at_once_and_forgotten_at_once() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    // Her voice is a chord, which no detector would call real.
    let place = place(&broker, "[spoof]\nenabled = false\n", &["door"]);
    let turn = [alice(3.0, 16_000), silence(1.0, 16_000)].concat();
    write_wav(&place.path("door.wav"), 16_000, &clicking(turn.repeat(40)));
    let mut daemon = place.start(&["run"]);
    wait_up(&mut daemon, &listener, "door");
    daemon.until("a stranger", || {
        !listener
            .on(&format!("{BASE}/door/event/speaker"))
            .is_empty()
    });
    assert_eq!(speaks(&listener), None);

    // Not for anybody, and only for whom it is configured.
    for (id, topic, why) in [
        ("a", "command/enrol", "[mqtt.commands] allow"),
        ("b", "from/panel/command/enrol", "clients.panel"),
        ("c", "from/panel/command/forget", "clients.panel"),
    ] {
        publish(
            &broker,
            topic,
            &json!({"stream": "door", "name": "alice", "id": id}),
        );
        let answer = end(&mut daemon, &listener, id);
        let reason = answer["reason"].as_str().unwrap();
        assert!(answer["ok"] == false && reason.contains(why), "{answer}");
    }

    let ask = json!({
        "stream": "door", "name": "alice", "seconds": 4, "consent": "may open the door",
        "keep_days": 90, "id": "e1", "reply_to": format!("{BASE}/response/admin/e1"),
    });
    publish(&broker, "from/admin/command/enrol", &ask);
    let last = end(&mut daemon, &listener, "e1");
    assert_eq!(last["enrolment"]["phase"], "enrolled", "{last}");
    let all = answers(&listener, "e1");
    assert_eq!(all[0]["enrolment"]["phase"], "listening");
    let heard = |a: &Value| a["enrolment"]["speech_s"].as_f64().unwrap();
    assert!(
        all.len() > 2 && all.windows(2).all(|w| heard(&w[0]) <= heard(&w[1])),
        "{all:?}"
    );
    assert!(
        heard(&last) >= 4.0 && last["enrolment"]["sittings"] == 1,
        "{last}"
    );
    assert_eq!(
        listener.on(&format!("{BASE}/response/admin/e1")).len(),
        all.len()
    );
    // Without a restart.
    daemon.until("her name", || speaks(&listener).as_deref() == Some("alice"));

    let shown = place
        .run(&["speakers", "show", "alice", "--json"])
        .expect(0)
        .json();
    let note = &shown["note"];
    assert_eq!(note["consent"], "may open the door", "{shown}");
    assert_eq!(note["device"], "stream door", "{shown}");
    assert!(
        note["expires"].is_string() && note["speech_s"].as_f64() >= Some(4.0),
        "{shown}"
    );
    let topic = format!("{BASE}/door/enrolment");
    let kept: Value = serde_json::from_slice(&listener.on(&topic).last().unwrap().payload).unwrap();
    assert_eq!(
        (&kept["phase"], &kept["name"]),
        (&json!("enrolled"), &json!("alice"))
    );
    let schema = earwitness::publish::schema::enrolment();
    assert!(jsonschema::is_valid(&schema, &kept), "{kept}");

    publish(
        &broker,
        "from/admin/command/forget",
        &json!({"name": "alice", "id": "f1"}),
    );
    let receipt = end(&mut daemon, &listener, "f1")["receipt"].clone();
    assert_eq!(receipt["sittings"], 1, "{receipt}");
    std::fs::write(place.path("receipt.json"), receipt.to_string()).unwrap();
    let checked = place
        .run(&["forget", "--check", "receipt.json", "--json"])
        .expect(0);
    assert_eq!(
        checked.json(),
        json!({"genuine": true, "enrolled_again": false})
    );
    daemon.until("a stranger again", || speaks(&listener).is_none());
    publish(
        &broker,
        "from/admin/command/forget",
        &json!({"name": "alice", "id": "f2"}),
    );
    let answer = end(&mut daemon, &listener, "f2");
    assert!(
        answer["reason"]
            .as_str()
            .unwrap()
            .contains("nobody of the name"),
        "{answer}"
    );

    let (ended, _) = daemon.stop();
    for said in listener.heard() {
        if let Ok(value) = serde_json::from_slice::<Value>(&said.payload) {
            assert!(!has_vector(&value), "{}: {value}", said.topic);
        }
    }
    // Nor does the log hold a voice: no line has more numbers than a time and a few measures.
    for line in ended.stderr.lines() {
        assert!(line.matches("0.").count() < 16, "{line}");
    }
    assert!(
        ended.stderr.contains(receipt["person"].as_str().unwrap()),
        "the receipt is kept"
    );
    let refused = ended.stderr.matches("command refused").count();
    assert!(refused >= 1, "{}", ended.stderr);
}

#[test]
fn what_is_not_good_enough_is_refused_with_the_reason() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let streams = ["clipped", "two", "silent"];
    let place = place(&broker, "", &streams);
    let rate = 16_000;
    let turn = [alice(3.0, rate), silence(1.0, rate)].concat();
    let clipped = |x: &f32| (8.0 * x).clamp(-0.5, 0.5);
    let clipped: Vec<f32> = turn.iter().map(clipped).collect();
    let pause = silence(1.0, rate);
    let two = [alice(3.0, rate), pause.clone(), stranger(3.0, rate), pause].concat();
    for (name, samples) in [
        ("clipped", clipped.repeat(15)),
        ("two", clicking(two.repeat(8))),
        ("silent", silence(60.0, rate)),
    ] {
        write_wav(&place.path(&format!("{name}.wav")), rate, &samples);
    }
    let mut daemon = place.start(&["run"]);
    for stream in streams {
        wait_up(&mut daemon, &listener, stream);
        let within = if stream == "silent" { 10 } else { 60 };
        let ask = json!({
            "stream": stream, "name": format!("nobody-{stream}"), "seconds": 6, "within_s": within, "id": stream,
        });
        publish(&broker, "from/admin/command/enrol", &ask);
    }
    // On the same stream nobody else meanwhile; who is forgotten is not enrolled by what is under way.
    daemon.until("the silent one", || {
        !answers(&listener, "silent").is_empty()
    });
    publish(
        &broker,
        "from/admin/command/enrol",
        &json!({"stream": "silent", "name": "eve", "id": "eve"}),
    );
    let answer = end(&mut daemon, &listener, "eve");
    assert!(
        answer["reason"]
            .as_str()
            .unwrap()
            .contains("is being enrolled"),
        "{answer}"
    );
    for (stream, why) in [
        ("clipped", "clipped:"),
        ("two", "more than one speaker:"),
        ("two", "synthetic:"),
        ("silent", "expected 6 s of speech within 10 s, found 0.0 s"),
    ] {
        let answer = end(&mut daemon, &listener, stream);
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(
            answer["ok"] == false && reason.contains(why),
            "{stream}: {answer}"
        );
        assert_eq!(answer["enrolment"]["phase"], "refused");
    }
    let two = &answers(&listener, "two").pop().unwrap()["reason"];
    assert!(!two.as_str().unwrap().contains("clipped"), "{two}");
    publish(
        &broker,
        "from/admin/command/enrol",
        &json!({"stream": "silent", "name": "bob", "id": "bob"}),
    );
    daemon.until("bob", || !answers(&listener, "bob").is_empty());
    publish(
        &broker,
        "from/admin/command/forget",
        &json!({"name": "bob", "id": "gone"}),
    );
    let answer = end(&mut daemon, &listener, "bob");
    assert_eq!(answer["reason"], "forgotten meanwhile", "{answer}");
    end(&mut daemon, &listener, "gone");
    let (_, _) = daemon.stop();
    let known = place.run(&["speakers", "list", "--json"]).expect(0);
    assert_eq!(known.stdout.trim(), "", "nobody is stored");
}

#[test]
fn who_comes_and_goes_by_the_command_line_is_known_without_a_restart() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let place = place(&broker, "[spoof]\nenabled = false\n", &["door", "hall"]);
    let rate = 16_000;
    let turn = [alice(3.0, rate), silence(1.0, rate)].concat();
    let other = [stranger(3.0, rate), silence(1.0, rate)].concat();
    write_wav(&place.path("door.wav"), rate, &clicking(turn.repeat(40)));
    write_wav(&place.path("hall.wav"), rate, &clicking(other.repeat(40)));
    write_wav(&place.path("bob.wav"), rate, &stranger(6.0, rate));
    // There is no store yet.
    let mut daemon = place.start(&["run"]);
    for stream in ["door", "hall"] {
        wait_up(&mut daemon, &listener, stream);
    }
    let speaks = |stream: &str| speaks_at(&listener, stream);
    place
        .run(&["enroll", "--force", "bob", "bob.wav"])
        .expect(0);
    daemon.until("bob", || speaks("hall").as_deref() == Some("bob"));
    assert_eq!(speaks("door"), None);

    // Beside whom the daemon itself takes in.
    let ask = json!({"stream": "door", "name": "alice", "seconds": 4, "id": "e"});
    publish(&broker, "from/admin/command/enrol", &ask);
    let told = end(&mut daemon, &listener, "e");
    assert_eq!(told["enrolment"]["phase"], "enrolled", "{told}");
    daemon.until("alice", || speaks("door").as_deref() == Some("alice"));
    daemon.until("bob again", || speaks("hall").as_deref() == Some("bob"));

    // Another name for the same voice, which nobody here has heard.
    std::fs::write(place.path("phrase"), "a long phrase of nobody\n").unwrap();
    let moved = |arguments: &[&str]| {
        let phrase = ["--passphrase-file", "phrase"];
        place.run(&[arguments, &phrase].concat()).expect(0);
    };
    moved(&["speakers", "export", "bob", "--to", "bob.ew"]);
    place.run(&["forget", "bob"]).expect(0);
    daemon.until("a stranger", || speaks("hall").is_none());
    moved(&["speakers", "import", "bob.ew"]);
    daemon.until("bob is back", || speaks("hall").as_deref() == Some("bob"));

    place.run(&["speakers", "remove", "alice"]).expect(0);
    daemon.until("alice is gone", || {
        let events = listener.on(&format!("{BASE}/door/event/speaker"));
        let read = |p: &rumqttc::Publish| serde_json::from_slice::<Value>(&p.payload).unwrap();
        let last = events.iter().map(read).next_back().unwrap();
        last["speaking"] == true && last["speaker"].is_null()
    });
    publish(
        &broker,
        "from/admin/command/forget",
        &json!({"name": "bob", "id": "f"}),
    );
    assert!(end(&mut daemon, &listener, "f")["receipt"].is_object());
    daemon.until("nobody is known", || speaks("hall").is_none());
    let (ended, _) = daemon.stop();
    let told = |people: usize| {
        let line = format!("other people are known from now on people={people}");
        ended.stderr.matches(&line).count()
    };
    assert_eq!(
        [told(0), told(1), told(2)],
        [1, 3, 2],
        "1, 2, 1, 2, 1, 0: {}",
        ended.stderr
    );
}

#[test]
fn an_enrolment_that_is_cancelled_ends_for_both_and_stores_nothing() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let place = place(&broker, "", &["door"]);
    write_wav(&place.path("door.wav"), 16_000, &silence(60.0, 16_000));
    let mut daemon = place.start(&["run"]);
    wait_up(&mut daemon, &listener, "door");
    let cancel = |client: &str, id: &str| {
        let topic = format!("from/{client}/command/cancel");
        publish(&broker, &topic, &json!({"stream": "door", "id": id}));
    };
    let enrol = |id: &str| {
        let ask = json!({"stream": "door", "name": "alice", "id": id});
        publish(&broker, "from/admin/command/enrol", &ask);
    };
    let reason = |answer: &Value| answer["reason"].as_str().unwrap_or_default().to_owned();
    cancel("admin", "none");
    let answer = end(&mut daemon, &listener, "none");
    assert!(
        answer["ok"] == false && reason(&answer).contains("no enrolment is under way"),
        "{answer}"
    );
    // Twice: the place is free again.
    for round in ["1", "2"] {
        let (first, second, third) = (
            format!("enrol-{round}"),
            format!("panel-{round}"),
            format!("admin-{round}"),
        );
        enrol(&first);
        daemon.until("its begin", || !answers(&listener, &first).is_empty());
        let begun = answers(&listener, &first).pop().unwrap();
        assert_eq!(begun["enrolment"]["phase"], "listening", "{begun}");
        cancel("panel", &second);
        let answer = end(&mut daemon, &listener, &second);
        assert!(reason(&answer).contains("clients.panel"), "{answer}");
        // Whoever may enrol may cancel.
        cancel("admin", &third);
        let answer = end(&mut daemon, &listener, &third);
        assert_eq!(
            (&answer["ok"], &answer["verb"]),
            (&json!(true), &json!("cancel"))
        );
        assert_eq!(answer["enrolment"]["phase"], "idle", "{answer}");
        let ended = end(&mut daemon, &listener, &first);
        assert_eq!(
            (&ended["ok"], &ended["verb"]),
            (&json!(false), &json!("enrol"))
        );
        assert_eq!(reason(&ended), "cancelled", "{ended}");
        assert_eq!(ended["enrolment"]["phase"], "idle", "{ended}");
    }
    let topic = format!("{BASE}/door/enrolment");
    let kept: Value = serde_json::from_slice(&listener.on(&topic).last().unwrap().payload).unwrap();
    assert_eq!(
        (&kept["phase"], &kept["name"]),
        (&json!("idle"), &json!("alice"))
    );
    daemon.stop();
    let known = place.run(&["speakers", "list", "--json"]).expect(0);
    assert_eq!(known.stdout.trim(), "", "nobody is stored");
}
