//! Keys and passphrases in files: read, and made whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::{KeyError, io};
use super::vault::Lock;
use crate::store::secret::{self, Secret, hex, unhex};

/// No key file is longer: 64 hexadecimal digits and a line's end.
const MAX_KEY_FILE: u64 = 1 << 10;

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

/// A key from a file: 32 bytes, or 64 hexadecimal digits.
pub(super) fn read(path: &Path, role: &str) -> Result<Lock, KeyError> {
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
pub(super) fn read_or_make(path: &Path) -> Result<Lock, KeyError> {
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
pub(in crate::store) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if cfg!(unix) {
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
