//! Logs: always on standard error, so that standard output holds results only.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// The variable that sets the filter where no argument does.
const VARIABLE: &str = "EARWITNESS_LOG";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "cannot read the log filter `{filter}`: {source}; expected a level (error, warn, info, debug, trace) or \
         directives such as earwitness=debug,rumqttc=warn"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process logs already.
    #[error("logging was started twice in this process: {0}")]
    Twice(#[from] TryInitError),
}

/// Starts logging for the whole process. The filter is `filter`, else the variable `EARWITNESS_LOG`, else `fallback`.
///
/// # Errors
/// [`LogError::Filter`] for what is no filter, [`LogError::Twice`] on a second call.
pub fn init_log(filter: Option<&str>, fallback: &str, format: LogFormat) -> Result<(), LogError> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let from_variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let text = filter.or(from_variable.as_deref()).unwrap_or(fallback);
    let filter = parse_filter(text)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            registry.with(lines.with_ansi(colour)).try_init()?;
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    let error = |source| LogError::Filter {
        filter: text.to_owned(),
        source,
    };
    // A lone word that is no level would be taken for the name of a module, and silence everything.
    let is_word = !text.contains(['=', ',', ':', '[']);
    if is_word && !text.eq_ignore_ascii_case("off") && text.parse::<tracing::Level>().is_err() {
        // The empty directive list is only a vehicle for the library's own error type.
        return Err(
            match EnvFilter::builder().parse(format!("earwitness={text}")) {
                Err(source) => error(source),
                Ok(filter) => return Ok(filter),
            },
        );
    }
    EnvFilter::builder().parse(text).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_filters() {
        for text in [
            "info",
            "DEBUG",
            "off",
            "earwitness=debug,rumqttc=warn",
            "warn,earwitness::audio=trace",
        ] {
            assert!(parse_filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_refused_instead_of_silencing_all() {
        for text in ["verbose", "inof", "earwitness=loud"] {
            let error = parse_filter(text).expect_err(text).to_string();
            assert!(
                error.contains(text) && error.contains("expected a level"),
                "{error}"
            );
        }
    }
}
