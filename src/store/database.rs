//! The database file: opened under its lock, written row by row, or written anew as a whole.
//!
//! Adding is a transaction. Whatever takes something away writes all that stays into a new file, which takes the place of
//! the old one: a database keeps the bytes of deleted rows in its free pages. The old file is overwritten then.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageBackend, StorageError, WriteTransaction,
};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::keys::sync_folder;
use super::secret::hex;

/// Others hold the file for milliseconds; longer means that somebody keeps it open.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// A file of this program is some KiB; redb's default cache is 1 GiB.
const CACHE: usize = 1 << 20;

/// A database file, there or not yet.
pub(super) struct DatabaseFile {
    path: PathBuf,
}

/// What is different after a write: which file it is, how long, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, number, and when anything about it changed: a copy may bring an old time of writing along.
    #[cfg(unix)]
    file: (u64, u64, i64, i64),
}

/// The file, as far as we may use it, and locked as long as this lives.
pub(super) enum Opened {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

impl Opened {
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, redb::TransactionError> {
        match self {
            Self::Writable(db) => db.begin_read(),
            Self::ReadOnly(db) => db.begin_read(),
        }
    }
}

impl DatabaseFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there and holds anything.
    pub(super) fn exists(&self) -> Result<bool, StoreError> {
        match fs::metadata(&self.path) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.io(source)),
        }
    }

    /// The file as it is now; `None`: it is not there.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let meta = fs::metadata(&self.path).ok()?;
        Some(Stamp {
            length: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            file: {
                use std::os::unix::fs::MetadataExt;
                (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec())
            },
        })
    }

    /// What the file holds, in memory. Nothing is locked, and nothing written: whoever opens the file writes to it, if only that
    /// it is open, which somebody who watches it would take for a change. A copy that was made during a write has wrong
    /// checksums.
    pub(super) fn copy(&self) -> Result<Database, StoreError> {
        let bytes = fs::read(&self.path).map_err(|e| self.io(e))?;
        let memory = InMemoryBackend::new();
        memory
            .set_len(bytes.len() as u64)
            .and_then(|()| memory.write(0, &bytes))
            .map_err(|e| self.damaged(e))?;
        builder()
            .create_with_backend(memory)
            .map_err(|e| self.damaged(e))
    }

    /// Opens the file, waiting a little for others to let go of it.
    pub(super) fn open(&self) -> Result<Opened, StoreError> {
        let limit = Instant::now() + LOCK_PATIENCE;
        loop {
            let mut options = OpenOptions::new();
            let opened = match options.read(true).write(true).open(&self.path) {
                Ok(file) => {
                    let mine = file.metadata().map_err(|e| self.io(e))?;
                    let opened = database(file).map(Opened::Writable);
                    // Whoever wrote the file anew while we waited has left us the old one.
                    if !self.is_still(&mine) {
                        continue;
                    }
                    opened
                }
                // Somebody who may only read, or a file system that nobody may write.
                Err(e) if is_read_only(&e) => {
                    builder().open_read_only(&self.path).map(Opened::ReadOnly)
                }
                Err(e) => return Err(self.io(e)),
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < limit => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    return Err(StoreError::Locked(self.path.clone()));
                }
                // redb says this of a file that does not start as its files do.
                Err(DatabaseError::Storage(StorageError::Io(e)))
                    if e.kind() != io::ErrorKind::InvalidData
                        && e.kind() != io::ErrorKind::UnexpectedEof =>
                {
                    return Err(self.io(e));
                }
                Err(other) => return Err(self.damaged(other)),
            }
        }
    }

    /// The same for writing: the file is made where there is none, and nobody but its owner may read it.
    pub(super) fn open_to_write(&self) -> Result<Database, StoreError> {
        private(&self.path).map_err(|e| self.io(e))?;
        match self.open()? {
            Opened::Writable(db) => Ok(db),
            Opened::ReadOnly(_) => Err(self.io(io::ErrorKind::PermissionDenied.into())),
        }
    }

    /// Runs `body` in one transaction; durable when it returns.
    pub(super) fn transaction<T>(
        &self,
        db: &Database,
        body: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let attempt = || -> Result<T, redb::Error> {
            let tx = db.begin_write()?;
            let value = body(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        attempt().map_err(|error| match error {
            redb::Error::Io(source) => self.io(source),
            other => self.damaged(other),
        })
    }

    /// Puts a new file that holds what `body` writes in the place of the old one, all at once; the old one is overwritten.
    /// None of `traces` may be in the new one. Returns the new one's SHA-256.
    pub(super) fn replace(
        &self,
        old: Database,
        traces: &[Vec<u8>],
        body: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<String, StoreError> {
        // The file itself, not a link to it, and its owner's still when somebody else runs this.
        let path = fs::canonicalize(&self.path).map_err(|e| self.io(e))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let next = path.with_file_name(name);
        let written = self.write_next(&next, &path, traces, body);
        let (hash, mut stale) = match written {
            Ok(done) => done,
            Err(error) => {
                // The old file is whole; a rest would be overwritten next time.
                let _ = fs::remove_file(&next);
                return Err(error);
            }
        };
        sync_folder(&path).map_err(|e| self.io(e))?;
        // Its last word goes into the old file.
        drop(old);
        if let Err(error) = overwrite(&mut stale) {
            tracing::warn!(%error, "the old file of the speaker store is deleted, but could not be overwritten");
        }
        Ok(hash)
    }

    fn write_next(
        &self,
        next: &Path,
        path: &Path,
        traces: &[Vec<u8>],
        body: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(String, File), StoreError> {
        let io = |e| self.io(e);
        match fs::remove_file(next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => (),
        }
        private(next).map_err(io)?;
        let stale = OpenOptions::new().write(true).open(path).map_err(io)?;
        keep_owner(&stale, next).map_err(io)?;
        let file = OpenOptions::new().read(true).write(true).open(next);
        let db = database(file.map_err(io)?).map_err(|e| self.damaged(e))?;
        self.transaction(&db, body)?;
        drop(db);
        let bytes = fs::read(next).map_err(io)?;
        if traces.iter().any(|trace| contains(&bytes, trace)) {
            return Err(StoreError::Traces(self.path.clone()));
        }
        File::open(next).and_then(|f| f.sync_all()).map_err(io)?;
        fs::rename(next, path).map_err(io)?;
        Ok((hex(&Sha256::digest(&bytes)), stale))
    }

    /// SHA-256 of the file as it lies there; of one that is not there, of nothing.
    pub(super) fn hash(&self) -> Result<String, StoreError> {
        let mut hash = Sha256::new();
        match File::open(&self.path) {
            Ok(mut file) => {
                let mut buffer = [0; 8192];
                loop {
                    match file.read(&mut buffer).map_err(|e| self.io(e))? {
                        0 => break,
                        n => hash.update(&buffer[..n]),
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => (),
            Err(e) => return Err(self.io(e)),
        }
        Ok(hex(&hash.finalize()))
    }

    /// Whether the file of this name is the one that was opened.
    fn is_still(&self, mine: &Metadata) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let same = |now: Metadata| now.ino() == mine.ino() && now.dev() == mine.dev();
            fs::metadata(&self.path).is_ok_and(same)
        }
        // Elsewhere an open file cannot be replaced.
        #[cfg(not(unix))]
        {
            let _ = mine;
            true
        }
    }

    pub(super) fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io {
            path: self.path.clone(),
            source,
        }
    }

    pub(super) fn damaged(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Every page's checksum is verified, so that damage is an error here and not a panic later.
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// The database in a file; an empty file becomes one.
fn database(file: File) -> Result<Database, DatabaseError> {
    builder().create_with_backend(FileBackend::new(file)?)
}

fn is_read_only(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Makes an empty file that only its owner can read, or takes others' rights away from one that is there.
fn private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(mode & 0o700))?;
        }
    }
    Ok(())
}

/// Gives a file the owner of another: root must not lock the daemon's user out of its store.
fn keep_owner(of: &File, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (of, at) = (of.metadata()?, fs::metadata(path)?);
        if (of.uid(), of.gid()) != (at.uid(), at.gid()) {
            std::os::unix::fs::chown(path, Some(of.uid()), Some(of.gid()))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (of, path);
    Ok(())
}

/// Zeros from its start to its end, down to the disk.
pub(super) fn overwrite(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), file)?;
    file.flush()?;
    file.sync_all()
}

fn contains(bytes: &[u8], trace: &[u8]) -> bool {
    !trace.is_empty() && bytes.windows(trace.len()).any(|w| w == trace)
}
