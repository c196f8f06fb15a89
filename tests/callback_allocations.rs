//! The capture callback allocates nothing: an allocator that aborts on any allocation watches its whole body, and a negative
//! control in a child process shows that the watch works.

use std::process::Command;
use std::time::Duration;

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use earwitness::audio::{Fault, capture_ring};

#[global_allocator]
static WATCH: AllocDisabler = AllocDisabler;

#[test]
fn the_callback_allocates_nothing() {
    let (mut writer, mut reader) = capture_ring(48_000, 2);
    let health = writer.health();
    let (shorts, floats, bytes, longs) = (
        vec![1i16; 960],
        vec![0.5f32; 960],
        vec![7u8; 961],
        vec![1i32; 960],
    );
    let wait = Duration::from_millis(5);
    assert_no_alloc(|| {
        for _ in 0..100 {
            writer.write(&shorts, wait);
            writer.write(&floats, wait);
            writer.write(&bytes, wait); // not a whole frame
            writer.write(&longs, wait);
            writer.write::<f32>(&[], wait);
        }
    });
    // Overruns of the driver, a full ring, and room again: the paths that are seldom taken.
    assert_no_alloc(|| {
        health.xrun();
        for _ in 0..1_000 {
            writer.write(&floats, Duration::MAX);
        }
        health.fail(Fault::Gone);
    });
    assert!(health.lost() > 0, "the ring must have been full");
    let mut samples = Vec::with_capacity(1 << 20);
    reader.read(&mut samples);
    assert_no_alloc(|| writer.write(&floats, wait));
    assert!(!samples.is_empty());
    assert_eq!(health.beats(), 1_501);
}

/// Not a test of ours: the child of the next one.
#[test]
#[ignore = "aborts on purpose; run by the_watch_works"]
fn allocates_on_purpose() {
    assert_no_alloc(|| std::hint::black_box(vec![0u8; 64]));
}

#[test]
fn the_watch_works() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "allocates_on_purpose",
            "--ignored",
            "--test-threads=1",
        ])
        .output()
        .unwrap();
    assert!(!child.status.success(), "an allocation went unseen");
    assert_eq!(
        child.status.code(),
        None,
        "it must die by abort, not by a failed assertion"
    );
}
