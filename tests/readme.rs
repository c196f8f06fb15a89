//! Every command of README.md and of docs/enrolment.md is run here, or there is a reason why not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that are not run here, by their beginning, and where they are.
const ELSEWHERE: [(&str, &str); 6] = [
    ("make demo", "run by .ci/run after the tests"),
    ("make test", "runs this test"),
    ("make bench", "run by .ci/run, at 16 streams"),
    ("make eval", "needs a corpus"),
    (
        "mosquitto_sub",
        "needs a running daemon: tests of MQTT subscribe to a real broker",
    ),
    (
        "earwitness run",
        "runs until it is stopped: tests of the daemon start and stop it",
    ),
];

/// Commands that may end with another code than 0 on a machine that is in order, and why.
const CODES: [(&str, &[i32], &str); 3] = [
    (
        "earwitness devices",
        &[0, 3],
        "3 where there is no audio system at all",
    ),
    ("earwitness verify", &[0, 1], "the decision is the pack's"),
    ("earwitness detect", &[0, 1], "the decision is the pack's"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Commands of the ```console blocks, in order.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = !inside && kind == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push(command.to_owned());
        }
    }
    commands
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// A folder that looks like the repository, in which commands may leave files.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["configs", "examples", "models", "schema", ".deps"] {
        if root().join(name).exists() {
            symlink(root().join(name), folder.path().join(name)).expect("linked");
        }
    }
    folder
}

#[test]
fn every_command_works() {
    let commands = commands(&readme());
    assert!(commands.len() >= 10, "{commands:?}");
    run_all(&commands);
}

#[test]
fn enrolment_works_as_its_page_says() {
    let page = fs::read_to_string(root().join("docs/enrolment.md")).expect("the page");
    let commands = commands(&page);
    assert!(commands.len() >= 8, "{commands:?}");
    run_all(&commands);
}

/// Runs commands one after the other in a folder of their own.
fn run_all(commands: &[String]) {
    let folder = workplace();
    for command in commands {
        if ELSEWHERE
            .iter()
            .any(|(start, _)| command.starts_with(start))
        {
            continue;
        }
        let arguments = command.strip_prefix("earwitness ").unwrap_or_else(|| {
            panic!("`{command}` is not run by anybody: run it here or give a reason")
        });
        assert!(
            !arguments.contains(['|', '>', '\'', '"', '$']),
            "`{command}` needs a shell"
        );
        let output = Command::new(env!("CARGO_BIN_EXE_earwitness"))
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .output()
            .expect("the program starts");
        let allowed = CODES
            .iter()
            .find(|(start, ..)| command.starts_with(start))
            .map_or(&[0][..], |(_, codes, _)| codes);
        assert!(
            output
                .status
                .code()
                .is_some_and(|code| allowed.contains(&code)),
            "`{command}` ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn every_reason_is_still_needed() {
    let commands = commands(&readme());
    for start in ELSEWHERE
        .iter()
        .map(|(start, _)| start)
        .chain(CODES.iter().map(|(start, ..)| start))
    {
        assert!(
            commands.iter().any(|command| command.starts_with(start)),
            "README.md no longer has `{start}`"
        );
    }
}

#[test]
fn every_make_target_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    let text = readme();
    for target in text
        .split("make ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
    {
        assert!(
            makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}:"))),
            "no target `{target}`"
        );
    }
}

#[test]
fn every_link_leads_somewhere() {
    let text = readme();
    let targets: Vec<PathBuf> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.starts_with("http"))
        .map(PathBuf::from)
        .collect();
    assert!(!targets.is_empty());
    for target in targets {
        assert!(
            root().join(&target).exists(),
            "README.md links to {target:?}, which is not there"
        );
    }
}

#[test]
fn the_accuracy_told_is_what_the_pack_was_measured_at() {
    let report = fs::read(root().join("models/default/report.json")).expect("report.json");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let text = readme();
    let row = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no row `{start}`"))
    };
    // Row, where its figures stand in the report, their decimals.
    for (start, places, decimals) in [
        (
            "| speaker, 3 s",
            &[
                "speaker/test_3s/eer_percent",
                "speaker/test_3s/eer_low_percent",
                "speaker/test_3s/eer_high_percent",
                "speaker/test_others/resemblyzer_3s/eer",
                "speaker/test_others/control_mfcc_3s/eer",
            ][..],
            2,
        ),
        (
            "| speaker, 1.5 s",
            &[
                "speaker/test_1.5s/eer_percent",
                "speaker/test_others/resemblyzer_1.5s/eer",
                "speaker/test_others/control_mfcc_1.5s/eer",
            ],
            2,
        ),
        (
            "| spoof, 25 test systems",
            &[
                "spoof/test/eer_percent",
                "spoof/test/eer_low_percent",
                "spoof/test/eer_high_percent",
                "spoof/test/demo_pages/eer_percent",
            ],
            1,
        ),
        (
            "| forged voices",
            &[
                "clones/fused/spoofs_accepted_at_5_percent_misses",
                "clones/speaker/spoofs_accepted_at_5_percent_misses",
            ],
            1,
        ),
        (
            "| sounds, ten classes",
            &["sound/esc10_by_the_program/accuracy_percent"],
            1,
        ),
        ("| speech, music", &["sound/test_1s/macro_f1"], 3),
        ("| speech activity", &["vad/10 dB/f1", "vad/0 dB/f1"], 3),
    ] {
        for place in places {
            let found = report.pointer(&format!("/evaluation/{place}"));
            let figure = found.and_then(serde_json::Value::as_f64);
            let figure = figure.unwrap_or_else(|| panic!("no {place} in the report"));
            let figure = format!("{figure:.decimals$}");
            assert!(
                row(start).contains(&figure),
                "README.md's row `{start}` lacks {place} = {figure}"
            );
        }
    }
}
