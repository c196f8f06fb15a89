//! The enrolled people: who is added, taken away, renewed, forgotten.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use crate::config;
use crate::publish::time;

use super::StoreError;
use super::database::{DatabaseFile, Stamp};
use super::enrolment::{Enrolment, Sitting};
use super::keys::{KeyError, KeyRing, Vault};
use super::parcel;
use super::receipt::Receipt;
use super::row::{Pseudonym, Record, RecordId, RowError, from_first_layout, pseudonym_of};
use super::secret::{self, SealError};

/// Record → sealed sitting.
const SITTINGS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("sittings");
/// What the file is: `schema`, and `vault`, its sealed keys.
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
/// Layout of the tables.
const SCHEMA: &str = "2";
/// The first layout: not sealed, name → JSON.
const FIRST: &str = "1";
const FIRST_SPEAKERS: TableDefinition<&str, &[u8]> = TableDefinition::new("speakers");
/// Looks at a store that others renew meanwhile before giving up.
const LOOKS: usize = 5;
/// A shorter name may stand anywhere by chance: it is looked for as the first layout wrote it only.
const TELLING_NAME: usize = 6;

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

/// What the file says, before any key is asked for.
enum Raw {
    Empty,
    First(Vec<Record>),
    Sealed {
        vault: String,
        rows: Vec<(RecordId, Vec<u8>)>,
    },
}

/// A row, and what it says. Those of the first layout have no bytes yet.
struct Row {
    id: RecordId,
    bytes: Vec<u8>,
    record: Record,
}

/// What a write does.
#[derive(Default)]
struct Change {
    add: Vec<Record>,
    remove: Vec<RecordId>,
}

/// What a write did.
struct Changed {
    /// SHA-256 of the file that took the old one's place, if one did.
    after: Option<String>,
    vault: Arc<Vault>,
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
            Raw::Sealed { vault, .. } => {
                let vault = self.known(vault).map_or_else(
                    || self.ring.unlock_unasked(vault).map(Arc::new),
                    Ok::<_, KeyError>,
                );
                Some(vault.map_err(|e| self.key(e))?)
            }
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

    /// Changes rows under the file's lock. Those that have expired go, too, and what is not sealed is sealed.
    fn write(
        &self,
        change: impl FnOnce(&[Row]) -> Result<Change, StoreError>,
    ) -> Result<Changed, StoreError> {
        // Before there is a file, so that none is left where there is no key.
        let fresh = match self.file.exists()? {
            true => {
                // A passphrase is stretched while nobody waits for the file.
                self.look()?;
                None
            }
            false => Some(self.ring.new_vault().map_err(|e| self.key(e))?),
        };
        let db = self.file.open_to_write()?;
        let raw = self.raw(&db)?;
        let is_plain = matches!(raw, Raw::First(_));
        let vault = match (&raw, fresh) {
            (Raw::Sealed { vault, .. }, _) => {
                let vault = self.unlock(vault)?;
                self.settle(&vault)?;
                vault
            }
            (_, Some(fresh)) => Arc::new(fresh),
            (_, None) => Arc::new(self.ring.new_vault().map_err(|e| self.key(e))?),
        };
        let rows = self.rows(raw, Some(&vault))?;
        let Change { add, remove } = change(&rows)?;
        let now = SystemTime::now();
        let (gone, stay): (Vec<Row>, Vec<Row>) = rows
            .into_iter()
            .partition(|row| remove.contains(&row.id) || row.record.sitting.has_expired(now));
        for row in gone.iter().filter(|row| !remove.contains(&row.id)) {
            tracing::warn!(
                name = row.record.name,
                created = row.record.sitting.note.created,
                "a sitting's time is over: it is deleted"
            );
        }
        let mut new = Vec::new();
        for record in &add {
            new.push(sealed(&vault, record)?);
        }
        let after = if gone.is_empty() && !is_plain {
            self.insert(&db, &vault, &new)?;
            None
        } else {
            let traces = traces(&gone, &stay, &add);
            let people = stay.len();
            for row in stay {
                new.push(match row.bytes.is_empty() {
                    true => sealed(&vault, &row.record)?,
                    false => (row.id, row.bytes),
                });
            }
            let hash = self.replace(db, &traces, &vault, &new)?;
            if is_plain {
                tracing::warn!(
                    store = %self.path().display(), people, key = vault.from,
                    "the store was not encrypted; it is now"
                );
            }
            Some(hash)
        };
        self.keep(vault.clone());
        Ok(Changed { after, vault })
    }

    fn insert(
        &self,
        db: &Database,
        vault: &Vault,
        rows: &[(RecordId, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.file.transaction(db, |tx| fill(tx, vault, rows))
    }

    fn replace(
        &self,
        db: Database,
        traces: &[Vec<u8>],
        vault: &Vault,
        rows: &[(RecordId, Vec<u8>)],
    ) -> Result<String, StoreError> {
        self.file.replace(db, traces, |tx| fill(tx, vault, rows))
    }

    /// What the file says, and its vault opened. A vault that no key opens may have been renewed, key and all, between one
    /// look and the next.
    fn look(&self) -> Result<(Raw, Option<Arc<Vault>>), StoreError> {
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
                Err(error) if refused.as_ref() == Some(text) => return Err(error),
                Err(_) => refused = Some(text.clone()),
            }
        }
        Err(StoreError::Busy(self.path().into()))
    }

    fn unlock(&self, text: &str) -> Result<Arc<Vault>, StoreError> {
        if let Some(vault) = self.known(text) {
            return Ok(vault);
        }
        let vault = self.ring.unlock(text).map_err(|e| self.key(e))?;
        Ok(Arc::new(vault))
    }

    /// The vault that was opened last, if it is this one.
    fn known(&self, text: &str) -> Option<Arc<Vault>> {
        let known = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|vault| vault.text == text).cloned()
    }

    fn keep(&self, vault: Arc<Vault>) {
        *self.vault.lock().unwrap_or_else(PoisonError::into_inner) = Some(vault);
    }

    fn settle(&self, vault: &Vault) -> Result<(), StoreError> {
        self.ring.settle(vault).map_err(|e| self.key(e))
    }

    /// Settles a vault that was just written, under the file's lock: whoever renewed the store meanwhile has settled it, and
    /// now has a key of their own waiting, which is not ours to clear away.
    fn settle_ours(&self, vault: &Vault) -> Result<(), StoreError> {
        let db = self.file.open_to_write()?;
        match self.raw(&db)? {
            Raw::Sealed { vault: text, .. } if text == vault.text => self.settle(vault),
            _ => Ok(()),
        }
    }

    /// All rows, oldest first.
    fn rows(&self, raw: Raw, vault: Option<&Vault>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        match (raw, vault) {
            (Raw::First(records), _) => {
                for record in records {
                    rows.push(Row {
                        id: secret::random()?,
                        bytes: Vec::new(),
                        record,
                    });
                }
            }
            (Raw::Sealed { rows: sealed, .. }, Some(vault)) => {
                for (id, bytes) in sealed {
                    let record = vault.rows.record(&id, &bytes).map_err(|e| match e {
                        RowError::Seal(SealError::Wrong) => self
                            .file
                            .damaged("a sitting was altered: its seal is broken"),
                        other => other.into(),
                    })?;
                    rows.push(Row { id, bytes, record });
                }
            }
            (Raw::Empty | Raw::Sealed { .. }, _) => (),
        }
        rows.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(rows)
    }

    fn raw(&self, db: &impl BeginRead) -> Result<Raw, StoreError> {
        let tx = db.begin().map_err(|e| self.file.damaged(e))?;
        let meta = match tx.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => {
                let mut others = tx.list_tables().map_err(|e| self.file.damaged(e))?;
                return match others.next() {
                    None => Ok(Raw::Empty),
                    Some(_) => Err(self.file.damaged("it holds other tables than ours")),
                };
            }
            Err(error) => return Err(self.file.damaged(error)),
        };
        let get = |key| -> Result<String, StoreError> {
            let value = meta.get(key).map_err(|e| self.file.damaged(e))?;
            Ok(value.map(|v| v.value().to_owned()).unwrap_or_default())
        };
        match get("schema")?.as_str() {
            FIRST => self.first(&tx),
            SCHEMA => {
                let mut rows = Vec::new();
                let table = tx.open_table(SITTINGS).map_err(|e| self.file.damaged(e))?;
                for row in table.iter().map_err(|e| self.file.damaged(e))? {
                    let (id, row) = row.map_err(|e| self.file.damaged(e))?;
                    let id = RecordId::try_from(id.value());
                    let id = id.map_err(|_| self.file.damaged("a record's name is too long"))?;
                    rows.push((id, row.value().to_vec()));
                }
                Ok(Raw::Sealed {
                    vault: get("vault")?,
                    rows,
                })
            }
            found => Err(StoreError::Schema {
                path: self.path().into(),
                found: found.into(),
                expected: SCHEMA,
            }),
        }
    }

    fn first(&self, tx: &ReadTransaction) -> Result<Raw, StoreError> {
        let table = match tx.open_table(FIRST_SPEAKERS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Raw::First(Vec::new())),
            other => other.map_err(|e| self.file.damaged(e))?,
        };
        let mut records = Vec::new();
        for row in table.iter().map_err(|e| self.file.damaged(e))? {
            let (name, bytes) = row.map_err(|e| self.file.damaged(e))?;
            records.push(from_first_layout(name.value(), bytes.value())?);
        }
        Ok(Raw::First(records))
    }

    fn key(&self, source: KeyError) -> StoreError {
        StoreError::Key {
            path: self.path().into(),
            source,
        }
    }
}

/// Something that transactions can be read from.
trait BeginRead {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError>;
}

impl BeginRead for Database {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError> {
        self.begin_read()
    }
}

impl BeginRead for super::database::Opened {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError> {
        self.begin_read()
    }
}

fn fill(
    tx: &redb::WriteTransaction,
    vault: &Vault,
    rows: &[(RecordId, Vec<u8>)],
) -> Result<(), redb::Error> {
    let mut meta = tx.open_table(META)?;
    meta.insert("schema", SCHEMA)?;
    meta.insert("vault", vault.text.as_str())?;
    let mut table = tx.open_table(SITTINGS)?;
    for (id, row) in rows {
        table.insert(id.as_slice(), row.as_slice())?;
    }
    Ok(())
}

/// A new row.
fn sealed(vault: &Vault, record: &Record) -> Result<(RecordId, Vec<u8>), StoreError> {
    let id: RecordId = secret::random()?;
    let row = vault.rows.row(&id, record)?;
    Ok((id, row))
}

/// By name, then by time.
fn key(row: &Row) -> (&str, &str, RecordId) {
    let record = &row.record;
    (&record.name, &record.sitting.note.created, row.id)
}

/// Rows in order of name as people.
fn people(rows: Vec<Row>) -> Vec<Enrolment> {
    let mut people: Vec<Enrolment> = Vec::new();
    for Row { record, .. } in rows {
        match people.last_mut().filter(|last| last.name == record.name) {
            Some(last) => last.sittings.push(record.sitting),
            None => people.push(Enrolment {
                name: record.name,
                sittings: vec![record.sitting],
            }),
        }
    }
    people
}

/// What must not be found in a file without the rows that are gone: their bytes, and of people of whom nothing stays, what
/// stands for the name.
fn traces(gone: &[Row], stay: &[Row], add: &[Record]) -> Vec<Vec<u8>> {
    let mut traces = Vec::new();
    for row in gone
        .iter()
        .chain(stay.iter().filter(|row| row.bytes.is_empty()))
    {
        let name = &row.record.name;
        traces.push(format!("\"name\":\"{name}\"").into_bytes());
        traces.push(row.bytes.clone());
        traces.push(row.id.to_vec());
        let stays = stay.iter().map(|row| &row.record).chain(add);
        if stays.into_iter().any(|record| record.name == *name) {
            continue;
        }
        if name.len() >= TELLING_NAME {
            traces.push(name.clone().into_bytes());
        }
        let pseudonym: Option<Pseudonym> = pseudonym_of(&row.bytes);
        traces.extend(pseudonym.map(|p| p.to_vec()));
    }
    traces
}

/// The end of a sitting that may be kept for so many days from now.
#[must_use]
pub fn expiry(days: u32) -> String {
    let days = std::time::Duration::from_secs(86_400 * u64::from(days));
    time::rfc3339(SystemTime::now() + days)
}

#[cfg(test)]
#[path = "speakers_tests.rs"]
mod tests;
