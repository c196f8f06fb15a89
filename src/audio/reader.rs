//! Raw PCM from anything that can be read: a thread reads and parses, a bounded channel carries packets to the stream
//! thread, so that waiting never takes longer than asked.

use std::io::Read;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::config::Pcm;

use super::pcm::PcmParser;
use super::{Packet, Source, SourceError, check_format};

/// Bytes a read.
pub(super) const READ: usize = 64 << 10;
/// Packets that wait for the stream thread; behind them the writer of the pipe waits.
const QUEUE: usize = 8;

/// What a reading thread sends.
pub(super) struct Message {
    pub(super) packet: Packet,
    pub(super) samples: Vec<f32>,
}

impl From<Packet> for Message {
    fn from(packet: Packet) -> Self {
        Self {
            packet,
            samples: Vec::new(),
        }
    }
}

/// The stream thread's end of the channel.
pub(super) struct Inbox {
    messages: Receiver<Result<Message, SourceError>>,
    ended: bool,
}

pub(super) type Outbox = Sender<Result<Message, SourceError>>;

pub(super) fn channel() -> (Outbox, Inbox) {
    let (sender, messages) = bounded(QUEUE);
    let inbox = Inbox {
        messages,
        ended: false,
    };
    (sender, inbox)
}

impl Inbox {
    /// [`Source::next`] over the channel.
    pub(super) fn next(
        &mut self,
        samples: &mut Vec<f32>,
        timeout: Duration,
    ) -> Result<Packet, SourceError> {
        if self.ended {
            return Ok(Packet::End);
        }
        match self.messages.recv_timeout(timeout) {
            Ok(Ok(mut message)) => {
                self.ended = message.packet == Packet::End;
                samples.append(&mut message.samples);
                Ok(message.packet)
            }
            Ok(Err(e)) => Err(e),
            Err(RecvTimeoutError::Timeout) => Ok(Packet::Idle),
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Ok(Packet::End)
            }
        }
    }
}

/// Raw PCM from a reader, standard input for one. It waits for its reader rather than losing anything: whoever writes into
/// the pipe is held up by it.
pub struct PipeSource {
    inbox: Inbox,
}

impl PipeSource {
    /// Reads `reader` (named `what` in messages) to its end.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] for a layout out of range, [`SourceError::Io`] when no thread can be started.
    pub fn new(
        what: &str,
        reader: impl Read + Send + 'static,
        pcm: &Pcm,
    ) -> Result<Self, SourceError> {
        check_format(what, pcm.rate, pcm.channels)?;
        let (outbox, inbox) = channel();
        let (name, pcm) = (what.to_owned(), *pcm);
        std::thread::Builder::new()
            .name("pcm-reader".into())
            .spawn(move || pump(&name, reader, &pcm, &outbox))
            .map_err(|e| SourceError::io(what, e))?;
        Ok(Self { inbox })
    }
}

/// Ends when the reader does or nobody listens any more.
fn pump(what: &str, mut reader: impl Read, pcm: &Pcm, outbox: &Outbox) {
    let send = |message: Message| outbox.send(Ok(message)).is_ok();
    let mut parser = PcmParser::new(pcm);
    let mut bytes = vec![0; READ];
    if !send(format_packet(pcm).into()) {
        return;
    }
    loop {
        match reader.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => {
                if let Some(message) = parse(&mut parser, &bytes[..n])
                    && !send(message)
                {
                    return;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                let _ = outbox.send(Err(SourceError::io(what, e)));
                return;
            }
        }
    }
    let leftover = parser.leftover();
    if leftover > 0 {
        let reason = format!(
            "expected whole frames of {:?} × {} channel(s), found {leftover} byte(s) too many at the end; check the configured layout",
            pcm.format, pcm.channels
        );
        tracing::warn!(source = what, %reason, "raw PCM was cut");
        if !send(Packet::Down { reason }.into()) {
            return;
        }
    }
    send(Packet::End.into());
}

/// The packet that announces this layout.
pub(super) fn format_packet(pcm: &Pcm) -> Packet {
    Packet::Format {
        rate: pcm.rate,
        channels: pcm.channels,
    }
}

/// The audio in these bytes; nothing when they do not complete a frame.
pub(super) fn parse(parser: &mut PcmParser, bytes: &[u8]) -> Option<Message> {
    let captured = Instant::now();
    let mut samples = Vec::new();
    parser.push(bytes, &mut samples);
    (!samples.is_empty()).then_some(Message {
        packet: Packet::Audio { captured },
        samples,
    })
}

impl Source for PipeSource {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        self.inbox.next(samples, timeout)
    }

    fn is_live(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PcmFormat;

    /// Gives one byte a read, then fails if asked to.
    struct Dribble(Vec<u8>, bool);
    impl Read for Dribble {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return if self.1 {
                    Err(std::io::Error::other("broken"))
                } else {
                    Ok(0)
                };
            }
            buf[0] = self.0.remove(0);
            Ok(1)
        }
    }

    fn drain(mut source: PipeSource) -> (Vec<f32>, Vec<Packet>, Option<SourceError>) {
        let (mut samples, mut packets) = (Vec::new(), Vec::new());
        loop {
            match source.next(&mut samples, Duration::from_secs(5)) {
                Ok(Packet::Audio { .. }) => {}
                Ok(Packet::End) => return (samples, packets, None),
                Ok(packet) => packets.push(packet),
                Err(e) => return (samples, packets, Some(e)),
            }
        }
    }

    #[test]
    fn single_bytes_make_whole_samples_and_an_odd_one_is_reported() {
        let pcm = Pcm {
            rate: 8_000,
            channels: 1,
            format: PcmFormat::S16,
        };
        let bytes = [0x00, 0x40, 0x00, 0xc0, 0x7f];
        let source = PipeSource::new("t", Dribble(bytes.to_vec(), false), &pcm).unwrap();
        let (samples, packets, error) = drain(source);
        assert_eq!(samples, [0.5, -0.5]);
        assert_eq!(packets[0], format_packet(&pcm));
        let Packet::Down { reason } = &packets[1] else {
            panic!("{packets:?}")
        };
        assert!(reason.contains("1 byte"), "{reason}");
        assert!(error.is_none());
    }

    #[test]
    fn a_failing_reader_is_an_error_after_what_came() {
        let source = PipeSource::new("t", Dribble(vec![0, 0x40], true), &Pcm::default()).unwrap();
        let (samples, _, error) = drain(source);
        assert_eq!(samples, [0.5]);
        assert!(error.unwrap().to_string().contains("broken"));
    }

    #[test]
    fn a_silent_pipe_is_idle_and_a_bad_layout_refused() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut source = PipeSource::new("t", reader, &Pcm::default()).unwrap();
        let mut samples = Vec::new();
        let wait = Duration::from_millis(50);
        assert!(matches!(
            source.next(&mut samples, wait),
            Ok(Packet::Format { .. })
        ));
        let start = Instant::now();
        assert_eq!(source.next(&mut samples, wait).unwrap(), Packet::Idle);
        assert!(start.elapsed() < Duration::from_millis(500));
        for (rate, channels) in [(7, 1), (16_000, 0), (16_000, 65)] {
            let pcm = Pcm {
                rate,
                channels,
                format: PcmFormat::S16,
            };
            assert!(PipeSource::new("t", std::io::empty(), &pcm).is_err());
        }
    }
}
