//! What outlives the process: enrolled speakers in an embedded database file.
//!
//! The file is open only while it is read or written: redb locks it for one process, and `enroll` and `verify` have
//! to work beside a daemon. Embeddings never leave the machine; the file is readable by its owner only, and
//! [`Codec`] is where encryption goes.

mod codec;
mod enrolment;
mod speakers;

pub use codec::{Codec, CodecError, Plain};
pub use enrolment::{Enrolment, InvalidEnrolment};
pub use speakers::{SpeakerStore, StoreError};
