//! Any bytes, cut anywhere, to Wyoming events: no panic, and no more held than the limits say. The first byte of the input
//! says how long the pieces are.
#![no_main]

use earwitness::audio::net::frames::{Frames, MAX_DATA, MAX_LINE, MAX_PAYLOAD};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_first() else {
        return;
    };
    let mut frames = Frames::default();
    for piece in rest.chunks(usize::from(*cut) + 1) {
        frames.push(piece);
        loop {
            match frames.pop() {
                Ok(Some(event)) => assert!(event.payload.len() <= MAX_PAYLOAD),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(frames.leftover() <= MAX_LINE + MAX_DATA + MAX_PAYLOAD);
    }
});
