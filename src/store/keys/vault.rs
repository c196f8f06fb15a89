//! The vault: the two random keys of a store, sealed under a lock key.

use zeroize::Zeroizing;

use super::error::KeyError;
use crate::store::row::RowKeys;
use crate::store::secret::{self, SealError, Secret, hex, unhex};

/// A lock key and where it came from.
pub(super) struct Lock {
    pub(super) key: Secret,
    /// How the vault says that it is locked.
    pub(super) kind: String,
    pub(super) from: String,
}

/// An open vault.
pub(in crate::store) struct Vault {
    /// As the file has it: kind of the lock, and the sealed keys.
    pub(in crate::store) text: String,
    /// Where the lock key came from, for people.
    pub(in crate::store) from: String,
    /// Keys of rows.
    pub(in crate::store) rows: RowKeys,
    pub(super) receipts: Secret,
}

impl Vault {
    pub(super) fn seal(lock: &Lock, data: Secret, receipts: Secret) -> Result<Self, KeyError> {
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
    pub(super) fn open(lock: &Lock, text: &str) -> Result<Option<Self>, KeyError> {
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
    pub(in crate::store) fn receipts(&self) -> &[u8; 32] {
        &self.receipts
    }
}

/// What the vault is bound to: its lock's kind, so that no costs can be lowered.
fn place(kind: &str) -> String {
    format!("earwitness vault {kind}")
}
