//! The same audio gets the same score, by whatever way it comes: a file, standard input, a sound card, chunks of any size; and
//! from every command.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use common::PATIENCE;
use common::alsa::{RATE, Writer, card, write_conf};
use common::place::{Place, root};
use common::sound::{to_i16, write_wav};
use earwitness::audio::{Frontend, Output, Packet, SAMPLE_RATE, decode};
use earwitness::config::{Config, Window};
use earwitness::model::{Memory, Pack, Runtime, Wanted};
use earwitness::pipeline::{Analyser, Segmenter};
use earwitness::publish::{Body, Event};
use earwitness::task::Scores;
use earwitness::task::recording::Evidence;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

/// What single precision may round: a GPU-less machine sums in one order, but a batch of frames may start elsewhere.
const CLOSE: f64 = 1e-3;

/// What a clip of a real voice is at 48 kHz: what a sound card brings.
fn voice_48k() -> Vec<f32> {
    let clip = Path::new(root()).join("examples/scene/enrol/allison_1.flac");
    let samples = decode(&clip, None).unwrap();
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

fn assert_close(a: &[(f64, f64, f64, f64)], b: &[(f64, f64, f64, f64)], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: {a:?} {b:?}");
    for (a, b) in a.iter().zip(b) {
        let near = |x: f64, y: f64| (x - y).abs() < CLOSE * x.abs().max(1.0);
        let all = [(a.0, b.0), (a.1, b.1), (a.2, b.2), (a.3, b.3)];
        assert!(all.iter().all(|&(x, y)| near(x, y)), "{what}: {a:?} {b:?}");
    }
}

#[test]
fn a_file_standard_input_and_a_sound_card_say_the_same() {
    let place = Place::with_pack(
        "{root}/models/default",
        "[[stream]]\nid = 'file'\nsource = { kind = 'file', path = 'voice.wav', speed = 0.0 }\n\
         [[stream]]\nid = 'pipe'\nsource = { kind = 'stdin', pcm = { rate = 48000, channels = 1, format = 's16' } }\n\
         [[stream]]\nid = 'card'\nchannel = 0\nsource = { kind = 'mic', device = 'Test card ew_card' }\n",
    );
    let voice = voice_48k();
    write_wav(&place.path("voice.wav"), RATE, &voice);
    place.run(&["enroll", "allison", "voice.wav"]).expect(0);
    let pcm: Vec<u8> = to_i16(&voice)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    fs::write(place.path("voice.pcm"), pcm).unwrap();
    write_conf(place.dir(), &card(place.dir(), "ew_card", false));
    let writer = Writer::start(&place.path("ew_card.fifo"), to_i16(&voice));
    let conf = place.path("asound.conf");
    let variables = [("ALSA_CONFIG_PATH", conf.as_path())];
    let stdin = File::open(place.path("voice.pcm")).unwrap();
    let mut daemon = place.start_with(&["run"], stdin.into(), &variables);
    let seconds = voice.len() as f64 / f64::from(RATE);
    daemon.until("the recording from the card", || {
        let last = place.windows_of("card").last().map(|e| e.end_s);
        last.is_some_and(|end| end > seconds + 1.0)
    });
    drop(writer);
    let file = scored(&place.windows_of("file"));
    assert!(file.len() > 3, "{file:?}");
    assert_close(&file, &scored(&place.windows_of("pipe")), "standard input");
    // The card plays on after the recording; until then it is the same, if nothing was lost before the first period.
    let heard = scored(&place.windows_of("card"));
    let until = |windows: &[(f64, f64, f64, f64)]| -> Vec<_> {
        let whole = |w: &&(f64, f64, f64, f64)| w.0 + 2.0 <= seconds;
        windows.iter().filter(whole).copied().collect()
    };
    assert_close(&until(&file), &until(&heard), "the card");
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

#[test]
fn chunks_of_any_size_say_the_same() {
    let runtime = Runtime::load(None).unwrap();
    let config = Config::default();
    let pack = Pack::load(&Path::new(root()).join("models/default")).unwrap();
    let window = Window::default();
    let mut analyser =
        Analyser::open(runtime, &pack, &config.models, &window, Wanted::default()).unwrap();
    let clip = Path::new(root()).join("examples/scene/enrol/anna_1.flac");
    let samples = decode(&clip, None).unwrap();
    let whole = analyser
        .recording(&samples.clone().into(), &window)
        .unwrap();
    let whole = Evidence::of([whole.as_slice()]);
    let mut cases = TestRunner::new(Cases::with_cases(6));
    let sizes = prop::collection::vec(1usize..40_000, 1..9);
    let analyser = std::cell::RefCell::new(analyser);
    cases
        .run(&sizes, |sizes| {
            let (mut segmenter, mut ready) = (Segmenter::new(&window), Vec::new());
            let (mut at, now) = (0, Instant::now());
            for size in sizes.iter().cycle() {
                let end = (at + size).min(samples.len());
                segmenter.push(&samples[at..end], now, |w| ready.push(w));
                at = end;
                if at == samples.len() {
                    break;
                }
            }
            segmenter.finish(now, |w| ready.push(w));
            let mut memory = Memory::default();
            let mut analyser = analyser.borrow_mut();
            let scores: Vec<Scores> = ready
                .iter()
                .map(|w| analyser.window(w, false, &mut memory).unwrap())
                .collect();
            let evidence = Evidence::of([scores.as_slice()]);
            prop_assert_eq!(&evidence, &whole);
            Ok(())
        })
        .unwrap();
}
