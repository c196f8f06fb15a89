//! Streaming features allocate nothing once their output has room: they run for every stream, all day.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use earwitness::dsp::{Fbank, KaldiFbank, KaldiOptions};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Pushes chunks of an odd length, after a first one without an allocation, and counts what comes out.
fn quiet(name: &str, frames: usize, mut push: impl FnMut(&[f32]) -> usize) {
    let chunk: Vec<f32> = (0..1234).map(|n| (n as f32 * 0.1).sin()).collect();
    let before = push(&chunk);
    // An allocation in here ends the process.
    let after = assert_no_alloc(|| (0..20).map(|_| push(&chunk)).last().unwrap_or_default());
    assert!(after > before + frames, "{name}: {before}, {after}");
}

#[test]
fn log_mel() {
    let (mut stream, mut out) = (Fbank::new(), Vec::with_capacity(200 * 80));
    quiet("log-mel", 100 * 80, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}

#[test]
fn kaldi() {
    let mut stream = KaldiFbank::new(KaldiOptions::default());
    let mut out = Vec::with_capacity(200 * 80);
    quiet("Kaldi fbank", 100 * 80, |chunk| {
        stream.push(chunk, &mut out);
        out.len()
    });
}
