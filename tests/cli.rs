//! The program as a caller sees it: exit codes, what goes to which stream, messages.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn earwitness() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_earwitness"));
    // What the caller of the tests has set must not decide them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EARWITNESS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NO_COLOR");
    command
}

fn run(arguments: &[&str]) -> Output {
    earwitness()
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// A configuration in a folder of its own.
fn configuration(content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ew.toml");
    std::fs::write(&path, content).expect("written");
    (folder, path)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["help", "verify"],
        &["run", "--help"],
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    let help = text(&run(&["--help"]).stdout);
    assert!(
        help.contains("Exit codes: 0 accept or success, 1 reject, 2 usage"),
        "{help}"
    );
    let version = text(&run(&["--version"]).stdout);
    assert_eq!(
        version,
        concat!("earwitness ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn every_subcommand_explains_itself() {
    let help = text(&run(&["--help"]).stdout);
    let list = help
        .split("Commands:\n")
        .nth(1)
        .expect("a list")
        .split("\n\n")
        .next()
        .expect("its end");
    let mut seen = 0;
    for line in list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        assert!(words.count() >= 3, "no explanation: {line}");
        if name != "help" {
            assert_eq!(code(&run(&[name, "--help"])), Some(0), "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "{help}");
}

#[test]
fn usage_mistakes_are_code_2_on_standard_error() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run"],
        &["--bogus", "run"],
        &["verify", "alice"],
        &["verify", "al ice", "x.wav"],
        &["enroll", "alice"],
        &["demo", "--speed", "-1"],
        &["demo", "--speed", "nan"],
        &["demo", "--port", "70000"],
        &["--log-level", "inof", "config", "schema"],
        &["--quiet", "--log-level", "info", "config", "schema"],
        &["detect", "x.wav", "--window", "99"],
        &["detect", "x.wav", "--hop", "4"],
        &["detect", "x.wav", "--window", "nan"],
        &["detect", "x.wav", "--config", "/nonexistent/ew.toml"],
    ] {
        let output = run(arguments);
        assert_eq!(
            code(&output),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn config_check_says_what_it_found() {
    let (_folder, file) = configuration(
        "[[stream]]\nid = 'door'\nsource = { kind = 'mic' }\n[mqtt]\nbroker = 'mqtt://b:1884'\n",
    );
    let output = run(&["config", "check", path(&file)]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        format!(
            "{}: ok, listens to door (mic), publishes to mqtt://b:1884\n",
            file.display()
        )
    );
    let output = run(&["--json", "config", "check", path(&file)]);
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["valid"], true);
    assert_eq!(record["streams"], 1);
}

#[test]
fn config_check_names_line_and_key() {
    let (_folder, file) = configuration("[window]\nhop = 1\n");
    for arguments in [
        &["config", "check"][..],
        &["config", "print"],
        &["run", "-c"],
    ] {
        let output = earwitness()
            .args(arguments)
            .arg(&file)
            .output()
            .expect("starts");
        assert_eq!(code(&output), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert_eq!(
            text(&output.stderr),
            format!(
                "error: {}:2:1: `window.hop`: unknown key `hop`, expected one of `length_s`, `hop_s`, `min_speech`, `queue`\n",
                file.display()
            )
        );
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let output = run(&["config", "check", "/nonexistent/ew.toml"]);
    assert_eq!(code(&output), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.starts_with("error: cannot read the configuration /nonexistent/ew.toml: "),
        "{message}"
    );
    assert_eq!(message.matches("No such file").count(), 1, "{message}");
}

#[test]
fn config_print_lays_the_environment_over_the_file() {
    let (folder, file) = configuration("node = 'a'\n[mqtt]\n");
    let print = |json: bool| {
        let mut command = earwitness();
        command.env("EARWITNESS_MQTT__BROKER", "mqtt://other:1");
        if json {
            command.arg("--json");
        }
        let output = command
            .args(["config", "print"])
            .arg(&file)
            .output()
            .expect("starts");
        assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let toml: toml::Table = print(false).parse().expect("TOML");
    assert_eq!(toml["mqtt"]["broker"].as_str(), Some("mqtt://other:1"));
    let pack = folder.path().join("models/default");
    assert_eq!(toml["models"]["pack"].as_str(), pack.to_str());
    let json: serde_json::Value = serde_json::from_str(&print(true)).expect("JSON");
    assert_eq!(json["mqtt"]["broker"], "mqtt://other:1");
}

#[test]
fn config_schema_is_the_committed_one() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/config.json");
    let output = run(&["config", "schema"]);
    assert_eq!(
        text(&output.stdout),
        std::fs::read_to_string(committed).expect("committed")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = earwitness()
        .args(["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(
        (code(&output), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn a_full_disk_is_a_runtime_failure() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let output = earwitness()
        .args(["config", "schema"])
        .stdout(full)
        .output()
        .expect("starts");
    assert_eq!(code(&output), Some(3));
    assert!(text(&output.stderr).starts_with("error: cannot write to standard output: "));
}

#[test]
fn colour_is_for_terminals_only() {
    let (_folder, file) = configuration("");
    let output = run(&["config", "check", path(&file)]);
    assert!(!output.stdout.contains(&0x1b));
    let output = run(&["config", "check", "/nonexistent"]);
    assert!(!output.stderr.contains(&0x1b));
}

#[test]
fn a_configuration_from_a_pipe_is_not_waited_for() {
    // `-` is no file: it must be named as missing instead of hanging on standard input.
    let mut child = earwitness()
        .args(["config", "check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let _ = stdin.write_all(b"node = 'a'\n");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(code(&output), Some(2));
}
