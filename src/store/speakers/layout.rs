//! The tables of a store: what the file says before any key is asked for, and the rows that a vault makes of it.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::SpeakerStore;
use crate::store::StoreError;
use crate::store::database::Opened;
use crate::store::enrolment::Enrolment;
use crate::store::keys::Vault;
use crate::store::row::{Record, RecordId, RowError, from_first_layout};
use crate::store::secret::{self, SealError};

/// Record → sealed sitting.
pub(super) const SITTINGS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("sittings");
/// What the file is: `schema`, and `vault`, its sealed keys.
pub(super) const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
/// Layout of the tables.
const SCHEMA: &str = "2";
/// The first layout: not sealed, name → JSON.
const FIRST: &str = "1";
pub(super) const FIRST_SPEAKERS: TableDefinition<&str, &[u8]> = TableDefinition::new("speakers");

/// What the file says, before any key is asked for.
pub(super) enum Raw {
    Empty,
    First(Vec<Record>),
    Sealed {
        vault: String,
        rows: Vec<(RecordId, Vec<u8>)>,
    },
}

/// A row, and what it says. Those of the first layout have no bytes yet.
pub(super) struct Row {
    pub(super) id: RecordId,
    pub(super) bytes: Vec<u8>,
    pub(super) record: Record,
}

impl SpeakerStore {
    pub(super) fn raw(&self, db: &impl BeginRead) -> Result<Raw, StoreError> {
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

    /// All rows, oldest first.
    pub(super) fn rows(&self, raw: Raw, vault: Option<&Vault>) -> Result<Vec<Row>, StoreError> {
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
}

/// Something that transactions can be read from.
pub(super) trait BeginRead {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError>;
}

impl BeginRead for Database {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError> {
        self.begin_read()
    }
}

impl BeginRead for Opened {
    fn begin(&self) -> Result<ReadTransaction, redb::TransactionError> {
        self.begin_read()
    }
}

pub(super) fn fill(
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
pub(super) fn sealed(vault: &Vault, record: &Record) -> Result<(RecordId, Vec<u8>), StoreError> {
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
pub(super) fn people(rows: Vec<Row>) -> Vec<Enrolment> {
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
