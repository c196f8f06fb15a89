//! Overrides from the environment: `EARWITNESS_<SECTION>__<KEY>`, deeper tables with another `__`, and
//! `EARWITNESS_NODE`. The schema decides whether a value is text or a TOML value, so that a client id may be `42`.

use std::borrow::Cow;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::error::{Place, Problem};

const PREFIX: &str = "EARWITNESS_";

/// One variable that overrides a key.
pub(super) struct Override {
    variable: String,
    keys: String,
    /// The value as the TOML line `v = …`, which the parsed value borrows from.
    line: String,
    text: String,
}

/// The overrides among `variables`. Those of other purposes (`EARWITNESS_LOG`, `EARWITNESS_ORT`) have no `__` and are
/// left alone.
pub(super) fn overrides(variables: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let mut overrides: Vec<Override> = variables
        .filter_map(|(variable, text)| {
            let keys = variable.strip_prefix(PREFIX)?;
            if !keys.contains("__") && keys != "NODE" {
                return None;
            }
            Some(Override {
                keys: keys.to_lowercase(),
                line: format!("v = {text}"),
                text,
                variable,
            })
        })
        .collect();
    // The environment has no order; problems should.
    overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
    overrides
}

/// Lays the overrides over the document.
pub(super) fn lay_over<'t>(document: &mut Document<'t>, overrides: &'t [Override]) -> Vec<Problem> {
    if overrides.is_empty() {
        return Vec::new();
    }
    let schema = super::schema();
    let mut problems = Vec::new();
    for entry in overrides {
        let keys: Vec<&str> = entry.keys.split("__").collect();
        match value_for(&schema, &keys, entry) {
            Ok(value) => document.lay_over(&entry.variable, &keys, value),
            Err(message) => problems.push(Problem {
                place: Place::Environment {
                    variable: entry.variable.clone(),
                },
                key: keys.join("."),
                message,
            }),
        }
    }
    problems
}

fn value_for<'t>(
    schema: &Value,
    keys: &[&str],
    entry: &'t Override,
) -> Result<DeValue<'t>, String> {
    if keys.first() == Some(&"stream") {
        return Err("streams are set in the file, not in the environment".into());
    }
    let mut node = schema;
    for key in keys {
        let properties = properties(node)
            .ok_or_else(|| "no such key: a plain value has no keys of its own".to_owned())?;
        node = properties.get(*key).ok_or_else(|| {
            let expected: Vec<&str> = properties.keys().map(String::as_str).collect();
            format!(
                "unknown key `{key}`, expected one of `{}`",
                expected.join("`, `")
            )
        })?;
    }
    if properties(node).is_some() {
        return Err("this is a table: set its keys one by one, joined with `__`".into());
    }
    if is_text(node) {
        return Ok(DeValue::String(Cow::Borrowed(&entry.text)));
    }
    scalar(entry).ok_or_else(|| {
        let expected = node["type"].as_str().unwrap_or("value");
        format!("expected a TOML {expected}, found `{}`", entry.text)
    })
}

/// Parses one plain TOML value; its positions are not kept, the variable's name stands for them.
fn scalar(entry: &Override) -> Option<DeValue<'_>> {
    // A line break would let a value smuggle further keys in.
    if entry.text.contains(['\n', '\r']) {
        return None;
    }
    let root = DeTable::parse(&entry.line).ok()?.into_inner();
    let value = root.get("v")?.get_ref();
    let plain = matches!(
        value,
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)
    );
    plain.then(|| value.clone())
}

/// Keys of a table's schema, also where the table may be absent (`anyOf` with null).
pub(super) fn properties(node: &Value) -> Option<&serde_json::Map<String, Value>> {
    node["properties"].as_object().or_else(|| {
        node["anyOf"]
            .as_array()?
            .iter()
            .find_map(|branch| branch["properties"].as_object())
    })
}

fn is_text(node: &Value) -> bool {
    match &node["type"] {
        Value::String(name) => name == "string",
        Value::Array(names) => names.iter().any(|name| name == "string"),
        // A fieldless enum whose variants carry documentation.
        _ => node["oneOf"].is_array() || node["enum"].is_array(),
    }
}

/// The process's environment. Names and values that are not UTF-8 cannot be ours.
pub(super) fn of_process() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
