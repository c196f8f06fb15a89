//! The vault of a store: looked for, opened, kept, and settled when it was renewed.

use std::sync::{Arc, PoisonError};

use super::SpeakerStore;
use super::layout::Raw;
use crate::store::StoreError;
use crate::store::keys::{KeyError, Vault};

/// Looks at a store that others renew meanwhile before giving up.
const LOOKS: usize = 5;

impl SpeakerStore {
    /// What the file says, and its vault opened. A vault that no key opens may have been renewed, key and all, between one
    /// look and the next.
    pub(super) fn look(&self) -> Result<(Raw, Option<Arc<Vault>>), StoreError> {
        let mut refused: Option<String> = None;
        for _ in 0..LOOKS {
            if !self.file.exists()? {
                return Ok((Raw::Empty, None));
            }
            let db = self.file.open()?;
            let raw = self.raw(&db)?;
            let Raw::Sealed { vault: text, .. } = &raw else {
                return Ok((raw, None));
            };
            // A key beside the store is exchanged under the file's lock only: it stays while we hold that. A passphrase is
            // stretched while nobody waits for the file.
            let held = text.starts_with("key:").then_some(db);
            let unlocked = self.unlock(text);
            drop(held);
            match unlocked {
                Ok(vault) => {
                    self.keep(vault.clone());
                    return Ok((raw, Some(vault)));
                }
                // A passphrase opens what was sealed before a renewal as well: nobody is asked again for the same.
                Err(error) if !text.starts_with("key:") => return Err(error),
                Err(error) if refused.as_ref() == Some(text) => return Err(error),
                Err(_) => refused = Some(text.clone()),
            }
        }
        Err(StoreError::Busy(self.path().into()))
    }

    pub(super) fn unlock(&self, text: &str) -> Result<Arc<Vault>, StoreError> {
        self.known_or(text, || self.ring.unlock(text))
    }

    /// The same where there is nobody to ask for a passphrase.
    pub(super) fn unlock_unasked(&self, text: &str) -> Result<Arc<Vault>, StoreError> {
        self.known_or(text, || self.ring.unlock_unasked(text))
    }

    /// The vault that was opened last, if it is this one.
    fn known_or(
        &self,
        text: &str,
        open: impl FnOnce() -> Result<Vault, KeyError>,
    ) -> Result<Arc<Vault>, StoreError> {
        let known = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = known.as_ref().filter(|vault| vault.text == text) {
            return Ok(vault.clone());
        }
        drop(known);
        Ok(Arc::new(open().map_err(|e| self.key(e))?))
    }

    pub(super) fn keep(&self, vault: Arc<Vault>) {
        *self.vault.lock().unwrap_or_else(PoisonError::into_inner) = Some(vault);
    }

    pub(super) fn settle(&self, vault: &Vault) -> Result<(), StoreError> {
        self.ring.settle(vault).map_err(|e| self.key(e))
    }

    /// Settles a vault that was just written, under the file's lock: whoever renewed the store meanwhile has settled it, and
    /// now has a key of their own waiting, which is not ours to clear away.
    pub(super) fn settle_ours(&self, vault: &Vault) -> Result<(), StoreError> {
        let db = self.file.open_to_write()?;
        match self.raw(&db)? {
            Raw::Sealed { vault: text, .. } if text == vault.text => self.settle(vault),
            _ => Ok(()),
        }
    }

    pub(super) fn key(&self, source: KeyError) -> StoreError {
        StoreError::Key {
            path: self.path().into(),
            source,
        }
    }
}
