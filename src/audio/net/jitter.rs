//! Puts RTP packets back in order, drops those that came twice, and says exactly what is missing. No I/O, no clock of its
//! own: times are durations since any moment that all calls agree on.
//!
//! What comes in order is handed on at once, since nobody listens to it; only the first packets and those behind a hole wait
//! for the depth of the buffer. A new sender (another SSRC, another payload type, or a sequence from somewhere else) counts
//! from its second packet in a row, so that a stray datagram cannot end a stream (RFC 3550, appendix A.1).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::rtp::Rtp;

/// Packets that may wait, whatever the depth.
pub const MAX_PACKETS: usize = 256;
/// A sequence number further ahead than this begins a new stream of packets.
const AHEAD: i32 = 3_000;
/// A sequence number further back than this does too; else the packet is late.
const BACK: i32 = 1_000;
/// Holes that are remembered, to tell a late packet from one that comes twice.
const HOLES: usize = 64;
/// Silence that a sender may leave out (timestamps go on, sequence numbers do not jump), seconds.
const SILENCE_S: u32 = 10;
/// Timestamps further off than this after a loss are another clock, seconds.
const LOSS_S: u32 = 3_600;

/// What comes out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Another stream of packets begins, with this payload type.
    Start(u8),
    /// A payload.
    Audio(Vec<u8>),
    /// So many frames were never sent: the sender leaves silence out.
    Silence(u32),
    /// So many frames are missing.
    Lost(u32),
}

/// Packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed on.
    pub packets: u64,
    /// Came twice.
    pub duplicates: u64,
    /// Came after they were given up.
    pub late: u64,
    /// Never came in time, late ones included.
    pub missing: u64,
    /// Of another sender than the one that is heard.
    pub foreign: u64,
}

/// The buffer of one stream.
#[derive(Debug)]
pub struct Jitter {
    depth: Duration,
    current: Option<Current>,
    /// A packet that may be the first of a new sender.
    candidate: Option<(Key, Held)>,
    out: VecDeque<Out>,
    counts: Counts,
}

/// Who sends what.
type Key = (u32, u8);

#[derive(Debug)]
struct Current {
    key: Key,
    /// Ticks a second of its timestamps.
    clock: u32,
    /// Sequence number that is due, counted on over wraps; before the first was handed on, the one that came first.
    next: i64,
    begun: bool,
    waiting: BTreeMap<i64, Held>,
    /// First and last of what was given up.
    holes: VecDeque<(i64, i64)>,
    /// Timestamp that is due.
    due: Option<u32>,
    /// Packets were given up since the last payload.
    torn: bool,
}

#[derive(Debug)]
struct Held {
    sequence: u16,
    timestamp: u32,
    frames: u32,
    clock: u32,
    payload: Vec<u8>,
    came: Duration,
}

impl Jitter {
    /// With a depth: for how long a hole is waited for.
    #[must_use]
    pub fn new(depth: Duration) -> Self {
        Self {
            depth,
            current: None,
            candidate: None,
            out: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a packet that came at `now` and holds so many frames at `clock` Hz; 0 frames for one that carries no audio and
    /// only fills its place.
    pub fn push(&mut self, now: Duration, rtp: &Rtp<'_>, clock: u32, frames: u32) {
        let key = (rtp.ssrc, rtp.payload_type);
        let held = Held {
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            frames,
            clock,
            payload: rtp.payload.to_vec(),
            came: now,
        };
        let is_silent = frames == 0;
        match &mut self.current {
            None if is_silent => self.counts.foreign += 1,
            None => self.begin(key, held),
            // What carries no audio (a key press, comfort noise) is of a type of its own within the same sequence.
            Some(current) if current.key == key || (current.key.0 == key.0 && is_silent) => {
                match current.place(rtp.sequence) {
                    Some(at) => {
                        self.candidate = None;
                        current.hold(at, held, &mut self.counts);
                    }
                    None => self.stray(key, held),
                }
            }
            Some(_) => self.stray(key, held),
        }
        self.release(now);
    }

    /// What is ready at `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Out> {
        self.release(now);
        self.out.pop_front()
    }

    /// When the next hole is given up, if no packet comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let waiting = &self.current.as_ref()?.waiting;
        let first = waiting.values().map(|held| held.came).min()?;
        Some(first + self.depth)
    }

    /// Gives up every hole: nothing more comes from this sender. The next packet begins anew.
    pub fn finish(&mut self) {
        self.candidate = None;
        if let Some(mut current) = self.current.take() {
            while current.step(true, &mut self.out, &mut self.counts) {}
        }
    }

    /// Packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn begin(&mut self, key: Key, held: Held) {
        self.candidate = None;
        self.out.push_back(Out::Start(key.1));
        let next = i64::from(held.sequence);
        self.current = Some(Current {
            key,
            clock: held.clock,
            next,
            begun: false,
            waiting: BTreeMap::from([(next, held)]),
            holes: VecDeque::new(),
            due: None,
            torn: false,
        });
    }

    /// A packet that does not fit: the second of its kind in a row is believed.
    fn stray(&mut self, key: Key, held: Held) {
        match self.candidate.take() {
            Some((known, first))
                if known == key
                    && first.frames > 0
                    && held.sequence == first.sequence.wrapping_add(1) =>
            {
                // The first is counted on with the second.
                self.counts.foreign -= 1;
                self.finish();
                self.begin(key, first);
                if let Some(current) = &mut self.current
                    && let Some(at) = current.place(held.sequence)
                {
                    current.hold(at, held, &mut self.counts);
                }
            }
            _ => {
                self.counts.foreign += 1;
                self.candidate = Some((key, held));
            }
        }
    }

    fn release(&mut self, now: Duration) {
        loop {
            let overdue = self.deadline().is_some_and(|deadline| deadline <= now);
            let Some(current) = &mut self.current else {
                return;
            };
            let full = current.waiting.len() > MAX_PACKETS;
            if !current.step(overdue || full, &mut self.out, &mut self.counts) {
                return;
            }
        }
    }
}

impl Current {
    /// Where a sequence number lies, if it is near enough to belong here.
    fn place(&self, sequence: u16) -> Option<i64> {
        let off = i32::from(sequence.wrapping_sub(self.next as u16) as i16);
        (-BACK..=AHEAD)
            .contains(&off)
            .then(|| self.next + i64::from(off))
    }

    fn hold(&mut self, at: i64, held: Held, counts: &mut Counts) {
        if self.begun && at < self.next {
            let given_up = |(first, last): &(i64, i64)| (*first..=*last).contains(&at);
            match self.holes.iter().any(given_up) {
                true => counts.late += 1,
                false => counts.duplicates += 1,
            }
            return;
        }
        if self.waiting.contains_key(&at) {
            counts.duplicates += 1;
            return;
        }
        self.waiting.insert(at, held);
    }

    /// Hands on the first that waits, if it is due or the hole before it is given up. Whether it did.
    fn step(&mut self, give_up: bool, out: &mut VecDeque<Out>, counts: &mut Counts) -> bool {
        let Some(entry) = self.waiting.first_entry() else {
            return false;
        };
        let at = *entry.key();
        if !(give_up || (self.begun && at == self.next)) {
            return false;
        }
        let held = entry.remove();
        if self.begun && at > self.next {
            counts.missing += (at - self.next).unsigned_abs();
            self.torn = true;
            self.holes.push_back((self.next, at - 1));
            if self.holes.len() > HOLES {
                self.holes.pop_front();
            }
        }
        self.begun = true;
        self.next = at + 1;
        if held.frames > 0 {
            counts.packets += 1;
            self.fill(&held, out);
            self.due = Some(held.timestamp.wrapping_add(held.frames));
            out.push_back(Out::Audio(held.payload));
        }
        true
    }

    /// What lies between the last payload and this one.
    fn fill(&mut self, held: &Held, out: &mut VecDeque<Out>) {
        let torn = std::mem::take(&mut self.torn);
        let Some(due) = self.due else {
            return;
        };
        // Senders that round their timestamps are within this.
        let rounding = self.clock / 100;
        let ahead = held.timestamp.wrapping_sub(due);
        let behind = due.wrapping_sub(held.timestamp);
        if torn && ahead <= self.clock.saturating_mul(LOSS_S) {
            if ahead > 0 {
                out.push_back(Out::Lost(ahead));
            }
        } else if ahead <= rounding || behind <= rounding {
            // As good as in its place.
        } else if !torn && ahead <= self.clock.saturating_mul(SILENCE_S) {
            out.push_back(Out::Silence(ahead));
        } else {
            out.push_back(Out::Start(self.key.1));
        }
    }
}

#[cfg(test)]
mod tests;
