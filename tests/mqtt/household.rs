//! A daemon with streams: vitals, settings, Home Assistant's discovery, commands.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use earwitness::config::{Config, HomeAssistant, Input, Mqtt, Stream, Verb};
use earwitness::publish::control::Controls;
use earwitness::publish::mqtt::{Household, MqttSink, StatusHandle};
use earwitness::publish::{Body, Bus, Event, NodeVitals, QUEUE, SourceState, StreamVitals, schema};
use rumqttc::{Client, MqttOptions, QoS, v5};
use serde_json::{Value, json};

use crate::broker::Mosquitto;
use crate::listener::Listener;
use crate::{config, event, source_up, speaker, wait, window};

const BASE: &str = "earwitness/test";

fn house(streams: &[&str]) -> Config {
    let stream = |id: &&str| Stream {
        id: (*id).into(),
        source: Input::Mic { device: None },
        channel: None,
        sound: true,
    };
    Config {
        node: "test".into(),
        streams: streams.iter().map(stream).collect(),
        ..Config::default()
    }
}

fn open(config: &Config, mqtt: &Mqtt) -> (Bus, StatusHandle, Arc<Controls>) {
    let controls = Arc::new(Controls::new(config));
    let sounds = ["music".to_owned()];
    let household = Household::new(config, mqtt, &sounds, controls.clone());
    let sink = MqttSink::new(mqtt, "test", &Value::Null).unwrap();
    let sink = sink.with(household).unwrap();
    let status = sink.status();
    let mut bus = Bus::new();
    bus.add("mqtt", QUEUE, sink).unwrap();
    (bus, status, controls)
}

fn of(stream: &str, mut event: Event) -> Event {
    event.id.stream = stream.into();
    event
}

fn discovery(object: &str) -> String {
    format!("homeassistant/device/test/{object}/config")
}

fn last(listener: &Listener, topic: &str) -> Value {
    let heard = listener.wait_for(topic, 1);
    serde_json::from_slice(&heard.last().unwrap().payload).unwrap()
}

/// Publishes with a client of its own.
fn publish(port: u16, topic: &str, retain: bool, payload: &str) {
    let options = MqttOptions::new(
        format!("asker-{topic}-{}", payload.len()),
        "127.0.0.1",
        port,
    );
    let (client, mut connection) = Client::new(options, 10);
    client
        .publish(topic, QoS::AtLeastOnce, retain, payload)
        .unwrap();
    for happening in connection.iter() {
        if let Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) = happening {
            break;
        }
    }
}

fn ask(port: u16, listener: &Listener, topic: &str, payload: &Value) -> Value {
    let (topic, reply) = (format!("{BASE}/{topic}"), format!("{BASE}/response/"));
    let answers = || {
        let mut all = listener.heard();
        all.retain(|p| p.topic.starts_with(&reply));
        all
    };
    let before = answers().len();
    publish(port, &topic, false, &payload.to_string());
    wait("an answer", || answers().len() > before);
    let answer = answers().pop().unwrap();
    assert!(!answer.retain);
    serde_json::from_slice(&answer.payload).unwrap()
}

#[test]
fn devices_are_announced_and_told_again_discovery_first_when_home_assistant_starts() {
    let broker = Mosquitto::start();
    let (bus, _, _) = open(&house(&["kitchen", "hall"]), &config(broker.port));
    let listener = Listener::start(broker.port);
    bus.publish(of("kitchen", source_up(0)));
    let state = format!("{BASE}/kitchen/state");
    for object in ["node", "stream-kitchen", "stream-hall"] {
        let device = last(&listener, &discovery(object));
        assert!(device["components"].as_object().unwrap().len() >= 5);
        assert_eq!(device["origin"]["name"], "earwitness");
    }
    listener.wait_for(&state, 1);
    let before = listener.heard().len();
    // What a broker keeps of an earlier start is no start.
    publish(broker.port, "homeassistant/status", true, "offline");
    publish(broker.port, "homeassistant/status", false, "online");
    let begin = Instant::now();
    let again = || listener.heard()[before..].to_vec();
    let at = |topic: &str| again().iter().position(|p| p.topic == topic);
    wait("discovery again", || {
        at(&discovery("stream-hall")).is_some()
    });
    assert!(begin.elapsed() > Duration::from_millis(400), "some jitter");
    wait("state again", || {
        at(&state).is_some() && at(&format!("{BASE}/status")).is_some()
    });
    let first_state = at(&state).unwrap();
    for object in ["node", "stream-kitchen", "stream-hall"] {
        assert!(at(&discovery(object)).unwrap() < first_state, "{object}");
    }
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_broker_that_forgot_everything_is_told_everything() {
    let mut broker = Mosquitto::start();
    let (bus, status, _) = open(&house(&["kitchen"]), &config(broker.port));
    bus.publish(of("kitchen", source_up(0)));
    wait("the event", || status.get().acked == 1);
    broker.kill();
    broker.restart();
    wait("the connection", || status.get().connections >= 2);
    let late = Listener::start(broker.port);
    for topic in [
        discovery("node"),
        discovery("stream-kitchen"),
        format!("{BASE}/status"),
        format!("{BASE}/info"),
        format!("{BASE}/vitals"),
        format!("{BASE}/kitchen/state"),
        format!("{BASE}/kitchen/vitals"),
        format!("{BASE}/kitchen/settings"),
    ] {
        late.wait_for(&topic, 1);
    }
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn what_an_earlier_run_announced_and_this_one_does_not_is_cleared() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let mqtt = |path: &Path| Mqtt {
        outbox: Some(path.into()),
        ..config(broker.port)
    };
    let mqtt = mqtt(&folder.path().join("outbox.redb"));
    let retained = || {
        let late = Listener::start(broker.port);
        thread::sleep(Duration::from_millis(300));
        let mut topics: Vec<String> = late.heard().into_iter().map(|p| p.topic).collect();
        topics.sort();
        topics
    };
    let run = |config: &Config| {
        let (bus, status, _) = open(config, &mqtt);
        for stream in &config.streams {
            bus.publish(of(&stream.id, source_up(0)));
        }
        wait("the events", || {
            status.get().connected && status.get().pending == 0
        });
        thread::sleep(Duration::from_millis(500));
        assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    };
    run(&house(&["kitchen", "cellar"]));
    let before = retained();
    run(&house(&["kitchen", "attic"]));
    let after = retained();
    let of = |all: &[String], stream: &str| all.iter().filter(|t| t.contains(stream)).count();
    assert_eq!(
        (of(&before, "cellar"), of(&after, "cellar")),
        (4, 0),
        "{after:?}"
    );
    assert_eq!(
        (of(&after, "kitchen"), of(&after, "attic")),
        (4, 4),
        "{after:?}"
    );
    // Switched off: its messages go, the others stay.
    let mut off = house(&["kitchen", "attic"]);
    off.home_assistant = HomeAssistant {
        enabled: false,
        ..HomeAssistant::default()
    };
    run(&off);
    let after = retained();
    assert_eq!(of(&after, "homeassistant"), 0, "{after:?}");
    assert_eq!(of(&after, "kitchen"), 3, "{after:?}");
}

#[test]
fn a_source_that_is_not_known_resets_no_other() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let (bus, _, _) = open(&house(&["kitchen", "hall"]), &config(broker.port));
    bus.publish(of("kitchen", source_up(0)));
    bus.publish(of("kitchen", speaker(1, "alice")));
    let topic = format!("{BASE}/kitchen/state");
    wait("alice", || {
        !listener.on(&topic).is_empty() && last(&listener, &topic)["speaker"] == "alice"
    });
    let down = Body::Source {
        state: SourceState::Down,
        reason: Some("unplugged".into()),
    };
    bus.publish(of("hall", event(0, down)));
    let hall = last(&listener, &format!("{BASE}/hall/state"));
    assert_eq!(
        (&hall["source"], &hall["speaker"]),
        (&json!("down"), &Value::Null)
    );
    assert_eq!(last(&listener, &topic)["speaker"], "alice");
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn vitals_come_at_their_interval_with_states_as_signs_of_life() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let mqtt = Mqtt {
        vitals_s: 1,
        ..config(broker.port)
    };
    let (bus, _, _) = open(&house(&["kitchen", "hall"]), &mqtt);
    bus.publish(of("kitchen", source_up(0)));
    (1..5).for_each(|n| bus.publish(of("kitchen", window(n))));
    let topic = format!("{BASE}/kitchen/vitals");
    let vitals = || -> Vec<StreamVitals> {
        let heard = listener.on(&topic).into_iter();
        heard
            .map(|p| serde_json::from_slice(&p.payload).unwrap())
            .collect()
    };
    wait("windows", || {
        vitals().iter().map(|v| v.windows).sum::<u64>() == 4
    });
    wait("an interval without any", || {
        vitals().last().unwrap().windows == 0
    });
    let with = vitals().into_iter().find(|v| v.windows > 0).unwrap();
    assert_eq!((with.level_dbfs, with.lag_ms), (Some(-30.0), Some(12.0)));
    assert_eq!(vitals().last().unwrap().level_dbfs, None);
    let states = listener.wait_for(&format!("{BASE}/kitchen/state"), 3);
    assert!(
        states.iter().all(|s| s.payload == states[0].payload),
        "the same again"
    );
    for (topic, schema) in [
        (topic, schema::stream_vitals()),
        (format!("{BASE}/vitals"), schema::node_vitals()),
        (format!("{BASE}/kitchen/settings"), schema::settings()),
    ] {
        assert!(
            jsonschema::is_valid(&schema, &last(&listener, &topic)),
            "{topic}"
        );
    }
    let node: NodeVitals =
        serde_json::from_value(last(&listener, &format!("{BASE}/vitals"))).unwrap();
    assert_eq!(
        (node.streams, node.streams_up, node.trouble),
        (2, 1, false),
        "{node:?}"
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn commands_are_carried_out_and_answered_and_refused_ones_told_why() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let mut mqtt = config(broker.port);
    mqtt.commands
        .clients
        .insert("panel".into(), vec![Verb::Verify]);
    let (bus, status, controls) = open(&house(&["kitchen"]), &mqtt);
    listener.wait_last(&format!("{BASE}/status"), "online");
    let settings = format!("{BASE}/kitchen/settings");
    listener.wait_for(&settings, 1);
    let ask = |topic: &str, payload: Value| ask(broker.port, &listener, topic, &payload);

    let answer = ask("command/mute", json!({"stream": "kitchen", "id": "7"}));
    assert_eq!(
        (&answer["ok"], &answer["id"], &answer["verb"]),
        (&json!(true), &json!("7"), &json!("mute"))
    );
    assert!(controls.settings("kitchen").unwrap().muted);
    wait("the settings", || {
        last(&listener, &settings)["muted"] == true
    });
    ask("command/unmute", json!({"stream": "kitchen"}));
    assert!(!controls.settings("kitchen").unwrap().muted);
    let set = json!({"stream": "kitchen", "speaker": {"prior": 0.01, "margin": 2.0}});
    let answer = ask("command/set", set);
    assert_eq!(answer["settings"]["speaker"]["prior"], 0.01);
    assert_eq!(controls.settings("kitchen").unwrap().speaker.margin, 2.0);
    assert_eq!(controls.settings("kitchen").unwrap().spoof.margin, 0.85);

    // Nothing is heard yet: there is nothing that stands.
    let answer = ask("command/verify", json!({"stream": "kitchen"}));
    assert_eq!(answer["ok"], false);
    assert!(!controls.take_asked(0));
    bus.publish(of("kitchen", source_up(0)));
    bus.publish(of("kitchen", speaker(1, "alice")));
    wait("alice", || status.get().acked == 2);
    for topic in ["command/verify", "from/panel/command/verify"] {
        let answer = ask(topic, json!({"stream": "kitchen"}));
        assert_eq!(answer["state"]["speaker"], "alice", "{answer}");
        assert!(controls.take_asked(0));
    }

    let before = controls.settings("kitchen");
    for (topic, payload, why) in [
        (
            "command/mute",
            json!({"stream": "cellar"}),
            "expected one of kitchen",
        ),
        (
            "command/set",
            json!({"stream": "kitchen", "spoof": {"prior": 1.0}}),
            "prior: expected",
        ),
        (
            "command/enroll",
            json!({"stream": "kitchen"}),
            "unknown verb",
        ),
        (
            "from/panel/command/mute",
            json!({"stream": "kitchen"}),
            "clients.panel",
        ),
        (
            "command/mute",
            json!({"stream": "kitchen", "reply_to": "homeassistant/x"}),
            "below earwitness/test/response/",
        ),
    ] {
        let answer = ask(topic, payload);
        let reason = answer["reason"].as_str().unwrap();
        assert!(answer["ok"] == false && reason.contains(why), "{answer}");
    }
    let asked = status.get();
    assert_eq!(
        (asked.commands, asked.commands_refused),
        (5, 6),
        "{asked:?}"
    );
    assert_eq!(controls.settings("kitchen"), before);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());

    // A retained command would come at each start.
    publish(
        broker.port,
        &format!("{BASE}/command/mute"),
        true,
        r#"{"stream":"kitchen"}"#,
    );
    let (bus, status, controls) = open(&house(&["kitchen"]), &mqtt);
    wait("its refusal", || status.get().commands_refused == 1);
    assert!(!controls.settings("kitchen").unwrap().muted);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_flood_of_commands_is_refused_and_harms_nothing() {
    let broker = Mosquitto::start();
    let mut mqtt = config(broker.port);
    mqtt.commands.per_minute = 5;
    let (bus, status, _) = open(&house(&["kitchen"]), &mqtt);
    wait("the connection", || status.get().connected);
    let listener = Listener::start(broker.port);
    let (client, mut connection) =
        Client::new(MqttOptions::new("flood", "127.0.0.1", broker.port), 600);
    for n in 0..500 {
        let payload = if n % 2 == 0 {
            "{\"stream\":\"kitchen\"}".to_owned()
        } else {
            "x".repeat(9000)
        };
        let topic = format!("{BASE}/command/mute");
        client
            .publish(topic, QoS::AtMostOnce, false, payload)
            .unwrap();
    }
    let flood = thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Ok(Err(_)) | Err(_) = connection.recv_timeout(Duration::from_secs(2)) {
                break;
            }
        }
    });
    bus.publish(of("kitchen", source_up(0)));
    wait("the event beside it", || status.get().acked == 1);
    wait("all commands", || {
        status.get().commands + status.get().commands_refused >= 500
    });
    let now = status.get();
    assert!(now.commands <= 6 && now.connections == 1, "{now:?}");
    // Each is answered while the client has room; how many that are is up to the machine, and the rest is counted.
    let answered = 500 - usize::try_from(now.answers_dropped).unwrap();
    assert!(answered >= 64, "{now:?}");
    let answers = listener.wait_for(&format!("{BASE}/response/mute"), answered);
    assert_eq!(answers.len(), answered);
    flood.join().unwrap();
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn mqtt_5_answers_where_it_is_asked_to_and_with_the_correlation() {
    let broker = Mosquitto::start();
    let mqtt = Mqtt {
        version: 5,
        ..config(broker.port)
    };
    let (bus, status, _) = open(&house(&["kitchen"]), &mqtt);
    wait("the connection", || status.get().connected);
    use v5::mqttbytes::QoS as QoS5;
    use v5::mqttbytes::v5::{Packet, PublishProperties};
    let (client, mut connection) =
        v5::Client::new(v5::MqttOptions::new("asker", "127.0.0.1", broker.port), 10);
    let reply = format!("{BASE}/response/asker/1");
    client.subscribe(&reply, QoS5::AtLeastOnce).unwrap();
    let mut answer = None;
    for happening in connection.iter() {
        match happening.unwrap() {
            v5::Event::Incoming(Packet::SubAck(_)) => {
                let properties = PublishProperties {
                    response_topic: Some(reply.clone()),
                    correlation_data: Some(vec![0, 1, 255].into()),
                    ..Default::default()
                };
                let topic = format!("{BASE}/command/mute");
                let payload = r#"{"stream":"kitchen"}"#;
                client
                    .publish_with_properties(topic, QoS5::AtLeastOnce, false, payload, properties)
                    .unwrap();
            }
            v5::Event::Incoming(Packet::Publish(publish)) => {
                answer = Some(publish);
                break;
            }
            _ => {}
        }
    }
    let answer = answer.unwrap();
    let correlation = answer.properties.unwrap().correlation_data.unwrap();
    assert_eq!(&correlation[..], [0, 1, 255]);
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["ok"], true);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}
