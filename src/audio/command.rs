//! A program that writes raw PCM to its standard output, as a source: ffmpeg for a network camera, say. It is restarted
//! whenever it ends or falls silent, since what it connects to comes back; its standard error is kept in a bounded tail.

mod child;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, bounded};

use crate::config::{Input, Pcm};

use super::backoff::Backoff;
use super::open::{Kind, Opened};
use super::pcm::PcmParser;
use super::reader::{Inbox, Message, Outbox, READ, channel, format_packet, parse};
use super::{Packet, Source, SourceError, check_format};
use child::{Child, Ready};

pub(super) const KIND: Kind = Kind {
    name: "command",
    open: |input| match input {
        Input::Command { argv, pcm } => Some(open(argv, pcm)),
        _ => None,
    },
};

/// How often the supervisor looks whether it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// How long dropping the source waits for the supervisor, which needs a tick and a kill.
const LET_GO: Duration = Duration::from_secs(1);

fn open(argv: &[String], pcm: &Pcm) -> Opened {
    CommandSource::start(argv, pcm, Timing::default()).map(|s| Box::new(s) as Box<dyn Source>)
}

#[derive(Debug, Clone)]
struct Timing {
    backoff: Backoff,
    /// Without a byte for this long the program hangs and is killed.
    stall: Duration,
    /// After this long the next failure waits the shortest time.
    healthy: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            stall: Duration::from_secs(15),
            healthy: Duration::from_secs(30),
        }
    }
}

struct CommandSource {
    inbox: Inbox,
    stop: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl CommandSource {
    fn start(argv: &[String], pcm: &Pcm, timing: Timing) -> Result<Self, SourceError> {
        let what = argv.join(" ");
        if argv.first().is_none_or(String::is_empty) {
            return Err(SourceError::unusable(
                "command",
                "expected a program and its arguments in `argv`, found none; for example argv = [\"ffmpeg\", \"-i\", …]",
            ));
        }
        check_format(&what, pcm.rate, pcm.channels)?;
        let (outbox, inbox) = channel();
        let (alive, ended) = bounded::<()>(0);
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor {
            argv: argv.to_vec(),
            pcm: *pcm,
            timing,
            outbox,
            stop: stop.clone(),
            told: None,
        };
        std::thread::Builder::new()
            .name("command".into())
            .spawn(move || {
                supervisor.run();
                drop(alive);
            })
            .map_err(|e| SourceError::io(what, e))?;
        Ok(Self { inbox, stop, ended })
    }
}

impl Source for CommandSource {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        self.inbox.next(samples, timeout)
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Drop for CommandSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.ended.recv_timeout(LET_GO);
    }
}

struct Supervisor {
    argv: Vec<String>,
    pcm: Pcm,
    timing: Timing,
    outbox: Outbox,
    stop: Arc<AtomicBool>,
    /// The last reason told, so that each retry does not repeat it.
    told: Option<String>,
}

impl Supervisor {
    fn run(mut self) {
        while !self.stopped() {
            let started = Instant::now();
            let reason = match Child::spawn(&self.argv) {
                Ok(mut child) => {
                    let why = self.pump(&mut child);
                    let end = child.end();
                    why.map(|why| format!("{why}{end}"))
                }
                Err(e) => Some(format!("cannot start {:?}: {e}", self.argv[0])),
            };
            if started.elapsed() >= self.timing.healthy {
                self.timing.backoff.reset();
            }
            if let Some(reason) = reason {
                self.down(reason);
            }
            let until = Instant::now() + self.timing.backoff.delay();
            while !self.stopped() && Instant::now() < until {
                std::thread::sleep(TICK);
            }
        }
    }

    /// Reads until the program ends or hangs; says why, or nothing when we are to stop.
    fn pump(&mut self, child: &mut Child) -> Option<String> {
        // A fresh parser: half a frame of the last run must not shift this one.
        let mut parser = PcmParser::new(&self.pcm);
        let mut bytes = vec![0; READ];
        let (mut announced, mut heard) = (false, Instant::now());
        loop {
            if self.stopped() {
                return None;
            }
            let n = match child.wait(TICK) {
                Ok(Ready::No) if heard.elapsed() < self.timing.stall => continue,
                Ok(Ready::No) => {
                    return Some(format!(
                        "the command delivered nothing for {:.0} s and was stopped",
                        heard.elapsed().as_secs_f64()
                    ));
                }
                Ok(Ready::Yes) => child.read(&mut bytes),
                Err(e) => Err(e),
            };
            match n {
                Ok(0) => return Some("the command ended".into()),
                Ok(n) => {
                    // A new epoch only when there is audio for it.
                    if !announced {
                        announced = true;
                        self.told = None;
                        self.send(format_packet(&self.pcm).into());
                    }
                    if let Some(message) = parse(&mut parser, &bytes[..n]) {
                        self.send(message);
                    }
                    // Waiting for our own reader is not the program's fault.
                    heard = Instant::now();
                }
                Err(e) => return Some(format!("cannot read from the command: {e}")),
            }
        }
    }

    fn down(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(command = %self.argv[0], %reason, "command source is down");
            self.told = Some(reason.clone());
            self.send(Packet::Down { reason }.into());
        }
    }

    fn send(&self, message: Message) {
        let mut message = Ok(message);
        while !self.stopped() {
            match self.outbox.send_timeout(message, TICK) {
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
