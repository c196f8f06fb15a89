//! A program that writes raw PCM to its standard output, as a source: ffmpeg for a network camera, say. It is restarted
//! whenever it ends or falls silent, since what it connects to comes back; its standard error is kept in a bounded tail.

mod child;

use std::time::{Duration, Instant};

use crate::config::{Input, Pcm};

use super::backoff::Backoff;
use super::open::{Kind, Opened};
use super::pcm::PcmParser;
use super::reader::{READ, format_packet, parse};
use super::worker::{Outlet, TICK, Worker};
use super::{Source, SourceError, check_format};
use child::{Child, Ready};

pub(super) const KIND: Kind = Kind {
    name: "command",
    open: |input, _| match input {
        Input::Command { argv, pcm } => Some(open(argv, pcm)),
        _ => None,
    },
};

fn open(argv: &[String], pcm: &Pcm) -> Opened {
    start(argv, pcm, Timing::default()).map(|s| Box::new(s) as Box<dyn Source>)
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

fn start(argv: &[String], pcm: &Pcm, timing: Timing) -> Result<Worker, SourceError> {
    let what = argv.join(" ");
    if argv.first().is_none_or(String::is_empty) {
        return Err(SourceError::unusable(
            "command",
            "expected a program and its arguments in `argv`, found none; for example argv = [\"ffmpeg\", \"-i\", …]",
        ));
    }
    check_format(&what, pcm.rate, pcm.channels)?;
    let (argv, pcm) = (argv.to_vec(), *pcm);
    let program = argv[0].clone();
    Worker::start(&program, move |outlet| {
        let supervisor = Supervisor {
            argv,
            pcm,
            timing,
            outlet,
        };
        supervisor.run();
    })
}

struct Supervisor {
    argv: Vec<String>,
    pcm: Pcm,
    timing: Timing,
    outlet: Outlet,
}

impl Supervisor {
    fn run(mut self) {
        while !self.outlet.stopped() {
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
                self.outlet.down(reason);
            }
            self.outlet.sleep(self.timing.backoff.delay());
        }
    }

    /// Reads until the program ends or hangs; says why, or nothing when we are to stop.
    fn pump(&mut self, child: &mut Child) -> Option<String> {
        // A fresh parser: half a frame of the last run must not shift this one.
        let mut parser = PcmParser::new(&self.pcm);
        let mut bytes = vec![0; READ];
        let (mut announced, mut heard) = (false, Instant::now());
        loop {
            if self.outlet.stopped() {
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
                        self.outlet.up();
                        self.outlet.send(format_packet(&self.pcm).into());
                    }
                    if let Some(message) = parse(&mut parser, &bytes[..n]) {
                        self.outlet.send(message);
                    }
                    // Waiting for our own reader is not the program's fault.
                    heard = Instant::now();
                }
                Err(e) => return Some(format!("cannot read from the command: {e}")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
