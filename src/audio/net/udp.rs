//! RTP by UDP as a source: L16 (RFC 3551) and Opus (RFC 7587). What is lost becomes a gap of exactly as many frames.
//!
//! No thread of its own: [`Source::next`] waits for the socket. A sender who is faster than real time by more than [`AHEAD`]
//! loses what is too much, and is told as having lost it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::config::{Encoding, Input};
use crate::publish::throttle::Throttle;

use super::super::open::{Context, Kind, Opened};
use super::super::reader::Message;
use super::super::{Packet, Source, SourceError};
use super::jitter::{Counts, Jitter, Out};
use super::opus::{self, Opus};
use super::rtp::{Rtp, opus_frames, parse};
use super::{check_peer, no_listener, warn_if_open};

pub(in super::super) const KIND: Kind = Kind {
    name: "udp",
    open: |input, context| match input {
        Input::Udp {
            listen,
            encoding,
            payload_type,
            rate,
            channels,
            jitter_ms,
        } => {
            let payload = Payload {
                encoding: *encoding,
                rate: match encoding {
                    Encoding::L16 => rate.unwrap_or(super::super::SAMPLE_RATE),
                    Encoding::Opus => opus::RATE,
                },
                channels: *channels,
            };
            let depth = Duration::from_millis(*jitter_ms);
            Some(open(*listen, (*payload_type, payload), depth, context))
        }
        _ => None,
    },
};

/// Without a packet for this long the sender is gone.
const GONE: Duration = Duration::from_secs(5);
/// How far a sender may be ahead of real time.
const AHEAD: Duration = Duration::from_secs(5);
/// How far it may be behind before that counts: the silence that it may leave out.
const BEHIND: Duration = Duration::from_secs(10);
/// Longest silence that is handed out at a time.
const SILENCE_MS: u32 = 100;
/// How long a flood is not looked at.
const PAUSE: Duration = Duration::from_millis(5);
/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// What a payload type carries.
#[derive(Debug, Clone, Copy)]
struct Payload {
    encoding: Encoding,
    rate: u32,
    channels: u16,
}

impl Payload {
    /// Frames in so many bytes; 0 for what carries none.
    fn frames(&self, bytes: &[u8]) -> u32 {
        match self.encoding {
            Encoding::L16 => (bytes.len() / (2 * usize::from(self.channels))) as u32,
            Encoding::Opus => opus_frames(bytes).unwrap_or(0),
        }
    }

    fn seconds(&self, frames: u32) -> Duration {
        Duration::from_secs_f64(f64::from(frames) / f64::from(self.rate))
    }
}

fn open(
    listen: SocketAddr,
    dynamic: (u8, Payload),
    depth: Duration,
    context: &Context<'_>,
) -> Opened {
    let source = UdpSource::start(listen, dynamic, depth, context)?;
    Ok(Box::new(source))
}

struct UdpSource {
    stream: String,
    channel: Option<u16>,
    socket: UdpSocket,
    dynamic: (u8, Payload),
    jitter: Jitter,
    start: Instant,
    /// Of the audio that flows.
    current: Option<Payload>,
    opus: Option<Opus>,
    /// Frames of silence to hand out before anything else.
    silence: u32,
    ready: VecDeque<Message>,
    /// When the last packet came, while a sender is heard.
    heard: Option<Instant>,
    /// Up to when the audio reaches, were it played.
    played: Instant,
    buffer: Vec<u8>,
    refused: Throttle,
    flooded: Throttle,
    told: Counts,
    report: Throttle,
}

impl UdpSource {
    fn start(
        listen: SocketAddr,
        dynamic: (u8, Payload),
        depth: Duration,
        context: &Context<'_>,
    ) -> Result<Self, SourceError> {
        let what = || format!("udp://{listen}");
        check_peer(dynamic.1.rate, dynamic.1.channels, context.channel)
            .map_err(|e| SourceError::unusable(what(), e))?;
        if dynamic.1.encoding == Encoding::Opus {
            // Tried now, so that a decoder that does not work shows at start.
            Opus::new(dynamic.1.channels).map_err(|e| SourceError::unusable(what(), e))?;
        }
        let socket = UdpSocket::bind(listen).map_err(|e| no_listener(&what(), &e))?;
        let address = socket.local_addr().unwrap_or(listen);
        warn_if_open(context.stream, address);
        tracing::info!(stream = context.stream, %address, "listening");
        let waits = Packet::Down {
            reason: format!("waits for RTP at {address}"),
        };
        let now = Instant::now();
        Ok(Self {
            stream: context.stream.into(),
            channel: context.channel,
            socket,
            dynamic,
            jitter: Jitter::new(depth),
            start: now,
            current: None,
            opus: None,
            silence: 0,
            ready: VecDeque::from([waits.into()]),
            heard: None,
            played: now,
            buffer: vec![0; DATAGRAM],
            refused: Throttle::new(Duration::from_secs(10)),
            flooded: Throttle::new(Duration::from_secs(10)),
            told: Counts::default(),
            report: Throttle::new(Duration::from_secs(60)),
        })
    }

    /// What a payload type means here.
    fn payload(&self, payload_type: u8) -> Option<Payload> {
        let l16 = |channels| Payload {
            encoding: Encoding::L16,
            rate: 44_100,
            channels,
        };
        let payload = match payload_type {
            10 => l16(2),
            11 => l16(1),
            other if other == self.dynamic.0 => self.dynamic.1,
            _ => return None,
        };
        check_peer(payload.rate, payload.channels, self.channel)
            .is_ok()
            .then_some(payload)
    }

    /// Waits for a datagram, at most until `until`.
    fn receive(&mut self, until: Instant) -> Result<(), SourceError> {
        let wait = until.saturating_duration_since(Instant::now());
        let set = self
            .socket
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))));
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = set.and_then(|()| self.socket.recv_from(&mut buffer));
        let outcome = match received {
            Ok((length, from)) => {
                self.take(&buffer[..length], from);
                Ok(())
            }
            // The last is Windows' word for an answer that nobody wanted.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock
                        | ErrorKind::TimedOut
                        | ErrorKind::Interrupted
                        | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(SourceError::io(format!("RTP of {}", self.stream), e)),
        };
        self.buffer = buffer;
        outcome
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = Instant::now();
        let rtp = match parse(datagram) {
            Ok(rtp) => rtp,
            Err(error) => {
                if let Some(count) = self.refused.hit(now) {
                    tracing::warn!(stream = self.stream, %from, count, %error, "no RTP");
                }
                return;
            }
        };
        if self.played.saturating_duration_since(now) > AHEAD {
            if let Some(count) = self.flooded.hit(now) {
                tracing::warn!(stream = self.stream, %from, count, "RTP comes faster than real time: the rest is lost");
            }
            std::thread::sleep(PAUSE);
            return;
        }
        let (clock, frames) = match self.payload(rtp.payload_type) {
            Some(payload) => (payload.rate, payload.frames(rtp.payload)),
            None => {
                self.refuse_type(&rtp, from);
                (1, 0)
            }
        };
        self.jitter
            .push(now.duration_since(self.start), &rtp, clock, frames);
    }

    fn refuse_type(&mut self, rtp: &Rtp<'_>, from: SocketAddr) {
        if self.current.is_some() {
            // A key press or comfort noise between the audio.
            return;
        }
        if let Some(count) = self.refused.hit(Instant::now()) {
            tracing::warn!(
                stream = self.stream,
                %from,
                count,
                "expected RTP of payload type {} (or 10, 11: L16 at 44100 Hz) with the channel that is listened to, found type {}",
                self.dynamic.0,
                rtp.payload_type
            );
        }
    }

    /// Turns what the buffer lets out into messages.
    fn drain(&mut self) {
        let now = Instant::now();
        while self.silence == 0
            && let Some(out) = self.jitter.pop(now.duration_since(self.start))
        {
            self.hand_out(out, now);
        }
    }

    fn hand_out(&mut self, out: Out, now: Instant) {
        if let Out::Start(payload_type) = out {
            self.current = self.payload(payload_type);
            self.opus = None;
            if let Some(Payload { rate, channels, .. }) = self.current {
                self.ready
                    .push_back(Packet::Format { rate, channels }.into());
            }
            return;
        }
        let Some(payload) = self.current else {
            return;
        };
        let lost = |frames: u32| {
            let frames = u64::from(frames);
            Packet::Gap { frames }.into()
        };
        match out {
            Out::Start(_) => (),
            Out::Lost(frames) => self.ready.push_back(lost(frames)),
            Out::Silence(frames) => {
                self.silence = frames;
                self.play(payload.seconds(frames), now);
            }
            Out::Audio(bytes) => {
                let frames = payload.frames(&bytes);
                self.heard = Some(now);
                self.play(payload.seconds(frames), now);
                let message = match self.decode(payload, &bytes) {
                    Some(samples) => Message {
                        packet: Packet::Audio { captured: now },
                        samples,
                    },
                    None => lost(frames),
                };
                self.ready.push_back(message);
            }
        }
    }

    fn play(&mut self, length: Duration, now: Instant) {
        let floor = now.checked_sub(BEHIND).unwrap_or(now);
        self.played = self.played.max(floor) + length;
    }

    fn decode(&mut self, payload: Payload, bytes: &[u8]) -> Option<Vec<f32>> {
        match payload.encoding {
            Encoding::L16 => {
                let whole = bytes.len() - bytes.len() % (2 * usize::from(payload.channels));
                let samples = bytes[..whole].as_chunks::<2>().0.iter();
                Some(
                    samples
                        .map(|b| f32::from(i16::from_be_bytes(*b)) / 32_768.0)
                        .collect(),
                )
            }
            Encoding::Opus => {
                if self.opus.is_none() {
                    self.opus = Opus::new(payload.channels).ok();
                }
                self.opus.as_mut()?.decode(bytes)
            }
        }
    }

    /// The next stretch of silence that the sender left out.
    fn next_silence(&mut self) -> Option<Message> {
        let payload = self.current.filter(|_| self.silence > 0)?;
        let most = (payload.rate / 1_000 * SILENCE_MS).max(1);
        let frames = self.silence.min(most);
        self.silence -= frames;
        Some(Message {
            packet: Packet::Audio {
                captured: Instant::now(),
            },
            samples: vec![0.0; frames as usize * usize::from(payload.channels)],
        })
    }

    /// Says how the network does, where it does not do well; not too often unless it is the `last` word.
    fn tell_counts(&mut self, last: bool) {
        let counts = self.jitter.counts();
        let bad = |c: &Counts| (c.missing, c.late, c.duplicates, c.foreign);
        if bad(&counts) != bad(&self.told) && (self.report.hit(Instant::now()).is_some() || last) {
            self.told = counts;
            let Counts {
                packets,
                missing,
                late,
                duplicates,
                foreign,
            } = counts;
            tracing::warn!(
                stream = self.stream,
                packets,
                missing,
                late,
                duplicates,
                foreign,
                "RTP so far"
            );
        }
    }
}

impl Source for UdpSource {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            let ready = self.ready.pop_front();
            if let Some(mut message) = ready.or_else(|| self.next_silence()) {
                samples.append(&mut message.samples);
                return Ok(message.packet);
            }
            self.drain();
            if !self.ready.is_empty() || self.silence > 0 {
                continue;
            }
            self.tell_counts(false);
            let now = Instant::now();
            if self.heard.is_some_and(|heard| now - heard > GONE) {
                self.jitter.finish();
                self.drain();
                if self.silence > 0 {
                    // What waits behind it comes first.
                    continue;
                }
                self.tell_counts(true);
                self.heard = None;
                self.current = None;
                let reason = format!("no RTP for {} s", GONE.as_secs());
                self.ready.push_back(Packet::Down { reason }.into());
                continue;
            }
            if now >= deadline {
                return Ok(Packet::Idle);
            }
            let hole = self.jitter.deadline().map(|at| self.start + at);
            self.receive(hole.map_or(deadline, |hole| hole.min(deadline)))?;
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Drop for UdpSource {
    fn drop(&mut self) {
        self.tell_counts(true);
    }
}

#[cfg(test)]
mod tests;
