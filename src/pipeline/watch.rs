//! Looks whether somebody else wrote to the speaker store, and who is enrolled then: people come and go by the command line while
//! the daemon runs. On a thread of its own, for a disk may be slow.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::roll::Roll;
use crate::store::Stamp;

/// How often is looked whether the file has changed; that costs one system call.
const EVERY: Duration = Duration::from_secs(1);
/// When a store is tried again that could not be read and has not changed. A passphrase takes a while to stretch.
const AGAIN: Duration = Duration::from_secs(30);
/// When is looked though nothing has changed: the time for which a voice may be kept may be over.
const ANYWAY: Duration = Duration::from_secs(3600);

/// Watches until it is dropped.
pub struct Watch {
    /// Nothing is ever sent: its end is the word.
    _stop: mpsc::Sender<()>,
}

/// One look after the other.
struct Looks {
    roll: Arc<Roll>,
    /// As the file was at the last look at it.
    stamp: Option<Stamp>,
    /// Whether that holds nothing that we have not read.
    is_settled: bool,
    read: Instant,
    failures: u32,
    /// Why it could not be read, as it was told.
    told: Option<String>,
}

impl Watch {
    /// Begins. Nobody waits for its end: it writes nothing, and may itself wait for a disk.
    pub fn start(roll: Arc<Roll>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut looks = Looks::new(roll);
        std::thread::Builder::new()
            .name("store-watch".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                    looks.next(Instant::now());
                }
            })?;
        Ok(Self { _stop: stop })
    }
}

impl Looks {
    fn new(roll: Arc<Roll>) -> Self {
        Self {
            stamp: None,
            is_settled: false,
            read: Instant::now(),
            failures: 0,
            told: None,
            roll,
        }
    }

    fn next(&mut self, now: Instant) {
        // Before it is read: what is written meanwhile changes it again.
        let stamp = self.roll.store().stamp();
        let has_changed = stamp != self.stamp;
        self.stamp = stamp;
        let since = now.saturating_duration_since(self.read);
        let patience = match (self.is_settled, self.failures) {
            (true, _) => ANYWAY,
            (false, 0..2) => Duration::ZERO,
            (false, _) => AGAIN,
        };
        if !has_changed && since < patience {
            return;
        }
        self.read = now;
        match self.roll.look() {
            Ok(()) => {
                // Two writes within one tick of the file system's clock look like one: what has just changed is read once more.
                self.is_settled = !has_changed;
                self.failures = 0;
                if self.told.take().is_some() {
                    tracing::info!("the speaker store can be read again");
                }
            }
            Err(error) => {
                self.is_settled = false;
                self.failures = self.failures.saturating_add(1);
                let error = error.to_string();
                // Once is no failure: somebody writes.
                if self.failures > 1 && self.told.as_ref() != Some(&error) {
                    tracing::warn!(
                        "the speaker store cannot be read, and is tried again; who was known stays known: {error}"
                    );
                    self.told = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
