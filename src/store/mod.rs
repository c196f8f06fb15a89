//! What outlives the process: enrolled speakers in an embedded database file, sealed.
//!
//! The file is open only while it is read or written: redb locks it for one process, and `enroll` and `verify` have
//! to work beside a daemon. Voice prints leave the machine only in a file that somebody exports under a passphrase.
//! `docs/threats.md` says what all this protects from, and what not. No audio, no scores and no decisions live here.

mod database;
mod enrolment;
mod error;
mod keys;
mod parcel;
mod passphrase;
mod receipt;
mod row;
mod secret;
mod speakers;
mod transform;

pub use database::Stamp;
pub use enrolment::{Enrolment, InvalidEnrolment, MAX_TEXT, Note, Sitting, Unusable};
pub use error::StoreError;
pub use keys::{KeyError, passphrase_of};
pub use parcel::{MAX_PARCEL, ParcelError};
pub use receipt::{Receipt, ReceiptError};
pub use secret::SealError;
pub use speakers::{Protection, Removed, SpeakerStore, expiry};
