//! What can go wrong with the store, in words that say what to do.

use std::io;
use std::path::PathBuf;

use super::enrolment::InvalidEnrolment;
use super::keys::KeyError;
use super::parcel::ParcelError;
use super::row::RowError;
use super::secret::SealError;

/// Why enrolled people cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process does not let go of the file.
    #[error(
        "{0} is locked by another process; it is held for milliseconds only, so look for one that hangs, then try again"
    )]
    Locked(PathBuf),
    /// Not a database, or a broken one.
    #[error(
        "{path} is damaged or not a speaker database ({reason}); restore it from a backup or move it away and enrol again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The database's word.
        reason: String,
    },
    /// Written by another version of the program.
    #[error(
        "{path} has layout `{found}`, this program reads `{expected}`; use the program that wrote it"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// Ours.
        expected: &'static str,
    },
    /// No key fits.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Something that was taken away is still there.
    #[error("{0} would still hold what was to be removed; nothing was changed; please report this")]
    Traces(PathBuf),
    /// A sitting of that number is not there.
    #[error("{name} has {sittings} sittings, numbered from 1: found no number {number}")]
    NoSitting {
        /// Whose.
        name: String,
        /// How many there are.
        sittings: usize,
        /// Which was asked for.
        number: usize,
    },
    /// A parcel would take an enrolled person's place.
    #[error("{0} is enrolled already; --replace lets the file take that place")]
    Exists(String),
    /// An imported file is not acceptable.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The store changed each time that it was looked at.
    #[error("{0} was renewed again and again meanwhile; try again")]
    Busy(PathBuf),
    /// An enrolment is not acceptable.
    #[error(transparent)]
    Enrolment(#[from] InvalidEnrolment),
    /// The cipher, or the system's random numbers.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The operating system refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

impl From<RowError> for StoreError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Seal(error) => error.into(),
            RowError::Invalid(error) => error.into(),
        }
    }
}
