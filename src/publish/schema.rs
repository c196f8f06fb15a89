//! JSON Schema of everything that leaves: generated from the types, committed under `schema/`, compared by a test.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::control::StreamSettings;
use super::enrolment::StreamEnrolment;
use super::event::Event;
use super::state::StreamState;
use super::vitals::{NodeVitals, StreamVitals};

/// Draft 2020-12 schema of [`Event`].
pub fn event() -> Value {
    of::<Event>("event")
}

/// Draft 2020-12 schema of [`StreamState`].
pub fn state() -> Value {
    of::<StreamState>("state")
}

/// Draft 2020-12 schema of [`StreamVitals`].
pub fn stream_vitals() -> Value {
    of::<StreamVitals>("stream-vitals")
}

/// Draft 2020-12 schema of [`NodeVitals`].
pub fn node_vitals() -> Value {
    of::<NodeVitals>("node-vitals")
}

/// Draft 2020-12 schema of [`StreamSettings`].
pub fn settings() -> Value {
    of::<StreamSettings>("settings")
}

/// Draft 2020-12 schema of [`StreamEnrolment`].
pub fn enrolment() -> Value {
    of::<StreamEnrolment>("enrolment")
}

/// The schema of what serde writes (not of what it would also read): consumers can count on each required field.
fn of<T: JsonSchema>(name: &str) -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("urn:earwitness:{name}:1").into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::publish::event::tests::samples;
    use crate::publish::state::tests::states;

    /// Reads the committed schema, after writing it anew when `EARWITNESS_BLESS` is set.
    fn committed(name: &str, generated: &Value) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("schema")
            .join(name);
        if std::env::var_os("EARWITNESS_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = serde_json::to_string_pretty(generated).unwrap() + "\n";
            std::fs::write(&path, text).unwrap();
        }
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
    }

    #[test]
    fn committed_schemas_are_those_of_the_types() {
        for (name, generated) in [
            ("event.json", event()),
            ("state.json", state()),
            ("stream-vitals.json", stream_vitals()),
            ("node-vitals.json", node_vitals()),
            ("settings.json", settings()),
            ("enrolment.json", enrolment()),
        ] {
            assert_eq!(
                committed(name, &generated),
                generated,
                "schema/{name} has drifted from the types: was that meant? Then run \
                 EARWITNESS_BLESS=1 cargo test --lib schema, and raise SCHEMA if a consumer has to change"
            );
        }
    }

    #[test]
    fn real_events_and_states_pass_the_committed_schema() {
        let schema = jsonschema::validator_for(&committed("event.json", &event())).unwrap();
        for sample in samples() {
            let value = serde_json::from_slice(&sample.to_json().unwrap()).unwrap();
            let errors: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{value}: {errors:?}");
        }
        let schema = jsonschema::validator_for(&committed("state.json", &state())).unwrap();
        for sample in states() {
            let value = serde_json::to_value(&sample).unwrap();
            assert!(schema.is_valid(&value), "{value}");
        }
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let schema = jsonschema::validator_for(&committed("event.json", &event())).unwrap();
        let good: Value = serde_json::from_slice(&samples()[4].to_json().unwrap()).unwrap();
        assert!(schema.is_valid(&good));
        for (pointer, wrong) in [
            ("/schema", 2.into()),
            ("/type", "weather".into()),
            ("/verdict", "maybe".into()),
            ("/id/sequence", (-1).into()),
            ("/lag_ms", Value::Null),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = wrong;
            assert!(!schema.is_valid(&bad), "{pointer}");
        }
    }
}
