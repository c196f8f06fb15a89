use std::collections::BTreeSet;

use super::*;
use crate::publish::event::tests::samples;

pub(crate) fn home() -> Home {
    Home {
        node: "home".into(),
        streams: vec![("kitchen".into(), true), ("node".into(), false)],
        sounds: vec!["music".into(), "dog_bark".into()],
        vitals_s: 30,
        client: Some("home-assistant".into()),
        verbs: Verb::ALL.to_vec(),
    }
}

fn all(home: &Home) -> Vec<(String, Value)> {
    let topics = Topics::new("earwitness", &home.node).unwrap();
    announcements(&config::HomeAssistant::default(), home, &topics).unwrap()
}

/// What an entity of each platform cannot do without.
fn required(platform: &str) -> &'static [&'static str] {
    match platform {
        "binary_sensor" | "sensor" => &["state_topic", "value_template"],
        "event" => &["state_topic", "value_template", "event_types"],
        "switch" => &["command_topic", "state_topic", "payload_on", "payload_off"],
        "button" => &["command_topic", "payload_press"],
        "text" => &["command_topic", "command_template", "state_topic", "max"],
        "number" => &["command_topic", "command_template", "min", "max", "step"],
        other => panic!("unexpected platform {other}"),
    }
}

/// Only its platform is told: Home Assistant removes it.
fn is_removed(entity: &Value) -> bool {
    entity.as_object().is_some_and(|keys| keys.len() == 1)
}

#[test]
fn every_device_and_entity_has_what_home_assistant_requires() {
    let id = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    let (mut unique, mut entities, mut identifiers) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let all = all(&home());
    let topics: Vec<&str> = all.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(
        topics,
        [
            "homeassistant/device/home/node/config",
            "homeassistant/device/home/stream-kitchen/config",
            "homeassistant/device/home/stream-node/config",
        ]
    );
    for (topic, device) in &all {
        let levels: Vec<&str> = topic.split('/').collect();
        assert!(levels[2..4].iter().all(|level| id(level)), "{topic}");
        assert!(identifiers.insert(device["device"]["identifiers"].to_string()));
        assert_eq!(device["origin"]["name"], "earwitness");
        assert_eq!(device["availability_mode"], "all");
        let availability = device["availability"].as_array().unwrap();
        assert_eq!(availability[0]["topic"], "earwitness/home/status");
        assert_eq!(
            availability.len(),
            if topic.contains("stream-") { 2 } else { 1 }
        );
        for (name, entity) in device["components"].as_object().unwrap() {
            let platform = entity["platform"].as_str().unwrap();
            if is_removed(entity) {
                continue;
            }
            assert_eq!(entity["qos"], 1, "{name}");
            for key in required(platform) {
                assert!(!entity[key].is_null(), "{topic} {name} lacks {key}");
            }
            assert!(unique.insert(entity["unique_id"].to_string()), "{name}");
            let entity_id = entity["default_entity_id"].as_str().unwrap();
            assert!(
                entity_id.starts_with(&format!("{platform}.earwitness_")),
                "{entity_id}"
            );
            assert!(entities.insert(entity_id.to_owned()), "{entity_id}");
            assert!(entity.get("object_id").is_none(), "deprecated");
            if let Some(expire) = entity["expire_after"].as_u64() {
                assert!(
                    expire > 30,
                    "{name} would expire before its next sign of life"
                );
            }
        }
    }
}

#[test]
fn an_alarm_ends_and_expires_later_than_it_is_repeated() {
    let all = all(&home());
    let alarm = &all[1].1["components"]["deepfake"];
    assert!(alarm["off_delay"].as_u64() > Some(30) && alarm["expire_after"].as_u64() > Some(30));
    assert_eq!(alarm["state_topic"], "earwitness/home/kitchen/state");
}

#[test]
fn no_entity_shares_a_state_topic_with_another_stream() {
    for (_, device) in &all(&home())[1..] {
        let name = device["device"]["name"].as_str().unwrap();
        let stream = name.rsplit(' ').next().unwrap();
        for (entity, value) in device["components"].as_object().unwrap() {
            if let Some(topic) = value["state_topic"].as_str() {
                assert!(
                    topic.starts_with(&format!("earwitness/home/{stream}/")),
                    "{entity}"
                );
            }
        }
    }
}

#[test]
fn events_are_of_types_that_are_announced() {
    let all = all(&home());
    let components = &all[1].1["components"];
    let types = |entity: &str| components[entity]["event_types"].clone();
    for event in samples() {
        let body = serde_json::to_value(&event.body).unwrap();
        let has = |entity, value: &Value| types(entity).as_array().unwrap().contains(value);
        match event.body.kind() {
            SPEAKER => assert!(has("verification", &body["verdict"])),
            SPOOF => assert!(has("spoof", &body["verdict"])),
            SOUND => assert!(has("sound", &body["class"])),
            _ => {}
        }
    }
    for kind in [SPEAKER, SPOOF, SOUND] {
        assert!(samples().iter().any(|e| e.body.kind() == kind), "{kind}");
    }
    assert!(
        is_removed(&all[2].1["components"]["sound"]),
        "it does not listen for sounds"
    );
}

#[test]
fn what_would_be_refused_is_not_shown() {
    let mut home = home();
    home.verbs = vec![Verb::Verify];
    let all = all(&home);
    let components = &all[1].1["components"];
    assert!(!is_removed(&components["verify"]));
    for entity in [
        "mute",
        "margin",
        "enrolment",
        "enrolment_name",
        "enrol",
        "enrolment_cancel",
    ] {
        assert!(is_removed(&components[entity]), "{entity}");
    }
}

#[test]
fn the_committed_sample_is_what_is_announced() {
    let expected = serde_json::to_string_pretty(&Value::Object(all(&home()).into_iter().collect()))
        .unwrap()
        + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/home-assistant/discovery.json");
    if std::env::var_os("EARWITNESS_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == expected,
        "examples/home-assistant/discovery.json is behind: run EARWITNESS_BLESS=1 cargo test --lib home_assistant"
    );
}
