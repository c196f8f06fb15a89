//! From a file and the environment to a checked [`Config`].

use std::path::Path;

use serde::Deserialize;

use super::defaults::OUTBOX;
use super::document::Document;
use super::error::ConfigError;
use super::{Config, environment, input, validate};

/// Reads a configuration file, lays `EARWITNESS_<SECTION>__<KEY>` variables over it, checks it, and resolves relative
/// paths against the folder of the file.
///
/// # Errors
/// An unreadable file, or the problems found, each with its file, line, column and key (or its variable).
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    load_with(path, &text, environment::of_process())
}

/// The configuration of a command that was given no file: the defaults with `EARWITNESS_<SECTION>__<KEY>` laid over
/// them; relative paths belong to the working directory.
///
/// # Errors
/// A wrong variable.
pub fn defaults() -> Result<Config, ConfigError> {
    load_with(Path::new(""), "", environment::of_process())
}

/// Like [`load`] from text that stands for the content of `path`, with the given variables as environment.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    // Editors on other systems put a byte order mark in front, which TOML does not know.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let overrides = environment::overrides(variables);
    let mut document =
        Document::parse(path, text).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
    let mut problems = environment::lay_over(&mut document, &overrides);
    let positions = document.positions();
    problems.extend(input::check_sources(document.root.get_ref(), &positions));
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    let reader = toml::de::Deserializer::from(document.root);
    let mut config = Config::deserialize(reader)
        .map_err(|error| ConfigError::Invalid(vec![positions.serde_problem(&error)]))?;
    let problems = validate::problems(&config, &positions);
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        for path in input::paths_of(&mut config) {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        }
    }
    if let Some(mqtt) = &mut config.mqtt
        && mqtt.outbox.is_none()
        && mqtt.outbox_max_mb > 0
    {
        mqtt.outbox = Some(config.speaker.store.with_file_name(OUTBOX));
    }
    Ok(config)
}
