//! The database file. Synchronous, no thread, no clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableError,
};

use super::row::{self, Message};

/// Key → row.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
/// Retained topics that a broker may hold on our behalf.
const RETAINED: TableDefinition<&str, ()> = TableDefinition::new("retained");
/// What the file is and holds: `schema`, `bytes`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Layout of the tables.
const SCHEMA: u64 = 1;
/// Stands for tables that are not ours.
const FOREIGN: u64 = u64::MAX;
/// redb's own default is 1 GiB.
const CACHE: usize = 4 << 20;
/// A predecessor that is just ending lets go within this time.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Rows that one commit evicts at most, beside those that the new ones push out: a commit must not take long.
const EVICT: usize = 4096;
/// A file that is larger than this with nothing in it is made small again.
const SHRINK: u64 = 8 << 20;
/// Bytes that one look-up brings at most, but at least one message.
const LOAD_BYTES: usize = 4 << 20;
/// 2020-01-01. A clock that stood before when an event came was not set: its age is not known.
const PLAUSIBLE_MS: u64 = 1_577_836_800_000;

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Its folder is not there. It is not made: a typing error must not litter the disk.
    #[error(
        "[mqtt] outbox {path}: the folder {parent} does not exist; create it or correct the path"
    )]
    NoParent {
        /// The file.
        path: PathBuf,
        /// Its folder.
        parent: PathBuf,
    },
    /// Another process holds it.
    #[error(
        "[mqtt] outbox {0} is in use by another process; two daemons need two outboxes (and two node names)"
    )]
    Locked(PathBuf),
    /// Written by another version of the program.
    #[error(
        "[mqtt] outbox {path} has layout {found}, this program reads {SCHEMA}; use the program that wrote it, or move the file away"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A database of something else.
    #[error(
        "[mqtt] outbox {0} is a database, but no outbox; is it the speaker store? Correct the path"
    )]
    Foreign(PathBuf),
    /// Not a database, or a broken one.
    #[error("[mqtt] outbox {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The database's word.
        reason: String,
    },
    /// The operating system refused: full, read-only, not ours.
    #[error("[mqtt] outbox {path}: {reason}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        reason: String,
    },
}

/// How much may lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all events.
    pub bytes: u64,
    /// How long an event may wait.
    pub age: Duration,
}

/// Changes of one commit.
#[derive(Debug, Default)]
pub struct Batch {
    /// New events, in order of key.
    pub inserts: Vec<(u64, Arc<Message>)>,
    /// Events that are done with.
    pub removes: Vec<u64>,
    /// Retained topics that the broker holds no more.
    pub forget: Vec<String>,
}

/// Keys of events that a commit threw out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Too old.
    pub aged: Vec<u64>,
    /// No room.
    pub crowded: Vec<u64>,
}

/// The open file.
pub struct Store {
    db: Database,
    path: PathBuf,
    limits: Limits,
    events: u64,
    bytes: u64,
}

impl Store {
    /// Opens the file, or makes it. A damaged one is moved aside; where it went is returned beside the new one.
    ///
    /// # Errors
    /// [`OutboxError`] when there is no folder, another process has the file, or the disk refuses.
    pub fn open(path: &Path, limits: Limits) -> Result<(Self, Option<PathBuf>), OutboxError> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(OutboxError::NoParent {
                path: path.into(),
                parent: parent.into(),
            });
        }
        match Self::open_file(path, limits) {
            Err(OutboxError::Damaged { reason, .. }) => {
                let aside = aside(path);
                fs::rename(path, &aside).map_err(|e| disk(path, e))?;
                let (outbox, moved) = (path.display(), aside.display());
                tracing::error!(
                    %outbox, %moved,
                    "the outbox is damaged ({reason}) and was moved aside; what waited in it is not delivered"
                );
                Ok((Self::open_file(path, limits)?, Some(aside)))
            }
            opened => Ok((opened?, None)),
        }
    }

    fn open_file(path: &Path, limits: Limits) -> Result<Self, OutboxError> {
        private(path).map_err(|e| disk(path, e))?;
        let mut builder = Builder::new();
        // Every page's checksum is looked at, so that damage is an error here and not a surprise later.
        builder
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true);
        let limit = Instant::now() + LOCK_PATIENCE;
        let db = loop {
            match builder.create(path) {
                Ok(db) => break db,
                Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                    if Instant::now() > limit {
                        return Err(OutboxError::Locked(path.into()));
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(failed(path, error.into())),
            }
        };
        let mut store = Self {
            db,
            path: path.into(),
            limits,
            events: 0,
            bytes: 0,
        };
        store.prepare()?;
        Ok(store)
    }

    /// Makes the tables of a new file, and reads how much an old one holds.
    fn prepare(&mut self) -> Result<(), OutboxError> {
        let read = || -> Result<Option<(u64, u64, u64)>, redb::Error> {
            let tx = self.db.begin_read()?;
            let meta = match tx.open_table(META) {
                Ok(meta) => meta,
                Err(TableError::TableDoesNotExist(_)) if tx.list_tables()?.next().is_none() => {
                    return Ok(None);
                }
                Err(
                    TableError::TableDoesNotExist(_)
                    | TableError::TableTypeMismatch { .. }
                    | TableError::TypeDefinitionChanged { .. },
                ) => return Ok(Some((FOREIGN, 0, 0))),
                Err(error) => return Err(error.into()),
            };
            let get = |key| Ok::<_, redb::Error>(meta.get(key)?.map_or(0, |v| v.value()));
            let (schema, bytes) = (get("schema")?, get("bytes")?);
            let events = if schema == SCHEMA {
                tx.open_table(EVENTS)?.len()?
            } else {
                0
            };
            Ok(Some((schema, events, bytes)))
        };
        let found = read();
        match found {
            Ok(Some((SCHEMA, events, bytes))) => (self.events, self.bytes) = (events, bytes),
            Ok(Some((FOREIGN, ..))) => return Err(OutboxError::Foreign(self.path.clone())),
            Ok(Some((found, ..))) => {
                let path = self.path.clone();
                return Err(OutboxError::Schema { path, found });
            }
            Ok(None) => self.write(|_| Ok(()))?,
            Err(error) => return Err(failed(&self.path, error)),
        }
        Ok(())
    }

    /// Events in it.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes of these events.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The lowest key, and the one after the highest; equal when it is empty.
    ///
    /// # Errors
    /// [`OutboxError`] when it cannot be read.
    pub fn range(&self) -> Result<(u64, u64), OutboxError> {
        let read = || -> Result<(u64, u64), redb::Error> {
            let tx = self.db.begin_read()?;
            let events = tx.open_table(EVENTS)?;
            let (first, last) = (events.first()?, events.last()?);
            Ok(match (first, last) {
                (Some((first, _)), Some((last, _))) => (first.value(), last.value() + 1),
                _ => (0, 0),
            })
        };
        read().map_err(|e| failed(&self.path, e))
    }

    /// Applies a batch; it is on the disk when this returns. Then the limits are kept: what is too old or finds no
    /// room goes, the oldest first.
    ///
    /// # Errors
    /// [`OutboxError`]; nothing of the batch is applied, and the store has to be opened anew.
    pub(super) fn apply(&mut self, batch: &Batch, now_ms: u64) -> Result<Evicted, OutboxError> {
        let (mut events, mut bytes) = (self.events, self.bytes);
        let limits = self.limits;
        let mut evicted = Evicted::default();
        self.write(|tx| {
            let mut table = tx.open_table(EVENTS)?;
            for (key, message) in &batch.inserts {
                let row = message.to_bytes();
                if let Some(old) = table.insert(key, row.as_slice())? {
                    bytes -= old.value().len() as u64;
                    events -= 1;
                }
                bytes += row.len() as u64;
                events += 1;
            }
            for key in &batch.removes {
                if let Some(old) = table.remove(key)? {
                    bytes = bytes.saturating_sub(old.value().len() as u64);
                    events -= 1;
                }
            }
            let most = EVICT + batch.inserts.len();
            let oldest =
                now_ms.saturating_sub(u64::try_from(limits.age.as_millis()).unwrap_or(u64::MAX));
            while evicted.aged.len() + evicted.crowded.len() < most {
                let Some((key, taken)) = table
                    .first()?
                    .map(|(key, row)| (key.value(), row::taken_ms(row.value()).unwrap_or(0)))
                else {
                    break;
                };
                let aged = taken >= PLAUSIBLE_MS && taken < oldest;
                if !aged && bytes <= limits.bytes {
                    break;
                }
                if let Some((_, row)) = table.pop_first()? {
                    bytes = bytes.saturating_sub(row.value().len() as u64);
                    events -= 1;
                }
                if aged {
                    evicted.aged.push(key);
                } else {
                    evicted.crowded.push(key);
                }
            }
            drop(table);
            if !batch.forget.is_empty() {
                let mut retained = tx.open_table(RETAINED)?;
                for topic in &batch.forget {
                    retained.remove(topic.as_str())?;
                }
            }
            tx.open_table(META)?.insert("bytes", bytes)?;
            Ok(())
        })?;
        (self.events, self.bytes) = (events, bytes);
        Ok(evicted)
    }

    /// The events from key `from` on, in order, `most` of them at most.
    ///
    /// # Errors
    /// [`OutboxError`] when it cannot be read.
    pub fn load(&self, from: u64, most: usize) -> Result<Vec<(u64, Arc<Message>)>, OutboxError> {
        let read = || -> Result<Vec<(u64, Arc<Message>)>, redb::Error> {
            let tx = self.db.begin_read()?;
            let events = tx.open_table(EVENTS)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for row in events.range(from..)? {
                let (key, row) = row?;
                bytes += row.value().len();
                if found.len() >= most || (bytes > LOAD_BYTES && !found.is_empty()) {
                    break;
                }
                let message = Message::from_bytes(row.value()).ok_or_else(|| {
                    redb::Error::Corrupted(format!("event {} cannot be read", key.value()))
                })?;
                found.push((key.value(), message));
            }
            Ok(found)
        };
        read().map_err(|e| failed(&self.path, e))
    }

    /// Notes the retained topics of this run, and returns those of earlier runs that are not among them.
    ///
    /// # Errors
    /// [`OutboxError`] when it cannot be written.
    pub fn announce(&mut self, topics: &[String]) -> Result<Vec<String>, OutboxError> {
        let mut gone = Vec::new();
        self.write(|tx| {
            let mut table = tx.open_table(RETAINED)?;
            for row in table.iter()? {
                let (topic, ()) = row.map(|(topic, _)| (topic.value().to_owned(), ()))?;
                if !topics.contains(&topic) {
                    gone.push(topic);
                }
            }
            for topic in topics {
                table.insert(topic.as_str(), ())?;
            }
            Ok(())
        })?;
        Ok(gone)
    }

    /// Gives the disk back what an empty outbox needs no more.
    pub(super) fn shrink(&mut self) {
        let large = fs::metadata(&self.path).is_ok_and(|meta| meta.len() > SHRINK);
        // It only saves space: a failure shows at the next commit.
        if self.events == 0
            && large
            && let Err(error) = self.db.compact()
        {
            tracing::debug!(%error, "the outbox stays as large as it is");
        }
    }

    fn write(
        &self,
        body: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), OutboxError> {
        let attempt = || -> Result<(), redb::Error> {
            // redb's default durability: on the disk when `commit` returns.
            let tx = self.db.begin_write()?;
            tx.open_table(META)?.insert("schema", SCHEMA)?;
            tx.open_table(EVENTS)?;
            tx.open_table(RETAINED)?;
            body(&tx)?;
            tx.commit()?;
            Ok(())
        };
        attempt().map_err(|e| failed(&self.path, e))
    }
}

/// How many events wait in the outbox at `path`; `None`: a daemon that runs has it. Changes nothing.
///
/// # Errors
/// [`OutboxError`]: what a daemon would find.
pub fn look(path: &Path) -> Result<Option<u64>, OutboxError> {
    let limits = Limits {
        bytes: u64::MAX,
        age: Duration::MAX,
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(OutboxError::NoParent {
            path: path.into(),
            parent: folder.into(),
        });
    }
    if !path.exists() {
        return Ok(Some(0));
    }
    match Store::open_file(path, limits) {
        Ok(store) => Ok(Some(store.events())),
        Err(OutboxError::Locked(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is a file that only its owner can read: events tell who was where.
fn private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// A name for a damaged file that no file has yet.
fn aside(path: &Path) -> PathBuf {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        PathBuf::from(name)
    };
    (1..).map(name).find(|p| !p.exists()).unwrap_or(name(0))
}

fn disk(path: &Path, error: impl ToString) -> OutboxError {
    OutboxError::Disk {
        path: path.into(),
        reason: error.to_string(),
    }
}

fn failed(path: &Path, error: redb::Error) -> OutboxError {
    match error {
        // redb says so of a file that is no database.
        redb::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OutboxError::Damaged {
                path: path.into(),
                reason: e.to_string(),
            }
        }
        redb::Error::Corrupted(reason) => OutboxError::Damaged {
            path: path.into(),
            reason,
        },
        redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => OutboxError::Damaged {
            path: path.into(),
            reason: error.to_string(),
        },
        other => disk(path, other),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
