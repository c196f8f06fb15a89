//! Writing: rows come and go under the file's lock, and what is gone leaves no trace.

use std::sync::Arc;
use std::time::SystemTime;

use redb::Database;

use super::SpeakerStore;
use super::layout::{Raw, Row, fill, sealed};
use crate::store::StoreError;
use crate::store::keys::Vault;
use crate::store::row::{Pseudonym, Record, RecordId, pseudonym_of};

/// A shorter name may stand anywhere by chance: it is looked for as the first layout wrote it only.
const TELLING_NAME: usize = 6;

/// What a write does.
#[derive(Default)]
pub(super) struct Change {
    pub(super) add: Vec<Record>,
    pub(super) remove: Vec<RecordId>,
}

/// What a write did.
pub(super) struct Changed {
    /// SHA-256 of the file that took the old one's place, if one did.
    pub(super) after: Option<String>,
    pub(super) vault: Arc<Vault>,
}

impl SpeakerStore {
    /// Changes rows under the file's lock. Those that have expired go, too, and what is not sealed is sealed.
    pub(super) fn write(
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

    pub(super) fn replace(
        &self,
        db: Database,
        traces: &[Vec<u8>],
        vault: &Vault,
        rows: &[(RecordId, Vec<u8>)],
    ) -> Result<String, StoreError> {
        self.file.replace(db, traces, |tx| fill(tx, vault, rows))
    }
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
