use std::sync::Arc;

use super::*;
use crate::audio::SAMPLE_RATE;
use crate::config;
use crate::pipeline::Segmenter;
use crate::task::Utterance;

fn request(name: &str, seconds: f64) -> Request {
    Request {
        name: name.into(),
        seconds,
        within: Duration::from_secs(60),
        label: None,
        consent: None,
        keep_days: None,
        replace: false,
    }
}

fn scores(window: &Window) -> Scores {
    let s = |sample: u64| sample as f64 / f64::from(SAMPLE_RATE);
    let (start_s, end_s) = (s(window.first_sample), s(window.end_sample()));
    Scores {
        start_s,
        end_s,
        new_s: start_s,
        level_dbfs: -20.0,
        clipped: 0.0,
        speech: 1.0,
        utterance: Some(Utterance {
            start_s,
            end_s,
            began: false,
            embedding: vec![1.0],
            newest: None,
            genuine: None,
            parts: Vec::new(),
        }),
        speech_end_s: None,
        sounds: None,
        probes: Vec::new(),
        health: Default::default(),
    }
}

/// Six seconds in windows of 2 s, one each half second; each sample says where it is.
fn windows(captured: Instant) -> Vec<Window> {
    let mut segmenter = Segmenter::new(&config::Window {
        length_s: 2.0,
        hop_s: 0.5,
        ..Default::default()
    });
    let mut all = Vec::new();
    let samples: Vec<f32> = (0..96_000).map(|n| n as f32 / 96_000.0).collect();
    for packet in samples.chunks(1_600) {
        segmenter.push(packet, captured, |window| all.push(window));
    }
    segmenter.restart(0);
    for packet in samples.chunks(1_600) {
        segmenter.push(packet, captured, |window| all.push(window));
    }
    all
}

#[test]
fn only_what_is_said_after_the_question_counts_and_each_sample_once() {
    let desk = Desk::new(1);
    let before = windows(Instant::now());
    desk.enrol(1, 0, request("alice", 100.0)).unwrap();
    let now = windows(Instant::now());
    let mut slot = lock(&desk.slots[0].taking);
    let taking = slot.as_mut().unwrap();
    // They waited in line when it was asked.
    for window in &before[..4] {
        taking.take(window, &scores(window));
    }
    assert!(taking.from.is_none() && taking.pieces.is_empty());
    let half = now.len() / 2;
    for (i, window) in now.iter().enumerate() {
        // A model fails on one.
        if i != half + 6 {
            taking.take(window, &scores(window));
        }
    }
    let [first, second, third] = &taking.pieces[..] else {
        panic!("{} pieces", taking.pieces.len());
    };
    // The first window may hold what was said before; of the rest the first that begins after its end.
    assert_eq!(first.signal.samples.len(), 88_000);
    assert_eq!(first.signal.samples[0], 8_000.0 / 96_000.0);
    assert!(first.signal.samples.windows(2).all(|w| w[1] > w[0]));
    // After a break all counts, up to the window that is missing, and from the first on that holds nothing of before it.
    assert_eq!(
        (second.signal.samples[0], third.signal.samples[0]),
        (0.0, 0.5)
    );
    assert_eq!(
        (second.signal.samples.len(), third.signal.samples.len()),
        (48_000, 48_000)
    );
    assert!((taking.gathered.speech_s() - 11.5).abs() < 1e-9);
}

#[test]
fn a_stream_takes_one_sitting_at_a_time_and_its_time_ends() {
    let desk = Desk::new(2);
    let mut short = request("alice", 3.0);
    short.within = Duration::ZERO;
    desk.enrol(1, 1, short).unwrap();
    let refusal = desk.enrol(2, 1, request("bob", 3.0)).unwrap_err();
    assert!(refusal.contains("alice is being enrolled"), "{refusal}");
    desk.enrol(3, 0, request("bob", 3.0)).unwrap();
    assert!(desk.enrol(4, 2, request("bob", 3.0)).is_err());
    // The other one has a minute.
    assert!(matches!(desk.next(), Some(Order::Late(1, 1))));
    assert_eq!(desk.free_of(1, 1).map(|t| t.ticket), Some(1));
    desk.enrol(5, 1, request("bob", 3.0)).unwrap();
    desk.close();
    assert!(desk.next().is_none());
}

#[test]
fn what_is_cancelled_ends_nothing_that_begins_after_it() {
    let desk = Desk::new(1);
    assert!(desk.cancel(0).is_err() && desk.cancel(1).is_err());
    let mut short = request("alice", 3.0);
    short.within = Duration::ZERO;
    desk.enrol(1, 0, short).unwrap();
    // The registrar is about to end it; the one who cancels is first, and then somebody else begins.
    let Some(Order::Late(stream, ticket)) = desk.next() else {
        panic!("it is late");
    };
    desk.cancel(0).unwrap();
    assert!(!desk.slots[0].taken.load(Ordering::Relaxed));
    desk.enrol(2, 0, request("bob", 3.0)).unwrap();
    assert!(desk.free_of(stream, ticket).is_none());
    assert!(desk.slots[0].taken.load(Ordering::Relaxed));
    assert_eq!(desk.free_of(0, 2).map(|t| t.ticket), Some(2));
    assert!(desk.cancel(0).is_err());
}

#[test]
fn how_it_ends_is_told_though_nobody_takes_words_for_a_while() {
    let desk = Arc::new(Desk::new(1));
    let mut news = desk.news().unwrap();
    assert!(desk.news().is_none());
    for ticket in 0..WORDS as u64 {
        desk.tell(ticket, Word::Heard(1.0));
    }
    let other = desk.clone();
    let waits = std::thread::spawn(move || other.tell(99, Word::Refused("late".into())));
    let mut last = None;
    for _ in 0..=WORDS {
        last = news.blocking_recv();
    }
    waits.join().unwrap();
    assert_eq!(last.map(|news| news.ticket), Some(99));
    // A daemon that ends waits for nobody.
    for ticket in 0..WORDS as u64 {
        desk.tell(ticket, Word::Heard(1.0));
    }
    desk.close();
    desk.tell(100, Word::Refused("too late".into()));
}
