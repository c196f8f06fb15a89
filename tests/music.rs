//! Tempo and key of the music in the bundled scene, whose score is in `models/recipes/scene/make.py`: half a second a
//! beat, the chords A minor, F, C, G.

use std::path::Path;

use earwitness::{audio, dsp};

#[test]
fn the_scene_s_music_has_the_tempo_and_key_of_its_score() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scene = audio::decode(&root.join("examples/scene/scene.flac"), None).expect("decoded");
    let at = |s: f64| (s * f64::from(dsp::SAMPLE_RATE)) as usize;
    let music = &scene[at(46.005)..at(54.005)];

    let tempo = dsp::tempo(music).expect("a steady beat");
    assert!((tempo.bpm - 120.0).abs() < 1.0, "{tempo:?}");
    assert!(tempo.strength > 0.3, "{tempo:?}");
    let key = dsp::key(music).expect("a key");
    assert!(
        ["C major", "A minor"].contains(&key.to_string().as_str()),
        "{key:?}"
    );

    let speech = &scene[at(1.2)..at(11.2)];
    let told = dsp::tempo(speech).map_or(0.0, |t| t.strength);
    assert!(told < tempo.strength / 1.5, "speech is no music: {told}");
}
