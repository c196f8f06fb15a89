//! What is announced to Home Assistant, and the examples, against Home Assistant itself where it is installed, and against
//! each other everywhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use earwitness::config::{Config, HomeAssistant, Input, Stream, Verb};
use earwitness::publish::home_assistant::{Home, announcements};
use earwitness::publish::mqtt::Topics;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(name: &str) -> Value {
    let path = root().join("examples/home-assistant").join(name);
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every text that looks like an entity of ours.
fn mentioned(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
            let words = text.split(|c: char| !is_name(c));
            found.extend(
                words
                    .filter(|w| w.contains(".earwitness_"))
                    .map(str::to_owned),
            );
        }
        Value::Array(all) => all.iter().for_each(|one| mentioned(one, found)),
        Value::Object(all) => all.values().for_each(|one| mentioned(one, found)),
        _ => {}
    }
}

/// The entities of `configs/home.toml`, as Home Assistant names them.
fn entities() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("configs/home.toml")).unwrap();
    let config = earwitness::config::load_with(Path::new("home.toml"), &text, std::iter::empty());
    let Config { node, streams, .. } = config.unwrap();
    let home = Home {
        streams: streams
            .iter()
            .map(|s: &Stream| (s.id.clone(), s.sound))
            .collect(),
        node,
        sounds: vec!["dog".into()],
        vitals_s: 30,
        client: Some("home-assistant".into()),
        verbs: Verb::ALL.to_vec(),
    };
    assert!(matches!(streams[0].source, Input::Mic { .. }));
    let topics = Topics::new("earwitness", &home.node).unwrap();
    let all = announcements(&HomeAssistant::default(), &home, &topics).unwrap();
    let ids = all.iter().flat_map(|(_, device)| {
        let entities = device["components"].as_object().unwrap().values();
        entities.filter_map(|e| e["default_entity_id"].as_str().map(str::to_owned))
    });
    ids.collect()
}

#[test]
fn the_examples_are_yaml_and_name_entities_that_are_announced() {
    let entities = entities();
    let mut found = BTreeSet::new();
    for name in ["dashboard.yaml", "automations.yaml"] {
        mentioned(&yaml(name), &mut found);
    }
    let unknown: Vec<_> = found.difference(&entities).collect();
    assert!(
        found.len() >= 15 && unknown.is_empty(),
        "{unknown:?} of {entities:?}"
    );
    let dashboard = yaml("dashboard.yaml");
    let views = dashboard["views"].as_array().unwrap();
    assert!(
        views
            .iter()
            .all(|view| view["cards"].as_array().is_some_and(|c| !c.is_empty()))
    );
    let automations = yaml("automations.yaml");
    let mut ids = BTreeSet::new();
    for automation in automations.as_array().unwrap() {
        assert!(ids.insert(automation["id"].as_str().unwrap()));
        for key in ["triggers", "actions"] {
            assert!(
                automation[key]
                    .as_array()
                    .is_some_and(|all| !all.is_empty()),
                "{automation}"
            );
        }
    }
}

/// Home Assistant's own schemas and templates; needs a Python with its package, which `EARWITNESS_HOME_ASSISTANT` names.
#[test]
fn home_assistant_itself_accepts_what_is_announced() {
    let Some(python) = std::env::var_os("EARWITNESS_HOME_ASSISTANT") else {
        println!(
            "not run: set EARWITNESS_HOME_ASSISTANT to a Python with the package homeassistant"
        );
        return;
    };
    let output = Command::new(python)
        .arg(root().join("tests/home_assistant_oracle.py"))
        .arg(root().join("examples/home-assistant/discovery.json"))
        .arg(root().join("examples/home-assistant/automations.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("entities accepted"), "{said}");
}
