//! Book-keeping of delivery: what waits, what was handed to the client, what is under way, what was acknowledged.
//! Pure: no sockets, no disk, no clock, so that it can be tested against every order of happenings.
//!
//! rumqttc forgets publishes when a broker has lost the session, so it is never the one that remembers: an event
//! stays here until its PUBACK, and after any loss of the connection everything that stayed is sent again, in order,
//! through a new rumqttc event loop. Packet ids start anew with it; that is allowed, since neither side keeps
//! anything about a QoS 1 publish but the sender.
//!
//! Events have keys that count up, and are sent in that order. With an outbox each is written to the disk at once; what
//! is there need not be in memory until its turn comes:
//!
//! ```text
//!   first          cursor               stored            end
//!     │  under way   │  soon, in memory │ later, on disk   │  fresh: in memory, on its way to the disk
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::outbox::Message;

/// Events that may be unacknowledged at once.
pub const MAX_IN_FLIGHT: usize = 64;
/// Room for retained messages beside them: the farewell must not wait for a stalled event.
const RETAINED_ROOM: usize = 16;
/// Messages at QoS 0 that may wait for the socket.
const FLEETING_QUEUE: usize = 64;
/// QoS 1 publishes that the client has to be able to track.
pub const IN_FLIGHT_LIMIT: usize = MAX_IN_FLIGHT + RETAINED_ROOM;
/// Requests that can be with the client at once, subscriptions and the farewell among them: its channel never overflows.
pub const CHANNEL: usize = IN_FLIGHT_LIMIT + FLEETING_QUEUE + 8;
/// Bytes of what is held in memory because the disk does not have it, whatever its count allows.
const MAX_BYTES: usize = 64 << 20;
/// Retained topics: some for each stream, and a few.
const MAX_RETAINED: usize = 8192;
/// Events on disk that are kept in memory too, since they are sent soon.
const SOON: u64 = 256;

/// One publish to hand to the client, at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

/// What the outbox has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Write the event.
    Insert(u64, Arc<Message>),
    /// It is done with.
    Remove(u64),
    /// Bring the events from this key on.
    Load(u64),
    /// The broker holds nothing under this topic any more.
    Forget(String),
}

/// What a request at the client is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    /// Key of an event.
    Event(u64),
    /// A retained message; the topic, where it was cleared.
    Retained(Option<String>),
    /// At QoS 0; whether it is an event.
    Fleeting(bool),
}

#[derive(Debug)]
pub struct Delivery {
    capacity: usize,
    /// Whether there is an outbox.
    durable: bool,
    /// What is in memory.
    held: BTreeMap<u64, Arc<Message>>,
    /// Done with, but not all before.
    done: BTreeSet<u64>,
    /// The lowest key that is not done with.
    first: u64,
    /// The next event to hand over.
    cursor: u64,
    /// Lower keys are on the disk, or done with.
    stored: u64,
    /// The next key to give.
    end: u64,
    /// Key from which the outbox was asked.
    asked: Option<u64>,
    /// Events that are not done with, wherever they are.
    waiting: u64,
    /// Those in `held` from `stored` on, and their bytes.
    fresh: usize,
    fresh_bytes: usize,
    /// Latest payload a topic, and the topics that have yet to be handed over on this connection.
    retained: BTreeMap<String, Vec<u8>>,
    unsent: VecDeque<String>,
    /// With the client, not yet written to the socket; it writes in this order.
    handed: VecDeque<Slot>,
    /// Written, not acknowledged.
    in_flight: HashMap<u16, Slot>,
    /// For the outbox; empty without one.
    pub orders: Vec<Order>,
    /// Where this run's events begin.
    begin: u64,
    pub acked: u64,
    /// Refused by the broker, which is an end too.
    pub refused: u64,
    /// Lost for want of room in memory, or with a damaged outbox.
    pub dropped: u64,
}

impl Delivery {
    /// Memory only: at most `capacity` (≥ 1) events wait.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            durable: false,
            held: BTreeMap::new(),
            done: BTreeSet::new(),
            first: 0,
            cursor: 0,
            stored: 0,
            end: 0,
            asked: None,
            waiting: 0,
            fresh: 0,
            fresh_bytes: 0,
            retained: BTreeMap::new(),
            unsent: VecDeque::new(),
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            orders: Vec::new(),
            begin: 0,
            acked: 0,
            refused: 0,
            dropped: 0,
        }
    }

    /// With an outbox that holds `waiting` events with keys in `first..end`; `capacity` is for those that it does not
    /// have yet.
    pub fn durable(capacity: usize, first: u64, end: u64, waiting: u64) -> Self {
        Self {
            durable: true,
            first,
            cursor: first,
            stored: end,
            end,
            begin: end,
            waiting,
            ..Self::new(capacity)
        }
    }

    /// Takes an event in. When there is no room in memory, the oldest one that is only there leaves. `false`: no packet
    /// could ever hold it.
    pub fn push(&mut self, message: Message) -> bool {
        // Fixed header, packet id and an MQTT 5 property length take at most 16 bytes; a larger packet would make
        // rumqttc close the connection, and us send it again for ever.
        let size = message.size();
        if size + 16 > super::MAX_PACKET {
            return false;
        }
        while self.fresh >= self.capacity || (self.fresh > 0 && self.fresh_bytes + size > MAX_BYTES)
        {
            let Some((&oldest, _)) = self.held.range(self.stored..).next() else {
                break;
            };
            self.settle(oldest);
            self.dropped += 1;
        }
        let (key, message) = (self.end, Arc::new(message));
        if self.durable {
            self.orders.push(Order::Insert(key, message.clone()));
        }
        self.held.insert(key, message);
        self.end += 1;
        self.waiting += 1;
        self.fresh += 1;
        self.fresh_bytes += size;
        true
    }

    /// The outbox has written all events with lower keys.
    pub fn stored(&mut self, below: u64) {
        let below = below.min(self.end);
        if below <= self.stored {
            return;
        }
        for (_, message) in self.held.range(self.stored..below) {
            self.fresh -= 1;
            self.fresh_bytes -= message.size();
        }
        self.stored = below;
        // What is sent later need not be in memory.
        let later = (self.cursor + SOON).min(below);
        let mut rest = self.held.split_off(&later);
        self.held.append(&mut rest.split_off(&below));
    }

    /// The outbox found these events with keys from `from` to before `below`, and no others.
    pub fn loaded(&mut self, from: u64, below: u64, messages: Vec<(u64, Arc<Message>)>) {
        self.asked = None;
        let found: BTreeSet<u64> = messages.iter().map(|(key, _)| *key).collect();
        for (key, message) in messages {
            // Fresh ones are in memory anyway.
            if key >= self.first && key < self.stored && !self.done.contains(&key) {
                self.held.entry(key).or_insert(message);
            }
        }
        // Keys that an earlier run had done with.
        for key in from.max(self.first)..below.min(self.stored) {
            if !found.contains(&key) && !self.held.contains_key(&key) {
                self.pass(key);
            }
        }
    }

    /// The outbox threw these out. Returns how many of them would have been delivered.
    pub fn evicted(&mut self, keys: &[u64]) -> u64 {
        let before = self.waiting;
        for key in keys {
            self.end_of(*key);
        }
        before - self.waiting
    }

    /// The outbox was replaced: what was only there is lost.
    pub fn reset(&mut self) {
        let left = self.held.len() as u64;
        self.dropped += self.waiting - left;
        self.waiting = left;
        self.done.clear();
        self.asked = None;
        // What was written is so no more.
        let unwritten: Vec<_> = self
            .held
            .range(..self.stored)
            .map(|(k, m)| (*k, m.clone()))
            .collect();
        self.first = self.held.keys().next().copied().unwrap_or(self.end);
        self.cursor = self.cursor.max(self.first);
        for (key, message) in unwritten {
            self.fresh += 1;
            self.fresh_bytes += message.size();
            self.orders.push(Order::Insert(key, message));
        }
        self.stored = self.first;
        // Holes between what is left.
        for key in self.first..self.end {
            if !self.held.contains_key(&key) {
                self.pass(key);
            }
        }
    }

    /// There is no outbox any more: what was only there is lost, the rest waits in memory.
    pub fn abandon(&mut self) {
        self.reset();
        self.orders.clear();
        self.durable = false;
    }

    /// Sets the retained message of a topic; an empty one clears it. `false`: there are too many topics.
    pub fn retain(&mut self, topic: String, payload: Vec<u8>) -> bool {
        if self.retained.len() >= MAX_RETAINED && !self.retained.contains_key(&topic) {
            return false;
        }
        if !self.unsent.contains(&topic) {
            self.unsent.push_back(topic.clone());
        }
        self.retained.insert(topic, payload);
        true
    }

    /// Sends these retained messages again on this connection.
    pub fn repeat(&mut self, is_wanted: impl Fn(&str) -> bool) {
        for topic in self.retained.keys() {
            if is_wanted(topic) && !self.unsent.contains(topic) {
                self.unsent.push_back(topic.clone());
            }
        }
    }

    /// Whether a message at QoS 0 may go to the client now; counts it as handed over. `event`: it counts as published.
    pub fn offer(&mut self, event: bool) -> bool {
        if self.fleeting() >= FLEETING_QUEUE {
            return false;
        }
        self.handed.push_back(Slot::Fleeting(event));
        true
    }

    fn fleeting(&self) -> usize {
        let is_fleeting = |slot: &&Slot| matches!(slot, Slot::Fleeting(_));
        self.handed.iter().filter(is_fleeting).count()
    }

    /// The next publish for the client, counted as handed over: retained messages first, then events unless
    /// `farewell`. Asks the outbox for what is not in memory.
    pub fn next(&mut self, farewell: bool) -> Option<Outgoing> {
        let busy = self.handed.len() - self.fleeting() + self.in_flight.len();
        if busy < IN_FLIGHT_LIMIT
            && let Some(topic) = self.unsent.pop_front()
            && let Some(payload) = self.retained.get(&topic)
        {
            let cleared = payload.is_empty().then(|| topic.clone());
            self.handed.push_back(Slot::Retained(cleared));
            return Some(Outgoing {
                payload: payload.clone(),
                topic,
                retain: true,
            });
        }
        if farewell || busy >= MAX_IN_FLIGHT {
            return None;
        }
        while self.cursor < self.end && self.done.contains(&self.cursor) {
            self.cursor += 1;
        }
        let Some(message) = self.held.get(&self.cursor) else {
            if self.cursor < self.stored && self.asked.is_none() {
                self.asked = Some(self.cursor);
                self.orders.push(Order::Load(self.cursor));
            }
            return None;
        };
        let out = Outgoing {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            retain: false,
        };
        self.handed.push_back(Slot::Event(self.cursor));
        self.cursor += 1;
        Some(out)
    }

    /// The client wrote its next request under this packet id (0: QoS 0). `true` when it was an event.
    pub fn written(&mut self, pkid: u16) -> bool {
        let is_fleeting = pkid == 0;
        let Some(at) = self
            .handed
            .iter()
            .position(|slot| matches!(slot, Slot::Fleeting(_)) == is_fleeting)
        else {
            return false;
        };
        let Some(slot) = self.handed.remove(at) else {
            return false;
        };
        let is_event = matches!(slot, Slot::Event(_) | Slot::Fleeting(true));
        if !is_fleeting {
            self.in_flight.insert(pkid, slot);
        }
        is_event
    }

    /// The broker acknowledged this packet id; `refused`: it said that it will not have it. `true`: it was an event.
    pub fn acknowledged(&mut self, pkid: u16, refused: bool) -> bool {
        match self.in_flight.remove(&pkid) {
            Some(Slot::Event(key)) => {
                if self.settle(key) {
                    let count = if refused {
                        &mut self.refused
                    } else {
                        &mut self.acked
                    };
                    *count += 1;
                }
                true
            }
            Some(Slot::Retained(Some(topic))) if !refused => {
                // Unless it was set again meanwhile.
                if self.retained.get(&topic).is_some_and(Vec::is_empty) {
                    self.retained.remove(&topic);
                    if self.durable {
                        self.orders.push(Order::Forget(topic));
                    }
                }
                false
            }
            _ => false,
        }
    }

    /// The connection is gone: what is unacknowledged, and every retained message, has to be sent again.
    pub fn disconnected(&mut self) {
        self.handed.clear();
        self.in_flight.clear();
        self.cursor = self.first;
        self.repeat(|_| true);
    }

    /// Events that are not done with.
    pub fn pending(&self) -> u64 {
        self.waiting
    }

    /// Those of them that would be lost with the process.
    pub fn exposed(&self) -> u64 {
        if self.durable {
            self.fresh as u64
        } else {
            self.waiting
        }
    }

    /// Events of this run, counted from its first, that are on the disk or done with, all that came before included.
    pub fn secured(&self) -> u64 {
        let safe = if self.durable {
            self.stored.max(self.first)
        } else {
            self.first
        };
        safe.saturating_sub(self.begin)
    }

    /// Nothing is with the client or under way, and no retained message waits.
    pub fn idle(&self) -> bool {
        self.handed.is_empty() && self.in_flight.is_empty() && self.unsent.is_empty()
    }

    /// The event is done with, and the outbox is told. `false`: it was before.
    fn settle(&mut self, key: u64) -> bool {
        let live = self.end_of(key);
        if live && self.durable {
            self.orders.push(Order::Remove(key));
        }
        live
    }

    /// The event is done with. `false`: it was before.
    fn end_of(&mut self, key: u64) -> bool {
        if key < self.first || key >= self.end || self.done.contains(&key) {
            return false;
        }
        self.waiting -= 1;
        self.pass(key);
        true
    }

    /// There is no event with this key any more.
    fn pass(&mut self, key: u64) {
        if let Some(message) = self.held.remove(&key)
            && key >= self.stored
        {
            self.fresh -= 1;
            self.fresh_bytes -= message.size();
        }
        self.done.insert(key);
        while self.done.remove(&self.first) {
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
        self.stored = self.stored.max(self.first);
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
