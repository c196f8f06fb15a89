//! Audio that comes over the network: Wyoming and raw PCM by TCP, RTP by UDP, Hermes frames by MQTT. What a peer sends is
//! parsed by modules without I/O, each bounded, so that a broken or hostile one harms only its own stream.
//!
//! ```text
//! server    a TCP listener as a source: who may send, how fast, how long silent     timeline  losses found by times
//! tcp       raw PCM over it              wyoming   Wyoming over it                  frames    Wyoming's framing
//! udp       RTP as a source              rtp       one RTP packet                   jitter    order, duplicates, losses
//! opus      Opus packets to samples      hermes    WAV frames from MQTT             wav       one such frame
//! ```
//!
//! Nobody is asked for a password here: listeners are on loopback unless the configuration says otherwise.

pub mod frames;
pub(super) mod hermes;
pub mod jitter;
mod opus;
pub mod rtp;
mod server;
pub(super) mod tcp;
pub mod timeline;
pub(super) mod udp;
pub mod wav;
pub(super) mod wyoming;

use std::net::SocketAddr;

use super::{SourceError, check_format};

/// Warns of a listener that other machines reach.
fn warn_if_open(stream: &str, listen: SocketAddr) {
    if !listen.ip().is_loopback() {
        tracing::warn!(
            stream,
            %listen,
            "whoever reaches this address can send audio to this stream: nobody is asked for a password"
        );
    }
}

/// The system does not let us listen.
fn no_listener(address: &str, error: &std::io::Error) -> SourceError {
    SourceError::unusable(
        address,
        format!(
            "cannot listen here: {error}; expected an address of this machine and a port that nobody else has"
        ),
    )
}

/// Whether a stream can take what a peer announces; why not, for people.
fn check_peer(rate: u32, channels: u16, channel: Option<u16>) -> Result<(), String> {
    check_format("audio", rate, channels).map_err(|e| e.to_string())?;
    match channel {
        Some(channel) if channel >= channels => Err(format!(
            "expected channel {channel} (counted from 0), which this stream listens to, found {channels} channel(s)"
        )),
        _ => Ok(()),
    }
}

/// Signed little-endian integers of 2 to 4 bytes to ±1; what does not fill a sample at the end is left out.
fn integers(bytes: &[u8], width: usize) -> Vec<f32> {
    let sample = |b: &[u8]| {
        // At the top of 32 bits, whatever the width: one scale for all.
        let mut wide = [0; 4];
        wide[4 - b.len()..].copy_from_slice(b);
        (f64::from(i32::from_le_bytes(wide)) / 2_147_483_648.0) as f32
    };
    bytes.chunks_exact(width).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_have_one_scale() {
        assert_eq!(integers(&[0, 0x40, 0, 0xc0, 1], 2), [0.5, -0.5]);
        assert_eq!(integers(&[0, 0, 0x40], 3), [0.5]);
        assert_eq!(integers(&[0, 0, 0, 0x80], 4), [-1.0]);
    }

    #[test]
    fn a_peer_has_to_send_the_channel_that_is_listened_to() {
        assert!(check_peer(16_000, 1, None).is_ok());
        assert!(check_peer(16_000, 2, Some(1)).is_ok());
        assert!(check_peer(16_000, 1, Some(1)).is_err());
        assert!(check_peer(7, 1, None).is_err());
    }
}
