//! What waits for the broker, on disk: the file, and the thread that owns it.
//!
//! ```text
//! row     one event as bytes                      writer  the thread: group commit, retries
//! store   the redb file: append, remove, load     desk    what lies between it and the link
//! ```
//!
//! Nothing here knows of MQTT. An event has a key that counts up; it is inserted under it, read again in that order, and
//! removed. Beside the events the file holds the retained topics that were ever announced, so that a later run can
//! clear those that are no more.

mod desk;
mod row;
mod store;
mod writer;

pub use row::Message;
pub use store::{Limits, OutboxError, Store, look};
pub use writer::{Report, Writer};
