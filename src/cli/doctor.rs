//! `doctor`: is every part of this machine ready for the daemon, and if not, what to do.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::audio;
use crate::config::{Config, Input};
use crate::model::{Pack, Runtime};
use crate::publish::mqtt;
use crate::store::{Protection, SpeakerStore};

use super::analysis::load;
use super::hush::without_library_chatter;
use super::output::{Cell, style};
use super::{Failure, Outcome, Output, models};

/// How long a broker may take to answer.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration to check the machine against; without it the defaults, which publish nowhere.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Ready.
    Ok,
    /// The daemon runs, but not all that one may expect works.
    Warn,
    /// The daemon would not run.
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    part: &'static str,
    state: State,
    /// What was found, and what to do about it.
    found: String,
}

impl Check {
    fn new(part: &'static str, state: State, found: impl ToString) -> Self {
        Self {
            part,
            state,
            found: found.to_string(),
        }
    }
}

/// Looks at one part after another; each is looked at whatever the others say.
pub fn run(args: Args, output: &Output) -> Result<Outcome, Failure> {
    let config = load(args.config.as_deref())?;
    let mut checks = models_checks(&config);
    checks.push(capture(&config));
    checks.push(sources(&config));
    checks.push(broker(&config));
    checks.extend(outbox(&config));
    checks.push(store(&config));
    if output.is_json() {
        for check in &checks {
            output.record(check)?;
        }
    } else {
        let rows: Vec<Vec<Cell>> = checks
            .iter()
            .map(|check| {
                let state = match check.state {
                    State::Ok => Cell::styled("ok", style::GOOD),
                    State::Warn => Cell::styled("warn", style::WARN),
                    State::Fail => Cell::styled("fail", style::BAD),
                };
                vec![state, Cell::new(check.part), Cell::new(&check.found)]
            })
            .collect();
        output.table(&["", "part", "found"], &rows)?;
    }
    if checks.iter().any(|check| check.state == State::Fail) {
        return Err(Failure::Reported);
    }
    Ok(Outcome::Success)
}

/// Runtime library, pack, and the two together on the configured provider.
fn models_checks(config: &Config) -> Vec<Check> {
    let runtime = Runtime::load(config.models.runtime.as_deref());
    let pack = Pack::configured(&config.models);
    let mut checks = vec![
        match &runtime {
            Ok(runtime) => Check::new(
                "runtime",
                State::Ok,
                format_args!("{} ({})", runtime.path().display(), runtime.build()),
            ),
            Err(error) => Check::new("runtime", State::Fail, error),
        },
        match &pack {
            Ok(pack) => Check::new(
                "pack",
                State::Ok,
                format_args!(
                    "{} {} in {}, every hash as promised",
                    pack.name(),
                    pack.version(),
                    config.models.pack.display()
                ),
            ),
            Err(error) => Check::new("pack", State::Fail, error),
        },
    ];
    if let (Ok(runtime), Ok(pack)) = (runtime, pack) {
        checks.push(
            match models::provider_in_use(runtime, &pack, &config.models) {
                Ok((device, refused)) if refused.is_empty() => Check::new(
                    "models",
                    State::Ok,
                    format_args!("known answers given on {device}"),
                ),
                Ok((device, refused)) => Check::new(
                    "models",
                    State::Warn,
                    format_args!(
                        "known answers given on {device} only: {}",
                        refused.join("; ")
                    ),
                ),
                Err(Failure::Runtime(error)) => Check::new("models", State::Fail, error),
                Err(_) => Check::new("models", State::Fail, "cannot be opened"),
            },
        );
    }
    checks
}

/// Whether anything can be captured. No microphone is trouble only for who wants to use one, and even then the daemon
/// starts and waits for it.
fn capture(config: &Config) -> Check {
    let wanted: Vec<&str> = config
        .streams
        .iter()
        .filter(|stream| matches!(stream.source, Input::Mic { .. }))
        .map(|stream| stream.id.as_str())
        .collect();
    let usable = without_library_chatter(audio::devices).map(|devices| {
        // ALSA's `null` always opens and always gives zeros.
        let usable = devices
            .iter()
            .filter(|device| device.capture.is_some() && device.id != "null");
        usable.map(|device| device.name.clone()).collect::<Vec<_>>()
    });
    match usable {
        Ok(names) if !names.is_empty() => Check::new("capture", State::Ok, names.join(", ")),
        found if wanted.is_empty() => {
            let found = found
                .err()
                .map_or("no device that works".into(), |error| error.to_string());
            Check::new(
                "capture",
                State::Ok,
                format_args!("{found}; none is configured"),
            )
        }
        Ok(_) => Check::new(
            "capture",
            State::Warn,
            format_args!(
                "no device that works, but {} wants one; plug it in (the daemon waits for it), see `earwitness devices`",
                wanted.join(", ")
            ),
        ),
        Err(error) => Check::new(
            "capture",
            State::Warn,
            format_args!("{error}, but {} wants a device", wanted.join(", ")),
        ),
    }
}

/// Files and programs that streams name.
fn sources(config: &Config) -> Check {
    if config.streams.is_empty() {
        return Check::new(
            "streams",
            State::Warn,
            "none is configured; add a [[stream]] to the file given with -c",
        );
    }
    let mut missing = Vec::new();
    for stream in &config.streams {
        match &stream.source {
            Input::File { path, .. } if !path.is_file() => {
                missing.push((
                    State::Fail,
                    format!("{}: no file {}", stream.id, path.display()),
                ));
            }
            Input::Command { argv, .. } => {
                if let Some(program) = argv.first().filter(|program| !is_program(program)) {
                    // Tried again for ever by the daemon, since programs get installed.
                    missing.push((
                        State::Warn,
                        format!("{}: no program `{program}`, install it", stream.id),
                    ));
                }
            }
            _ => {}
        }
    }
    let worst = if missing.iter().any(|(state, _)| *state == State::Fail) {
        State::Fail
    } else {
        State::Warn
    };
    if missing.is_empty() {
        Check::new(
            "streams",
            State::Ok,
            format_args!("{} configured", config.streams.len()),
        )
    } else {
        let texts: Vec<String> = missing.into_iter().map(|(_, text)| text).collect();
        Check::new("streams", worst, texts.join("; "))
    }
}

/// Whether `name` would be found as the operating system finds programs.
fn is_program(name: &str) -> bool {
    if name.contains('/') {
        return std::path::Path::new(name).is_file();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// A broker that is away now may come later: the daemon starts without it.
fn broker(config: &Config) -> Check {
    match &config.mqtt {
        None => Check::new("broker", State::Ok, "none is configured"),
        Some(mqtt) => match mqtt::probe_as(mqtt, &config.node, BROKER_PATIENCE) {
            Ok(found) => Check::new("broker", State::Ok, found),
            Err(error @ mqtt::MqttError::Unreachable(_)) => Check::new(
                "broker",
                State::Warn,
                format_args!("{error}; events wait until it comes"),
            ),
            Err(error) => Check::new("broker", State::Fail, error),
        },
    }
}

/// Where events wait for the broker.
fn outbox(config: &Config) -> Option<Check> {
    let Some(path) = &config.mqtt.as_ref()?.outbox else {
        let found = "none: events wait in memory only";
        return Some(Check::new("outbox", State::Ok, found));
    };
    let at = path.display();
    Some(match mqtt::outbox_look(path) {
        Ok(Some(events)) => Check::new(
            "outbox",
            State::Ok,
            format_args!("{events} events wait in {at}"),
        ),
        Ok(None) => Check::new(
            "outbox",
            State::Ok,
            format_args!("{at}, in use by a daemon"),
        ),
        Err(error @ (mqtt::OutboxError::Damaged { .. } | mqtt::OutboxError::Disk { .. })) => {
            let found = format_args!("{error}; events would wait in memory, or a new one be made");
            Check::new("outbox", State::Warn, found)
        }
        Err(error) => Check::new("outbox", State::Fail, error),
    })
}

fn store(config: &Config) -> Check {
    let path = &config.speaker.store;
    let found = SpeakerStore::open(&config.speaker)
        .and_then(|store| Ok((store.list()?, store.protection()?)));
    match found {
        Ok((people, _)) if people.is_empty() => Check::new(
            "speakers",
            State::Warn,
            format_args!(
                "nobody is enrolled in {}; enrol somebody: earwitness enroll NAME FILES",
                path.display()
            ),
        ),
        Ok((people, Protection::Sealed(key))) => Check::new(
            "speakers",
            State::Ok,
            format_args!(
                "{} enrolled in {}, encrypted with {key}",
                people.len(),
                path.display()
            ),
        ),
        Ok((people, Protection::Nothing | Protection::Plain)) => Check::new(
            "speakers",
            State::Warn,
            format_args!(
                "{} enrolled in {}, which is not encrypted; run: earwitness speakers renew",
                people.len(),
                path.display()
            ),
        ),
        Err(error) => Check::new("speakers", State::Fail, error),
    }
}
