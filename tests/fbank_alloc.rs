//! Streaming features allocate nothing once their output has room: they run for every stream, all day.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use earwitness::dsp::{
    Cepstra, CepstraStream, Cqt, Fbank, KaldiFbank, KaldiOptions, PitchOptions, PitchTracker, Stft,
    StftOptions,
};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Pushes chunks of an odd length, after a first one without an allocation, and counts what comes out.
fn quiet(name: &str, frames: usize, mut push: impl FnMut(&[f32]) -> usize) {
    let chunk: Vec<f32> = (0..1234).map(|n| (n as f32 * 0.1).sin()).collect();
    // Long enough for the constant-Q transform, which looks ahead, to be under way.
    let before = (0..8).map(|_| push(&chunk)).last().unwrap_or_default();
    // An allocation in here ends the process.
    let after = assert_no_alloc(|| (0..20).map(|_| push(&chunk)).last().unwrap_or_default());
    assert!(after > before + frames, "{name}: {before}, {after}");
}

#[test]
fn log_mel() {
    let (mut stream, mut out) = (Fbank::new(), Vec::with_capacity(300 * 80));
    quiet("log-mel", 100 * 80, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}

#[test]
fn kaldi() {
    let mut stream = KaldiFbank::new(KaldiOptions::default());
    let mut out = Vec::with_capacity(300 * 80);
    quiet("Kaldi fbank", 100 * 80, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}

#[test]
fn stft() {
    let lengths = StftOptions {
        window: 400,
        hop: 160,
        points: 512,
    };
    let mut stream = Stft::new(lengths).expect("lengths that fit");
    let mut out = Vec::with_capacity(300 * stream.bins());
    quiet("STFT", 100 * 257, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}

#[test]
fn constant_q() {
    let (mut stream, mut out) = (Cqt::new(), Vec::with_capacity(300 * 96));
    quiet("CQT", 100 * 96, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}

#[test]
fn cepstra() {
    for kind in [Cepstra::Mfcc, Cepstra::Lfcc, Cepstra::Cqcc] {
        let (mut stream, mut out) = (CepstraStream::new(kind), Vec::with_capacity(300 * 20));
        quiet(&format!("{kind:?}"), 100 * 20, |chunk| {
            stream.push(chunk, &mut out);
            out.len()
        });
    }
}

#[test]
fn pitch() {
    let mut stream = PitchTracker::new(PitchOptions::default()).expect("limits in order");
    let mut out = Vec::with_capacity(300);
    quiet("pitch", 100, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}
