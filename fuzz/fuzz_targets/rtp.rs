//! Any datagrams through the RTP parser and the jitter buffer: no panic. Each datagram is preceded by its length and by the
//! milliseconds since the one before, a byte each.
#![no_main]

use std::time::Duration;

use earwitness::audio::net::jitter::Jitter;
use earwitness::audio::net::rtp::{opus_frames, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut jitter = Jitter::new(Duration::from_millis(60));
    let (mut rest, mut now) = (bytes, Duration::ZERO);
    while let [length, pause, more @ ..] = rest {
        let (datagram, later) = more.split_at(usize::from(*length).min(more.len()));
        rest = later;
        now += Duration::from_millis((*pause).into());
        if let Ok(rtp) = parse(datagram) {
            let frames = match rtp.payload_type {
                111 => opus_frames(rtp.payload).unwrap_or(0),
                _ => rtp.payload.len() as u32 / 2,
            };
            jitter.push(now, &rtp, 48_000, frames);
        }
        while jitter.pop(now).is_some() {}
    }
    jitter.finish();
    while jitter.pop(now).is_some() {}
});
