//! Live capture for real: cpal against ALSA's `file` plugin, which reads a FIFO that a writer feeds in real time. ALSA's
//! configuration is one a process, so each scenario runs in a child process with its own.

#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::alsa::{RATE, Writer, card, write_conf};

use earwitness::audio::{Frontend, Output, Packet, SAMPLE_RATE, Source, devices, open};
use earwitness::config::Input;

const FOLDER: &str = "EARWITNESS_TEST_FOLDER";

/// Runs an ignored test of this file in a process whose ALSA knows the card in `dir`.
fn in_child(scenario: &str, dir: &Path) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            scenario,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("ALSA_CONFIG_PATH", dir.join("asound.conf"))
        .env(FOLDER, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    print!("{text}");
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}\n{errors}"
    );
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER)
        .expect("run through the other test")
        .into()
}

/// A pseudo-random recording that never repeats a long stretch and is never silent.
fn recording(seconds: u32) -> Vec<i16> {
    let mut state = 12_345u32;
    (0..RATE * seconds)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((state >> 16) as i16) / 2) | 1
        })
        .collect()
}

fn microphone(device: Option<&str>) -> Box<dyn Source> {
    open(&Input::Mic {
        device: device.map(Into::into),
    })
    .unwrap()
}

#[test]
fn capture_is_exact_and_in_real_time() {
    let dir = tempfile::tempdir().unwrap();
    write_conf(dir.path(), &card(dir.path(), "ew_card", true));
    in_child("child_captures", dir.path());
}

#[test]
#[ignore = "run by capture_is_exact_and_in_real_time"]
fn child_captures() {
    let sent = recording(3);
    let _writer = Writer::start(&folder().join("ew_card.fifo"), sent.clone());
    let mut mic = microphone(None);
    assert!(mic.is_live());
    let mut frontend = Frontend::new("test", SAMPLE_RATE, Some(0));
    let (mut native, mut buffer, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let (mut mono16, mut width, mut rate) = (0u64, 1, 0);
    let (mut first, mut last) = (None, Instant::now());
    let mut worst = Duration::ZERO;
    let begin = Instant::now();
    while native.len() < width * 3 * RATE as usize && begin.elapsed() < Duration::from_secs(20) {
        let packet = mic.next(&mut buffer, Duration::from_millis(100)).unwrap();
        match &packet {
            Packet::Format { rate: r, channels } => (rate, width) = (*r, usize::from(*channels)),
            Packet::Audio { captured } => {
                native.extend_from_slice(&buffer);
                first.get_or_insert((*captured, native.len()));
                last = *captured;
                assert!(*captured <= Instant::now());
                worst = worst.max(captured.elapsed());
            }
            Packet::Idle => {}
            other => panic!("{other:?}"),
        }
        frontend.push(&packet, &mut buffer, &mut out).unwrap();
        for o in out.drain(..) {
            match o {
                Output::Chunk(c) => {
                    assert_eq!(c.first_sample, mono16);
                    mono16 += c.samples.len() as u64;
                }
                Output::Gap { .. } => panic!("a gap"),
                Output::NewEpoch { .. } => assert_eq!(mono16, 0),
            }
        }
    }
    assert_eq!(rate, RATE);
    assert_eq!(width, 2);
    // Every sample of what was recorded, bit for bit, in both channels, from where capture began.
    let got: Vec<i16> = native
        .chunks_exact(2)
        .map(|f| {
            assert_eq!(f[0], -f[1]);
            (f[0] * 32_768.0) as i16
        })
        .collect();
    let offset = got.iter().position(|x| *x != 0).expect("only silence came");
    let start = sent
        .windows(64)
        .position(|w| w == &got[offset..offset + 64])
        .expect("what came was never sent");
    let n = (sent.len() - start).min(got.len() - offset);
    assert!(n > RATE as usize, "only {n} samples of the recording");
    let wrong = (0..n).find(|k| sent[start + k] != got[offset + k]);
    assert_eq!(wrong, None, "first wrong sample of {n}, skipped {start}");
    let (t0, n0) = first.unwrap();
    let seconds = (last - t0).as_secs_f64();
    let speed = (native.len() - n0) as f64 / width as f64 / f64::from(RATE) / seconds;
    println!(
        "captured {n} samples exactly, {width} channel(s) at {rate} Hz, {speed:.3} × real time, oldest packet {worst:?}; skipped {start} at the start"
    );
    assert!((0.9..1.1).contains(&speed), "{speed} × real time");
    let expected = native.len() as u64 / width as u64 / 3;
    assert!(
        expected - mono16 < 2_000,
        "{mono16} of {expected} at 16 kHz"
    );
}

#[test]
fn a_card_that_comes_later_is_attached() {
    let dir = tempfile::tempdir().unwrap();
    write_conf(dir.path(), "");
    in_child("child_waits_for_its_card", dir.path());
}

#[test]
#[ignore = "run by a_card_that_comes_later_is_attached"]
fn child_waits_for_its_card() {
    let dir = folder();
    let mut mic = microphone(Some("Test card ew_l*"));
    let mut samples = Vec::new();
    let begin = Instant::now();
    let mut next = move |mic: &mut Box<dyn Source>| loop {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never came");
        match mic.next(&mut samples, Duration::from_millis(100)).unwrap() {
            Packet::Idle => {}
            packet => return packet,
        }
    };
    let Packet::Down { reason } = next(&mut mic) else {
        panic!("there was no card yet")
    };
    assert!(reason.contains("ew_l*"), "{reason}");
    // A changed modification time is what makes ALSA look again.
    std::thread::sleep(Duration::from_millis(1_100));
    let conf = card(&dir, "ew_late", false);
    let _writer = Writer::start(&dir.join("ew_late.fifo"), recording(30));
    write_conf(&dir, &conf);
    let packet = next(&mut mic);
    assert!(
        matches!(packet, Packet::Format { rate: RATE, .. }),
        "{packet:?}"
    );
    assert!(matches!(next(&mut mic), Packet::Audio { .. }));
    println!(
        "attached {:.1} s after the start",
        begin.elapsed().as_secs_f64()
    );
    let listed = devices().unwrap();
    assert!(
        listed.iter().any(|d| d.name == "Test card ew_late"),
        "{listed:?}"
    );
    assert!(listed[0].default);
}
