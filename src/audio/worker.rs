//! A thread that feeds a source through the bounded channel, until the source is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, bounded};

use super::reader::{Inbox, Message, Outbox, channel};
use super::{Packet, Source, SourceError};

/// How often a worker looks whether it is to stop.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// How long dropping the source waits for the worker, which needs a tick and what it does at its end.
const LET_GO: Duration = Duration::from_secs(1);

/// A live source whose audio a thread of its own delivers.
pub(super) struct Worker {
    inbox: Inbox,
    stop: Arc<AtomicBool>,
    ended: Receiver<()>,
}

/// The worker's end.
pub(super) struct Outlet {
    outbox: Outbox,
    stop: Arc<AtomicBool>,
    what: String,
    /// The last reason told, so that each retry does not repeat it.
    told: Option<String>,
}

impl Worker {
    /// Runs `work` for `what` (named in logs) on a thread; it ends when the outlet says [`Outlet::stopped`].
    pub(super) fn start(
        what: &str,
        work: impl FnOnce(Outlet) + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (outbox, inbox) = channel();
        let (alive, ended) = bounded::<()>(0);
        let stop = Arc::new(AtomicBool::new(false));
        let outlet = Outlet {
            outbox,
            stop: stop.clone(),
            what: what.into(),
            told: None,
        };
        std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                work(outlet);
                drop(alive);
            })
            .map_err(|e| SourceError::io(what, e))?;
        Ok(Self { inbox, stop, ended })
    }
}

impl Source for Worker {
    fn next(&mut self, samples: &mut Vec<f32>, timeout: Duration) -> Result<Packet, SourceError> {
        self.inbox.next(samples, timeout)
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.ended.recv_timeout(LET_GO);
    }
}

impl Outlet {
    /// Hands a message on; waits while the stream thread is busy.
    pub(super) fn send(&self, message: Message) {
        let mut message = Ok(message);
        while !self.stopped() {
            match self.outbox.send_timeout(message, TICK) {
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }

    /// Says why nothing comes, once a reason.
    pub(super) fn down(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(source = self.what, %reason, "not delivering");
            self.told = Some(reason.clone());
            self.send(Packet::Down { reason }.into());
        }
    }

    /// It works: the next failure is told again, whatever its reason.
    pub(super) fn up(&mut self) {
        self.told = None;
    }

    /// Sleeps, but not beyond the stop.
    pub(super) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
    }

    /// Whether the source was dropped.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
