use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::config::{Config, Input, Provider, Stream, Window as Windows};
use crate::dsp::fbank;
use crate::model::{Pack, Runtime, Wanted};
use crate::publish::{Inbox, Sink, SinkError};

/// Keeps every event.
struct Kept(Arc<Mutex<Vec<Arc<Event>>>>);

impl Sink for Kept {
    fn run(self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        while let Some(event) = inbox.recv() {
            self.0.lock().unwrap().push(event);
        }
        Ok(())
    }
}

/// The `n`-th window of a stream; one is broken, and one is short.
fn window(stream: usize, n: usize) -> Window {
    let length = if (stream, n) == (2, 0) {
        16_000
    } else {
        48_000
    };
    let tone = |i: usize| (i as f32 * (0.05 + 0.01 * stream as f32 + 0.002 * n as f32)).sin();
    let noise = |i: usize| (i * 7919 % 1000) as f32 / 10_000.0 - 0.05;
    let samples: Vec<f32> = (0..length).map(|i| 0.3 * tone(i) + noise(i)).collect();
    let mut frames = fbank(&samples);
    if (stream, n) == (1, 2) {
        frames.fill(f32::NAN);
    }
    Window {
        first_sample: 16_000 * n as u64,
        fbank: frames,
        new_samples: 16_000,
        signal: samples.into(),
        captured: Instant::now(),
        run: 0,
    }
}

/// What comes out of one worker for three streams of five windows each, in the order in which they queue, without what
/// differs from run to run; and how much was done.
fn run(batch: usize) -> (Vec<(EventId, f64, String)>, Arc<Counters>) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs/tiny");
    let pack = Pack::load(folder.as_ref()).unwrap();
    let runtime = Runtime::load(None).unwrap();
    let wanted = Wanted {
        spoof: true,
        ..Wanted::default()
    };
    let windows = Windows::default();
    let analyser = Analyser::open(runtime, &pack, Provider::Cpu, &windows, wanted).unwrap();
    let stream = |i| Stream {
        id: format!("s{i}"),
        source: Input::Mic { device: None },
        channel: None,
        sound: false,
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config {
        streams: (0..3).map(stream).collect(),
        ..Config::default()
    };
    config.speaker.store = scratch.path().join("nobody");
    let judge = Arc::new(Standing::new(super::super::judge(&config, &pack).unwrap()));
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut bus = Bus::new();
    bus.add("kept", 1_000, Kept(events.clone())).unwrap();
    let bus = Arc::new(bus);
    let batching = Batching {
        most: batch,
        enough: batch,
        wait: Duration::from_millis(200),
        shared: None,
    };
    let analysers = vec![analyser];
    let streams = &config.streams;
    let controls = Arc::new(Controls::new(&config));
    let desk = Arc::new(Desk::new(3));
    let rules = Rules {
        judge,
        desk,
        controls,
    };
    let engine = Engine::start("n", streams, analysers, rules, 9, batching, bus.clone()).unwrap();
    for stream in 0..3 {
        engine.queue().push(stream, Job::Mark(Mark::Epoch(7)), true);
    }
    for n in 0..5 {
        for stream in 0..3 {
            engine
                .queue()
                .push(stream, Job::Window(window(stream, n)), true);
            let lost = Mark::Lost {
                samples: 1,
                at: 16_000 * n as u64 + 48_001,
                reason: crate::publish::GapReason::Overrun,
            };
            if n == 3 {
                engine.queue().push(stream, Job::Mark(lost), true);
            }
        }
    }
    let counters = engine.counters().clone();
    engine.stop(Instant::now() + Duration::from_secs(60));
    bus.shutdown(Duration::from_secs(5));
    let told = |event: Arc<Event>| {
        let kind = serde_json::to_value(&event.body).unwrap();
        (event.id.clone(), event.end_s, kind["type"].to_string())
    };
    let events = std::mem::take(&mut *events.lock().unwrap());
    (events.into_iter().map(told).collect(), counters)
}

#[test]
fn batches_change_neither_order_nor_what_is_told_and_one_bad_window_fails_alone() {
    let of = |events: &[(EventId, f64, String)], stream: usize| -> Vec<_> {
        let id = format!("s{stream}");
        let own = events.iter().filter(|(e, ..)| e.stream == id);
        own.cloned().collect()
    };
    let (single, alone) = run(1);
    let (together, batched) = run(8);
    for stream in 0..3 {
        let (single, together) = (of(&single, stream), of(&together, stream));
        assert!(single.len() >= 5, "{single:?}");
        assert_eq!(single, together);
    }
    for counters in [&alone, &batched] {
        assert_eq!(counters.failed.load(Ordering::Relaxed), 1);
        assert_eq!(counters.windows.load(Ordering::Relaxed), 14);
    }
    assert_eq!(alone.mean_batch(), Some(1.0));
    assert_eq!(alone.retried.load(Ordering::Relaxed), 0);
    // One worker does not wait for more than its three streams have, but takes what is there.
    assert!(batched.mean_batch() > Some(1.5), "{batched:?}");
    assert_eq!(batched.retried.load(Ordering::Relaxed), 1);
}
