//! How a command ends, and the exit code that says so.

use std::process::ExitCode;

use crate::config::ConfigError;

use super::output::style;

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done; of a decision: accepted. Exit code 0.
    Success,
    /// Decided against, or not decided. Exit code 1.
    Reject,
}

impl Outcome {
    /// Its exit code.
    #[must_use]
    pub fn code(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Reject => ExitCode::from(1),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// The caller has to change an argument or the configuration. Exit code 2.
    Usage(anyhow::Error),
    /// The machine, a file, a model or the network failed. Exit code 3.
    Runtime(anyhow::Error),
    /// It failed and has said so on standard output already, as `doctor` does. Exit code 3.
    Reported,
    /// Whoever read standard output went away (`| head`): no failure of ours. Exit code 0.
    ReaderGone,
}

impl Failure {
    /// A mistake in the arguments.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// A failure while working.
    pub fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self::Runtime(error.into())
    }

    /// Its exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Runtime(_) | Self::Reported => 3,
            Self::ReaderGone => 0,
        })
    }

    /// Tells it on standard error, with its causes.
    pub fn report(&self) {
        use std::io::Write;

        let (Self::Usage(error) | Self::Runtime(error)) = self else {
            return;
        };
        let mut text = String::new();
        for cause in error.chain() {
            let cause = cause.to_string();
            // Our own messages quote their cause already.
            if text.ends_with(&cause) {
                continue;
            }
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        let bad = style::BAD;
        // Nobody is left to be told if standard error is closed.
        let _ = writeln!(anstream::stderr().lock(), "{bad}error{bad:#}: {text}");
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Errors of the library: all of them happen while working.
macro_rules! runtime_failures {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::runtime(error)
            }
        }
    )+};
}

runtime_failures!(
    crate::audio::SourceError,
    crate::model::ModelError,
    crate::pipeline::PipelineError,
    crate::publish::JsonlError,
    crate::publish::broker::BrokerError,
    crate::publish::mqtt::MqttError,
    crate::store::KeyError,
    crate::store::ReceiptError,
    crate::store::StoreError,
);
