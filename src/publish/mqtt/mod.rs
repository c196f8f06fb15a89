//! MQTT 3.1.1 publishing. One thread owns the client and its event loop; nobody else touches either.
//!
//! ```text
//! address   mqtt://host:port                            topic     names of topics
//! options   configuration → rumqttc options, TLS        backoff   when to try again
//! delivery  what waits, is under way, is acknowledged: pure book-keeping, no sockets
//! link      the loop: inbox → delivery → socket         status    what the rest of the program may see of it
//! probe     one connection attempt, for `doctor`        failure   what went wrong, in words
//! ```
//!
//! | topic | QoS | retained | payload |
//! |---|---|---|---|
//! | `<prefix>/<node>/status` | 1 | yes | `online` or `offline` (also the will) |
//! | `<prefix>/<node>/info` | 1 | yes | what the daemon is: version, pack, schema, where its models run |
//! | `<prefix>/<node>/<stream>/state` | 1 | yes | [`StreamState`](super::StreamState) |
//! | `<prefix>/<node>/<stream>/event/<type>` | 1 (`window`: 0) | no | [`Event`](super::Event) |
//!
//! Delivery is at least once as long as the process lives: an event leaves the backlog when the broker acknowledges
//! it and not before; after any reconnection whatever is unacknowledged is sent again. Consumers drop repeats by `id`.

mod address;
mod backoff;
mod command;
mod delivery;
mod failure;
mod household;
mod link;
mod options;
mod outbox;
mod probe;
#[cfg(test)]
mod reference;
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
