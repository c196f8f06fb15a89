//! A receipt of a deletion: who was forgotten, under a pseudonym, when, and what the file was before and after, signed
//! with a key of the store's so that it can be checked later.

use serde::{Deserialize, Serialize};

use crate::publish::time;

use super::secret::{derive, hex, is_mac, mac, unhex};

/// Layout of a receipt.
const VERSION: u32 = 1;
/// No receipt is longer.
const MAX_BYTES: usize = 4 << 10;

/// A receipt of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Layout, 1.
    receipt: u32,
    /// Who: HMAC-SHA256 of the name under a key that only this store has, in hexadecimal.
    person: String,
    /// When, RFC 3339 UTC.
    time: String,
    /// Sittings that were removed.
    sittings: usize,
    /// SHA-256 of the store's file before.
    store_before: String,
    /// SHA-256 of the store's file after.
    store_after: String,
    /// HMAC-SHA256 of the fields above.
    mac: String,
}

/// Why bytes are no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Too long for one.
    #[error("expected a receipt of at most {MAX_BYTES} bytes, found {0}")]
    Length(usize),
    /// Not what `forget` writes.
    #[error("expected a receipt as `forget` writes it: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another version of the program.
    #[error("the receipt has layout {0}, this program reads {VERSION}")]
    Version(u32),
}

impl Receipt {
    pub(super) fn new(
        key: &[u8; 32],
        name: &str,
        sittings: usize,
        store_before: String,
        store_after: String,
    ) -> Self {
        let mut receipt = Self {
            receipt: VERSION,
            person: person(key, name),
            time: time::now(),
            sittings,
            store_before,
            store_after,
            mac: String::new(),
        };
        receipt.mac = hex(&mac(&signing(key), receipt.message().as_bytes()));
        receipt
    }

    /// Reads a receipt; its signature is not looked at.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_BYTES {
            return Err(ReceiptError::Length(bytes.len()));
        }
        let receipt: Self = serde_json::from_slice(bytes)?;
        match receipt.receipt {
            VERSION => Ok(receipt),
            other => Err(ReceiptError::Version(other)),
        }
    }

    /// When it was.
    #[must_use]
    pub fn time(&self) -> &str {
        &self.time
    }

    /// How many sittings went.
    #[must_use]
    pub fn sittings(&self) -> usize {
        self.sittings
    }

    pub(super) fn is_signed_with(&self, key: &[u8; 32]) -> bool {
        let message = self.message();
        unhex(&self.mac).is_some_and(|found| is_mac(&signing(key), message.as_bytes(), &found))
    }

    /// Whether it is about the person of this name.
    pub(super) fn is_about(&self, key: &[u8; 32], name: &str) -> bool {
        self.person == person(key, name)
    }

    /// What is signed: a line a field, none of which can hold a line break and be one of ours.
    fn message(&self) -> String {
        let Self {
            receipt,
            person,
            time,
            sittings,
            store_before,
            store_after,
            mac: _,
        } = self;
        format!("{receipt}\n{person}\n{time}\n{sittings}\n{store_before}\n{store_after}\n")
    }
}

fn person(key: &[u8; 32], name: &str) -> String {
    hex(&mac(
        &derive(key, "earwitness forgotten", b""),
        name.as_bytes(),
    ))
}

fn signing(key: &[u8; 32]) -> super::secret::Secret {
    derive(key, "earwitness receipts", b"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_is_signed_about_one_person_and_says_no_name() {
        let key = [5; 32];
        let receipt = Receipt::new(&key, "alice", 2, "aa".into(), "bb".into());
        let text = serde_json::to_string(&receipt).unwrap();
        assert!(!text.contains("alice"));
        let read = Receipt::parse(text.as_bytes()).unwrap();
        assert_eq!(read, receipt);
        assert!(read.is_signed_with(&key) && !read.is_signed_with(&[6; 32]));
        assert!(read.is_about(&key, "alice") && !read.is_about(&key, "bob"));
        for (old, new) in [
            ("\"sittings\":2", "\"sittings\":3"),
            ("\"aa\"", "\"ab\""),
            ("\"bb\"", "\"aa\""),
            (read.time(), "2020-01-01T00:00:00.000Z"),
        ] {
            let forged = text.replacen(old, new, 1);
            assert_ne!(forged, text);
            assert!(
                !Receipt::parse(forged.as_bytes())
                    .unwrap()
                    .is_signed_with(&key),
                "{new}"
            );
        }
        let newer = text.replacen("\"receipt\":1", "\"receipt\":2", 1);
        assert!(matches!(
            Receipt::parse(newer.as_bytes()),
            Err(ReceiptError::Version(2))
        ));
        assert!(matches!(
            Receipt::parse(&[b' '; 5000]),
            Err(ReceiptError::Length(5000))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\{\"receipt\":1,.{0,60}") {
            prop_assert!(Receipt::parse(&bytes).is_err());
            let _ = Receipt::parse(text.as_bytes());
        }
    }
}
