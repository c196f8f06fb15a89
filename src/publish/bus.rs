//! Fans events out to sinks: a bounded queue and a thread a sink. Publishing never waits for any of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc as done};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::event::Event;
use super::throttle::Throttle;

/// Events that may wait for one sink.
pub const QUEUE: usize = 1024;

/// Somewhere events go. A sink owns its thread: it loops over its [`Inbox`] until that is closed and empty.
pub trait Sink: Send + 'static {
    /// Delivers until [`Inbox::recv`] returns `None`, then tidies up before [`Inbox::deadline`] and returns.
    ///
    /// # Errors
    /// When nothing can ever be delivered again; what is published later counts as dropped.
    fn run(self: Box<Self>, inbox: Inbox) -> Result<(), SinkError>;
}

/// Why a sink gave up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// When the sinks have to have returned; brought forward when the stop becomes more urgent.
type Deadline = Arc<Mutex<Option<Instant>>>;

/// A sink's end of its queue.
#[derive(Debug)]
pub struct Inbox {
    queue: mpsc::Receiver<Arc<Event>>,
    deadline: Deadline,
}

impl Inbox {
    /// Waits for the next event; `None`: the bus shut down and everything was handed over. Not for async code.
    pub fn recv(&mut self) -> Option<Arc<Event>> {
        self.queue.blocking_recv()
    }

    /// The same for a sink that runs its own async runtime. Cancel-safe.
    pub async fn recv_async(&mut self) -> Option<Arc<Event>> {
        self.queue.recv().await
    }

    /// When the sink has to have returned; `None` before shutdown began. May come to lie earlier, never later.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened at one sink so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Its name.
    pub sink: String,
    /// Events that entered its queue.
    pub queued: u64,
    /// Events that found its queue full or the sink gone.
    pub dropped: u64,
    /// Events in its queue now.
    pub waiting: usize,
}

#[derive(Debug)]
struct Lane {
    name: String,
    /// Taken away at shutdown, which closes the sink's inbox. The lock is only ever held for a moment.
    sender: RwLock<Option<mpsc::Sender<Arc<Event>>>>,
    queued: AtomicU64,
    dropped: AtomicU64,
    complaint: Mutex<Throttle>,
}

/// Fans events out. Share it as `Arc<Bus>`; every method takes `&self` but [`Bus::add`].
#[derive(Debug)]
pub struct Bus {
    lanes: Vec<Lane>,
    deadline: Deadline,
    endings: Mutex<Endings>,
    finish: done::Sender<usize>,
}

/// Which sinks have returned.
#[derive(Debug)]
struct Endings {
    reports: done::Receiver<usize>,
    running: Vec<bool>,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus {
    /// A bus without sinks.
    pub fn new() -> Self {
        let (finish, reports) = done::channel();
        Self {
            lanes: Vec::new(),
            deadline: Arc::default(),
            endings: Mutex::new(Endings {
                reports,
                running: Vec::new(),
            }),
            finish,
        }
    }

    /// Starts a thread for `sink`, with a queue of `capacity` events (at least 1).
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn add(&mut self, name: &str, capacity: usize, sink: impl Sink) -> std::io::Result<()> {
        let (sender, queue) = mpsc::channel(capacity.max(1));
        let inbox = Inbox {
            queue,
            deadline: self.deadline.clone(),
        };
        let (index, finish, label) = (self.lanes.len(), self.finish.clone(), name.to_owned());
        let sink: Box<dyn Sink> = Box::new(sink);
        thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                // Says so however the sink ends, even by a panic.
                let _ended = Ended { index, finish };
                if let Err(error) = sink.run(inbox) {
                    tracing::error!(sink = label, %error, "sink gave up; its events are dropped from now on");
                }
            })?;
        self.endings
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .running
            .push(true);
        self.lanes.push(Lane {
            name: name.to_owned(),
            sender: RwLock::new(Some(sender)),
            queued: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            complaint: Mutex::new(Throttle::new(Duration::from_secs(10))),
        });
        Ok(())
    }

    /// Hands the event to every sink. Never waits: a sink whose queue is full misses it, which is counted and logged.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        for lane in &self.lanes {
            lane.offer(&event);
        }
    }

    /// One entry a sink, in the order in which they were added.
    pub fn counters(&self) -> Vec<Counters> {
        self.lanes.iter().map(Lane::counters).collect()
    }

    /// Closes every inbox: the sinks deliver what they hold, `within` at most, and end. A later call can only bring the
    /// deadline forward. Returns the deadline.
    pub fn close(&self, within: Duration) -> Instant {
        let wish = Instant::now() + within;
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let nearer = deadline.map_or(wish, |earlier| earlier.min(wish));
        *deadline = Some(nearer);
        drop(deadline);
        for lane in &self.lanes {
            lane.close();
        }
        nearer
    }

    /// Whether every sink has ended.
    pub fn has_ended(&self) -> bool {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(index) = endings.reports.try_recv() {
            endings.running[index] = false;
        }
        !endings.running.contains(&true)
    }

    /// Does [`Bus::close`], waits until the sinks have ended or the deadline is over, and returns the names of those
    /// that had not ended by then (their threads end with the process).
    pub fn shutdown(&self, within: Duration) -> Vec<String> {
        let deadline = self.close(within);
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        while endings.running.contains(&true) {
            let left = deadline.saturating_duration_since(Instant::now());
            match endings.reports.recv_timeout(left) {
                Ok(index) => endings.running[index] = false,
                Err(_) => break,
            }
        }
        let late: Vec<String> = self
            .lanes
            .iter()
            .zip(&endings.running)
            .filter(|(_, running)| **running)
            .map(|(lane, _)| lane.name.clone())
            .collect();
        for sink in &late {
            tracing::warn!(sink, "sink did not finish in time; what it held is lost");
        }
        late
    }
}

impl Lane {
    fn offer(&self, event: &Arc<Event>) {
        let guard = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        let outcome = match guard.as_ref() {
            Some(sender) => sender.try_send(event.clone()),
            None => Err(TrySendError::Closed(event.clone())),
        };
        drop(guard);
        let Err(error) = outcome else {
            self.queued.fetch_add(1, Relaxed);
            return;
        };
        let total = self.dropped.fetch_add(1, Relaxed) + 1;
        // try_lock: another thread that logs this very thing must not make us wait.
        let Ok(mut complaint) = self.complaint.try_lock() else {
            return;
        };
        if let Some(count) = complaint.hit(Instant::now()) {
            let why = match error {
                TrySendError::Full(_) => "its queue is full",
                TrySendError::Closed(_) => "it has ended",
            };
            tracing::warn!(sink = self.name, count, total, "events dropped: {why}");
        }
    }

    fn close(&self) {
        self.sender
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn counters(&self) -> Counters {
        let guard = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        Counters {
            sink: self.name.clone(),
            queued: self.queued.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            waiting: guard
                .as_ref()
                .map_or(0, |s| s.max_capacity() - s.capacity()),
        }
    }
}

/// Reports the end of a sink's thread.
struct Ended {
    index: usize,
    finish: done::Sender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // The bus may be gone already: then nobody waits.
        let _ = self.finish.send(self.index);
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
