//! Streaming log-mel allocates nothing once its output has room: it runs for every stream, all day.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use earwitness::dsp::{Fbank, MELS};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

#[test]
fn no_allocation_after_warm_up() {
    let chunk: Vec<f32> = (0..1234).map(|n| (n as f32 * 0.1).sin()).collect();
    let (mut stream, mut out) = (Fbank::new(), Vec::with_capacity(200 * MELS));
    stream.push(&chunk, &mut out);
    let before = out.len();
    // An allocation in here ends the process.
    assert_no_alloc(|| (0..20).for_each(|_| stream.push(&chunk, &mut out)));
    assert!(out.len() > before + 100 * MELS);
}
