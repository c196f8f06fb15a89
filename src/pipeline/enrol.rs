//! Enrolling from a stream that is analysed anyway, and forgetting, while the daemon runs.
//!
//! Three threads meet at the [`Desk`]: who asks (commands), the engine's workers, who hand over what they heard of a stream, and
//! one registrar (`registrar`), who judges it and alone writes to the store, so that neither analysis nor network waits for a disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::analyser::Analyser;
use super::segmenter::Window;
use crate::audio::Signal;
use crate::model::ModelError;
use crate::publish::enrolment::{News, People, Request, WORDS, Word};
use crate::task::Scores;
use crate::task::enrol::Recording;
use crate::task::recording::Gathered;

/// Of the places for words those that progress leaves to what ends an enrolment.
const KEPT_FOR_ENDS: usize = WORDS / 2;
/// Orders that may wait; an enrolment makes one, and the streams are few.
const ORDERS: usize = 256;
/// How often is tried to tell an end for which there is no place.
const AGAIN: Duration = Duration::from_millis(50);

/// Where those meet who ask, who hear and who keep the store.
pub struct Desk {
    slots: Vec<Slot>,
    orders: Mutex<Orders>,
    changed: Condvar,
    news: mpsc::Sender<News>,
    /// Its other end, until somebody takes it.
    told: Mutex<Option<mpsc::Receiver<News>>>,
}

/// The place of one stream.
#[derive(Default)]
struct Slot {
    /// Looked at for each window: a lock that nobody needs is not taken.
    taken: AtomicBool,
    taking: Mutex<Option<Taking>>,
}

/// A sitting that is being taken.
pub(super) struct Taking {
    pub(super) ticket: u64,
    pub(super) request: Request,
    began: Instant,
    /// Run and sample from which on audio counts: nothing that was said before somebody asked.
    from: Option<(u64, u64)>,
    pieces: Vec<Piece>,
    pub(super) gathered: Gathered,
    /// Whole seconds of speech that were told.
    told_s: f64,
    /// Whether all was heard, and the registrar has it.
    is_judged: bool,
}

/// Audio without a break.
struct Piece {
    run: u64,
    end: u64,
    signal: Signal,
    scores: Vec<Scores>,
}

#[derive(Default)]
struct Orders {
    waiting: VecDeque<Order>,
    closed: bool,
}

/// What the registrar has to do.
pub(super) enum Order {
    /// The sitting of this stream and ticket is complete, or a model failed on it.
    Judge(usize, u64, Result<Vec<Recording>, ModelError>),
    /// The time of this stream's enrolment of this ticket is over.
    Late(usize, u64),
    Forget(u64, String),
}

impl Desk {
    /// With a place for each stream.
    pub fn new(streams: usize) -> Self {
        let (news, told) = mpsc::channel(WORDS);
        Self {
            slots: (0..streams).map(|_| Slot::default()).collect(),
            orders: Mutex::default(),
            changed: Condvar::new(),
            news,
            told: Mutex::new(Some(told)),
        }
    }

    /// Where what becomes of each request is told; only once.
    pub fn news(&self) -> Option<mpsc::Receiver<News>> {
        lock(&self.told).take()
    }

    /// Takes what was heard in a window of a stream, if somebody is being enrolled from it.
    pub fn window(&self, stream: usize, window: &Window, scores: &Scores, analyser: &mut Analyser) {
        let Some(slot) = self.slots.get(stream) else {
            return;
        };
        if !slot.taken.load(Ordering::Relaxed) {
            return;
        }
        let (ticket, pieces, label) = {
            let mut taking = lock(&slot.taking);
            let Some(taking) = taking.as_mut().filter(|t| !t.is_judged) else {
                return;
            };
            taking.take(window, scores);
            let speech_s = taking.gathered.speech_s();
            if speech_s < taking.request.seconds {
                if speech_s.floor() > taking.told_s && self.news.capacity() > KEPT_FOR_ENDS {
                    taking.told_s = speech_s.floor();
                    let word = Word::Heard(speech_s);
                    let ticket = taking.ticket;
                    // The next word says more.
                    let _ = self.news.try_send(News { ticket, word });
                }
                return;
            }
            taking.is_judged = true;
            let label = taking.request.label.clone();
            (taking.ticket, std::mem::take(&mut taking.pieces), label)
        };
        let name = label.unwrap_or_else(|| "the recording".into());
        let look = |piece: Piece| analyser.look(name.clone(), &piece.signal, piece.scores);
        let recordings = pieces.into_iter().map(look).collect();
        // It is one of the streams': there is a place.
        self.order(Order::Judge(stream, ticket, recordings));
    }

    /// How many places there are.
    pub(super) fn streams(&self) -> usize {
        self.slots.len()
    }

    /// Ends the registrar.
    pub(super) fn close(&self) {
        lock(&self.orders).closed = true;
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        lock(&self.orders).closed
    }

    /// `false`: too many wait.
    fn order(&self, order: Order) -> bool {
        let mut orders = lock(&self.orders);
        let is_room = orders.waiting.len() < ORDERS;
        if is_room {
            orders.waiting.push_back(order);
        }
        drop(orders);
        self.changed.notify_all();
        is_room
    }

    /// Waits for something to do; `None`: the end.
    pub(super) fn next(&self) -> Option<Order> {
        let mut orders = lock(&self.orders);
        loop {
            if orders.closed {
                return None;
            }
            if let Some(order) = orders.waiting.pop_front() {
                return Some(order);
            }
            let now = Instant::now();
            let (mut late, mut wait) = (None, None::<Duration>);
            for (stream, slot) in self.slots.iter().enumerate() {
                let taking = lock(&slot.taking);
                let Some(taking) = taking.as_ref().filter(|t| !t.is_judged) else {
                    continue;
                };
                let left = (taking.began + taking.request.within).saturating_duration_since(now);
                if left.is_zero() {
                    late = Some((stream, taking.ticket));
                }
                wait = Some(wait.map_or(left, |wait| wait.min(left)));
            }
            if let Some((stream, ticket)) = late {
                return Some(Order::Late(stream, ticket));
            }
            orders = match wait {
                Some(wait) => {
                    let woken = self.changed.wait_timeout(orders, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(orders);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Frees a stream's place, if it is taken by that: somebody else may have it meanwhile.
    pub(super) fn free(&self, stream: usize, by: impl FnOnce(&Taking) -> bool) -> Option<Taking> {
        let slot = self.slots.get(stream)?;
        let mut taking = lock(&slot.taking);
        let freed = taking.take_if(|taking| by(taking))?;
        slot.taken.store(false, Ordering::Relaxed);
        Some(freed)
    }

    /// The same for one enrolment.
    pub(super) fn free_of(&self, stream: usize, ticket: u64) -> Option<Taking> {
        self.free(stream, |taking| taking.ticket == ticket)
    }

    /// Tells how something ended; gives up only when the daemon ends.
    pub(super) fn tell(&self, ticket: u64, word: Word) {
        let mut news = News { ticket, word };
        loop {
            match self.news.try_send(news) {
                Err(TrySendError::Full(back)) if !self.is_closed() => news = back,
                _ => return,
            }
            std::thread::sleep(AGAIN);
        }
    }
}

impl People for Desk {
    fn enrol(&self, ticket: u64, stream: usize, request: Request) -> Result<(), String> {
        let slot = self.slots.get(stream).ok_or("no such stream")?;
        // In this order, as the registrar has it; it must not miss the new time limit.
        let orders = lock(&self.orders);
        let mut taking = lock(&slot.taking);
        if let Some(taking) = taking.as_ref() {
            let name = &taking.request.name;
            return Err(format!(
                "{name} is being enrolled from this stream: wait for the end of that"
            ));
        }
        tracing::info!(
            name = request.name,
            seconds = request.seconds,
            "enrolment begins"
        );
        *taking = Some(Taking {
            ticket,
            request,
            began: Instant::now(),
            from: None,
            pieces: Vec::new(),
            gathered: Gathered::default(),
            told_s: 0.0,
            is_judged: false,
        });
        slot.taken.store(true, Ordering::Relaxed);
        drop(orders);
        self.changed.notify_all();
        Ok(())
    }

    fn cancel(&self, stream: usize) -> Result<(), String> {
        let freed = self.free(stream, |_| true);
        let taking = freed.ok_or("no enrolment is under way on this stream")?;
        tracing::info!(name = taking.request.name, "enrolment cancelled");
        Ok(())
    }

    fn forget(&self, ticket: u64, name: String) -> Result<(), String> {
        match self.order(Order::Forget(ticket, name)) {
            true => Ok(()),
            false => Err("too many people wait to be enrolled or forgotten: try again".into()),
        }
    }
}

impl Taking {
    /// Takes what no window before held.
    fn take(&mut self, window: &Window, scores: &Scores) {
        if window.captured < self.began {
            return;
        }
        let (run, end) = (window.run, window.end_sample());
        let from = *self.from.get_or_insert((run, end));
        if run == from.0 && window.first_sample < from.1 {
            return;
        }
        match self.pieces.last_mut().filter(|piece| piece.run == run) {
            Some(piece) if piece.end + window.new_samples as u64 == end => {
                let old = window.signal.len().saturating_sub(window.new_samples);
                piece
                    .signal
                    .extend(&window.signal.cut(old..window.signal.len()));
                piece.scores.push(scores.clone());
                piece.end = end;
            }
            // A model failed on the one between: what both hold would be counted twice.
            Some(piece) if window.first_sample < piece.end => return,
            _ => {
                self.gathered.next_recording();
                self.pieces.push(Piece {
                    run,
                    end,
                    signal: window.signal.clone(),
                    scores: vec![scores.clone()],
                });
            }
        }
        if let Some(utterance) = &scores.utterance {
            self.gathered.add(utterance);
        }
    }
}

/// Held for a moment only, and whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
