//! The database file of enrolled people.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, TableDefinition, TableError,
};

use super::codec::{Codec, Plain};
use super::enrolment::{Enrolment, InvalidEnrolment};

/// `name` → sealed enrolment.
const SPEAKERS: TableDefinition<&str, &[u8]> = TableDefinition::new("speakers");
/// What the file is: `schema`, `codec`.
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
/// Layout of the tables.
const SCHEMA: &str = "1";
/// Others hold the file for milliseconds; longer means that somebody keeps it open.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// A file of this program is some KiB; redb's default cache is 1 GiB.
const CACHE: usize = 1 << 20;

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
        "{path} has layout `{found}`, this program reads `{SCHEMA}`; use the program that wrote it"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Written with another codec (encrypted, or not).
    #[error("{path} was written as `{found}`, but this program is set to `{expected}`")]
    Codec {
        /// The file.
        path: PathBuf,
        /// The codec that wrote it.
        found: String,
        /// The codec in use.
        expected: &'static str,
    },
    /// An enrolment is not acceptable.
    #[error(transparent)]
    Enrolment(#[from] InvalidEnrolment),
    /// The operating system refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

/// Enrolled people in a file. Each call opens the file and closes it again; a missing file holds nobody.
pub struct SpeakerStore {
    path: PathBuf,
    codec: Box<dyn Codec>,
}

impl SpeakerStore {
    /// Everybody in the file, in order of name: what a daemon keeps in memory.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn load(path: impl AsRef<Path>) -> Result<Vec<Enrolment>, StoreError> {
        Self::open(path)?.list()
    }

    /// A store at `path`. The file is made by the first [`SpeakerStore::put`]; one that is there is checked now.
    ///
    /// # Errors
    /// [`StoreError`] when it is locked, damaged, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::with_codec(path, Box::new(Plain))
    }

    /// The same with another [`Codec`].
    ///
    /// # Errors
    /// See [`SpeakerStore::open`].
    pub fn with_codec(path: impl AsRef<Path>, codec: Box<dyn Codec>) -> Result<Self, StoreError> {
        let store = Self {
            path: path.as_ref().into(),
            codec,
        };
        store.read(|_| Ok(()))?;
        Ok(store)
    }

    /// Everybody, in order of name.
    ///
    /// # Errors
    /// [`StoreError`], also when a single enrolment cannot be read: a watch list with a hole is no watch list.
    pub fn list(&self) -> Result<Vec<Enrolment>, StoreError> {
        let found = self.read(|tx| {
            let mut all = Vec::new();
            for row in tx
                .open_table(SPEAKERS)
                .map_err(|e| self.damaged(e))?
                .iter()
                .map_err(|e| self.damaged(e))?
            {
                let (name, sealed) = row.map_err(|e| self.damaged(e))?;
                all.push(self.unseal(name.value(), sealed.value())?);
            }
            Ok(all)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// One person, or nobody of that name.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn get(&self, name: &str) -> Result<Option<Enrolment>, StoreError> {
        let found = self.read(|tx| {
            let table = tx.open_table(SPEAKERS).map_err(|e| self.damaged(e))?;
            match table.get(name).map_err(|e| self.damaged(e))? {
                Some(sealed) => Ok(Some(self.unseal(name, sealed.value())?)),
                None => Ok(None),
            }
        })?;
        Ok(found.flatten())
    }

    /// Adds a person, or takes the place of the one of that name. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Enrolment`] when a field is out of range, and those of [`SpeakerStore::list`].
    pub fn put(&self, enrolment: &Enrolment) -> Result<(), StoreError> {
        enrolment.check()?;
        let sealed = self
            .codec
            .seal(&enrolment.name, &enrolment.to_bytes()?)
            .map_err(|e| InvalidEnrolment::Bytes(e.to_string()))?;
        self.create()?;
        self.write(|table| {
            table.insert(enrolment.name.as_str(), sealed.as_slice())?;
            Ok(())
        })
    }

    /// Removes a person; `false`: there was nobody of that name.
    ///
    /// # Errors
    /// See [`SpeakerStore::list`].
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        if !self.exists()? {
            return Ok(false);
        }
        self.write(|table| Ok(table.remove(name)?.is_some()))
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Enrolment, StoreError> {
        let plain = self
            .codec
            .open(name, sealed)
            .map_err(|e| InvalidEnrolment::Bytes(e.to_string()))?;
        let enrolment = Enrolment::from_bytes(&plain)?;
        if enrolment.name != name {
            let text = format!("`{}` is stored under `{name}`", enrolment.name);
            return Err(InvalidEnrolment::Bytes(text).into());
        }
        Ok(enrolment)
    }

    /// Runs `body` on the file; `None` when there is none yet.
    fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if !self.exists()? {
            return Ok(None);
        }
        let db = self.open_file(false)?;
        let tx = match &db {
            Opened::Writable(db) => db.begin_read(),
            Opened::ReadOnly(db) => db.begin_read(),
        };
        let tx = tx.map_err(|e| self.damaged(e))?;
        if !self.check_meta(&tx)? {
            return Ok(None);
        }
        body(&tx).map(Some)
    }

    fn write<T>(
        &self,
        body: impl FnOnce(&mut redb::Table<&str, &[u8]>) -> Result<T, StorageError>,
    ) -> Result<T, StoreError> {
        let db = match self.open_file(true)? {
            Opened::Writable(db) => db,
            Opened::ReadOnly(_) => {
                return Err(self.io(io::ErrorKind::PermissionDenied.into()));
            }
        };
        let tx = db.begin_read().map_err(|e| self.damaged(e))?;
        self.check_meta(&tx)?;
        drop(tx);
        let attempt = || -> Result<T, redb::Error> {
            let tx = db.begin_write()?;
            let mut meta = tx.open_table(META)?;
            meta.insert("schema", SCHEMA)?;
            meta.insert("codec", self.codec.id())?;
            drop(meta);
            let mut table = tx.open_table(SPEAKERS)?;
            let value = body(&mut table)?;
            drop(table);
            tx.commit()?;
            Ok(value)
        };
        attempt().map_err(|error| match error {
            redb::Error::Io(source) => self.io(source),
            other => self.damaged(other),
        })
    }

    /// `false`: the file is new and empty. An error: it is not for us.
    fn check_meta(&self, tx: &ReadTransaction) -> Result<bool, StoreError> {
        let meta = match tx.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => {
                let mut others = tx.list_tables().map_err(|e| self.damaged(e))?;
                return match others.next() {
                    None => Ok(false),
                    Some(_) => Err(self.damaged("it holds other tables than ours")),
                };
            }
            Err(error) => return Err(self.damaged(error)),
        };
        let get = |key| -> Result<String, StoreError> {
            let value = meta.get(key).map_err(|e| self.damaged(e))?;
            Ok(value.map(|v| v.value().to_owned()).unwrap_or_default())
        };
        let found = get("schema")?;
        if found != SCHEMA {
            let path = self.path.clone();
            return Err(StoreError::Schema { path, found });
        }
        let (found, expected) = (get("codec")?, self.codec.id());
        if found != expected {
            let path = self.path.clone();
            return Err(StoreError::Codec {
                path,
                found,
                expected,
            });
        }
        Ok(true)
    }

    fn exists(&self) -> Result<bool, StoreError> {
        match fs::metadata(&self.path) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.io(source)),
        }
    }

    /// Makes an empty file that only its owner can read, or takes others' rights away from one that is there.
    fn create(&self) -> Result<(), StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.path).map_err(|e| self.io(e))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = file
                .metadata()
                .map_err(|e| self.io(e))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                file.set_permissions(fs::Permissions::from_mode(mode & 0o700))
                    .map_err(|e| self.io(e))?;
            }
        }
        Ok(())
    }

    /// Opens the file, waiting a little for others to let go of it. `make`: an empty file becomes a database.
    fn open_file(&self, make: bool) -> Result<Opened, StoreError> {
        let mut builder = Builder::new();
        // Every page's checksum is verified, so that damage is an error here and not a panic later.
        builder
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true);
        let limit = Instant::now() + LOCK_PATIENCE;
        loop {
            let opened = if make {
                builder.create(&self.path)
            } else {
                builder.open(&self.path)
            };
            let error = match opened {
                Ok(db) => return Ok(Opened::Writable(db)),
                Err(error) => error,
            };
            let error = match error {
                // Somebody who may only read, or a file system that nobody may write.
                DatabaseError::Storage(StorageError::Io(e))
                    if matches!(
                        e.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    ) =>
                {
                    match builder.open_read_only(&self.path) {
                        Ok(db) => return Ok(Opened::ReadOnly(db)),
                        Err(error) => error,
                    }
                }
                other => other,
            };
            match error {
                DatabaseError::DatabaseAlreadyOpen if Instant::now() < limit => {
                    thread::sleep(Duration::from_millis(10));
                }
                DatabaseError::DatabaseAlreadyOpen => {
                    return Err(StoreError::Locked(self.path.clone()));
                }
                // redb says this of a file that does not start as its files do.
                DatabaseError::Storage(StorageError::Io(e))
                    if e.kind() != io::ErrorKind::InvalidData
                        && e.kind() != io::ErrorKind::UnexpectedEof =>
                {
                    return Err(self.io(e));
                }
                other => return Err(self.damaged(other)),
            }
        }
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The file, as far as we may use it.
enum Opened {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

#[cfg(test)]
#[path = "speakers_tests.rs"]
mod tests;
