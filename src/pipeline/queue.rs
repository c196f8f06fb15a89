//! The bounded queue in front of the engine's workers.
//!
//! A live stream that finds its places taken loses its own oldest window, and the loss takes the window's place in
//! line, so that it is told at the right moment. Any other stream waits. One stream never takes another's places.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::segmenter::Window;

/// What a stream tells beside its windows.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// The sample clock starts anew; Unix milliseconds.
    Epoch(u64),
    /// Samples at 16 kHz that were lost before `at`, on the stream's clock.
    Lost {
        /// How many.
        samples: u64,
        /// Position after the loss.
        at: u64,
        /// Where.
        reason: crate::publish::GapReason,
    },
    /// The source's state changed.
    Source {
        /// The state now.
        state: crate::publish::SourceState,
        /// For people.
        reason: Option<String>,
    },
}

/// One thing that a stream hands to the engine.
#[derive(Debug)]
pub enum Job {
    /// Audio to analyse.
    Window(Window),
    /// Something to tell.
    Mark(Mark),
}

/// Which windows run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most windows.
    pub most: usize,
    /// As many are not waited beyond: more do not come at once.
    pub enough: usize,
    /// How long a window may wait for others.
    pub wait: Duration,
    /// On a CPU, where a stream's windows go on where the last one ended, and what one worker takes another could run at once:
    /// how many workers share what waits, of each stream one window at a time.
    pub shared: Option<usize>,
}

/// Bounded by windows a stream; marks are small and follow windows or rare changes of state.
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    places: usize,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<(usize, Job)>,
    /// Streams of which a worker has jobs in hand: their next ones wait for it, so that they stay in order.
    busy: HashSet<usize>,
    closed: bool,
    /// Since when, at the latest, the oldest window has waited.
    since: Option<Instant>,
}

impl Queue {
    /// A queue with this many places for windows, a stream.
    pub fn new(places: usize) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Condvar::new(),
            places: places.max(1),
        }
    }

    /// Puts a job of `stream` in line. `live`: lose the stream's oldest window rather than wait for a place. Returns
    /// false when the queue was closed.
    pub fn push(&self, stream: usize, job: Job, live: bool) -> bool {
        let mut inner = self.lock();
        if matches!(job, Job::Window(_)) {
            while !inner.closed && inner.waiting(stream) >= self.places {
                if live {
                    inner.drop_oldest(stream);
                } else {
                    inner = self
                        .changed
                        .wait(inner)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        if inner.closed {
            return false;
        }
        if matches!(job, Job::Window(_)) {
            inner.since.get_or_insert_with(Instant::now);
        }
        inner.jobs.push_back((stream, job));
        drop(inner);
        self.changed.notify_all();
        true
    }

    /// The next jobs in their order of streams that no other worker has in hand, with at most `batching.most` windows among
    /// them; waits for one, and for more windows as long as `batching` says. What waits keeps its place until it is taken, so
    /// that a stream never has more windows here than it has places. `None` once the queue is closed and empty.
    pub fn take(&self, batching: &Batching) -> Option<Taken<'_>> {
        let mut inner = self.lock();
        loop {
            if inner.closed && inner.jobs.is_empty() {
                return None;
            }
            let enough = batching.enough.min(batching.most);
            let (free, windows) = inner.free(enough);
            if free == 0 {
                inner = self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = inner.since.map_or(batching.wait, |since| since.elapsed());
            let left = batching.wait.saturating_sub(waited);
            let is_enough = windows == 0 || windows >= enough;
            if is_enough || inner.closed || left.is_zero() {
                break;
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let jobs = inner.take(batching);
        drop(inner);
        self.changed.notify_all();
        let streams = jobs.iter().map(|(stream, _)| *stream).collect();
        Some(Taken {
            queue: self,
            jobs,
            streams,
        })
    }

    /// Takes no more jobs. With `discard`, windows that wait become losses.
    pub fn close(&self, discard: bool) {
        let mut inner = self.lock();
        inner.closed = true;
        if discard {
            inner.discard();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// A poisoned lock means that a thread panicked between two whole operations on the queue; the queue is intact.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Jobs in a worker's hands. Their streams are free again once it is dropped, also by a worker that panics.
pub struct Taken<'q> {
    queue: &'q Queue,
    /// In the order in which they came.
    pub jobs: VecDeque<(usize, Job)>,
    streams: Vec<usize>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        for stream in &self.streams {
            inner.busy.remove(stream);
        }
        drop(inner);
        self.queue.changed.notify_all();
    }
}

impl Inner {
    /// Jobs that may be taken, and how many of them are windows. Once there are `enough` windows it looks no further: each job
    /// that comes has all workers look, and the line may be long.
    fn free(&self, enough: usize) -> (usize, usize) {
        let (mut jobs, mut windows) = (0, 0);
        for (_, job) in self.jobs.iter().filter(|(s, _)| !self.busy.contains(s)) {
            jobs += 1;
            windows += usize::from(matches!(job, Job::Window(_)));
            if windows > 0 && windows >= enough {
                break;
            }
        }
        (jobs, windows)
    }

    /// The jobs that may be taken before the first window that is too many. Their streams are busy from now on.
    fn take(&mut self, batching: &Batching) -> VecDeque<(usize, Job)> {
        let share = |workers: usize| self.free(usize::MAX).1.div_ceil(workers.max(1));
        let most = batching.most.min(batching.shared.map_or(usize::MAX, share));
        let (mut taken, mut left) = (VecDeque::new(), VecDeque::new());
        let (mut room, mut is_full) = (most.max(1), false);
        // Streams of which a window was taken, and those of which one was left and with it all that follows.
        let (mut met, mut behind) = (HashSet::new(), HashSet::new());
        for (stream, job) in self.jobs.drain(..) {
            let mut stays = is_full || self.busy.contains(&stream) || behind.contains(&stream);
            if !stays && matches!(job, Job::Window(_)) {
                is_full = room == 0;
                let is_second = !met.insert(stream) && batching.shared.is_some();
                if is_second {
                    behind.insert(stream);
                }
                stays = is_full || is_second;
                room -= usize::from(!stays);
            }
            match stays {
                true => left.push_back((stream, job)),
                false => taken.push_back((stream, job)),
            }
        }
        self.busy.extend(taken.iter().map(|(stream, _)| *stream));
        self.jobs = left;
        // A window that is left keeps the older one's time: it never waits longer than it may.
        let is_window = |(_, job): &(usize, Job)| matches!(job, Job::Window(_));
        if !self.jobs.iter().any(is_window) {
            self.since = None;
        }
        taken
    }

    fn waiting(&self, stream: usize) -> usize {
        self.jobs
            .iter()
            .filter(|(s, job)| *s == stream && matches!(job, Job::Window(_)))
            .count()
    }

    fn drop_oldest(&mut self, stream: usize) {
        let oldest = self
            .jobs
            .iter()
            .position(|(s, job)| *s == stream && matches!(job, Job::Window(_)));
        let Some(at) = oldest else { return };
        let before = (0..at).rev().find(|&i| self.jobs[i].0 == stream);
        let Some((_, mut job)) = self.jobs.remove(at) else {
            return;
        };
        lose(&mut job);
        // The line does not grow while the engine is behind.
        if before.is_some_and(|before| add_loss(&mut self.jobs[before].1, &job)) {
            return;
        }
        self.jobs.insert(at, (stream, job));
    }

    /// All windows become losses, one for those of a stream that follow each other: at a stop the sinks have no time
    /// for more.
    fn discard(&mut self) {
        let mut kept = VecDeque::new();
        let mut newest = HashMap::new();
        for (stream, mut job) in self.jobs.drain(..) {
            lose(&mut job);
            if let Some(&before) = newest.get(&stream)
                && let Some((_, before)) = kept.get_mut(before)
                && add_loss(before, &job)
            {
                continue;
            }
            newest.insert(stream, kept.len());
            kept.push_back((stream, job));
        }
        self.jobs = kept;
    }
}

/// Two losses in a row for one reason are one. False when these are not.
fn add_loss(before: &mut Job, job: &Job) -> bool {
    let Job::Mark(Mark::Lost {
        samples: sum,
        at: end,
        reason: one,
    }) = before
    else {
        return false;
    };
    match job {
        Job::Mark(Mark::Lost {
            samples,
            at,
            reason,
        }) if reason == one => {
            *sum += samples;
            *end = *at;
            true
        }
        _ => false,
    }
}

fn lose(job: &mut Job) {
    if let Job::Window(window) = job {
        *job = Job::Mark(Mark::Lost {
            samples: window.new_samples as u64,
            at: window.end_sample(),
            reason: crate::publish::GapReason::EngineBehind,
        });
    }
}

#[cfg(test)]
mod tests;
