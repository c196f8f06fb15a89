//! The generated parts of `docs/mqtt.md`: every topic, and every payload, from the types that are published.

use std::fmt::Write as _;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::command::{Answer, Payload};
use super::topic::Topics;
use crate::config::Verb;
use crate::publish::control::StreamSettings;
use crate::publish::enrolment::StreamEnrolment;
use crate::publish::event::Event;
use crate::publish::state::StreamState;
use crate::publish::vitals::{NodeVitals, StreamVitals};

/// The named parts of the page.
pub fn parts() -> Vec<(&'static str, String)> {
    vec![("topics", topics()), ("payloads", payloads())]
}

/// One row: topic, QoS, retained, payload.
type Row = (String, &'static str, &'static str, String);

/// Every topic that is published to or subscribed to.
fn topics() -> String {
    let Ok(topics) = Topics::new("PREFIX", "NODE") else {
        return String::new();
    };
    let of = |topic: Result<String, _>| topic.unwrap_or_default();
    let mut out: Vec<Row> = vec![
        (
            topics.status(),
            "1",
            "yes",
            "`online` or `offline`, which is also the will".into(),
        ),
        (
            topics.info(),
            "1",
            "yes",
            "what the daemon is: version, pack, where its models run".into(),
        ),
        (topics.vitals(), "1", "yes", link("node vitals")),
        (of(topics.state("STREAM")), "1", "yes", link("stream state")),
        (
            of(topics.stream_vitals("STREAM")),
            "1",
            "yes",
            link("stream vitals"),
        ),
        (of(topics.settings("STREAM")), "1", "yes", link("settings")),
        (
            of(topics.enrolment("STREAM")),
            "1",
            "yes",
            format!("{}, where that is allowed", link("enrolment")),
        ),
    ];
    for (kind, _) in kinds(&schema_of::<Event>()) {
        // Raw material, of which the next comes in a second.
        let qos = if kind == "window" { "0" } else { "1" };
        let payload = link(&format!("event {kind}"));
        out.push((of(topics.event("STREAM", &kind)), qos, "no", payload));
    }
    out.push((
        format!("{}…", topics.responses()),
        "0",
        "no",
        link("answer"),
    ));
    for object in ["node", "stream-STREAM"] {
        let topic = format!("HOMEASSISTANT/device/NODE/{object}/config");
        out.push((
            topic,
            "1",
            "yes",
            "Home Assistant's device discovery".into(),
        ));
    }
    let mut r#in: Vec<Row> = Verb::ANYBODY_S
        .map(|verb| (topics.command(verb.name()), "0", "refused", link("command")))
        .to_vec();
    r#in.push((
        topics
            .command("VERB")
            .replace("/command", "/from/CLIENT/command"),
        "0",
        "refused",
        link("command"),
    ));
    r#in.push((
        "HOMEASSISTANT/status".into(),
        "0",
        "passed over",
        "`online`: Home Assistant has started".into(),
    ));
    let mut text = String::new();
    for (title, rows) in [("Published", out), ("Subscribed to", r#in)] {
        let _ = write!(
            text,
            "**{title}**\n\n| topic | QoS | retained | payload |\n|---|---|---|---|\n"
        );
        for (topic, qos, retained, payload) in rows {
            let _ = writeln!(
                text,
                "| `{}` | {qos} | {retained} | {payload} |",
                named(&topic)
            );
        }
        text.push('\n');
    }
    text
}

/// The placeholders as people write them.
fn named(topic: &str) -> String {
    [
        ("PREFIX", "<prefix>"),
        ("NODE", "<node>"),
        ("STREAM", "<stream>"),
        ("CLIENT", "<client>"),
        ("VERB", "<verb>"),
        ("HOMEASSISTANT", "homeassistant"),
    ]
    .iter()
    .fold(topic.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn link(title: &str) -> String {
    format!("[{title}](#{})", title.replace(' ', "-"))
}

/// Every payload, field by field.
fn payloads() -> String {
    let mut text = String::new();
    let event = schema_of::<Event>();
    section(&mut text, "event", &event["description"], &event);
    for (kind, body) in kinds(&event) {
        section(
            &mut text,
            &format!("event {kind}"),
            &body["description"],
            &body,
        );
    }
    for (title, schema) in [
        ("stream state", schema_of::<StreamState>()),
        ("stream vitals", schema_of::<StreamVitals>()),
        ("node vitals", schema_of::<NodeVitals>()),
        ("settings", schema_of::<StreamSettings>()),
        ("enrolment", schema_of::<StreamEnrolment>()),
        ("answer", schema_of::<Answer>()),
        ("command", read_schema_of::<Payload>()),
    ] {
        section(&mut text, title, &schema["description"], &schema);
    }
    text
}

fn section(text: &mut String, title: &str, description: &Value, schema: &Value) {
    let _ = write!(text, "### {title}\n\n{}\n\n", words(description));
    rows(text, "", schema);
    text.push('\n');
}

fn rows(text: &mut String, path: &str, schema: &Value) {
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    if path.is_empty() {
        text.push_str("| field | type | meaning |\n|---|---|---|\n");
    }
    for (name, field) in fields {
        let inner = either(field);
        let name = format!("{path}{name}");
        let _ = writeln!(
            text,
            "| `{name}` | {}{} | {} |",
            kind_of(inner),
            if may_be_null(field) { " or null" } else { "" },
            words(&field["description"])
        );
        rows(text, &format!("{name}."), inner);
    }
}

/// The branch that is not null.
fn either(field: &Value) -> &Value {
    let branches = field["anyOf"].as_array().into_iter().flatten();
    branches
        .into_iter()
        .find(|b| b["type"] != "null")
        .unwrap_or(field)
}

fn may_be_null(field: &Value) -> bool {
    let types = field["type"].as_array();
    let listed = types.is_some_and(|all| all.iter().any(|t| t == "null"));
    listed
        || field["anyOf"]
            .as_array()
            .is_some_and(|all| all.iter().any(|b| b["type"] == "null"))
}

fn kind_of(field: &Value) -> String {
    if let Some(constant) = field.get("const") {
        return format!("`{constant}`");
    }
    if let Some(all) = field["oneOf"].as_array() {
        let names: Vec<String> = all
            .iter()
            .filter_map(|one| one["const"].as_str())
            .map(|name| format!("`\"{name}\"`"))
            .collect();
        return names.join(", ");
    }
    match &field["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|n| *n != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".into(),
    }
}

fn words(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default().replace('|', "\\|");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Names and schemas of the bodies of an event.
fn kinds(event: &Value) -> Vec<(String, Value)> {
    let bodies = event["oneOf"].as_array().into_iter().flatten();
    let named = |body: &Value| {
        let kind = body["properties"]["type"]["const"].as_str()?;
        Some((kind.to_owned(), body.clone()))
    };
    bodies.filter_map(named).collect()
}

/// Of what is written, each type where it is used.
fn schema_of<T: JsonSchema>() -> Value {
    let inline = |s: &mut SchemaSettings| s.inline_subschemas = true;
    let settings = SchemaSettings::draft2020_12().for_serialize().with(inline);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Of what is read.
fn read_schema_of<T: JsonSchema>() -> Value {
    let inline = |s: &mut SchemaSettings| s.inline_subschemas = true;
    let settings = SchemaSettings::draft2020_12().with(inline);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn the_page_is_in_step_with_the_types() {
        let path = root().join("docs/mqtt.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let mut expected = page.clone();
        for (name, text) in parts() {
            let (begin, end) = (
                format!("<!-- {name} -->\n"),
                format!("<!-- end of {name} -->"),
            );
            let from = expected.find(&begin).expect(&begin) + begin.len();
            let to = expected.find(&end).expect(&end);
            expected.replace_range(from..to, &format!("\n{text}"));
        }
        if std::env::var_os("EARWITNESS_BLESS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        } else {
            assert!(
                page == expected,
                "docs/mqtt.md is behind the types: run EARWITNESS_BLESS=1 cargo test --lib mqtt::reference"
            );
        }
    }

    #[test]
    fn every_field_has_a_meaning() {
        for line in payloads().lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert!(cells.len() == 3 && cells[1].len() > 1, "{line}");
            let is_type = cells[0].contains("`type`");
            assert!(is_type || cells[2].trim().len() > 3, "no meaning: {line}");
        }
    }

    #[test]
    fn every_test_that_the_page_names_is_there() {
        let page = std::fs::read_to_string(root().join("docs/mqtt.md")).unwrap();
        let mut sources = String::new();
        let mut folders = vec![root().join("src"), root().join("tests")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    sources += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        let table = page.split("## Traps").nth(1).unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| "));
        let mut named = 0;
        for row in rows.skip(1) {
            let cell = row.trim_matches('|').split(" | ").last().unwrap();
            for test in cell.split('`').skip(1).step_by(2) {
                assert!(sources.contains(&format!("fn {test}(")), "no test {test}");
                named += 1;
            }
        }
        assert!(named >= 9, "{named}");
    }
}
