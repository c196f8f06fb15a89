//! What lies between the link and the thread that writes: bounded by what the link holds in memory, since an event that
//! is acknowledged before it was written is taken off the desk again.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::row::Message;
use super::store::Batch;

/// How long removals wait for company: each kill within this time repeats what was acknowledged, and no commit is
/// made for them alone more often.
const LINGER: Duration = Duration::from_millis(200);

/// Shared by both sides.
#[derive(Debug, Clone, Default)]
pub struct Desk(Arc<(Mutex<Papers>, Condvar)>);

#[derive(Debug, Default)]
struct Papers {
    inserts: BTreeMap<u64, Arc<Message>>,
    removes: Vec<u64>,
    forget: Vec<String>,
    load: Option<u64>,
    closed: bool,
    /// When the oldest removal came.
    lingering: Option<Instant>,
}

/// What the writer is to do next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub batch: Batch,
    /// Events are wanted from this key on.
    pub load: Option<u64>,
    /// Nothing will follow.
    pub closed: bool,
}

impl Work {
    /// There is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        let batch = &self.batch;
        let writes = batch.inserts.len() + batch.removes.len() + batch.forget.len();
        writes == 0 && self.load.is_none()
    }
}

impl Desk {
    /// Puts an event down for writing.
    pub fn insert(&self, key: u64, message: Arc<Message>) {
        self.papers().inserts.insert(key, message);
        self.0.1.notify_one();
    }

    /// The event is done with; one that is not written yet never will be.
    pub fn remove(&self, key: u64) {
        let mut papers = self.papers();
        if papers.inserts.remove(&key).is_none() {
            papers.removes.push(key);
            papers.lingering.get_or_insert_with(Instant::now);
            self.0.1.notify_one();
        }
    }

    /// The broker holds nothing under this retained topic any more.
    pub fn forget(&self, topic: String) {
        let mut papers = self.papers();
        papers.forget.push(topic);
        papers.lingering.get_or_insert_with(Instant::now);
        self.0.1.notify_one();
    }

    /// Asks for the events from this key on.
    pub fn load(&self, from: u64) {
        self.papers().load = Some(from);
        self.0.1.notify_one();
    }

    /// Lets the writer finish and end.
    pub fn close(&self) {
        self.papers().closed = true;
        self.0.1.notify_one();
    }

    /// Waits for something to do, at most `patience`.
    pub(super) fn take(&self, patience: Duration) -> Work {
        let limit = Instant::now() + patience;
        let mut papers = self.papers();
        loop {
            let now = Instant::now();
            let ripe = papers.lingering.map(|since| since + LINGER);
            let due = !papers.inserts.is_empty()
                || papers.load.is_some()
                || papers.closed
                || ripe.is_some_and(|ripe| ripe <= now);
            if due || now >= limit {
                break;
            }
            let wake = ripe.map_or(limit, |ripe| ripe.min(limit));
            let waited = self
                .0
                .1
                .wait_timeout(papers, wake.saturating_duration_since(now));
            papers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        papers.lingering = None;
        Work {
            batch: Batch {
                inserts: std::mem::take(&mut papers.inserts).into_iter().collect(),
                removes: std::mem::take(&mut papers.removes),
                forget: std::mem::take(&mut papers.forget),
            },
            load: papers.load.take(),
            closed: papers.closed,
        }
    }

    /// Puts back what could not be written, but for what was done with meanwhile.
    pub(super) fn put_back(&self, work: Work) {
        let mut papers = self.papers();
        let Batch {
            inserts,
            removes,
            forget,
        } = work.batch;
        papers.inserts.extend(inserts);
        let meanwhile = std::mem::take(&mut papers.removes);
        for key in meanwhile.into_iter().chain(removes) {
            if papers.inserts.remove(&key).is_none() {
                papers.removes.push(key);
            }
        }
        papers.forget.extend(forget);
        papers.load = papers.load.or(work.load);
        if !(papers.removes.is_empty() && papers.forget.is_empty()) {
            papers.lingering.get_or_insert_with(Instant::now);
        }
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Arc<Message> {
        Arc::new(Message {
            topic: "t".into(),
            payload: vec![1],
            taken_ms: 1,
        })
    }

    fn keys(work: &Work) -> Vec<u64> {
        work.batch.inserts.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn what_is_done_with_before_it_is_written_never_is() {
        let desk = Desk::default();
        (0..4).for_each(|key| desk.insert(key, message()));
        desk.remove(1);
        let work = desk.take(Duration::ZERO);
        assert_eq!((keys(&work), work.batch.removes.len()), (vec![0, 2, 3], 0));
        // In the writer's hands: both are kept, until the writer has failed.
        desk.remove(2);
        desk.insert(4, message());
        desk.put_back(work);
        let work = desk.take(Duration::ZERO);
        assert_eq!((keys(&work), work.batch.removes.len()), (vec![0, 3, 4], 0));
    }

    #[test]
    fn removals_wait_for_company_and_for_no_longer_than_they_may() {
        let desk = Desk::default();
        desk.remove(7);
        assert!(
            desk.take(Duration::ZERO).batch.removes == [7],
            "taken when the patience ends"
        );
        desk.remove(8);
        let begin = Instant::now();
        assert_eq!(desk.take(Duration::from_secs(60)).batch.removes, [8]);
        assert!(begin.elapsed() >= LINGER);
        desk.remove(9);
        desk.insert(1, message());
        let begin = Instant::now();
        let work = desk.take(Duration::from_secs(60));
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!((keys(&work), work.batch.removes), (vec![1], vec![9]));
    }
}
