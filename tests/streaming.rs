//! An encoder that goes on where a stream's last window ended: what it says, against Python's going on
//! (`models/recipes/goldens/pipeline.py`), and when it must not go on.

mod common;

use std::path::Path;

use common::sound::chirps;
use earwitness::audio::Signal;
use earwitness::config::{self, Provider};
use earwitness::dsp::fbank;
use earwitness::model::{Hidden, Memory, Models, Moment, Pack, Runtime, Stretch, Wanted};
use earwitness::pipeline::{Analyser, Asked, Segmenter, StreamMemory, Window};
use ndarray::Array2;

const SECOND: usize = 16_000;

#[derive(serde::Deserialize)]
struct Golden {
    tolerance: f64,
    streamed: Streamed,
}

#[derive(serde::Deserialize)]
struct Streamed {
    hidden_first: Vec<f64>,
    hidden_last: Vec<f64>,
    embedding: Vec<f64>,
}

fn pack() -> Pack {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    Pack::load(&folder).expect("the default pack")
}

fn runtime() -> &'static Runtime {
    Runtime::load(None).expect("ONNX Runtime: run scripts/setup.sh")
}

fn models() -> Models {
    Models::open(runtime(), &pack(), Provider::Cpu).expect("the default pack opens")
}

/// Windows of at most three seconds that end with each whole second: first sample, frames.
fn windows(samples: &[f32]) -> Vec<(usize, Array2<f32>)> {
    let cut = |end: usize| {
        let first = end.saturating_sub(3 * SECOND);
        (first, fbank(&samples[first..end]))
    };
    let ends = (1..=samples.len() / SECOND).map(|n| n * SECOND);
    ends.map(cut).collect()
}

fn hear(
    models: &mut Models,
    memory: &mut Memory,
    run: u64,
    (first, frames): &(usize, Array2<f32>),
) -> Hidden {
    let stretch = Stretch {
        samples: &[],
        wide: &[],
        fbank: frames.view(),
    };
    let moment = Moment {
        run,
        first_sample: *first as u64,
    };
    let heard = models.hear_on(&[(stretch, moment, 0)], std::slice::from_mut(memory));
    heard.into_iter().next().expect("one").expect("states")
}

fn close(what: &str, found: impl Iterator<Item = f32>, expected: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.take(expected.len()).map(f64::from).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        assert!(
            apart <= tolerance * expected.abs().max(1.0),
            "{what}[{i}]: {found}, expected {expected}"
        );
    }
}

#[test]
fn rust_and_python_go_on_alike() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pipeline.json");
    let golden = std::fs::read(file).expect("the golden values");
    let golden: Golden = serde_json::from_slice(&golden).expect("golden values");
    let mut models = models();
    let mut memory = Memory::default();
    let heard: Vec<Hidden> = windows(&chirps(6.0))
        .iter()
        .map(|window| hear(&mut models, &mut memory, 0, window))
        .collect();
    let frames: Vec<usize> = heard.iter().map(Hidden::frames).collect();
    assert_eq!(frames, [49, 99, 149, 149, 149, 149]);
    let last = heard.last().expect("six windows");
    let view = last.view().expect("at hand");
    let row = |frame: usize| view.slice(ndarray::s![9, frame, ..]).to_vec().into_iter();
    let (told, tolerance) = (golden.streamed, golden.tolerance);
    close("first", row(0), &told.hidden_first, tolerance);
    close("last", row(148), &told.hidden_last, tolerance);
    let embedding = models.embed(last).expect("an embedding");
    close(
        "embedding",
        embedding.into_iter(),
        &told.embedding,
        tolerance,
    );
}

#[test]
fn what_two_windows_share_is_not_encoded_again() {
    let mut models = models();
    let mut memory = Memory::default();
    let windows = windows(&chirps(5.0));
    let heard: Vec<Hidden> = windows
        .iter()
        .map(|window| hear(&mut models, &mut memory, 0, window))
        .collect();
    // Bit for bit those of the window before: all but its last frame, which was alone in its group of four.
    let (before, after) = (heard[3].view().unwrap(), heard[4].view().unwrap());
    let shared = before.slice(ndarray::s![.., 50..146, ..]);
    assert_eq!(shared, after.slice(ndarray::s![.., ..96, ..]));
    // And what is new differs from a window's own states, but is near: it looks back on other frames.
    let alone = models.encode(windows[4].1.view()).expect("states");
    let alone = models.embed(&alone).expect("an embedding");
    let on = models.embed(&heard[4]).expect("an embedding");
    let cosine: f32 = alone.iter().zip(&on).map(|(a, b)| a * b).sum();
    assert!((0.9..0.9999).contains(&cosine), "{cosine}");
}

#[test]
fn nothing_goes_on_over_a_break_or_off_the_grid() {
    let mut models = models();
    let samples = chirps(8.0);
    let all = windows(&samples);
    let alone = |models: &mut Models, window: &(usize, Array2<f32>)| {
        models.encode(window.1.view()).expect("states")
    };
    let after = |models: &mut Models, run, next: &(usize, Array2<f32>)| {
        let mut memory = Memory::default();
        for window in &all[..4] {
            hear(models, &mut memory, 0, window);
        }
        hear(models, &mut memory, run, next)
    };
    let apart = |a: &Hidden, b: &Hidden| {
        let (a, b) = (a.view().unwrap(), b.view().unwrap());
        let pairs = a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs());
        pairs.fold(0f32, f32::max)
    };
    let next = &all[4];
    let whole = alone(&mut models, next);
    assert!(apart(&after(&mut models, 0, next), &whole) > 1e-3);
    assert!(
        apart(&after(&mut models, 1, next), &whole) < 1e-4,
        "a break"
    );
    let far = &all[7];
    let (heard, whole) = (after(&mut models, 0, far), alone(&mut models, far));
    assert!(apart(&heard, &whole) < 1e-4, "a window that lies behind");
    let odd = (next.0 + 160, next.1.clone());
    let (heard, whole) = (after(&mut models, 0, &odd), alone(&mut models, &odd));
    assert!(apart(&heard, &whole) < 1e-4, "half a frame off");
    let early = (0, all[0].1.clone());
    let (heard, whole) = (after(&mut models, 0, &early), alone(&mut models, &early));
    assert!(apart(&heard, &whole) < 1e-4, "a clock that went back");
}

#[test]
fn streams_that_run_together_remember_each_their_own() {
    let mut models = models();
    let (a, b) = (chirps(5.0), chirps(5.5));
    let quiet: Vec<f32> = a.iter().rev().map(|x| 0.1 * x).collect();
    let streams = [windows(&a), windows(&b), windows(&quiet)];
    let alone: Vec<Hidden> = streams
        .iter()
        .map(|windows| {
            let mut memory = Memory::default();
            let heard = windows.iter().map(|w| hear(&mut models, &mut memory, 0, w));
            heard.last().expect("five windows")
        })
        .collect();
    let mut memories: Vec<Memory> = streams.iter().map(|_| Memory::default()).collect();
    let before = models.tally();
    let mut last = Vec::new();
    for n in 0..5 {
        let asked: Vec<(Stretch, Moment, usize)> = streams
            .iter()
            .enumerate()
            .map(|(i, windows)| {
                let stretch = Stretch {
                    samples: &[],
                    wide: &[],
                    fbank: windows[n].1.view(),
                };
                let moment = Moment {
                    run: i as u64,
                    first_sample: windows[n].0 as u64,
                };
                (stretch, moment, i)
            })
            .collect();
        let heard = models.hear_on(&asked, &mut memories);
        last = heard.into_iter().map(|h| h.expect("states")).collect();
    }
    let after = models.tally();
    assert_eq!(
        (after.runs - before.runs, after.windows - before.windows),
        (3 + 4, 15),
        "the first windows, of which nothing is known, one by one"
    );
    for (together, alone) in last.iter().zip(&alone) {
        let (together, alone) = (together.view().unwrap(), alone.view().unwrap());
        let pairs = together.iter().zip(alone.iter());
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(apart < 1e-4, "{apart}");
    }
}

#[test]
fn windows_that_are_scored_together_say_what_they_say_one_by_one() {
    let pack = pack();
    let settings = config::Window::default();
    let wanted = Wanted {
        spoof: true,
        ..Wanted::default()
    };
    let open = || Analyser::open(runtime(), &pack, Provider::Cpu, &settings, wanted).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scene/enrol/anna_1.flac");
    let signal: Signal = earwitness::audio::decode(&file, None)
        .expect("a voice")
        .into();
    let one_by_one = open().recording(&signal, &settings).expect("scores");
    let voiced = one_by_one.iter().filter(|s| s.utterance.is_some()).count();
    assert!(voiced >= 4, "{voiced} windows with a voice");

    let mut windows: Vec<Window> = Vec::new();
    let mut segmenter = Segmenter::new(&settings);
    let now = std::time::Instant::now();
    segmenter.push(&signal.samples, now, |window| windows.push(window));
    segmenter.finish(now, |window| windows.push(window));
    let mut analyser = open();
    let (mut memories, mut together) = ([StreamMemory::default()], Vec::new());
    // Three windows of one stream at once, as a worker finds them that came late.
    for windows in windows.chunks(3) {
        let asked: Vec<Asked> = windows
            .iter()
            .map(|window| Asked {
                window,
                sound: false,
                memory: 0,
            })
            .collect();
        together.extend(analyser.windows(&asked, &mut memories));
    }
    let together: Vec<_> = together.into_iter().map(|s| s.expect("scores")).collect();
    assert_eq!(together, one_by_one);
}
