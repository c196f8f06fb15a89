//! Where findings leave: the event schema, the bus that fans events out to bounded sink queues, MQTT, JSON lines.
//! No decision is taken here.

pub mod broker;
mod bus;
mod event;
mod jsonl;
pub mod mqtt;
pub mod schema;
mod state;
mod throttle;
pub mod time;

pub use bus::{Bus, Counters, Inbox, QUEUE, Sink, SinkError};
pub use event::{
    Body, EncodeError, Event, EventId, GapReason, ProbeFinding, SCHEMA, SoundFinding, SourceState,
    SpeakerFinding, SpoofFinding, SpoofPart, Verdict,
};
pub use jsonl::{Jsonl, JsonlError};
pub use state::StreamState;
