//! Which key opens a store: where it may come from, and the vault in the file that it unlocks.
//!
//! Two steps. A **lock key** comes from outside of the file: a key file, a systemd credential, a passphrase. It opens the
//! **vault**, two random keys that the file holds sealed: the data key, from which the keys of rows follow, and the receipt
//! key, which outlives it. So the data key is renewed without asking anybody for another secret.

mod error;
mod file;
mod vault;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config;

use super::database::overwrite;
use super::passphrase::Stretch;
use super::secret;
pub use error::KeyError;
use error::io;
pub use file::passphrase_of;
pub(super) use file::sync_folder;
use file::{read, read_or_make};
use vault::Lock;
pub(super) use vault::Vault;

/// The credential that systemd puts into `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "earwitness.key";
/// A passphrase, for whoever runs the program in a container.
const PASSPHRASE: &str = "EARWITNESS_PASSPHRASE";

/// Where the key of one store may come from.
#[derive(Debug, Clone)]
pub(super) struct KeyRing {
    key_file: Option<PathBuf>,
    credential: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    /// Made where there is no other.
    beside: PathBuf,
}

impl KeyRing {
    pub(super) fn new(config: &config::Speaker) -> Self {
        let credential = env::var_os("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join(CREDENTIAL))
            .filter(|path| path.exists());
        Self {
            key_file: config.key_file.clone(),
            credential,
            passphrase_file: config.passphrase_file.clone(),
            beside: config.store.with_extension("key"),
        }
    }

    /// A vault with new keys, locked by the best key that there is: the configured file, the credential, the passphrase, or
    /// else a file beside the store, which is made where it is missing.
    pub(super) fn new_vault(&self) -> Result<Vault, KeyError> {
        let lock = self.lock(|| read_or_make(&self.beside))?;
        Vault::seal(&lock, secret::random_key()?, secret::random_key()?)
    }

    /// A vault with a new data key and, where it lies beside the store, a new lock key. The new file beside the store waits
    /// under another name until [`KeyRing::settle`]: until then both keys are there, whatever happens between.
    pub(super) fn renewed(&self, old: &Vault) -> Result<Vault, KeyError> {
        let lock = self.lock(|| {
            let next = self.next();
            match fs::remove_file(&next) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io("make", &next)(e)),
                _ => read_or_make(&next),
            }
        })?;
        Vault::seal(&lock, secret::random_key()?, old.receipts.clone())
    }

    /// Opens a vault; a passphrase that is nowhere else is asked for at the terminal.
    pub(super) fn unlock(&self, text: &str) -> Result<Vault, KeyError> {
        self.unlock_or(text, ask)
    }

    /// The same where there is nobody to ask.
    pub(super) fn unlock_unasked(&self, text: &str) -> Result<Vault, KeyError> {
        self.unlock_or(text, || Err(KeyError::NoPassphrase))
    }

    fn unlock_or(
        &self,
        text: &str,
        ask: impl FnOnce() -> Result<(Zeroizing<String>, String), KeyError>,
    ) -> Result<Vault, KeyError> {
        let kind = text.rsplit_once(':').map_or("", |(kind, _)| kind);
        let locks = if kind == "key" {
            self.keys()?
        } else {
            let stretch = Stretch::parse(kind)
                .ok_or_else(|| KeyError::Vault(text.chars().take(40).collect()))?;
            let (passphrase, from) = self.passphrase()?.map_or_else(ask, Ok)?;
            vec![Lock {
                key: stretch.key(&passphrase)?,
                kind: kind.into(),
                from,
            }]
        };
        if locks.is_empty() {
            return Err(KeyError::Missing {
                tried: self.beside.display().to_string(),
            });
        }
        let tried: Vec<&str> = locks.iter().map(|lock| lock.from.as_str()).collect();
        let tried = tried.join(", ");
        let wrong = match kind {
            "key" => KeyError::Wrong { tried },
            _ => KeyError::WrongPassphrase { tried },
        };
        for lock in &locks {
            if let Some(vault) = Vault::open(lock, text)? {
                return Ok(vault);
            }
        }
        Err(wrong)
    }

    /// Ends what [`KeyRing::renewed`] began, or what a killed process left: the new key takes the place of the old, which is
    /// overwritten.
    pub(super) fn settle(&self, vault: &Vault) -> Result<(), KeyError> {
        let next = self.next();
        if !next.exists() {
            return Ok(());
        }
        let fits = read(&next, "")
            .is_ok_and(|lock| matches!(Vault::open(&lock, &vault.text), Ok(Some(_))));
        if !fits {
            return fs::remove_file(&next).map_err(io("make", &self.beside));
        }
        let stale = OpenOptions::new().write(true).open(&self.beside);
        fs::rename(&next, &self.beside)
            .and_then(|()| sync_folder(&self.beside))
            .map_err(io("make", &self.beside))?;
        // There is none where a store moved here from another key.
        if let Ok(mut stale) = stale
            && let Err(error) = overwrite(&mut stale)
        {
            tracing::warn!(%error, "the old key of the speaker store is deleted, but could not be overwritten");
        }
        Ok(())
    }

    /// The lock key for a new vault.
    fn lock(&self, beside: impl FnOnce() -> Result<Lock, KeyError>) -> Result<Lock, KeyError> {
        if let Some(path) = &self.key_file {
            return read(path, "speaker.key_file ");
        }
        if let Some(path) = &self.credential {
            return read(path, "the credential ");
        }
        if let Some((passphrase, from)) = self.passphrase()? {
            let stretch = Stretch::fresh()?;
            return Ok(Lock {
                key: stretch.key(&passphrase)?,
                kind: stretch.text(),
                from,
            });
        }
        beside()
    }

    /// Every key file that there is.
    fn keys(&self) -> Result<Vec<Lock>, KeyError> {
        let mut locks = Vec::new();
        if let Some(path) = &self.key_file {
            locks.push(read(path, "speaker.key_file ")?);
        }
        if let Some(path) = &self.credential {
            locks.push(read(path, "the credential ")?);
        }
        for path in [self.beside.clone(), self.next()] {
            if path.exists() {
                locks.push(read(&path, "")?);
            }
        }
        Ok(locks)
    }

    fn passphrase(&self) -> Result<Option<(Zeroizing<String>, String)>, KeyError> {
        if let Ok(passphrase) = env::var(PASSPHRASE) {
            let passphrase = Zeroizing::new(passphrase);
            return match passphrase.is_empty() {
                true => Err(KeyError::Empty(PASSPHRASE.into())),
                false => Ok(Some((passphrase, PASSPHRASE.into()))),
            };
        }
        let Some(path) = &self.passphrase_file else {
            return Ok(None);
        };
        Ok(Some((passphrase_of(path)?, path.display().to_string())))
    }

    fn next(&self) -> PathBuf {
        self.beside.with_extension("key.new")
    }
}

/// A passphrase from whoever sits at the terminal.
fn ask() -> Result<(Zeroizing<String>, String), KeyError> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(KeyError::NoPassphrase);
    }
    let passphrase = rpassword::prompt_password("Passphrase of the speaker store: ")
        .map_err(|_| KeyError::NoPassphrase)?;
    Ok((Zeroizing::new(passphrase), "the passphrase given".into()))
}

#[cfg(test)]
mod tests;
