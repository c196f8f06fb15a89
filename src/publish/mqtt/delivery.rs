//! Book-keeping of delivery: what waits, what was handed to the client, what is under way, what was acknowledged.
//! Pure: no sockets, no clock, so that it can be tested against every order of happenings.
//!
//! rumqttc forgets publishes when a broker has lost the session, so it is never the one that remembers: an event
//! stays here until its PUBACK, and after any loss of the connection everything that stayed is sent again, in order,
//! through a new rumqttc event loop. Packet ids start anew with it; that is allowed, since neither side keeps
//! anything about a QoS 1 publish but the sender.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Events that may be unacknowledged at once.
pub const MAX_IN_FLIGHT: usize = 64;
/// Room for retained messages beside them: the farewell must not wait for a stalled event.
const RETAINED_ROOM: usize = 16;
/// Windows (QoS 0) that may wait for the socket.
const WINDOW_QUEUE: usize = 64;
/// QoS 1 publishes that the client has to be able to track.
pub const IN_FLIGHT_LIMIT: usize = MAX_IN_FLIGHT + RETAINED_ROOM;
/// Requests that can be with the client at once: its channel never overflows.
pub const CHANNEL: usize = IN_FLIGHT_LIMIT + WINDOW_QUEUE;
/// Payload bytes of the backlog, whatever its count allows.
const MAX_BYTES: usize = 64 << 20;
/// Retained topics: one a stream, and a few.
const MAX_RETAINED: usize = 4096;

/// One publish to hand to the client, at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

/// What a request at the client is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Sequence number of an event in the backlog.
    Event(u64),
    Retained,
    Window,
}

#[derive(Debug)]
struct Message {
    topic: String,
    payload: Vec<u8>,
}

#[derive(Debug)]
pub struct Delivery {
    capacity: usize,
    /// Events by sequence number, the first is `first`; acknowledged ones are `None` until they reach the front.
    backlog: VecDeque<Option<Message>>,
    first: u64,
    live: usize,
    bytes: usize,
    /// Next event to hand over.
    cursor: u64,
    /// Latest payload a topic, and the topics that have yet to be handed over on this connection.
    retained: BTreeMap<String, Vec<u8>>,
    unsent: VecDeque<String>,
    /// With the client, not yet written to the socket; it writes in this order.
    handed: VecDeque<Slot>,
    /// Written, not acknowledged.
    in_flight: HashMap<u16, Slot>,
    pub acked: u64,
    pub dropped: u64,
}

impl Delivery {
    /// At most `capacity` (≥ 1) events wait.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            backlog: VecDeque::new(),
            first: 0,
            live: 0,
            bytes: 0,
            cursor: 0,
            retained: BTreeMap::new(),
            unsent: VecDeque::new(),
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            acked: 0,
            dropped: 0,
        }
    }

    /// Takes an event in; the oldest one leaves when there is no room. `false`: no packet could ever hold it.
    pub fn push(&mut self, topic: String, payload: Vec<u8>) -> bool {
        // Fixed header and packet id take at most 9 bytes, the topic's length 2; a larger packet would make
        // rumqttc close the connection, and us send it again for ever.
        if topic.len() + payload.len() + 16 > super::MAX_PACKET {
            return false;
        }
        while self.live >= self.capacity
            || (self.live > 0 && self.bytes + payload.len() > MAX_BYTES)
        {
            self.drop_oldest();
        }
        self.live += 1;
        self.bytes += payload.len();
        self.backlog.push_back(Some(Message { topic, payload }));
        true
    }

    /// Sets the retained message of a topic. `false`: there are too many topics.
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

    /// Whether a window may go to the client now; counts it as handed over.
    pub fn offer_window(&mut self) -> bool {
        let windows = self.handed.iter().filter(|s| **s == Slot::Window).count();
        if windows >= WINDOW_QUEUE {
            return false;
        }
        self.handed.push_back(Slot::Window);
        true
    }

    /// The next publish for the client, counted as handed over: retained messages first, then events unless
    /// `farewell`.
    pub fn next(&mut self, farewell: bool) -> Option<Outgoing> {
        let windows = self.handed.iter().filter(|s| **s == Slot::Window).count();
        let busy = self.handed.len() - windows + self.in_flight.len();
        if busy < IN_FLIGHT_LIMIT
            && let Some(topic) = self.unsent.pop_front()
            && let Some(payload) = self.retained.get(&topic)
        {
            self.handed.push_back(Slot::Retained);
            return Some(Outgoing {
                payload: payload.clone(),
                topic,
                retain: true,
            });
        }
        if farewell || busy >= MAX_IN_FLIGHT {
            return None;
        }
        let index = usize::try_from(self.cursor - self.first).ok()?;
        let message = self.backlog.get(index)?.as_ref()?;
        self.handed.push_back(Slot::Event(self.cursor));
        self.cursor += 1;
        Some(Outgoing {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            retain: false,
        })
    }

    /// The client wrote its next request under this packet id (0: QoS 0). `true` when it was an event or a window.
    pub fn written(&mut self, pkid: u16) -> bool {
        let is_window = pkid == 0;
        let Some(at) = self
            .handed
            .iter()
            .position(|s| (*s == Slot::Window) == is_window)
        else {
            return false;
        };
        let Some(slot) = self.handed.remove(at) else {
            return false;
        };
        if !is_window {
            self.in_flight.insert(pkid, slot);
        }
        slot != Slot::Retained
    }

    /// The broker acknowledged this packet id.
    pub fn acknowledged(&mut self, pkid: u16) {
        let Some(Slot::Event(sequence)) = self.in_flight.remove(&pkid) else {
            return;
        };
        // An event that was dropped for want of room while it was under way is before `first`.
        let entry = sequence
            .checked_sub(self.first)
            .and_then(|index| self.backlog.get_mut(usize::try_from(index).ok()?));
        if let Some(message) = entry.and_then(Option::take) {
            self.live -= 1;
            self.bytes -= message.payload.len();
            self.acked += 1;
            self.trim();
        }
    }

    /// The connection is gone: what is unacknowledged, and every retained message, has to be sent again.
    pub fn disconnected(&mut self) {
        self.handed.clear();
        self.in_flight.clear();
        // Events acknowledged out of order leave holes; closing them keeps `next` simple.
        self.backlog.retain(Option::is_some);
        self.cursor = self.first;
        for topic in self.retained.keys() {
            if !self.unsent.contains(topic) {
                self.unsent.push_back(topic.clone());
            }
        }
    }

    /// Events that are not acknowledged.
    pub fn pending(&self) -> usize {
        self.live
    }

    /// Nothing is with the client or under way, and no retained message waits.
    pub fn idle(&self) -> bool {
        self.handed.is_empty() && self.in_flight.is_empty() && self.unsent.is_empty()
    }

    fn drop_oldest(&mut self) {
        // The front is always live: see `trim`.
        if let Some(Some(message)) = self.backlog.pop_front() {
            self.live -= 1;
            self.bytes -= message.payload.len();
            self.dropped += 1;
        }
        self.first += 1;
        self.trim();
    }

    /// Removes acknowledged events from the front, so that the front is live or the backlog empty.
    fn trim(&mut self) {
        while let Some(None) = self.backlog.front() {
            self.backlog.pop_front();
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
