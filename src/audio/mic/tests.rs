//! The supervisor against a backend that fails, stalls and breaks on command.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::audio::capture::{CaptureWriter, Fault, capture_ring};

/// What the fake does at each opening.
enum Step {
    Refuse(&'static str),
    Run(u32, u16),
}

#[derive(Clone, Default)]
struct Bench {
    writers: Arc<Mutex<Vec<CaptureWriter>>>,
    opened: Arc<Mutex<Vec<Instant>>>,
}

struct Fake {
    steps: VecDeque<Step>,
    bench: Bench,
}

impl Backend for Fake {
    type Handle = ();
    fn open(&mut self) -> Result<Live<()>, String> {
        self.bench.opened.lock().unwrap().push(Instant::now());
        match self.steps.pop_front() {
            Some(Step::Run(rate, channels)) => {
                let (writer, reader) = capture_ring(rate, channels);
                let health = writer.health();
                self.bench.writers.lock().unwrap().push(writer);
                Ok(Live {
                    handle: (),
                    rate,
                    channels,
                    reader,
                    health,
                })
            }
            Some(Step::Refuse(reason)) => Err(reason.into()),
            None => Err("no more steps".into()),
        }
    }
}

fn quick() -> Timing {
    Timing {
        backoff: Backoff::new(Duration::from_millis(20), Duration::from_millis(80)),
        silence: Duration::from_millis(300),
        healthy: Duration::from_secs(10),
        tick: Duration::from_millis(2),
    }
}

fn start(steps: Vec<Step>) -> (Mic, Bench) {
    let bench = Bench::default();
    let fake = Fake {
        steps: steps.into(),
        bench: bench.clone(),
    };
    (Mic::start(fake, quick()).unwrap(), bench)
}

/// The next packet that is not `Idle`.
fn next(mic: &mut Mic, samples: &mut Vec<f32>) -> Packet {
    for _ in 0..100 {
        match mic.next(samples, Duration::from_millis(50)).unwrap() {
            Packet::Idle => {}
            packet => return packet,
        }
    }
    panic!("nothing came")
}

fn down(packet: Packet) -> String {
    match packet {
        Packet::Down { reason } => reason,
        other => panic!("expected Down, found {other:?}"),
    }
}

#[test]
fn starts_without_the_device_says_so_once_and_attaches() {
    let refuse = || Step::Refuse("not there");
    let (mut mic, bench) = start(vec![refuse(), refuse(), refuse(), Step::Run(48_000, 2)]);
    let samples = &mut Vec::new();
    assert_eq!(down(next(&mut mic, samples)), "not there");
    assert_eq!(
        next(&mut mic, samples),
        Packet::Format {
            rate: 48_000,
            channels: 2
        }
    );
    let opened = bench.opened.lock().unwrap();
    let waits: Vec<u128> = opened
        .windows(2)
        .map(|w| (w[1] - w[0]).as_millis())
        .collect();
    assert!(
        waits[0] >= 20 && waits[1] >= 40 && waits[2] >= 80,
        "{waits:?}"
    );
}

#[test]
fn unplugging_gives_what_was_captured_then_down_then_a_new_format() {
    let (mut mic, bench) = start(vec![Step::Run(16_000, 1), Step::Run(44_100, 2)]);
    let samples = &mut Vec::new();
    assert!(matches!(next(&mut mic, samples), Packet::Format { .. }));
    {
        let mut writers = bench.writers.lock().unwrap();
        writers[0].write(&[0.5f32; 160], Duration::ZERO);
        writers[0].health().fail(Fault::Gone);
    }
    std::thread::sleep(Duration::from_millis(30));
    assert!(matches!(next(&mut mic, samples), Packet::Audio { .. }));
    assert_eq!(samples.len(), 160);
    assert!(down(next(&mut mic, samples)).contains("disconnected"));
    assert_eq!(
        next(&mut mic, samples),
        Packet::Format {
            rate: 44_100,
            channels: 2
        }
    );
}

#[test]
fn a_callback_that_falls_silent_is_rebuilt() {
    let (mut mic, bench) = start(vec![Step::Run(16_000, 1), Step::Run(16_000, 1)]);
    let samples = &mut Vec::new();
    assert!(matches!(next(&mut mic, samples), Packet::Format { .. }));
    let alive = Instant::now();
    while alive.elapsed() < Duration::from_millis(500) {
        bench.writers.lock().unwrap()[0].write(&[0.0f32; 16], Duration::ZERO);
        let packet = mic.next(samples, Duration::from_millis(20)).unwrap();
        assert!(
            matches!(packet, Packet::Audio { .. }),
            "a beating stream is left alone: {packet:?}"
        );
    }
    assert!(down(next(&mut mic, samples)).contains("delivered nothing"));
    assert!(matches!(next(&mut mic, samples), Packet::Format { .. }));
}

#[test]
fn next_never_waits_longer_than_asked() {
    let (mut mic, _bench) = start(vec![Step::Refuse("x")]);
    let samples = &mut Vec::new();
    assert_eq!(down(next(&mut mic, samples)), "x");
    next(&mut mic, samples); // "no more steps"
    let start = Instant::now();
    assert_eq!(
        mic.next(samples, Duration::from_millis(40)).unwrap(),
        Packet::Idle
    );
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(40) && took < Duration::from_millis(200),
        "{took:?}"
    );
}

#[test]
fn dropping_does_not_wait_for_a_driver_that_hangs() {
    struct Hanging;
    impl Backend for Hanging {
        type Handle = ();
        fn open(&mut self) -> Result<Live<()>, String> {
            std::thread::sleep(Duration::from_secs(5));
            Err("late".into())
        }
    }
    let mut mic = Mic::start(Hanging, quick()).unwrap();
    assert_eq!(
        mic.next(&mut Vec::new(), Duration::from_millis(10))
            .unwrap(),
        Packet::Idle
    );
    let start = Instant::now();
    drop(mic);
    assert!(start.elapsed() < Duration::from_secs(2));
}
