//! The enrolled people: who is added, taken away, renewed, forgotten.

mod change;
mod layout;
mod vault;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::config;
use crate::publish::time;

use super::StoreError;
use super::database::{DatabaseFile, Stamp};
use super::enrolment::{Enrolment, Sitting};
use super::keys::{KeyRing, Vault};
use super::parcel;
use super::receipt::Receipt;
use super::row::{Record, RecordId};
use change::{Change, Changed};
use layout::{Raw, people, sealed};

/// Enrolled people in a file, sealed under a key. Each call opens the file and closes it again; a missing file holds
/// nobody.
pub struct SpeakerStore {
    file: DatabaseFile,
    ring: KeyRing,
    /// As it was opened last: a passphrase is stretched once.
    vault: Mutex<Option<Arc<Vault>>>,
}

/// How a store is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// There is none yet.
    Nothing,
    /// Written by a version without encryption; the next write seals it.
    Plain,
    /// Sealed; where its key came from, for people.
    Sealed(String),
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Sittings that are gone.
    pub sittings: usize,
    /// Sittings of the same person that are left.
    pub left: usize,
}

impl SpeakerStore {
    /// Everybody in the store that a configuration names, in order of name: what a daemon keeps in memory.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn load(config: &config::Speaker) -> Result<Vec<Enrolment>, StoreError> {
        Self::at(config).list()
    }

    /// The store that a configuration names. The file, and where no other key is given one beside it, is made by the first
    /// [`SpeakerStore::add`]; a file that is there is opened now, once.
    ///
    /// # Errors
    /// [`StoreError`] when it is locked, damaged, of another version, or sealed with a key that is not here.
    pub fn open(config: &config::Speaker) -> Result<Self, StoreError> {
        let store = Self::at(config);
        store.look()?;
        Ok(store)
    }

    fn at(config: &config::Speaker) -> Self {
        Self {
            file: DatabaseFile::new(&config.store),
            ring: KeyRing::new(config),
            vault: Mutex::default(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How it is protected.
    ///
    /// # Errors
    /// See [`SpeakerStore::open`].
    pub fn protection(&self) -> Result<Protection, StoreError> {
        Ok(match self.look()? {
            (Raw::Empty, _) => Protection::Nothing,
            (Raw::First(_), _) => Protection::Plain,
            (Raw::Sealed { .. }, vault) => {
                Protection::Sealed(vault.map(|v| v.from.clone()).unwrap_or_default())
            }
        })
    }

    /// Everybody, in order of name, also those whose time is over.
    ///
    /// # Errors
    /// [`StoreError`], also when a single sitting cannot be read: a watch list with a hole is no watch list.
    pub fn list(&self) -> Result<Vec<Enrolment>, StoreError> {
        let (raw, vault) = self.look()?;
        let rows = self.rows(raw, vault.as_deref())?;
        Ok(people(rows))
    }

    /// Everybody, as [`SpeakerStore::list`] gives them, for whoever looks again and again: the file is neither locked nor
    /// written to, and nobody is asked for a passphrase.
    ///
    /// # Errors
    /// Those of [`SpeakerStore::list`], also where somebody writes at this moment: look again.
    pub fn peek(&self) -> Result<Vec<Enrolment>, StoreError> {
        if !self.file.exists()? {
            return Ok(Vec::new());
        }
        let raw = self.raw(&self.file.copy()?)?;
        let vault = match &raw {
            Raw::Sealed { vault, .. } => Some(self.unlock_unasked(vault)?),
            Raw::Empty | Raw::First(_) => None,
        };
        let rows = self.rows(raw, vault.as_deref())?;
        if let Some(vault) = vault {
            self.keep(vault);
        }
        Ok(people(rows))
    }

    /// What changes when somebody writes to the file; `None`: it is not there. Reading may change it, too, but not
    /// [`SpeakerStore::peek`].
    pub fn stamp(&self) -> Option<Stamp> {
        self.file.stamp()
    }

    /// One person, or nobody of that name.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn get(&self, name: &str) -> Result<Option<Enrolment>, StoreError> {
        Ok(self.list()?.into_iter().find(|e| e.name == name))
    }

    /// Adds a sitting to a person, who need not be there yet; `replace`: in place of those before. Durable when it returns,
    /// with all that is known of the person now.
    ///
    /// # Errors
    /// [`StoreError::Enrolment`] when a field is out of range, and those of [`SpeakerStore::list`].
    pub fn add(
        &self,
        name: &str,
        sitting: Sitting,
        replace: bool,
    ) -> Result<Enrolment, StoreError> {
        let record = Record {
            name: name.to_owned(),
            sitting,
        };
        self.put(vec![record], replace)
    }

    fn put(&self, add: Vec<Record>, replace: bool) -> Result<Enrolment, StoreError> {
        let name = add.first().map(|r| r.name.clone()).unwrap_or_default();
        for record in &add {
            Enrolment::check_name(&record.name)?;
            record.sitting.check()?;
        }
        let mut known = Vec::new();
        self.write(|rows| {
            let of_person = || rows.iter().filter(|row| row.record.name == name);
            let mut change = Change::default();
            match replace {
                true => change.remove.extend(of_person().map(|row| row.id)),
                false => known.extend(of_person().map(|row| row.record.sitting.clone())),
            }
            known.extend(add.iter().map(|record| record.sitting.clone()));
            change.add = add;
            Ok(change)
        })?;
        Ok(Enrolment {
            name,
            sittings: known,
        })
    }

    /// Takes away a person, or one sitting, numbered from 1, oldest first: the file is written anew without it, and verified.
    /// `None`: there is nobody of that name.
    ///
    /// # Errors
    /// [`StoreError::NoSitting`], [`StoreError::Traces`], and those of [`SpeakerStore::list`].
    pub fn remove(
        &self,
        name: &str,
        sitting: Option<usize>,
    ) -> Result<Option<Removed>, StoreError> {
        Ok(self.take_away(name, sitting)?.map(|(removed, _)| removed))
    }

    /// Takes away a person, and says so in a receipt that only this store could have signed. `None`: there is nobody of that
    /// name.
    ///
    /// # Errors
    /// See [`SpeakerStore::remove`].
    pub fn forget(&self, name: &str) -> Result<Option<Receipt>, StoreError> {
        let before = self.file.hash()?;
        let Some((removed, changed)) = self.take_away(name, None)? else {
            return Ok(None);
        };
        Ok(Some(Receipt::new(
            changed.vault.receipts(),
            name,
            removed.sittings,
            before,
            changed.after.unwrap_or_default(),
        )))
    }

    /// Whether a receipt was signed by this store, and whether the person is enrolled (again); `None`: it was not signed here.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn check(&self, receipt: &Receipt) -> Result<Option<bool>, StoreError> {
        let (raw, vault) = self.look()?;
        let Some(vault) = vault else {
            return Ok(None);
        };
        if !receipt.is_signed_with(vault.receipts()) {
            return Ok(None);
        }
        let mut rows = self.rows(raw, Some(&vault))?.into_iter();
        Ok(Some(rows.any(|row| {
            receipt.is_about(vault.receipts(), &row.record.name)
        })))
    }

    /// Gives the store new keys and each voice print a new rotation, all at once: what leaked before fits nothing any more. An
    /// unprotected store is sealed. Returns how many sittings there are.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn renew(&self) -> Result<usize, StoreError> {
        if !self.file.exists()? {
            return Ok(0);
        }
        let db = self.file.open_to_write()?;
        let raw = self.raw(&db)?;
        let (old, new) = match &raw {
            Raw::Sealed { vault, .. } => {
                let old = self.unlock(vault)?;
                self.settle(&old)?;
                let new = self.ring.renewed(&old);
                (Some(old), new)
            }
            Raw::Empty | Raw::First(_) => (None, self.ring.new_vault()),
        };
        let new = Arc::new(new.map_err(|e| self.key(e))?);
        let rows = self.rows(raw, old.as_deref())?;
        let mut traces = Vec::new();
        let mut renewed = Vec::new();
        for row in &rows {
            traces.push(row.bytes.clone());
            renewed.push(sealed(&new, &row.record)?);
        }
        self.replace(db, &traces, &new, &renewed)?;
        self.settle_ours(&new)?;
        self.keep(new);
        Ok(rows.len())
    }

    /// All that is known of a person as bytes that a passphrase opens; `None`: there is nobody of that name.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn export(&self, name: &str, passphrase: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(person) = self.get(name)? else {
            return Ok(None);
        };
        let record = |sitting| Record {
            name: name.to_owned(),
            sitting,
        };
        let records: Vec<Record> = person.sittings.into_iter().map(record).collect();
        Ok(Some(parcel::pack(&records, passphrase)?))
    }

    /// Takes in what [`SpeakerStore::export`] made here or elsewhere; `replace`: in place of an enrolled person of that name.
    ///
    /// # Errors
    /// [`parcel::ParcelError`] in [`StoreError::Parcel`], [`StoreError::Exists`], and those of [`SpeakerStore::list`].
    pub fn import(
        &self,
        bytes: &[u8],
        passphrase: &str,
        replace: bool,
    ) -> Result<Enrolment, StoreError> {
        let records = parcel::unpack(bytes, passphrase)?;
        if let Some(first) = records.first()
            && !replace
            && self.get(&first.name)?.is_some()
        {
            return Err(StoreError::Exists(first.name.clone()));
        }
        self.put(records, replace)
    }

    fn take_away(
        &self,
        name: &str,
        number: Option<usize>,
    ) -> Result<Option<(Removed, Changed)>, StoreError> {
        if self.get(name)?.is_none() {
            return Ok(None);
        }
        let mut removed = Removed {
            sittings: 0,
            left: 0,
        };
        let changed = self.write(|rows| {
            let of_person = rows.iter().filter(|row| row.record.name == name);
            let mut of_person: Vec<RecordId> = of_person.map(|row| row.id).collect();
            let sittings = of_person.len();
            if let Some(number) = number {
                let index = number.checked_sub(1).filter(|i| *i < sittings);
                let index = index.ok_or_else(|| StoreError::NoSitting {
                    name: name.into(),
                    sittings,
                    number,
                })?;
                of_person = vec![of_person[index]];
            }
            removed.sittings = of_person.len();
            removed.left = sittings - of_person.len();
            Ok(Change {
                remove: of_person,
                ..Change::default()
            })
        })?;
        // Another process may have been first.
        Ok((removed.sittings > 0).then_some((removed, changed)))
    }
}

/// The end of a sitting that may be kept for so many days from now.
#[must_use]
pub fn expiry(days: u32) -> String {
    let days = std::time::Duration::from_secs(86_400 * u64::from(days));
    time::rfc3339(SystemTime::now() + days)
}

#[cfg(test)]
mod tests;
