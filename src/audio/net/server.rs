//! A TCP listener as a source. Several may be connected, one at a time is heard:
//!
//! - Who sends audio first holds the stream until it stops or disconnects. Another who sends audio meanwhile is told so and
//!   disconnected, unless the first has sent none for [`TAKE_OVER`]: then the newcomer takes over.
//! - Who sends nothing at all for [`IDLE`] is disconnected. When [`CONNECTIONS`] are taken, a newcomer displaces whichever
//!   has been silent longest of those that do not hold the stream.
//! - Audio is read no faster than real time once [`AHEAD`] of it came at once: the sender is held up, nothing is lost.
//!
//! No thread of its own: [`Source::next`] waits for the sockets, so what is not read waits in the kernel's bounded buffers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Waker, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::super::reader::Message;
use super::super::{Packet, Source, SourceError};
use super::{no_listener, warn_if_open};
use crate::publish::throttle::Throttle;

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 4;
/// Without a byte for this long a connection ends.
const IDLE: Duration = Duration::from_secs(60);
/// Who holds the stream and sends no audio for this long loses it to whoever does.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How far a sender may be ahead of real time.
const AHEAD: Duration = Duration::from_secs(5);
/// Bytes a read.
const READ: usize = 16 << 10;
/// Bytes that may wait for a peer that does not read them.
const REPLY: usize = 64 << 10;

/// What a protocol makes of the bytes of one connection. No I/O.
pub(super) trait Peer: Send {
    /// Takes bytes in their order. An error ends the connection.
    fn take(&mut self, bytes: &[u8], said: &mut Said) -> Result<(), String>;

    /// What to send to a peer before it is disconnected.
    fn refusal(&self, reason: &str) -> Vec<u8>;

    /// Bytes that are no whole message.
    fn leftover(&self) -> usize;

    /// Frames a second and channels of its audio.
    fn format(&self) -> Option<(u32, u16)>;
}

/// What a peer's bytes mean.
#[derive(Default)]
pub(super) struct Said {
    /// For the stream: [`Packet::Format`] before the first audio, [`Packet::Down`] when the audio stops.
    pub(super) messages: Vec<Message>,
    /// For the peer.
    pub(super) reply: Vec<u8>,
}

/// The source.
pub(super) struct Server<P> {
    hall: Hall<P>,
    runtime: Runtime,
    ready: VecDeque<Message>,
}

/// The sockets.
struct Hall<P> {
    stream: String,
    listener: TcpListener,
    greet: Box<dyn Fn() -> P + Send>,
    connections: Vec<Connection<P>>,
    /// Whose audio is heard.
    holder: Option<u64>,
    accepted: u64,
    refused: Throttle,
    heard: VecDeque<Message>,
}

struct Connection<P> {
    id: u64,
    address: SocketAddr,
    socket: TcpStream,
    peer: P,
    reply: Vec<u8>,
    /// When it last sent anything, and when audio.
    spoke: Instant,
    sounded: Instant,
    /// Up to when its audio reaches, were it played.
    played: Instant,
    ended: bool,
}

/// Why a connection ends.
enum End {
    /// The peer went, or was silent for too long.
    Gone(String),
    /// We send it away.
    Refused(String),
}

impl<P: Peer + 'static> Server<P> {
    /// Listens for `stream`; `greet` makes the peer of a new connection.
    pub(super) fn start(
        stream: &str,
        listen: SocketAddr,
        greet: impl Fn() -> P + Send + 'static,
    ) -> Result<Self, SourceError> {
        let what = || format!("tcp://{listen}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SourceError::io(what(), e))?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .map_err(|e| no_listener(&what(), &e))?;
        let address = listener.local_addr().unwrap_or(listen);
        warn_if_open(stream, address);
        tracing::info!(stream, %address, "listening");
        let waits = Packet::Down {
            reason: format!("waits for audio at {address}"),
        };
        Ok(Self {
            hall: Hall {
                stream: stream.into(),
                listener,
                greet: Box::new(greet),
                connections: Vec::new(),
                holder: None,
                accepted: 0,
                refused: Throttle::new(Duration::from_secs(10)),
                heard: VecDeque::new(),
            },
            runtime,
            ready: VecDeque::from([waits.into()]),
        })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.hall.listener.local_addr().unwrap()
    }
}

impl<P: Peer + 'static> Source for Server<P> {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(mut message) = self.ready.pop_front() {
                samples.append(&mut message.samples);
                return Ok(message.packet);
            }
            let wake = self.hall.wake(deadline);
            let work = std::future::poll_fn(|waker| self.hall.poll(waker));
            let _ = self.runtime.block_on(async {
                // Made inside: a timer belongs to its runtime.
                tokio::time::timeout_at(wake.into(), work).await
            });
            self.hall.sweep();
            self.ready.append(&mut self.hall.heard);
            if self.ready.is_empty() && Instant::now() >= deadline {
                return Ok(Packet::Idle);
            }
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl<P: Peer> Hall<P> {
    /// When to look again at the latest: who is held up may go on then.
    fn wake(&self, deadline: Instant) -> Instant {
        let held_up = self.connections.iter().filter_map(Connection::held_up);
        held_up.fold(deadline, Instant::min)
    }

    /// Accepts, reads and writes what can be; pending when nothing can.
    fn poll(&mut self, waker: &mut Waker<'_>) -> Poll<()> {
        let mut worked = false;
        // An error (no more files, say) is looked at again with the next call.
        if let Poll::Ready(Ok((socket, address))) = self.listener.poll_accept(waker) {
            self.welcome(socket, address);
            worked = true;
        }
        for i in 0..self.connections.len() {
            if self.connections[i].ended {
                continue;
            }
            match self.serve(i, waker) {
                Ok(moved) => worked |= moved,
                Err(end) => {
                    self.end(i, end);
                    worked = true;
                }
            }
        }
        match worked {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn welcome(&mut self, socket: TcpStream, address: SocketAddr) {
        let open = |c: &Connection<P>| !c.ended;
        if self.connections.iter().filter(|c| open(c)).count() >= CONNECTIONS {
            let others = (0..self.connections.len())
                .filter(|i| open(&self.connections[*i]) && !self.is_holder(*i));
            if let Some(silent) = others.min_by_key(|i| self.connections[*i].spoke) {
                let why = "too many are connected, and this one was silent longest";
                self.end(silent, End::Refused(why.into()));
            }
        }
        tracing::debug!(stream = self.stream, %address, "connected");
        let now = Instant::now();
        self.accepted += 1;
        self.connections.push(Connection {
            id: self.accepted,
            address,
            socket,
            peer: (self.greet)(),
            reply: Vec::new(),
            spoke: now,
            sounded: now,
            played: now,
            ended: false,
        });
    }

    /// Reads from one connection and writes to it once. Whether anything moved.
    fn serve(&mut self, i: usize, waker: &mut Waker<'_>) -> Result<bool, End> {
        let (mut said, mut moved) = (Said::default(), false);
        let mut outcome = Ok(());
        if self.connections[i].held_up().is_none()
            && let Poll::Ready(read) = self.connections[i].read(waker, &mut said)
        {
            (outcome, moved) = (read, true);
        }
        // First what came whole, then what went wrong after it.
        self.connections[i].reply.append(&mut said.reply);
        self.hear(i, said.messages)?;
        outcome?;
        Ok(moved | self.connections[i].write(waker)?)
    }

    /// Hands on what one connection said, if it may speak.
    fn hear(&mut self, i: usize, messages: Vec<Message>) -> Result<(), End> {
        if messages.is_empty() {
            return Ok(());
        }
        if let Some(h) = (0..self.connections.len()).find(|h| *h != i && self.is_holder(*h)) {
            let holder = &self.connections[h];
            if holder.quiet_since(holder.sounded).elapsed() < TAKE_OVER {
                let by = holder.address;
                return Err(End::Refused(format!(
                    "{by} is heard on this stream, which hears one at a time"
                )));
            }
            self.holder = None;
            let why = format!("{} took over", self.connections[i].address);
            self.end(h, End::Refused(why));
        }
        let connection = &mut self.connections[i];
        let now = Instant::now();
        self.holder = Some(connection.id);
        for message in messages {
            match message.packet {
                Packet::Down { .. } => self.holder = None,
                _ => self.holder = Some(connection.id),
            }
            if let Some((rate, channels)) = connection.peer.format()
                && !message.samples.is_empty()
            {
                let frames = message.samples.len() / usize::from(channels);
                let length = Duration::from_secs_f64(frames as f64 / f64::from(rate));
                connection.sounded = now;
                connection.played = connection.played.max(now) + length;
            }
            self.heard.push_back(message);
        }
        Ok(())
    }

    /// The connection is over; [`Hall::sweep`] forgets it.
    fn end(&mut self, i: usize, end: End) {
        let was_holder = self.is_holder(i);
        let connection = &mut self.connections[i];
        connection.ended = true;
        let address = connection.address;
        let cut = match connection.peer.leftover() {
            0 => String::new(),
            bytes => format!(" in the middle of a message, {bytes} byte(s) of it are lost"),
        };
        let reason = match end {
            End::Gone(reason) => {
                tracing::debug!(stream = self.stream, %address, reason, cut, "disconnected");
                format!("{address} {reason}{cut}")
            }
            End::Refused(reason) => {
                let farewell = connection.peer.refusal(&reason);
                connection.reply.extend(farewell);
                if let Some(count) = self.refused.hit(Instant::now()) {
                    tracing::warn!(stream = self.stream, %address, reason, count, "sent a client away");
                }
                format!("{address} was sent away: {reason}")
            }
        };
        if was_holder {
            self.holder = None;
            self.heard.push_back(Packet::Down { reason }.into());
        }
    }

    /// Ends connections that were silent for too long, and forgets those that have ended.
    fn sweep(&mut self) {
        for i in 0..self.connections.len() {
            let connection = &self.connections[i];
            if !connection.ended && connection.quiet_since(connection.spoke).elapsed() > IDLE {
                let why = format!("sent nothing for {} s", IDLE.as_secs());
                self.end(i, End::Gone(why));
            }
        }
        for connection in self.connections.extract_if(.., |c| c.ended) {
            connection.leave();
        }
    }

    fn is_holder(&self, i: usize) -> bool {
        Some(self.connections[i].id) == self.holder
    }
}

impl<P: Peer> Connection<P> {
    /// Until when nothing is read from it, since its audio came too fast.
    fn held_up(&self) -> Option<Instant> {
        let until = self.played.checked_sub(AHEAD)?;
        (until > Instant::now()).then_some(until)
    }

    /// Since when it is silent, if it last spoke at `last`: it cannot while it is held up.
    fn quiet_since(&self, last: Instant) -> Instant {
        let free = self.played.checked_sub(AHEAD);
        free.map_or(last, |free| last.max(free.min(Instant::now())))
    }

    fn read(&mut self, waker: &mut Waker<'_>, said: &mut Said) -> Poll<Result<(), End>> {
        let mut bytes = [0; READ];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.socket).poll_read(waker, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(End::Gone(format!("is gone ({e})")))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Err(End::Gone("disconnected".into())))
            }
            Poll::Ready(Ok(())) => {
                self.spoke = Instant::now();
                let taken = self.peer.take(buffer.filled(), said);
                Poll::Ready(taken.map_err(End::Refused))
            }
        }
    }

    fn write(&mut self, waker: &mut Waker<'_>) -> Result<bool, End> {
        let mut written = false;
        while !self.reply.is_empty() {
            match Pin::new(&mut self.socket).poll_write(waker, &self.reply) {
                Poll::Ready(Ok(n)) => {
                    self.reply.drain(..n);
                    written = true;
                }
                Poll::Ready(Err(e)) => return Err(End::Gone(format!("is gone ({e})"))),
                Poll::Pending => break,
            }
        }
        if self.reply.len() > REPLY {
            self.reply.clear();
            return Err(End::Gone("does not read what it asked for".into()));
        }
        Ok(written)
    }

    /// Tries to get the last words across; waits for nothing.
    fn leave(self) {
        use std::io::{Read, Write};

        let Ok(mut socket) = self.socket.into_std() else {
            return;
        };
        let _ = socket.write(&self.reply);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // With bytes unread the system would break the connection off, and the last words with it.
        let mut rest = [0; READ];
        for _ in 0..16 {
            if !matches!(socket.read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
