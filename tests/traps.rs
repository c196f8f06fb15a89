//! Traps that programs of this kind fell into (docs/traps.md): the page names tests that exist, and what no other test holds.

#![cfg(target_os = "linux")]

mod common;

use std::path::Path;

use common::place::{Place, root};
use common::sound::write_wav;

/// Seconds of speech and pauses.
const LENGTH_S: usize = 150;
/// How much larger the daemon may become over two thirds of it, KiB. It was 3 MiB over six minutes.
const GROWTH: u64 = 16 << 10;

#[test]
fn the_page_names_tests_that_exist() {
    let page = std::fs::read_to_string(Path::new(root()).join("docs/traps.md")).unwrap();
    let mut named = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((file, test)) = quoted.split_once("::") else {
            continue;
        };
        let source = std::fs::read_to_string(Path::new(root()).join(file));
        let source = source.unwrap_or_else(|e| panic!("{quoted}: {e}"));
        let (head, _) = source
            .split_once(&format!("fn {test}("))
            .unwrap_or_else(|| panic!("no test {quoted}"));
        assert!(
            head.trim_end().ends_with("#[test]"),
            "{quoted} is no test: {}",
            head.lines().next_back().unwrap_or_default()
        );
        named += 1;
    }
    // A row without one would be a promise.
    let rows = page.lines().filter(|l| l.starts_with("| ")).count() - 2;
    assert!(named >= rows && rows >= 15, "{named} tests in {rows} rows");
}

/// Inference libraries keep memory for each shape that they have seen, and utterances have many.
#[test]
fn memory_does_not_grow_with_the_lengths_of_utterances() {
    let scene = Path::new(root()).join("examples/scene/scene.flac");
    let scene = earwitness::audio::decode(&scene, None).unwrap();
    let (mut state, mut samples) = (1u32, Vec::new());
    let mut random = |least: usize, most: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        least + (state >> 8) as usize % (most - least)
    };
    while samples.len() < LENGTH_S * 16_000 {
        let length = random(5_000, 56_000);
        let first = random(0, scene.len() - length);
        samples.extend_from_slice(&scene[first..first + length]);
        samples.resize(samples.len() + random(6_000, 20_000), 0.0);
    }
    // Another stream, so that the daemon is still there when the file has ended.
    let streams = "[[stream]]\nid = 'cuts'\nsource = { kind = 'file', path = 'cuts.wav', speed = 0.0 }\n\
         [[stream]]\nid = 'other'\nsource = { kind = 'command', argv = ['sleep', '600'] }\n";
    let place = Place::with_pack("{root}/models/default", &format!("workers = 1\n{streams}"));
    write_wav(&place.path("cuts.wav"), 16_000, &samples);
    let mut daemon = place.start(&["run"]);
    let windows = 2 * LENGTH_S;
    let mut held = Vec::new();
    for share in [1, 3] {
        for step in 1.. {
            let done = || place.count() >= share * windows / 3;
            if done() {
                break;
            }
            assert!(step < 1_200 && daemon.is_running(), "{}", daemon.stderr());
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        held.push(daemon.peak_kib().unwrap());
    }
    println!("{} then {} KiB", held[0], held[1]);
    assert!(held[1] < held[0] + GROWTH, "{held:?} KiB");
}
