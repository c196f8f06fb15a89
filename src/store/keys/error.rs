//! Why there is no key, or none that fits.

use std::io;
use std::path::{Path, PathBuf};

use super::{CREDENTIAL, PASSPHRASE};
use crate::store::secret::SealError;

/// Why there is no key, or none that fits.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key or passphrase file cannot be read or made.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// read, make.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// A key file holds something else.
    #[error(
        "{0}: expected a key, 32 bytes or 64 hexadecimal digits; make one with: head -c 32 /dev/urandom > {0}; chmod 600 {0}"
    )]
    NoKey(PathBuf),
    /// A passphrase is empty.
    #[error("{0}: expected a passphrase on the first line, found none")]
    Empty(String),
    /// The store was sealed with a key that is not here.
    #[error(
        "the store is sealed with a key that is not here: expected it in {tried}; put it back from its backup, or, if it is lost, move the store away and enrol again"
    )]
    Missing {
        /// Where it was looked for.
        tried: String,
    },
    /// The store was sealed with a passphrase and there is nobody to ask.
    #[error(
        "the store is sealed with a passphrase: set {PASSPHRASE}, or speaker.passphrase_file, or run a command at a terminal"
    )]
    NoPassphrase,
    /// None of them fits.
    #[error(
        "wrong key: the store was sealed with another one than {tried}; give the right one (speaker.key_file, the credential {CREDENTIAL}, {PASSPHRASE}, or the key beside the store)"
    )]
    Wrong {
        /// Which were tried.
        tried: String,
    },
    /// The passphrase is another one.
    #[error(
        "wrong passphrase: the store was sealed with another one than {tried}; give the right one ({PASSPHRASE}, speaker.passphrase_file, or at a terminal)"
    )]
    WrongPassphrase {
        /// Where it came from.
        tried: String,
    },
    /// The store's own note on how it is locked cannot be read.
    #[error("its vault cannot be read (`{0}`); restore the store from a backup")]
    Vault(String),
    /// The cipher or the random numbers.
    #[error(transparent)]
    Seal(#[from] SealError),
}

pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { what, path, source }
}
