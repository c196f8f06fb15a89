//! The same audio gets the same score, by whatever way it comes: a file, standard input, a sound card, chunks of any size; and
//! from every command.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::alsa::{RATE, Writer, card, write_conf};
use common::place::{Place, root};
use common::sound::{to_i16, wav, write_wav};
use earwitness::audio::{Frontend, Output, Packet, SAMPLE_RATE, decode, open};
use earwitness::config::{Config, Input, Window};
use earwitness::model::{Pack, Runtime, Wanted};
use earwitness::pipeline::{Analyser, Segmenter, StreamMemory};
use earwitness::publish::{Body, Event};
use earwitness::task::Scores;
use earwitness::task::recording::Evidence;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

/// The default pack on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

/// What single precision may round where streams run side by side.
const CLOSE: f64 = 1e-3;

/// What a clip of a real voice is at 48 kHz: what a sound card brings.
fn voice_48k() -> Vec<f32> {
    let clip = Path::new(root()).join("examples/scene/enrol/allison_1.flac");
    let samples = decode(&clip, None).unwrap()[..8 * SAMPLE_RATE as usize].to_vec();
    let mut frontend = Frontend::new("test", RATE, None);
    let (mut native, mut out, mut voice) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = |packet: &Packet, native: &mut Vec<f32>| {
        frontend.push(packet, native, &mut out).unwrap();
        for o in out.drain(..) {
            if let Output::Chunk(chunk) = o {
                voice.extend_from_slice(&chunk.samples);
            }
        }
    };
    let format = Packet::Format {
        rate: SAMPLE_RATE,
        channels: 1,
    };
    push(&format, &mut native);
    native.extend_from_slice(&samples);
    let captured = Instant::now();
    push(&Packet::Audio { captured }, &mut native);
    push(&Packet::End, &mut native);
    // As 16-bit samples, which every way carries exactly.
    voice
        .iter()
        .map(|x| (x * 32_768.0).round().clamp(-32_768.0, 32_767.0) / 32_768.0)
        .collect()
}

/// Start, cosine, and the scores of both heads of each window with speech.
fn scored(windows: &[Event]) -> Vec<(f64, f64, f64, f64)> {
    let one = |e: &Event| match &e.body {
        Body::Window {
            speaker: Some(s),
            spoof: Some(p),
            ..
        } => Some((e.start_s, s.cosine, s.llr, p.llr)),
        _ => None,
    };
    windows.iter().filter_map(one).collect()
}

fn assert_close(a: &[(f64, f64, f64, f64)], b: &[(f64, f64, f64, f64)]) {
    assert_eq!(a.len(), b.len(), "{a:?} {b:?}");
    for (a, b) in a.iter().zip(b) {
        let near = |x: f64, y: f64| (x - y).abs() < CLOSE * x.abs().max(1.0);
        let all = [(a.0, b.0), (a.1, b.1), (a.2, b.2), (a.3, b.3)];
        assert!(all.iter().all(|&(x, y)| near(x, y)), "{a:?} {b:?}");
    }
}

#[test]
fn a_file_and_standard_input_say_the_same() {
    let place = Place::with_pack(
        "{root}/models/default",
        "[[stream]]\nid = 'file'\nsource = { kind = 'file', path = 'voice.wav', speed = 0.0 }\n\
         [[stream]]\nid = 'pipe'\nsource = { kind = 'stdin', pcm = { rate = 48000, channels = 1, format = 's16' } }\n",
    );
    let voice = voice_48k();
    write_wav(&place.path("voice.wav"), RATE, &voice);
    place.run(&["enroll", "allison", "voice.wav"]).expect(0);
    let pcm: Vec<u8> = to_i16(&voice)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    fs::write(place.path("voice.pcm"), pcm).unwrap();
    let stdin = File::open(place.path("voice.pcm")).unwrap();
    place
        .start_with(&["run"], stdin.into(), &[])
        .end(PATIENCE)
        .expect(0);
    let file = scored(&place.windows_of("file"));
    assert!(file.len() > 3, "{file:?}");
    assert_close(&file, &scored(&place.windows_of("pipe")));
}

const FOLDER: &str = "EARWITNESS_TEST_FOLDER";

/// ALSA's configuration is one a process, so a process of its own hears the card.
#[test]
fn a_sound_card_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write_conf(dir.path(), &card(dir.path(), "ew_card", true));
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_hears_the_card",
            "--ignored",
            "--nocapture",
        ])
        .env("ALSA_CONFIG_PATH", dir.path().join("asound.conf"))
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}\n{errors}"
    );
}

#[test]
#[ignore = "run by a_sound_card_says_the_same"]
fn child_hears_the_card() {
    let dir = PathBuf::from(std::env::var_os(FOLDER).expect("run through the other test"));
    let voice = voice_48k();
    let _writer = Writer::start(&dir.join("ew_card.fifo"), to_i16(&voice));
    let mut mic = open(&Input::Mic { device: None }).unwrap();
    let mut frontend = Frontend::new("card", SAMPLE_RATE, Some(0));
    let (mut native, mut buffer, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let (mut heard, mut width, begin) = (Vec::new(), 1, Instant::now());
    while heard.len() < 6 * SAMPLE_RATE as usize {
        assert!(begin.elapsed() < PATIENCE, "the card went silent");
        let packet = mic.next(&mut buffer, Duration::from_millis(100)).unwrap();
        match &packet {
            Packet::Format { channels, .. } => width = *channels,
            Packet::Audio { .. } => native.extend_from_slice(&buffer),
            _ => {}
        }
        frontend.push(&packet, &mut buffer, &mut out).unwrap();
        for o in out.drain(..) {
            if let Output::Chunk(chunk) = o {
                heard.extend_from_slice(&chunk.samples);
            }
        }
    }
    // What the card brought, as a file.
    let bytes: Vec<u8> = native.iter().flat_map(|x| x.to_le_bytes()).collect();
    let path = dir.join("heard.wav");
    fs::write(&path, wav(3, width, RATE, 32, &bytes)).unwrap();
    let filed = decode(&path, Some(0)).unwrap();
    let length = 6 * SAMPLE_RATE as usize;
    let mut ears = Ears::open();
    let (live, file) = (ears.hear(&heard[..length]), ears.hear(&filed[..length]));
    assert!(live.speech_s > 2.0, "{live:?}");
    assert_eq!(live, file);
}

#[test]
fn every_command_gives_one_score_to_a_recording() {
    let place = Place::with_pack("{root}/models/default", "");
    let clip = |name: &str| format!("{}/examples/scene/enrol/{name}_1.flac", root());
    place
        .run(&["enroll", "allison", &clip("allison")])
        .expect(0);
    let own = clip("anna");
    let json = |arguments: &[&str], stdin: Stdio| {
        let program = place.start_with(&[&["--json"], arguments].concat(), stdin, &[]);
        let ended = program.end(PATIENCE);
        assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.stderr);
        ended.json()
    };
    let verified = json(&["verify", "allison", &own], Stdio::null());
    let piped = || Stdio::from(File::open(&own).unwrap());
    assert_eq!(json(&["verify", "allison", "-"], piped()), verified);
    let identified = json(&["identify", &own], Stdio::null());
    assert_eq!(json(&["identify", "-"], piped()), identified);
    let candidate = &identified["candidates"][0];
    assert_eq!(candidate["llr"], verified["speaker"]["llr"]);
    assert_eq!(candidate["fused"], verified["fused"]);
    let detected = json(&["detect", &own], Stdio::null());
    assert_eq!(detected["llr"], verified["spoof"]["llr"]);
    assert_eq!(detected["speech_s"], verified["speech_s"]);
}

/// The default pack's models.
struct Ears {
    analyser: Analyser,
    window: Window,
}

impl Ears {
    fn open() -> Self {
        let runtime = Runtime::load(None).unwrap();
        let (config, window) = (Config::default(), Window::default());
        let pack = Pack::load(&Path::new(root()).join("models/default")).unwrap();
        let wanted = Wanted {
            spoof: true,
            ..Wanted::default()
        };
        let analyser = Analyser::open(runtime, &pack, &config.models, &window, wanted).unwrap();
        Self { analyser, window }
    }

    fn hear(&mut self, samples: &[f32]) -> Evidence {
        let signal = samples.to_vec().into();
        let scores = self.analyser.recording(&signal, &self.window).unwrap();
        Evidence::of([scores.as_slice()])
    }

    /// The same of chunks of these sizes, over and over.
    fn hear_in_chunks(&mut self, samples: &[f32], sizes: &[usize]) -> Evidence {
        let (mut segmenter, mut ready) = (Segmenter::new(&self.window), Vec::new());
        let (mut rest, now) = (samples, Instant::now());
        for size in sizes.iter().cycle() {
            let (chunk, later) = rest.split_at((*size).min(rest.len()));
            segmenter.push(chunk, now, |w| ready.push(w));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        segmenter.finish(now, |w| ready.push(w));
        let mut memory = StreamMemory::default();
        let scores: Vec<Scores> = ready
            .iter()
            .map(|w| self.analyser.window(w, true, &mut memory).unwrap())
            .collect();
        Evidence::of([scores.as_slice()])
    }
}

#[test]
fn chunks_of_any_size_say_the_same() {
    let clip = Path::new(root()).join("examples/scene/enrol/anna_1.flac");
    let samples = &decode(&clip, None).unwrap()[..8 * SAMPLE_RATE as usize];
    let ears = std::cell::RefCell::new(Ears::open());
    let whole = ears.borrow_mut().hear(samples);
    assert!(whole.speech_s > 4.0 && whole.genuine.is_some(), "{whole:?}");
    let sizes = prop::collection::vec(1usize..40_000, 1..9);
    let mut cases = TestRunner::new(Cases::with_cases(6));
    let same = cases.run(&sizes, |sizes| {
        let found = ears.borrow_mut().hear_in_chunks(samples, &sizes);
        prop_assert_eq!(&found, &whole);
        Ok(())
    });
    same.unwrap();
}
