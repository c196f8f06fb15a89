//! MQTT 3.1.1 and 5. One thread owns the client and its event loop, another the outbox; nobody else touches either.
//!
//! ```text
//! address    mqtt://host:port                           topic     names of topics
//! options    configuration → connection options, TLS    backoff   when to try again
//! wire       both protocol versions behind one face     failure   what went wrong, in words
//! delivery   what waits, is under way, is acknowledged: pure book-keeping, no sockets
//! outbox     what waits, on disk                        status    what the rest of the program may see of the link
//! link       the loop: inbox → delivery → socket        probe     one connection attempt, for `doctor`
//! household  vitals, discovery, what is told again      command   a message → what is asked, or why it is refused
//! service    what becomes of a command, the answers     people    enrolling and forgetting: who asked, what they are told
//! ```
//!
//! Topics, payloads and what is guaranteed: `docs/mqtt.md`, whose tables `reference` writes from the types.

mod address;
mod backoff;
mod command;
mod delivery;
mod failure;
mod household;
mod link;
mod options;
mod outbox;
mod people;
mod probe;
#[cfg(test)]
mod reference;
mod service;
mod status;
mod topic;
mod wire;

pub use address::{Address, AddressError};
pub use household::Household;
pub use link::MqttSink;
pub use options::{MqttError, OFFLINE, PASSWORD_VARIABLE};
pub(crate) use options::{client_tls, password};
pub use outbox::{OutboxError, look as outbox_look};
pub use probe::{probe, probe_as};
pub use status::{Status, StatusHandle};
pub use topic::{TopicError, Topics};

/// Largest packet in either direction, bytes. rumqttc's own default of 10 KiB disconnects on a larger one.
pub const MAX_PACKET: usize = 1 << 20;
