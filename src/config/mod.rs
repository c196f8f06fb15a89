//! Raw TOML to validated types: positions of keys, environment overrides, ranges, the JSON schema and the reference
//! page made from it. Every default of the daemon is in `defaults` and nowhere else. Nothing here acts on a setting.

mod defaults;
mod document;
mod environment;
mod error;
mod input;
mod load;
mod reference;
mod schema;
mod types;
mod validate;

pub use error::{ConfigError, Place, Problem};
pub use load::{defaults, load, load_with};
pub use reference::reference;
pub use schema::schema;
pub use types::{
    Commands, Config, Decision, Encoding, Health, HomeAssistant, Input, Jsonl, Models, Mqtt,
    Neighbours, Pcm, PcmFormat, Precision, Provider, Sound, Speaker, Spoof, Stream, Verb, Window,
};

#[cfg(test)]
mod tests;
