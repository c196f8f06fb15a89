//! `scripts/setup.sh` on machines that lack something, imitated by programs put in front of the path.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

const VERSION: &str = "1.31.1";
/// What the script itself needs to run at all.
const TOOLS: [&str; 24] = [
    "bash",
    "env",
    "sed",
    "sort",
    "head",
    "tail",
    "tr",
    "cut",
    "cat",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "chmod",
    "find",
    "uname",
    "dirname",
    "sha256sum",
    "id",
    "cc",
    "make",
    "cmake",
    "pkg-config",
    "python3",
];

/// A machine: a folder that is its whole path, and one for the dependencies.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// One that has every tool; those in `TOOLS` that this machine lacks are imitated, for they are only asked whether
    /// they are there.
    fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        fs::create_dir(machine.bin()).expect("created");
        for tool in TOOLS {
            match find(tool) {
                Some(real) => symlink(real, machine.bin().join(tool)).expect("linked"),
                None => machine.put(tool, "exit 0"),
            }
        }
        machine.put("pkg-config", "exit 0");
        machine.put("cargo", "echo cargo 1.99.0");
        machine.put("rustc", "echo 'rustc 1.99.0 (x 2026-01-01)'");
        for tool in ["mosquitto", "mosquitto_sub", "openssl"] {
            machine.put(tool, "exit 0");
        }
        machine
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn deps(&self) -> PathBuf {
        self.folder.path().join("deps")
    }

    fn library(&self) -> PathBuf {
        self.deps().join("onnxruntime/libonnxruntime.so")
    }

    /// Puts a program there in place of another.
    fn put(&self, name: &str, body: &str) {
        let path = self.bin().join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn take_away(&self, name: &str) {
        fs::remove_file(self.bin().join(name)).expect("was there");
    }

    /// A Python whose `pip download` does `body`, with `$dest` as the folder to download to; other calls are passed on.
    fn put_pip(&self, body: &str) {
        let real = find("python3").expect("the tests need python3");
        self.put(
            "python3",
            &format!(
                "case \"$*\" in\n'-m pip --version') echo pip; exit 0;;\n'-m pip download'*) ;;\n*) exec '{}' \"$@\";;\nesac\n\
                 while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n{body}",
                real.display()
            ),
        );
    }

    /// Lays a library down as an earlier run would have.
    fn with_library(&self) {
        let content = b"a library";
        let hash: String = Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        fs::create_dir_all(self.deps().join("onnxruntime")).expect("created");
        fs::write(self.library(), content).expect("written");
        fs::write(
            self.deps().join("onnxruntime/stamp"),
            format!("{VERSION} {hash}\n"),
        )
        .expect("written");
    }

    fn set_up(&self, arguments: &[&str]) -> Output {
        Command::new(self.bin().join("bash"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .args(arguments)
            .env_clear()
            .env("PATH", self.bin())
            .env("HOME", self.folder.path())
            .env("EARWITNESS_DEPS", self.deps())
            .output()
            .expect("bash runs")
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(tool))
        .find(|path| path.is_file())
}

/// Asserts a failure with exactly one line.
fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_run_needs_no_network_and_changes_nothing() {
    let machine = Machine::new();
    machine.with_library();
    machine.put_pip("echo 'no network' >&2; exit 1");
    let before = fs::metadata(machine.library())
        .expect("there")
        .modified()
        .expect("a time");
    for arguments in [&[][..], &["--tests"]] {
        assert_eq!(
            said(&machine.set_up(arguments)),
            format!("setup: ready (ONNX Runtime {VERSION})\n")
        );
    }
    let after = fs::metadata(machine.library())
        .expect("there")
        .modified()
        .expect("a time");
    assert_eq!(before, after);
}

#[test]
fn a_second_run_needs_no_python() {
    let machine = Machine::new();
    machine.with_library();
    machine.take_away("python3");
    said(&machine.set_up(&[]));
}

#[test]
fn offline_without_the_library_is_one_line() {
    let machine = Machine::new();
    machine.put_pip("echo 'ERROR: no network' >&2; exit 1");
    let output = machine.set_up(&[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(
        last.starts_with(&format!("setup: cannot fetch the Python package onnxruntime=={VERSION} (offline?): ERROR: no network; ")),
        "{text}"
    );
    assert!(last.contains("EARWITNESS_ORT"), "{text}");
}

#[test]
fn another_wheel_than_the_pinned_one_is_refused() {
    let machine = Machine::new();
    machine.put_pip("echo changed > \"$dest/onnxruntime-1.31.1-cp312-cp312-any.whl\"");
    let output = machine.set_up(&[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("has SHA-256 ") && text.contains("refused"),
        "{text}"
    );
    assert!(!machine.library().exists());
    let left: Vec<_> = fs::read_dir(machine.deps()).expect("there").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_damaged_library_is_noticed_and_fetched_again() {
    let machine = Machine::new();
    machine.with_library();
    fs::write(machine.library(), "a libr").expect("written");
    machine.put_pip("echo offline >&2; exit 1");
    let output = machine.set_up(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot fetch"));
}

#[test]
fn missing_packages_without_root_are_one_line_with_the_command() {
    let machine = Machine::new();
    machine.with_library();
    machine.put("id", "echo 1000");
    machine.put("apt-get", "echo must not be called >&2; exit 1");
    machine.put("pkg-config", "exit 1");
    machine.take_away("cmake");
    machine.take_away("mosquitto");
    let expected =
        "setup: missing: cmake libasound2-dev; run: sudo apt-get install -y cmake libasound2-dev\n";
    assert_eq!(one_line(&machine.set_up(&[])), expected);
    // /usr/sbin is looked at too, since a user's path may lack it.
    let text = one_line(&machine.set_up(&["--tests"]));
    assert_eq!(
        text.contains("mosquitto"),
        !Path::new("/usr/sbin/mosquitto").exists(),
        "{text}"
    );
}

#[test]
fn missing_packages_without_apt_are_one_line() {
    let machine = Machine::new();
    machine.with_library();
    machine.take_away("pkg-config");
    assert_eq!(
        one_line(&machine.set_up(&[])),
        "setup: missing: pkg-config libasound2-dev (Debian's names); install them with this system's package manager, then run \
         this again\n"
    );
}

#[test]
fn pip_is_asked_for_only_when_the_library_has_to_be_fetched() {
    let machine = Machine::new();
    machine.put("python3", "exit 1");
    let text = one_line(&machine.set_up(&[]));
    assert!(text.contains("missing: python3-pip"), "{text}");
    machine.with_library();
    said(&machine.set_up(&[]));
}

#[test]
fn root_installs_what_is_missing_and_updates_the_lists_only_if_it_has_to() {
    let machine = Machine::new();
    machine.with_library();
    machine.put("id", "echo 0");
    machine.take_away("cmake");
    let log = machine.folder.path().join("apt.calls");
    let (log, bin) = (log.display(), machine.bin());
    let bin = bin.display();
    // Installing works only after an update, as on a fresh container.
    machine.put(
        "apt-get",
        &format!(
            "echo \"$*\" >> '{log}'\ncase \"$*\" in update*) : > '{log}.updated';; install*) [ -e '{log}.updated' ] || exit 100\n\
             printf '#!/bin/sh\\n' > '{bin}/cmake'; chmod 755 '{bin}/cmake';; esac"
        ),
    );
    let text = said(&machine.set_up(&[]));
    assert_eq!(
        text,
        format!("setup: installing cmake\nsetup: ready (ONNX Runtime {VERSION})\n")
    );
    let calls = fs::read_to_string(log.to_string()).expect("written");
    let install = "install -y -qq --no-install-recommends cmake";
    assert_eq!(calls, format!("{install}\nupdate -qq\n{install}\n"));
    // Nothing is missing now: apt is left alone.
    said(&machine.set_up(&[]));
    assert_eq!(fs::read_to_string(log.to_string()).expect("written"), calls);
}

#[test]
fn apt_that_fails_is_told_with_its_last_word() {
    let machine = Machine::new();
    machine.with_library();
    machine.put("id", "echo 0");
    machine.take_away("cmake");
    machine.put("apt-get", "echo 'E: no network'; exit 100");
    let output = machine.set_up(&[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("apt could not install: cmake; its last word: E: no network; run: "),
        "{text}"
    );
}

#[test]
fn an_old_or_absent_toolchain_is_one_line() {
    let machine = Machine::new();
    machine.with_library();
    machine.put("rustc", "echo 'rustc 1.70.0 (x 2023-01-01)'");
    let text = one_line(&machine.set_up(&[]));
    assert!(
        text.contains("or newer is needed, found 1.70.0: run 'rustup update'"),
        "{text}"
    );
    machine.take_away("cargo");
    assert!(one_line(&machine.set_up(&[])).contains("no Rust toolchain found"));
}

#[test]
fn a_library_of_ones_own_is_enough() {
    let machine = Machine::new();
    machine.put_pip("exit 1");
    let own = machine.folder.path().join("own.so");
    let set_up = || {
        Command::new(machine.bin().join("bash"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .env_clear()
            .env("PATH", machine.bin())
            .env("EARWITNESS_DEPS", machine.deps())
            .env("EARWITNESS_ORT", &own)
            .output()
            .expect("bash runs")
    };
    assert!(one_line(&set_up()).contains("which is not there: correct it or unset it"));
    fs::write(&own, "x").expect("written");
    said(&set_up());
    assert!(!machine.library().exists());
}
