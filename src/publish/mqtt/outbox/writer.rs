//! The thread that owns the file: takes all that waits, commits it at once, reports, and goes on. While a commit is under
//! way the next one gathers, so that a slow disk makes larger commits, not a longer line. A disk that refuses is tried
//! again; the events wait in memory meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as done;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::desk::{Desk, Work};
use super::row::Message;
use super::store::{Evicted, Limits, OutboxError, Store};

/// How soon a disk that refused is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often age is looked at when nothing else happens.
const IDLE: Duration = Duration::from_secs(60);
/// Messages that one look-up brings.
const LOAD: usize = 128;

/// Word from the writer.
#[derive(Debug)]
pub enum Report {
    /// All events with lower keys are on the disk, or done with.
    Stored {
        /// The first key that may not be.
        below: u64,
        /// Events on the disk.
        events: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// These were thrown out.
    Evicted(Evicted),
    /// What lies on the disk with keys from `from` to before `below`.
    Loaded {
        /// The first key looked for.
        from: u64,
        /// The first key not looked for.
        below: u64,
        /// What was found.
        messages: Vec<(u64, Arc<Message>)>,
    },
    /// The disk refuses; it is tried again.
    Failing(String),
    /// The file was replaced: what was only there is lost.
    Reset,
}

/// The writer as the link sees it.
pub struct Writer {
    /// Where work is put down.
    pub desk: Desk,
    /// What comes back.
    pub reports: mpsc::UnboundedReceiver<Report>,
    ended: done::Receiver<()>,
}

impl Writer {
    /// Starts the thread. Without a store (the disk refused at the start) it is opened as soon as it can be. Keys
    /// below `stored` are on the disk.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        path: &Path,
        limits: Limits,
        store: Option<Store>,
        stored: u64,
    ) -> std::io::Result<Self> {
        let desk = Desk::default();
        // Bounded by what the link holds: each report answers to something of its own.
        let (sender, reports) = mpsc::unbounded_channel();
        let (finish, ended) = done::channel();
        let mut thread = Thread {
            desk: desk.clone(),
            path: path.into(),
            limits,
            store,
            stored,
            reports: sender,
        };
        thread::Builder::new()
            .name("outbox".into())
            .spawn(move || {
                thread.run();
                drop(thread);
                // Nobody waits any more when the time for stopping was over.
                let _ = finish.send(());
            })?;
        Ok(Self {
            desk,
            reports,
            ended,
        })
    }

    /// The next report; `None`: the thread has died. Never comes without a writer. Cancel-safe.
    pub async fn next(writer: &mut Option<Self>) -> Option<Report> {
        match writer {
            Some(writer) => writer.reports.recv().await,
            None => std::future::pending().await,
        }
    }

    /// The next report of a thread that was told to end; `None`: there are no more, or `limit` is over. Blocks.
    pub fn next_until(&mut self, limit: Instant) -> Option<Report> {
        loop {
            match self.reports.try_recv() {
                Ok(report) => return Some(report),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() >= limit => return None,
                Err(mpsc::error::TryRecvError::Empty) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Lets the writer finish, until `limit`; `false`: it did not.
    pub fn finish(self, limit: Instant) -> bool {
        self.desk.close();
        let left = limit.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(left).is_ok()
    }
}

struct Thread {
    desk: Desk,
    path: PathBuf,
    limits: Limits,
    store: Option<Store>,
    /// All lower keys are on the disk or done with.
    stored: u64,
    reports: mpsc::UnboundedSender<Report>,
}

impl Thread {
    fn run(&mut self) {
        loop {
            let work = self.desk.take(IDLE);
            let closed = work.closed;
            if let Err(failed) = self.work(work) {
                let (error, work) = *failed;
                self.store = None;
                self.tell(Report::Failing(error.to_string()));
                self.desk.put_back(work);
                if closed {
                    return;
                }
                thread::sleep(RETRY);
                continue;
            }
            if closed {
                return;
            }
        }
    }

    fn work(&mut self, work: Work) -> Result<(), Box<(OutboxError, Work)>> {
        let was_open = self.store.is_some();
        let mut store = match self.store.take().map_or_else(|| self.reopen(), Ok) {
            Ok(store) => store,
            Err(error) => return Err(Box::new((error, work))),
        };
        // Nothing to write and nothing that could be too old: a disk that may sleep is not woken.
        if was_open && work.is_idle() && store.events() == 0 {
            self.store = Some(store);
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let evicted = match store.apply(&work.batch, now_ms) {
            Ok(evicted) => evicted,
            Err(error) => return Err(Box::new((error, work))),
        };
        if let Some((last, _)) = work.batch.inserts.last() {
            self.stored = self.stored.max(last + 1);
        }
        if evicted != Evicted::default() {
            self.tell(Report::Evicted(evicted));
        }
        self.tell(Report::Stored {
            below: self.stored,
            events: store.events(),
            bytes: store.bytes(),
        });
        if let Some(from) = work.load {
            let messages = match store.load(from, LOAD) {
                Ok(messages) => messages,
                // All but the look-up is done.
                Err(error) => {
                    let load = Some(from);
                    let rest = Work {
                        load,
                        ..Work::default()
                    };
                    return Err(Box::new((error, rest)));
                }
            };
            let below = match messages.last() {
                Some((last, _)) => last + 1,
                None => self.stored,
            };
            self.tell(Report::Loaded {
                from,
                below,
                messages,
            });
        }
        store.shrink();
        self.store = Some(store);
        Ok(())
    }

    fn reopen(&self) -> Result<Store, OutboxError> {
        let (store, aside) = Store::open(&self.path, self.limits)?;
        if aside.is_some() {
            self.tell(Report::Reset);
        }
        Ok(store)
    }

    fn tell(&self, report: Report) {
        // The link may have gone: then nobody needs to know.
        let _ = self.reports.send(report);
    }
}
