//! Where findings leave: the event schema, the bus that fans events out to bounded sink queues, MQTT, JSON lines.
//! No decision is taken here.

mod event;

pub use event::{
    Body, Event, EventId, GapReason, SourceState, SpeakerFinding, SpoofFinding, Verdict,
};
