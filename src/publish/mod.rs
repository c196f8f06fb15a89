//! Where findings leave: the event schema, the bus that fans events out to bounded sink queues, MQTT with Home
//! Assistant's discovery and commands, JSON lines.
//! No decision is taken here.

pub mod broker;
mod bus;
pub mod control;
pub mod enrolment;
mod event;
pub mod home_assistant;
mod jsonl;
pub mod mqtt;
pub mod schema;
mod state;
pub(crate) mod throttle;
pub mod time;
mod vitals;

pub use bus::{Bus, Counters, Inbox, QUEUE, Sink, SinkError};
pub use event::{
    Body, EncodeError, Event, EventId, FusedFinding, GapReason, HealthPart, ProbeFinding, SCHEMA,
    SoundFinding, SourceState, SpeakerFinding, SpoofFinding, SpoofPart, Verdict,
};
pub use jsonl::{Jsonl, JsonlError};
pub use state::StreamState;
pub use vitals::{NodeVitals, StreamVitals};
