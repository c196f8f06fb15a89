//! The JSON schema of a configuration, for editors and for `docs/configuration.md`.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// The schema (draft 2020-12) with every type written where it is used. `schema/config.json` is its committed copy.
#[must_use]
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value();
    schema["title"] = Value::from("earwitness configuration");
    schema
}
