//! Who speaks when, by the pack's models: the voices of the bundled scene take turns without a pause.

use std::path::Path;
use std::sync::Arc;

use earwitness::audio::decode;
use earwitness::config::{Config, Window};
use earwitness::model::{Pack, Runtime, Wanted};
use earwitness::pipeline::Analyser;
use earwitness::publish::Body;
use earwitness::task::recording::Evidence;
use earwitness::task::speaker::{Candidate, Matcher, Scoring};
use earwitness::task::{Fusion, Judge, Policy, StreamDecider};

const SECOND: usize = 16_000;

fn clip(name: &str, seconds: std::ops::Range<f64>) -> Vec<f32> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scene");
    let samples = decode(&root.join(name), None).unwrap();
    let at = |s: f64| (s * SECOND as f64) as usize;
    samples[at(seconds.start)..at(seconds.end)].to_vec()
}

#[test]
fn people_who_take_turns_without_a_pause_are_told_apart() {
    let runtime = Runtime::load(None).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pack = Pack::load(&root.join("models/default")).unwrap();
    let (config, window) = (Config::default(), Window::default());
    let wanted = Wanted {
        spoof: false,
        ..Wanted::default()
    };
    let analyser = Analyser::open(runtime, &pack, &config.models, &window, wanted).unwrap();
    let mut analyser = analyser.following_turns();
    let scoring = Scoring::of(&pack).unwrap();
    let mut enrol = |name: &str, seconds| {
        let samples = clip(&format!("enrol/{name}_1.flac"), seconds);
        let scores = analyser.recording(&samples.into(), &window).unwrap();
        let evidence = Evidence::of([scores.as_slice()]);
        Candidate {
            name: name.to_owned(),
            embedding: evidence.embedding.unwrap(),
            speech_s: evidence.speech_s,
        }
    };
    let people = vec![enrol("allison", 0.0..18.0)];
    // The scene's own segments: other words than those enrolled.
    let (allison, stranger) = (1.3..9.3, 23.7..31.7);
    let cast = [allison.clone(), stranger.clone(), allison, stranger];
    let scene: Vec<f32> = cast
        .iter()
        .flat_map(|seconds| clip("scene.flac", seconds.clone()))
        .collect();

    let policy = Policy::sequential(&config.speaker.decision);
    let judge = Judge {
        matcher: Matcher::new(people, scoring),
        speaker: policy,
        fusion: Fusion::new(pack.fusion(), &policy, &policy),
        spoof_calibration: pack.spoof_calibration().unwrap(),
        spoof_parts: Vec::new(),
        spoof: policy,
        sound: None,
        probes: Vec::new(),
        health: None,
    };
    let mut decider = StreamDecider::new(Arc::new(judge), false);
    let mut told: Vec<(f64, String)> = Vec::new();
    for scores in analyser.recording(&scene.into(), &window).unwrap() {
        for body in decider.window(&scores) {
            if let Body::Speaker {
                speaker,
                stranger,
                since_s,
                speech_s,
                speaking: true,
                ..
            } = body
            {
                assert!(speech_s.is_some_and(|s| s > 0.5), "{speech_s:?}");
                let name = speaker.or(stranger).unwrap_or("unclear".to_owned());
                told.push((since_s, name));
            }
        }
    }
    // What stands of each turn in its middle, by the times that events speak of.
    let names: Vec<&str> = (0..cast.len())
        .map(|turn| {
            let middle = 8.0 * turn as f64 + 4.0;
            let since = told.iter().rev().find(|(since, _)| *since <= middle);
            since.map_or("nobody", |(_, name)| name.as_str())
        })
        .collect();
    let expected = ["allison", "unknown-1", "allison", "unknown-1"];
    assert_eq!(names, expected, "{told:?}");
}
