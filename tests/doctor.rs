//! What `doctor`, `models` and `speakers` say about a machine that lacks something, and the code they end with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tiny_pack() -> PathBuf {
    root().join("tests/fixtures/packs/tiny")
}

/// A folder with `ew.toml` in which the program is run.
struct Place(tempfile::TempDir);

impl Place {
    fn new(pack: &Path, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "[models]\npack = '{}'\nallow_unsigned = true\n{more}",
            pack.display()
        );
        std::fs::write(folder.path().join("ew.toml"), text).expect("written");
        Self(folder)
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_earwitness"))
            .args(arguments)
            .args(["-c", "ew.toml"])
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .output()
            .expect("the program starts")
    }

    /// State and text of each part, and the exit code.
    fn doctor(&self, variables: &[(&str, &str)]) -> (Vec<(String, String, String)>, Option<i32>) {
        let output = self.run(&["doctor", "--json"], variables);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let checks = text
            .lines()
            .map(|line| {
                let check: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let field = |name: &str| check[name].as_str().expect("a text").to_owned();
                (field("part"), field("state"), field("found"))
            })
            .collect();
        (checks, output.status.code())
    }
}

fn part<'c>(checks: &'c [(String, String, String)], name: &str) -> (&'c str, &'c str) {
    let (_, state, found) = checks
        .iter()
        .find(|(part, ..)| part == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:?}"));
    (state, found)
}

/// A port on which nobody listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_machine_in_order_is_code_0() {
    let place = Place::new(
        &tiny_pack(),
        "[[stream]]\nid = 'a'\nsource = { kind = 'stdin' }\n",
    );
    let (checks, code) = place.doctor(&[]);
    assert_eq!(code, Some(0), "{checks:?}");
    for name in ["runtime", "pack", "models", "capture", "streams", "broker"] {
        assert_eq!(part(&checks, name).0, "ok", "{checks:?}");
    }
    let (state, found) = part(&checks, "speakers");
    assert!(
        state == "warn" && found.contains("earwitness enroll"),
        "{found}"
    );
    let output = place.run(&["doctor"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() >= 7);
}

#[test]
fn a_missing_runtime_is_a_failure_with_advice() {
    let place = Place::new(&tiny_pack(), "");
    let variables = [("EARWITNESS_ORT", "/nonexistent/lib.so")];
    let (checks, code) = place.doctor(&variables);
    assert_eq!(code, Some(3));
    let (state, found) = part(&checks, "runtime");
    assert!(
        state == "fail" && found.contains("/nonexistent/lib.so") && found.contains("set-up"),
        "{found}"
    );
    assert_eq!(part(&checks, "pack").0, "ok");
    let output = place.run(&["models", "check"], &variables);
    assert_eq!(output.status.code(), Some(3));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("\nerror: no ONNX Runtime library"),
        "{message}"
    );
}

#[test]
fn a_library_that_is_none_is_a_failure() {
    let place = Place::new(&tiny_pack(), "");
    let library = root().join("Cargo.toml");
    let (checks, code) = place.doctor(&[("EARWITNESS_ORT", library.to_str().expect("UTF-8"))]);
    assert_eq!(
        (part(&checks, "runtime").0, code),
        ("fail", Some(3)),
        "{checks:?}"
    );
}

#[test]
fn a_damaged_or_missing_pack_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged");
    std::fs::create_dir(&damaged).expect("created");
    for file in std::fs::read_dir(tiny_pack()).expect("the tiny pack") {
        let file = file.expect("a file").path();
        std::fs::copy(&file, damaged.join(file.file_name().expect("a name"))).expect("copied");
    }
    let mut bytes = std::fs::read(damaged.join("speaker.onnx")).expect("read");
    bytes[100] ^= 1;
    std::fs::write(damaged.join("speaker.onnx"), bytes).expect("written");
    let place = Place::new(&damaged, "");
    let (checks, code) = place.doctor(&[]);
    assert_eq!(code, Some(3));
    let (state, found) = part(&checks, "pack");
    assert!(
        state == "fail" && found.contains("speaker.onnx has SHA-256"),
        "{found}"
    );
    let output = place.run(&["models", "show"], &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0));
    let list = place.run(&["models", "list"], &[]);
    assert_eq!(list.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&list.stdout).contains("the manifest expects"));

    let place = Place::new(&folder.path().join("nowhere"), "");
    let (checks, code) = place.doctor(&[]);
    assert_eq!((part(&checks, "pack").0, code), ("fail", Some(3)));
}

#[test]
fn a_broker_that_is_away_is_a_warning_and_a_wrong_setting_a_failure() {
    let address = format!("[mqtt]\nbroker = 'mqtt://127.0.0.1:{}'\n", closed_port());
    let (checks, code) = Place::new(&tiny_pack(), &address).doctor(&[]);
    assert_eq!(code, Some(0), "{checks:?}");
    let (state, found) = part(&checks, "broker");
    assert!(
        state == "warn" && found.contains("events wait until it comes"),
        "{found}"
    );
    let missing = format!("{address}username = 'u'\npassword_file = '/nonexistent/password'\n");
    let (checks, code) = Place::new(&tiny_pack(), &missing).doctor(&[]);
    let (state, found) = part(&checks, "broker");
    assert!(
        state == "fail" && found.contains("/nonexistent/password"),
        "{found}"
    );
    assert_eq!(code, Some(3));
}

#[test]
fn sources_that_are_not_there_are_named() {
    let streams = "[[stream]]\nid = 'a'\nsource = { kind = 'file', path = 'gone.wav' }\n\
        [[stream]]\nid = 'b'\nsource = { kind = 'command', argv = ['no-such-program-here'] }\n";
    let (checks, code) = Place::new(&tiny_pack(), streams).doctor(&[]);
    let (state, found) = part(&checks, "streams");
    assert_eq!((state, code), ("fail", Some(3)), "{checks:?}");
    assert!(
        found.contains("a: no file ")
            && found.contains("gone.wav; b: no program `no-such-program-here`"),
        "{found}"
    );
}

#[test]
fn a_file_that_is_no_store_is_a_failure_everywhere() {
    let place = Place::new(&tiny_pack(), "[speaker]\nstore = 'ew.toml'\n");
    let (checks, code) = place.doctor(&[]);
    assert_eq!(
        (part(&checks, "speakers").0, code),
        ("fail", Some(3)),
        "{checks:?}"
    );
    assert_eq!(place.run(&["speakers", "list"], &[]).status.code(), Some(3));
}

#[test]
fn models_are_shown_and_checked() {
    let place = Place::new(&tiny_pack(), "");
    let output = place.run(&["models", "check", "--json"], &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&record["valid"], &record["provider"]),
        (&true.into(), &"cpu".into())
    );
    let output = place.run(&["models", "show", "--json"], &[]);
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        record["sha256"].as_object().map(serde_json::Map::len),
        Some(4)
    );
    assert_eq!(record["sha256"]["vad"].as_str().map(str::len), Some(64));
}

#[test]
fn nobody_is_enrolled_at_first() {
    let place = Place::new(&tiny_pack(), "");
    let list = place.run(&["speakers", "list"], &[]);
    assert_eq!(list.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&list.stdout).starts_with("nobody is enrolled in "));
    let json = place.run(&["speakers", "list", "--json"], &[]);
    assert_eq!((json.status.code(), json.stdout.len()), (Some(0), 0));
    assert_eq!(
        place
            .run(&["speakers", "remove", "alice"], &[])
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        place.run(&["speakers", "remove", "a b"], &[]).status.code(),
        Some(2)
    );
}

#[test]
fn libraries_do_not_chatter_on_standard_error() {
    // On a machine without a sound card, as CI is, ALSA tells at length that the default device cannot open.
    let place = Place::new(&tiny_pack(), "");
    for command in ["doctor", "devices"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_earwitness"));
        let output = program
            .arg(command)
            .current_dir(place.0.path())
            .output()
            .expect("the program starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("ALSA lib"), "{command}: {text}");
    }
}
