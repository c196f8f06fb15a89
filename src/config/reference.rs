//! The reference page of the configuration, written from the schema so that it cannot fall behind the types.

use std::fmt::Write as _;

use serde_json::Value;

use super::environment::properties;

const HEAD: &str = "# Configuration

*This page is written from the types by a test; edit the comments in `src/config/types.rs` and run
`EARWITNESS_BLESS=1 cargo test --test config`.*

A configuration is one TOML file, given with `-c FILE`. An unknown key, a value out of range or a missing key is an
error that names the file, line, column and key; `earwitness config check FILE` shows all of them at once.

- **Relative paths** are resolved against the folder of the file, the defaults below too. Without a file they are
  resolved against the current folder.
- **Environment**: `EARWITNESS_<SECTION>__<KEY>` overrides a key of the file, for example
  `EARWITNESS_MQTT__BROKER=mqtt://broker.lan:1883` or `EARWITNESS_SPEAKER__DECISION__PRIOR=0.1`, and `EARWITNESS_NODE`
  overrides `node`. Streams are set in the file only. `earwitness config print FILE` shows what results.
- Not part of the configuration, since they matter before a file is read: `EARWITNESS_LOG` (a log filter such as
  `info` or `earwitness=debug`), `EARWITNESS_ORT` (path of the ONNX Runtime library); and, since they are secrets,
  `EARWITNESS_PASSPHRASE` and `EARWITNESS_EXPORT_PASSPHRASE` ([enrolment.md](enrolment.md)).
- `earwitness config schema` prints the JSON schema, a copy of which is `schema/config.json`; editors complete and
  check a file that begins with `#:schema path/to/schema/config.json`.
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let schema = super::schema();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Top level\n\n");
    let mut tables = Vec::new();
    table(&mut page, &schema, "", &mut tables);
    let mut next = 0;
    while let Some((path, node)) = tables.get(next).cloned() {
        next += 1;
        let heading = match node["type"].as_str() {
            Some("array") => format!("`[[{path}]]`"),
            _ => format!("`[{path}]`"),
        };
        let _ = write!(page, "\n## {heading}\n\n{}\n\n", text_of(&node));
        let body = if node["items"].is_object() {
            &node["items"]
        } else {
            &node
        };
        if let Some(kinds) = body["oneOf"].as_array() {
            for kind in kinds {
                let name = kind["properties"]["kind"]["const"].as_str().unwrap_or("?");
                let _ = write!(page, "**`kind = \"{name}\"`**: {}\n\n", text_of(kind));
                table(&mut page, kind, &path, &mut tables);
                page.push('\n');
            }
            page.truncate(page.trim_end().len());
            page.push('\n');
        } else {
            table(&mut page, body, &path, &mut tables);
        }
    }
    page
}

/// One table of keys; tables among them are put on the list of what has to be described next.
fn table(page: &mut String, node: &Value, path: &str, tables: &mut Vec<(String, Value)>) {
    let Some(keys) = properties(node) else {
        return;
    };
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for (key, value) in keys {
        if key == "kind" {
            continue;
        }
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let nested = properties(value).is_some()
            || value["oneOf"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["properties"].is_object()))
            || value["items"]["properties"].is_object();
        if nested {
            if !tables.iter().any(|(known, _)| *known == inner) {
                tables.push((inner.clone(), value.clone()));
            }
            let _ = writeln!(
                page,
                "| `{key}` | [table](#{}) | | {} |",
                anchor(&inner),
                text_of(value)
            );
        } else {
            let _ = writeln!(
                page,
                "| `{key}` | {} | {} | {} |",
                type_of(value),
                default_of(value, required(node, key)),
                text_of(value)
            );
        }
    }
}

fn anchor(path: &str) -> String {
    path.replace('.', "")
}

fn required(node: &Value, key: &str) -> bool {
    node["required"]
        .as_array()
        .is_some_and(|keys| keys.iter().any(|name| name == key))
}

fn text_of(node: &Value) -> String {
    let text = node["description"].as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn type_of(node: &Value) -> String {
    if let Some(choices) = node["oneOf"].as_array() {
        let names: Vec<String> = choices
            .iter()
            .filter_map(|choice| choice["const"].as_str())
            .map(|name| format!("`\"{name}\"`"))
            .collect();
        return names.join(", ");
    }
    let name = match &node["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
            .unwrap_or("value"),
        _ => "value",
    };
    match name {
        "array" => format!(
            "array of {}s",
            node["items"]["type"].as_str().unwrap_or("value")
        ),
        name => name.to_owned(),
    }
}

fn default_of(node: &Value, required: bool) -> String {
    match node.get("default") {
        Some(Value::Null) => "absent".into(),
        Some(value) => format!("`{value}`"),
        None if required => "needed".into(),
        None => String::new(),
    }
}
