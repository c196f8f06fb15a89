//! A folder with a configuration, in which the program runs, and the events that it leaves there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use earwitness::model::Runtime;
use earwitness::publish::{Body, Event, SourceState, schema};

use super::program::{Ended, Program};
use super::sound::{alice, write_wav};
use super::terminal::Terminal;

/// A command on short recordings is done long before, even on a loaded machine.
const COMMAND: Duration = Duration::from_secs(60);

/// Short windows; room for all of a file's windows, so that a slow machine loses none of a paced one.
const BASE: &str = "node = 'test'\n[window]\nlength_s = 2.0\nhop_s = 0.5\nqueue = 1000\n[jsonl]\npath = 'events.jsonl'\n";

pub struct Place {
    dir: tempfile::TempDir,
    runs: AtomicUsize,
}

impl Place {
    /// With the tiny pack and more configuration, in which `{root}` stands for the project's folder.
    pub fn new(more: &str) -> Self {
        Self::with_pack("{root}/tests/fixtures/packs/tiny", more)
    }

    pub fn with_pack(pack: &str, more: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            runs: AtomicUsize::new(0),
        };
        // The fixtures are nobody's: what is refused is tested in tests/trust.rs.
        let text = format!("{BASE}[models]\npack = '{pack}'\nallow_unsigned = true\n{more}");
        fs::write(place.path("ew.toml"), text.replace("{root}", root())).unwrap();
        place
    }

    /// With alice enrolled by a chord of hers in `alice.wav`, by force: nobody would call it real.
    pub fn of_alice() -> Self {
        let place = Self::new("");
        write_wav(&place.path("alice.wav"), 16_000, &alice(6.0, 16_000));
        place
            .run(&["enroll", "alice", "alice.wav", "--force"])
            .expect(0);
        place
    }

    /// With a copy of the tiny pack that has a sound head, in `pack/`.
    pub fn hearing(more: &str) -> Self {
        let place = Self::with_pack("pack", more);
        let fixtures = Path::new(root()).join("tests/fixtures/packs");
        fs::create_dir(place.path("pack")).unwrap();
        for folder in ["tiny", "sound"] {
            for entry in fs::read_dir(fixtures.join(folder)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), place.path("pack").join(entry.file_name())).unwrap();
            }
        }
        let section = fs::read_to_string(fixtures.join("sound/sound.toml")).unwrap();
        let manifest = place.path("pack/pack.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text + &section).unwrap();
        place
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the program with these arguments, `-c ew.toml` added.
    pub fn start(&self, arguments: &[&str]) -> Program {
        self.start_with(arguments, Stdio::null(), &[])
    }

    pub fn start_with(
        &self,
        arguments: &[&str],
        stdin: Stdio,
        variables: &[(&str, &Path)],
    ) -> Program {
        self.start_by(arguments, variables, |command, stderr| {
            command.stdin(stdin).stderr(File::create(stderr).unwrap());
        })
    }

    /// Starts the program at a terminal, to which it also says what else goes to standard error.
    pub fn start_at(&self, terminal: &Terminal, arguments: &[&str]) -> Program {
        self.start_by(arguments, &[], |command, _| terminal.seat(command))
    }

    /// `connect` gives a command its standard input and error; the latter may be the file of this name.
    fn start_by(
        &self,
        arguments: &[&str],
        variables: &[(&str, &Path)],
        connect: impl FnOnce(&mut Command, &Path),
    ) -> Program {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) = (
            self.path(&format!("{run}.out")),
            self.path(&format!("{run}.err")),
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_earwitness"));
        // What the caller of the tests has set must not decide them.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EARWITNESS_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("CREDENTIALS_DIRECTORY")
            .env("EARWITNESS_ORT", runtime())
            .envs(variables.iter().copied())
            .args(arguments)
            .args(["-c", "ew.toml"])
            .current_dir(self.dir())
            .stdout(File::create(&stdout).unwrap());
        connect(&mut command, &stderr);
        let child = command.spawn().unwrap();
        Program::new(child, stdout, stderr)
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end(COMMAND)
    }

    /// The events so far, whole lines only. Each has to keep to the schema, and those of an epoch are numbered from 0
    /// without a hole.
    pub fn events(&self) -> Vec<Event> {
        static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
        let schema = SCHEMA.get_or_init(|| jsonschema::validator_for(&schema::event()).unwrap());
        let text = fs::read_to_string(self.path("events.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut due = HashMap::<(String, u64), u64>::new();
        let read = |line: &str| {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(schema.is_valid(&value), "{line}");
            let event: Event =
                serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}: {line}"));
            let due = due
                .entry((event.id.stream.clone(), event.id.epoch))
                .or_default();
            assert_eq!(event.id.sequence, *due, "{line}");
            *due += 1;
            event
        };
        whole.lines().map(read).collect()
    }

    /// How many events there are, without a look at them.
    pub fn count(&self) -> usize {
        let bytes = fs::read(self.path("events.jsonl")).unwrap_or_default();
        bytes.iter().filter(|b| **b == b'\n').count()
    }

    /// The events of one stream.
    pub fn events_of(&self, stream: &str) -> Vec<Event> {
        let mut events = self.events();
        events.retain(|e| e.id.stream == stream);
        events
    }

    /// The windows of one stream.
    pub fn windows_of(&self, stream: &str) -> Vec<Event> {
        let mut events = self.events_of(stream);
        events.retain(|e| matches!(e.body, Body::Window { .. }));
        events
    }

    /// What was told about a stream's source, with the reasons.
    pub fn source_of(&self, stream: &str) -> Vec<(SourceState, Option<String>)> {
        let body = |event: Event| match event.body {
            Body::Source { state, reason } => Some((state, reason)),
            _ => None,
        };
        self.events_of(stream)
            .into_iter()
            .filter_map(body)
            .collect()
    }
}

/// The project's folder.
pub fn root() -> &'static str {
    env!("CARGO_MANIFEST_DIR")
}

/// The ONNX Runtime library that all programs get.
fn runtime() -> &'static Path {
    match Runtime::load(None) {
        Ok(runtime) => runtime.path(),
        Err(e) => panic!("these tests need the ONNX Runtime library (`make test` fetches it): {e}"),
    }
}
