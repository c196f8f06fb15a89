//! A key from a passphrase: Argon2id (RFC 9106), with its costs and salt written beside what it locks.

use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::secret::{self, SealError, Secret, hex, unhex};

/// Costs of a new key: 64 MiB and three passes, RFC 9106's choice for machines with little memory, with one lane.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// Costs that a file may ask for. Beyond them it wants to keep us busy.
const MEMORIES_KIB: RangeInclusive<u32> = 64..=256 << 10;
const ALL_PASSES: RangeInclusive<u32> = 1..=16;
const ALL_LANES: RangeInclusive<u32> = 1..=4;
/// Bytes of salt.
pub(super) const SALT: usize = 16;

/// How a passphrase becomes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT],
}

impl Stretch {
    /// Today's costs and a new salt.
    pub(super) fn fresh() -> Result<Self, SealError> {
        Self::new(MEMORY_KIB, PASSES, LANES, secret::random()?).ok_or(SealError::Length(SALT))
    }

    /// `None`: costs outside of what is sane.
    pub(super) fn new(memory_kib: u32, passes: u32, lanes: u32, salt: [u8; SALT]) -> Option<Self> {
        let sane = MEMORIES_KIB.contains(&memory_kib)
            && ALL_PASSES.contains(&passes)
            && ALL_LANES.contains(&lanes);
        sane.then_some(Self {
            memory_kib,
            passes,
            lanes,
            salt,
        })
    }

    /// The key of a passphrase.
    pub(super) fn key(&self, passphrase: &str) -> Result<Secret, SealError> {
        let mut key = Zeroizing::new([0; 32]);
        let wrong = |_| SealError::Wrong;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(key.len()))
            .map_err(wrong)?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, key.as_mut())
            .map_err(wrong)?;
        Ok(key)
    }

    /// Memory in KiB, passes, lanes.
    pub(super) fn costs(&self) -> [u32; 3] {
        [self.memory_kib, self.passes, self.lanes]
    }

    /// The salt.
    pub(super) fn salt(&self) -> [u8; SALT] {
        self.salt
    }

    /// `argon2id:65536:3:1:<salt in hex>`.
    pub(super) fn text(&self) -> String {
        let [memory, passes, lanes] = self.costs();
        format!("argon2id:{memory}:{passes}:{lanes}:{}", hex(&self.salt))
    }

    /// Reads [`Stretch::text`]; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        (next()? == "argon2id").then_some(())?;
        let costs = [next()?, next()?, next()?].map(|n| n.parse().ok());
        let salt = unhex(next()?)?.try_into().ok()?;
        if next().is_some() {
            return None;
        }
        Self::new(costs[0]?, costs[1]?, costs[2]?, salt)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_key_is_argon2id_s() {
        // argon2-cffi: hash_secret_raw(b"correct horse", bytes(range(16)), time_cost=2, memory_cost=256, parallelism=1,
        // hash_len=32, type=Type.ID)
        let stretch = Stretch::new(256, 2, 1, std::array::from_fn(|i| i as u8)).unwrap();
        let key = stretch.key("correct horse").unwrap();
        assert_eq!(
            hex(key.as_ref()),
            "c11a4774080bb0957f9a6612fe2e3ad2fcf34fb26d939a4b822698b4cb427478"
        );
        assert_ne!(stretch.key("correct house").unwrap(), key);
        assert_eq!(Stretch::parse(&stretch.text()), Some(stretch));
    }

    #[test]
    fn costs_that_would_keep_us_busy_are_refused() {
        let salt = "00".repeat(SALT);
        assert!(Stretch::parse(&format!("argon2id:65536:3:1:{salt}")).is_some());
        for text in [
            format!("argon2id:4000000000:3:1:{salt}"),
            format!("argon2id:65536:1000:1:{salt}"),
            format!("argon2id:65536:0:1:{salt}"),
            format!("argon2id:65536:3:64:{salt}"),
            format!("argon2id:65536:3:1:{salt}:"),
            format!("argon2id:65536:3:1:{}", &salt[2..]),
            "argon2id:65536:3:1".into(),
        ] {
            assert_eq!(Stretch::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(argon2id:)?[0-9a-f:]{0,60}|\\PC{0,30}") {
            if let Some(stretch) = Stretch::parse(&text) {
                prop_assert_eq!(Stretch::parse(&stretch.text()), Some(stretch));
            }
        }
    }
}
