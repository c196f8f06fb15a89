//! Windows that run together through the real ONNX Runtime: each gets what it would get alone, and keeps its own errors;
//! and hidden states that stay where the encoder left them.

mod common;

use common::packs::{Copy, fixtures, open, runtime, sha256, tiny};
use earwitness::config::{self, Precision, Provider};
use earwitness::dsp::fbank;
use earwitness::model::{Device, Execution, Hidden, ModelError, Models, Pack, Part, Wanted};
use earwitness::pipeline::{Analyser, Asked, StreamMemory, Window, warm_up};
use ndarray::{Array2, ArrayView2};
use std::time::Instant;

/// A voice of its own for each seed.
fn voice(seed: usize, samples: usize) -> Vec<f32> {
    let tone = |n: usize, hz: f32| (std::f32::consts::TAU * hz * n as f32 / 16_000.0).sin();
    let hz = 100.0 + 37.0 * seed as f32;
    let noise = |n: usize| ((n * 7919 + seed * 104_729) % 1000) as f32 / 10_000.0 - 0.05;
    (0..samples)
        .map(|n| 0.2 * tone(n, hz) + 0.1 * tone(n, 5.0 * hz) + noise(n))
        .collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4)
}

/// The tiny pack with a sound head.
fn hearing() -> Copy {
    let pack = Copy::new();
    let section = std::fs::read_to_string(fixtures().join("sound/sound.toml")).expect("a section");
    std::fs::copy(
        fixtures().join("sound/sound.onnx"),
        pack.path().join("sound.onnx"),
    )
    .expect("the sound head");
    let at = pack.path().join("pack.toml");
    let text = std::fs::read_to_string(&at).expect("the manifest");
    std::fs::write(at, text + &section).expect("the manifest");
    pack
}

#[test]
fn together_windows_get_what_they_get_alone() {
    let folder = hearing();
    let pack = folder.load().expect("a pack that hears");
    // Filled up, as on a GPU: to 8, and to 32, which is enough for a few where many may run together.
    for filled in [1, 8, 40] {
        let mut models = open(&pack).expect("models").filled_up(filled);
        let mut alone = open(&pack).expect("models");
        let lengths = [48_000, 16_000, 48_000, 48_000, 47_840, 16_000, 48_000];
        let voices: Vec<Vec<f32>> = (0..7).map(|i| voice(i, lengths[i])).collect();
        let frames: Vec<Array2<f32>> = voices.iter().map(|v| fbank(v)).collect();
        let views: Vec<ArrayView2<f32>> = frames.iter().map(|f| f.view()).collect();
        for (one, speech) in views.iter().zip(models.speech_all(&views)) {
            assert!(close(&speech.unwrap(), &alone.speech(*one).unwrap()));
        }
        let hidden: Vec<Hidden> = models
            .encode_all(&views)
            .into_iter()
            .map(|h| h.expect("hidden states"))
            .collect();
        // Three shapes; 47 840 samples are two frames less than 48 000.
        let tally = models.tally();
        assert_eq!((tally.runs, tally.windows, tally.retried), (3, 7, 0));
        let all: Vec<&Hidden> = hidden.iter().collect();
        let both: Vec<_> = hidden
            .iter()
            .zip(voices.iter().map(Vec::as_slice))
            .collect();
        let embeddings = models.embed_all(&all);
        let sounds = models.sounds_all(&all);
        let genuine = models.genuine_all(&both);
        let found = embeddings.into_iter().zip(sounds).zip(genuine);
        for (i, ((embedding, sounds), genuine)) in found.enumerate() {
            let one = alone.encode(views[i]).expect("hidden states");
            let (a, b) = (hidden[i].view().unwrap(), one.view().unwrap());
            assert_eq!(a.dim(), b.dim());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-4));
            assert!(close(&embedding.unwrap(), &alone.embed(&one).unwrap()));
            assert!(close(&sounds.unwrap(), &alone.sounds(&one).unwrap()));
            let score = alone.genuine(&one, both[i].1).unwrap();
            assert!((genuine.unwrap() - score).abs() <= 1e-4);
        }
    }
}

#[test]
fn workers_that_share_sessions_get_each_their_own() {
    let pack = tiny();
    let first = open(&pack).expect("models").filled_up(8);
    let mut alone = open(&pack).expect("models");
    let scores = |models: &mut Models, seeds: std::ops::Range<usize>| -> Vec<(Vec<f32>, f32)> {
        let voices: Vec<Vec<f32>> = seeds.map(|seed| voice(seed, 32_000)).collect();
        let frames: Vec<Array2<f32>> = voices.iter().map(|v| fbank(v)).collect();
        let views: Vec<ArrayView2<f32>> = frames.iter().map(|f| f.view()).collect();
        let hidden = models.encode_all(&views).into_iter();
        let hidden: Vec<Hidden> = hidden.map(|h| h.expect("hidden states")).collect();
        let samples = voices.iter().map(Vec::as_slice);
        let genuine = models.genuine_all(&hidden.iter().zip(samples).collect::<Vec<_>>());
        let embeddings = models.embed_all(&hidden.iter().collect::<Vec<_>>());
        let both = embeddings.into_iter().zip(genuine);
        both.map(|(e, g)| (e.unwrap(), g.unwrap())).collect()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let mut models = first.beside();
                scope.spawn(move || {
                    let all = (0..5).flat_map(|_| scores(&mut models, 3 * worker..3 * worker + 3));
                    let all: Vec<_> = all.collect();
                    (all, models.tally().windows)
                })
            })
            .collect();
        for (worker, found) in workers.into_iter().enumerate() {
            let (found, windows) = found.join().expect("no panic");
            assert_eq!(windows, 15, "of its own");
            let expected = scores(&mut alone, 3 * worker..3 * worker + 3);
            for ((embedding, score), expected) in found.iter().zip(expected.iter().cycle()) {
                assert!(close(embedding, &expected.0));
                assert!((score - expected.1).abs() <= 1e-4);
            }
        }
    });
    assert_eq!(first.tally().windows, 0);
}

#[test]
fn utterances_of_all_lengths_run_together_where_they_are_repeated() {
    let pack = tiny();
    let repeating = || open(&pack).expect("models").filled_up(8).repeating(48_000);
    let (mut together, mut alone) = (repeating(), repeating());
    let mut exact = open(&pack).expect("models");
    let voices: Vec<Vec<f32>> = (0..4).map(|i| voice(i, 48_000)).collect();
    let frames: Vec<Array2<f32>> = voices.iter().map(|v| fbank(v)).collect();
    let views: Vec<ArrayView2<f32>> = frames.iter().map(|f| f.view()).collect();
    let spoken = |models: &mut Models| -> Vec<(Hidden, Vec<f32>)> {
        let hidden = models.encode_all(&views).into_iter().zip(&voices);
        let cut = hidden.zip([(0.0, 2.98), (1.48, 2.98), (0.5, 2.0), (0.98, 2.98)]);
        cut.map(|((hidden, voice), (from, to))| {
            let at = |s: f64| (s * 16_000.0).round() as usize;
            let samples = voice[at(from)..at(to) + 240].to_vec();
            (hidden.expect("hidden states").span(from..to), samples)
        })
        .collect()
    };
    let said = spoken(&mut together);
    let hidden: Vec<&Hidden> = said.iter().map(|(hidden, _)| hidden).collect();
    let both: Vec<(&Hidden, &[f32])> = said.iter().map(|(h, s)| (h, &s[..])).collect();
    let embeddings = together.embed_all(&hidden);
    let scores = together.genuine_all(&both);
    for (i, (embedding, score)) in embeddings.into_iter().zip(scores).enumerate() {
        let (embedding, score) = (embedding.unwrap(), score.unwrap());
        let one = &spoken(&mut alone)[i];
        assert!(close(&embedding, &alone.embed(&one.0).unwrap()));
        let same = alone.genuine(&one.0, &one.1).unwrap();
        assert!((score - same).abs() <= 1e-4);
        // What is as long as a window is what it is without.
        let exactly = exact.genuine(&one.0, &one.1).unwrap();
        assert_eq!((score - exactly).abs() <= 1e-4, i == 0, "{score} {exactly}");
    }
}

#[test]
fn spans_of_a_batch_are_cut_out_of_it() {
    let mut models = open(&tiny()).expect("models");
    let voices: Vec<Vec<f32>> = (0..4).map(|i| voice(i, 48_000)).collect();
    let frames: Vec<Array2<f32>> = voices.iter().map(|v| fbank(v)).collect();
    let views: Vec<ArrayView2<f32>> = frames.iter().map(|f| f.view()).collect();
    let hidden = models.encode_all(&views);
    let hidden: Vec<Hidden> = hidden.into_iter().map(|h| h.unwrap()).collect();
    // In another order, from other places, and two of one window.
    let picks = [(2, 0.5), (0, 1.0), (2, 0.0), (3, 1.7)];
    let spans: Vec<Hidden> = picks
        .iter()
        .map(|&(i, at)| hidden[i].span(at..at + 1.0))
        .collect();
    assert!(spans.iter().all(|s| s.shape() == [3, 50, 8]));
    let embeddings = models.embed_all(&spans.iter().collect::<Vec<_>>());
    for (i, (embedding, (item, at))) in embeddings.into_iter().zip(picks).enumerate() {
        let start = (at * 50.0f64).round() as usize;
        let whole = hidden[item].view().unwrap();
        let cut = whole.slice(ndarray::s![.., start..start + 50, ..]);
        assert_eq!(spans[i].view().unwrap(), cut, "the view");
        let alone = models.embed(&spans[i]).unwrap();
        assert!(close(&embedding.unwrap(), &alone));
    }
}

#[test]
fn a_broken_window_takes_no_other_with_it() {
    let mut models = open(&tiny()).expect("models");
    let mut frames: Vec<Array2<f32>> = (0..5).map(|i| fbank(&voice(i, 48_000))).collect();
    frames[1].fill(f32::NAN);
    frames[3] = Array2::zeros((298, 64));
    let views: Vec<ArrayView2<f32>> = frames.iter().map(|f| f.view()).collect();
    let found = models.encode_all(&views);
    assert!(matches!(found[1], Err(ModelError::Output { .. })));
    assert!(matches!(found[3], Err(ModelError::Input { .. })));
    for i in [0, 2, 4] {
        let alone = models.encode(views[i]).unwrap();
        assert_eq!(*found[i].as_ref().expect("unharmed"), alone);
    }
    assert_eq!(models.tally().retried, 1);
    // A head that is not there is everybody's error, and a retry would not help.
    let hidden: Vec<&Hidden> = found.iter().filter_map(|h| h.as_ref().ok()).collect();
    let sounds = models.sounds_all(&hidden);
    assert_eq!(sounds.len(), 3);
    assert!(
        sounds
            .iter()
            .all(|s| matches!(s, Err(ModelError::NotOpen { part: Part::Sound })))
    );
    assert_eq!(models.tally().retried, 1);
    assert!(models.embed_all(&[]).is_empty());
}

fn window(samples: Vec<f32>) -> Window {
    Window {
        first_sample: 0,
        fbank: fbank(&samples),
        new_samples: samples.len(),
        signal: samples.into(),
        captured: Instant::now(),
        run: 0,
    }
}

const EVERYTHING: Wanted = Wanted {
    spoof: true,
    parts: true,
    short: true,
    sound: true,
    probes: true,
};

#[test]
fn an_analyser_scores_many_windows_as_it_scores_each() {
    let folder = hearing();
    let pack = folder.load().expect("a pack that hears");
    let config = config::Window::default();
    let open = || Analyser::open(runtime(), &pack, Provider::Cpu, &config, EVERYTHING).unwrap();
    let (mut many, mut one) = (open(), open());
    let mut broken = voice(9, 48_000);
    broken[100] = f32::NAN;
    let mut half = voice(3, 48_000);
    half[..20_000].fill(0.0);
    let windows: Vec<Window> = [
        voice(0, 48_000),
        vec![0.0; 48_000],
        half,
        voice(1, 32_000),
        broken,
        voice(2, 48_000),
        voice(4, 100),
    ]
    .into_iter()
    .map(window)
    .collect();
    let sound = [true, false].into_iter().cycle();
    let asked: Vec<Asked> = windows
        .iter()
        .zip(sound)
        .enumerate()
        .map(|(memory, (window, sound))| Asked {
            window,
            sound,
            memory,
        })
        .collect();
    let mut memories: Vec<StreamMemory> = windows.iter().map(|_| StreamMemory::default()).collect();
    let found = many.windows(&asked, &mut memories);
    assert_eq!(found.len(), windows.len());
    let mut scored = 0;
    for (asked, found) in asked.into_iter().zip(found) {
        let alone = one.window(asked.window, asked.sound, &mut StreamMemory::default());
        let (Ok(found), Ok(alone)) = (&found, &alone) else {
            assert_eq!(found.is_err(), alone.is_err(), "{found:?} {alone:?}");
            continue;
        };
        assert_eq!(
            (found.end_s, found.speech, found.speech_end_s),
            (alone.end_s, alone.speech, alone.speech_end_s)
        );
        match (&found.sounds, &alone.sounds) {
            (Some(a), Some(b)) => assert!(close(&a.probabilities, &b.probabilities)),
            (a, b) => assert_eq!(a.is_some(), b.is_some()),
        }
        match (&found.utterance, &alone.utterance) {
            (Some(a), Some(b)) => {
                scored += 1;
                assert_eq!((a.start_s, a.end_s, a.began), (b.start_s, b.end_s, b.began));
                assert!(close(&a.embedding, &b.embedding));
                assert!((a.genuine.unwrap() - b.genuine.unwrap()).abs() <= 1e-4);
            }
            (a, b) => assert_eq!(a.is_some(), b.is_some()),
        }
    }
    assert!(scored >= 3, "{scored} utterances");
    let tally = many.tally();
    assert!(tally.runs < tally.windows, "{tally:?}");
}

#[test]
fn every_shape_is_met_before_the_first_stream() {
    let folder = hearing();
    let pack = folder.load().expect("a pack that hears");
    let config = config::Window::default();
    let mut analyser =
        Analyser::open(runtime(), &pack, Provider::Cpu, &config, EVERYTHING).unwrap();
    let warm = warm_up(&mut analyser, &config, pack.is_wide()).expect("warm");
    assert_eq!(warm.lengths, [16_000, 48_000, 32_000]);
    let tally = analyser.tally();
    assert_eq!(tally.runs, warm.lengths.len() as u64);
    assert_eq!(tally.retried, 0);
    assert!(!warm.took.is_zero());

    // Wide batches are shapes of their own.
    let mut wide = analyser.filled_up(40);
    let warm = warm_up(&mut wide, &config, pack.is_wide()).expect("warm");
    let tally = wide.tally();
    assert_eq!(tally.runs, 3 * warm.lengths.len() as u64);
    assert_eq!(tally.windows, (1 + 32 + 40) * warm.lengths.len() as u64);
}

#[test]
fn a_provider_that_is_not_there_is_an_error_or_a_loud_second_choice() {
    let pack = tiny();
    let on = |provider| Models::open(runtime(), &pack, provider);
    for (provider, word) in [
        (Provider::Cuda, "cuda does not work here"),
        (Provider::Tensorrt, "tensorrt does not work here"),
    ] {
        match on(provider) {
            Ok(models) => assert_eq!(models.provider().provider(), provider),
            Err(error) => assert!(error.to_string().contains(word), "{error}"),
        }
    }
    let second = Execution {
        device_id: 7,
        ..Execution::from(Provider::Cuda)
    };
    match Models::open(runtime(), &pack, second) {
        Ok(models) => assert_eq!(models.provider(), Device::Cuda),
        Err(error) => assert!(error.to_string().contains("device 7"), "{error}"),
    }
    let auto = on(Provider::Auto).expect("auto always works");
    let refused = match auto.provider() {
        Device::Cpu => &["tensorrt", "cuda"][..],
        Device::Cuda => &["tensorrt"],
        Device::TensorRt => &[],
    };
    assert_eq!(auto.refused().len(), refused.len());
    for (why, name) in auto.refused().iter().zip(refused) {
        assert!(why.starts_with(name), "{why}");
    }
    assert!(on(Provider::Cpu).expect("the CPU").refused().is_empty());
}

#[test]
fn an_fp16_encoder_answers_nearly_like_the_first() {
    let error = tiny().at(Precision::Fp16).expect_err("there is none");
    assert!(
        error.to_string().contains("encoder.fp16 is absent"),
        "{error}"
    );
    let folder = Copy::new();
    let half = fixtures().join("fp16");
    let bytes = std::fs::read(half.join("encoder.fp16.onnx")).expect("the encoder");
    std::fs::write(folder.path().join("encoder.fp16.onnx"), &bytes).expect("a copy");
    let section = std::fs::read_to_string(half.join("fp16.toml")).expect("its section");
    assert!(section.contains(&sha256(&bytes)));
    folder.edit("[speaker]\n", &(section + "[speaker]\n"));
    let pack = Pack::load(folder.path()).expect("both encoders");
    assert_eq!(pack.precisions(), [Precision::Fp32, Precision::Fp16]);
    let half = pack.clone().at(Precision::Fp16).expect("fp16");
    assert_eq!(half.precision(), Precision::Fp16);
    assert_ne!(half.hash(), pack.hash(), "voices are not mixed");
    let features = fbank(&voice(1, 48_000));
    let states = |pack| {
        let hidden = open(pack).expect("models").encode(features.view());
        hidden.expect("hidden states").view().unwrap().to_owned()
    };
    let (exact, found) = (states(&pack), states(&half));
    let apart = (&exact - &found)
        .iter()
        .fold(0.0f32, |most, d| most.max(d.abs()));
    assert!(apart > 0.0 && apart <= 1e-2, "{apart}");
}
