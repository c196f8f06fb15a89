//! What the rest of the program may see of the MQTT link.

use std::sync::{Arc, Mutex, PoisonError};

/// A snapshot. All counts are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Whether the broker has accepted us and the connection stands.
    pub connected: bool,
    /// Times that the broker accepted us.
    pub connections: u64,
    /// Events written to the socket, repeats and windows included.
    pub published: u64,
    /// Events (QoS 1) that the broker acknowledged.
    pub acked: u64,
    /// Events (QoS 1) that the broker said it will not have; MQTT 5 only.
    pub refused: u64,
    /// Events lost because there was no room for them in memory; the oldest go first.
    pub dropped: u64,
    /// Events that left the outbox undelivered, too old or for want of room.
    pub evicted: u64,
    /// Events that could not be sent at all: too large, a number that JSON cannot hold, a bad stream name.
    pub invalid: u64,
    /// Windows (QoS 0) skipped because there was no connection or it was slow.
    pub windows_skipped: u64,
    /// Events that wait for the broker's acknowledgement, those of earlier runs included.
    pub pending: u64,
    /// Of the events taken in so far, in their order, how many are on the disk or done with: what no end of the process can
    /// lose.
    pub secured: u64,
    /// Events in the outbox at its last commit, and their bytes.
    pub stored: u64,
    /// Bytes of these.
    pub stored_bytes: u64,
    /// Why the outbox is not written now; events wait in memory meanwhile.
    pub outbox_error: Option<String>,
    /// Commands that came and were carried out.
    pub commands: u64,
    /// Commands that were refused.
    pub commands_refused: u64,
    /// Answers to commands that were not sent, since commands came faster than the connection takes answers.
    pub answers_dropped: u64,
    /// What went wrong last, in words for a person; stays after it was mended.
    pub last_error: Option<String>,
}

/// Shared with the link's thread.
#[derive(Debug, Clone, Default)]
pub struct StatusHandle(Arc<Mutex<Status>>);

impl StatusHandle {
    /// The latest snapshot.
    pub fn get(&self) -> Status {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
