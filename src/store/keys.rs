//! Which key opens a store: where it may come from, and the vault in the file that it unlocks.
//!
//! Two steps. A **lock key** comes from outside of the file: a key file, a systemd credential, a passphrase. It opens the
//! **vault**, two random keys that the file holds sealed: the data key, from which the keys of rows follow, and the receipt
//! key, which outlives it. So the data key is renewed without asking anybody for another secret.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config;

use super::database::overwrite;
use super::passphrase::Stretch;
use super::row::RowKeys;
use super::secret::{self, SealError, Secret, hex, unhex};

/// The credential that systemd puts into `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "earwitness.key";
/// A passphrase, for whoever runs the program in a container.
const PASSPHRASE: &str = "EARWITNESS_PASSPHRASE";
/// No key file is longer: 64 hexadecimal digits and a line's end.
const MAX_KEY_FILE: u64 = 1 << 10;

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
    /// The store's own note on how it is locked cannot be read.
    #[error("its vault cannot be read (`{0}`); restore the store from a backup")]
    Vault(String),
    /// The cipher or the random numbers.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Where the key of one store may come from.
#[derive(Debug, Clone)]
pub(super) struct KeyRing {
    key_file: Option<PathBuf>,
    credential: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    /// Made where there is no other.
    beside: PathBuf,
}

/// A lock key and where it came from.
struct Lock {
    key: Secret,
    /// How the vault says that it is locked.
    kind: String,
    from: String,
}

/// An open vault.
pub(super) struct Vault {
    /// As the file has it: kind of the lock, and the sealed keys.
    pub(super) text: String,
    /// Where the lock key came from, for people.
    pub(super) from: String,
    /// Keys of rows.
    pub(super) rows: RowKeys,
    receipts: Secret,
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
        let wrong = KeyError::Wrong {
            tried: tried.join(", "),
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

impl Vault {
    fn seal(lock: &Lock, data: Secret, receipts: Secret) -> Result<Self, KeyError> {
        let mut keys = Zeroizing::new([0; 64]);
        keys[..32].copy_from_slice(data.as_ref());
        keys[32..].copy_from_slice(receipts.as_ref());
        let sealed = secret::seal(&lock.key, place(&lock.kind).as_bytes(), keys.as_ref())?;
        Ok(Self {
            text: format!("{}:{}", lock.kind, hex(&sealed)),
            from: lock.from.clone(),
            rows: RowKeys::of(&data),
            receipts,
        })
    }

    /// `None`: another key locked it.
    fn open(lock: &Lock, text: &str) -> Result<Option<Self>, KeyError> {
        let malformed = || KeyError::Vault(text.chars().take(40).collect());
        let (kind, sealed) = text.rsplit_once(':').ok_or_else(malformed)?;
        let sealed = unhex(sealed).ok_or_else(malformed)?;
        let keys = match secret::open(&lock.key, place(kind).as_bytes(), &sealed) {
            Ok(keys) => keys,
            Err(SealError::Wrong) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (Some(data), Some(receipts)) = (keys.get(..32), keys.get(32..64)) else {
            return Err(malformed());
        };
        let mut secrets = [Secret::default(), Secret::default()];
        secrets[0].copy_from_slice(data);
        secrets[1].copy_from_slice(receipts);
        let [data, receipts] = secrets;
        Ok(Some(Self {
            text: text.into(),
            from: lock.from.clone(),
            rows: RowKeys::of(&data),
            receipts,
        }))
    }

    /// The key under which receipts are signed and the forgotten are named: it stays when the data key is renewed.
    pub(super) fn receipts(&self) -> &[u8; 32] {
        &self.receipts
    }
}

/// What the vault is bound to: its lock's kind, so that no costs can be lowered.
fn place(kind: &str) -> String {
    format!("earwitness vault {kind}")
}

/// A passphrase from the first line of a file.
///
/// # Errors
/// [`KeyError::Io`], or [`KeyError::Empty`] when there is nothing on it.
pub fn passphrase_of(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io("read", path))?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(KeyError::Empty(path.display().to_string()));
    }
    Ok(Zeroizing::new(line.to_owned()))
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

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { what, path, source }
}

/// A key from a file: 32 bytes, or 64 hexadecimal digits.
fn read(path: &Path, role: &str) -> Result<Lock, KeyError> {
    let meta = fs::metadata(path).map_err(io("read", path))?;
    if meta.len() > MAX_KEY_FILE {
        return Err(KeyError::NoKey(path.into()));
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0 {
        tracing::warn!(
            key = %path.display(),
            "others can read this key; run: chmod 600 {}", path.display()
        );
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(io("read", path))?);
    let digits = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        unhex(text.trim_end()).map(Zeroizing::new)
    };
    let mut key = Secret::default();
    match (bytes.len(), digits(&bytes)) {
        (32, _) => key.copy_from_slice(&bytes),
        (_, Some(digits)) if digits.len() == 32 => key.copy_from_slice(&digits),
        _ => return Err(KeyError::NoKey(path.into())),
    }
    Ok(Lock {
        key,
        kind: "key".into(),
        from: format!("{role}{}", path.display()),
    })
}

/// Reads a key, or makes one that only its owner can read. Whole or not at all, and never in another one's place: it is
/// written under a name of its own, and linked to `path` where that is free.
fn read_or_make(path: &Path) -> Result<Lock, KeyError> {
    if path.exists() {
        return read(path, "");
    }
    let failed = |e| io("make", path)(e);
    let mine = path.with_extension(format!("key.{}", hex(&secret::random::<8>()?)));
    let text = Zeroizing::new(hex(secret::random_key()?.as_ref()) + "\n");
    let made = write_private(&mine, text.as_bytes()).and_then(|()| {
        match fs::hard_link(&mine, path) {
            // Another process was first: its key is as good.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                // A file system without links.
                fs::rename(&mine, path)
            }
            other => other,
        }
    });
    // Gone already where it was renamed.
    let _ = fs::remove_file(&mine);
    made.and_then(|()| sync_folder(path)).map_err(failed)?;
    read(path, "")
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a new name in the folder of `path` last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if cfg!(unix) {
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(folder: &Path) -> KeyRing {
        KeyRing {
            key_file: None,
            credential: None,
            passphrase_file: None,
            beside: folder.join("speakers.key"),
        }
    }

    fn same(a: &Vault, b: &Vault) -> bool {
        a.rows.pseudonym("x") == b.rows.pseudonym("x")
    }

    #[test]
    fn a_key_is_made_once_and_belongs_to_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path());
        let vault = ring.new_vault().unwrap();
        assert!(vault.from.ends_with("speakers.key"));
        let mode = fs::metadata(&ring.beside).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
        let other = ring.new_vault().unwrap();
        assert!(!same(&other, &vault), "a data key of its own");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn wrong_and_missing_keys_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = ring(dir.path());
        let vault = ring.new_vault().unwrap();
        let hidden = dir.path().join("hidden");
        fs::rename(&ring.beside, &hidden).unwrap();
        let refusal = |ring: &KeyRing| ring.unlock(&vault.text).err().unwrap().to_string();
        assert!(refusal(&ring).contains("not here") && refusal(&ring).contains("speakers.key"));
        fs::write(&ring.beside, "00".repeat(32)).unwrap();
        assert!(refusal(&ring).starts_with("wrong key"));
        fs::write(&ring.beside, "no key").unwrap();
        assert!(refusal(&ring).contains("expected a key"));
        fs::remove_file(&ring.beside).unwrap();
        ring.key_file = Some(hidden);
        assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
        let cut = &vault.text[..vault.text.len() - 2];
        assert!(ring.unlock(cut).is_err());
        for text in [
            "",
            "key",
            "key:xy",
            "argon2id:1:2",
            "argon2id:999999999:3:1:00:00",
        ] {
            assert!(ring.unlock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_passphrase_locks_and_opens() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = ring(dir.path());
        let file = dir.path().join("passphrase");
        fs::write(&file, "correct horse\n").unwrap();
        ring.passphrase_file = Some(file.clone());
        let vault = ring.new_vault().unwrap();
        assert!(
            vault.text.starts_with("argon2id:65536:3:1:"),
            "{}",
            vault.text
        );
        assert!(!ring.beside.exists());
        assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
        // Cheaper costs are another key, and the vault is bound to its own.
        let cheap = vault.text.replace("argon2id:65536:", "argon2id:64:");
        assert!(matches!(ring.unlock(&cheap), Err(KeyError::Wrong { .. })));
        fs::write(&file, "correct house\n").unwrap();
        assert!(matches!(
            ring.unlock(&vault.text),
            Err(KeyError::Wrong { .. })
        ));
        fs::write(&file, "\n").unwrap();
        assert!(matches!(ring.unlock(&vault.text), Err(KeyError::Empty(_))));
    }

    #[test]
    fn a_renewal_that_was_cut_off_is_ended_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path());
        let old = ring.new_vault().unwrap();
        let new = ring.renewed(&old).unwrap();
        assert!(!same(&new, &old));
        assert_eq!(new.receipts(), old.receipts());
        // Before the store was written: both open, the old one stays.
        assert!(same(&ring.unlock(&old.text).unwrap(), &old));
        assert!(same(&ring.unlock(&new.text).unwrap(), &new));
        ring.settle(&old).unwrap();
        assert!(!ring.next().exists() && ring.unlock(&new.text).is_err());
        // After it: the new key takes the old one's place, which is overwritten.
        let new = ring.renewed(&old).unwrap();
        let link = dir.path().join("link");
        fs::hard_link(&ring.beside, &link).unwrap();
        ring.settle(&new).unwrap();
        assert_eq!(fs::read(link).unwrap(), [0; 65]);
        assert!(!ring.next().exists() && ring.unlock(&old.text).is_err());
        assert!(same(&ring.unlock(&new.text).unwrap(), &new));
    }
}
