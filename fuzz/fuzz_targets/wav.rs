//! Any bytes as a Hermes audio frame: no panic, whole frames, and no more samples than bytes.
#![no_main]

use earwitness::audio::net::wav::read_wav;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(wav) = read_wav(bytes) {
        assert_eq!(wav.samples.len() % usize::from(wav.channels.max(1)), 0);
        assert!(wav.samples.len() <= bytes.len());
    }
});
