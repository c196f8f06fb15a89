//! One enrolled person.

use serde::{Deserialize, Serialize};

/// Layout of the stored bytes.
const VERSION: u32 = 1;
/// Longest embedding that any pack may have.
const MAX_DIM: usize = 4096;

/// One enrolled person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// Centroid of the segments' embeddings, L2 norm 1.
    pub embedding: Vec<f32>,
    /// Segments that went into it, at least 1.
    pub segments: u32,
    /// Seconds of speech that went into it, > 0.
    pub speech_s: f64,
    /// The pack whose speaker head made the embedding; another one's embeddings cannot be compared with it.
    pub pack_hash: String,
    /// RFC 3339 UTC.
    pub created: String,
}

/// Why an enrolment cannot be stored or used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidEnrolment {
    /// The name.
    #[error("name `{0}`: expected 1 to 64 of A-Z a-z 0-9 _ . -")]
    Name(String),
    /// The embedding's length.
    #[error("embedding of {0} numbers: expected 1 to {MAX_DIM}")]
    Length(usize),
    /// The embedding's norm.
    #[error("embedding has L2 norm {0}: expected 1 (was it normalised?)")]
    Norm(f64),
    /// No speech.
    #[error("enrolment of {segments} segments and {speech_s} s of speech: expected some of both")]
    Empty {
        /// Segments.
        segments: u32,
        /// Seconds.
        speech_s: f64,
    },
    /// Made by another pack.
    #[error(
        "`{name}` was enrolled with pack {enrolled}, but pack {loaded} is loaded; enrol `{name}` again"
    )]
    OtherPack {
        /// Whom.
        name: String,
        /// Hash of the pack at enrolment.
        enrolled: String,
        /// Hash of the pack in use.
        loaded: String,
    },
    /// Stored by another version of the program.
    #[error(
        "enrolment has layout version {0}, this program reads {VERSION}; enrol again or use the newer program"
    )]
    Version(u32),
    /// Stored bytes are not an enrolment.
    #[error("stored enrolment cannot be read: {0}; remove the name and enrol again")]
    Bytes(String),
}

/// What is stored: the version beside the fields.
#[derive(Serialize, Deserialize)]
struct Stored<E> {
    version: u32,
    enrolment: E,
}

impl Enrolment {
    /// Whether `name` may be an enrolled name.
    ///
    /// # Errors
    /// [`InvalidEnrolment::Name`].
    pub fn check_name(name: &str) -> Result<(), InvalidEnrolment> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(InvalidEnrolment::Name(name.into()));
        }
        Ok(())
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    /// [`InvalidEnrolment`] names the field.
    pub fn check(&self) -> Result<(), InvalidEnrolment> {
        Self::check_name(&self.name)?;
        if self.embedding.is_empty() || self.embedding.len() > MAX_DIM {
            return Err(InvalidEnrolment::Length(self.embedding.len()));
        }
        let sum: f64 = self.embedding.iter().map(|x| f64::from(*x).powi(2)).sum();
        let norm = sum.sqrt();
        if norm.is_nan() || (norm - 1.0).abs() > 1e-3 {
            return Err(InvalidEnrolment::Norm(norm));
        }
        if self.segments == 0 || !self.speech_s.is_finite() || self.speech_s <= 0.0 {
            return Err(InvalidEnrolment::Empty {
                segments: self.segments,
                speech_s: self.speech_s,
            });
        }
        Ok(())
    }

    /// Whether it was made with the pack of this hash.
    ///
    /// # Errors
    /// [`InvalidEnrolment::OtherPack`].
    pub fn check_pack(&self, pack_hash: &str) -> Result<(), InvalidEnrolment> {
        if self.pack_hash == pack_hash {
            return Ok(());
        }
        Err(InvalidEnrolment::OtherPack {
            name: self.name.clone(),
            enrolled: self.pack_hash.clone(),
            loaded: pack_hash.into(),
        })
    }

    /// JSON with a version; the shortest decimal form of an `f32` reads back as the same `f32`.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, InvalidEnrolment> {
        let stored = Stored {
            version: VERSION,
            enrolment: self,
        };
        serde_json::to_vec(&stored).map_err(|e| InvalidEnrolment::Bytes(e.to_string()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidEnrolment> {
        let unreadable = |e: serde_json::Error| InvalidEnrolment::Bytes(e.to_string());
        // The version alone first: a newer layout may not fit the fields.
        let stored: Stored<serde_json::Value> =
            serde_json::from_slice(bytes).map_err(unreadable)?;
        if stored.version != VERSION {
            return Err(InvalidEnrolment::Version(stored.version));
        }
        let stored: Stored<Self> = serde_json::from_slice(bytes).map_err(unreadable)?;
        stored.enrolment.check()?;
        Ok(stored.enrolment)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn person(name: &str, seed: u32) -> Enrolment {
        let raw: Vec<f32> = (0..192).map(|i| ((i * 7 + seed) as f32).sin()).collect();
        let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        Enrolment {
            name: name.into(),
            embedding: raw.iter().map(|x| x / norm).collect(),
            segments: 4,
            speech_s: 12.5,
            pack_hash: "abc".into(),
            created: "2026-11-23T08:30:00.250Z".into(),
        }
    }

    #[test]
    fn embeddings_come_back_bit_for_bit() {
        let alice = person("alice", 3);
        assert_eq!(
            Enrolment::from_bytes(&alice.to_bytes().unwrap()).unwrap(),
            alice
        );
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let wrong = |change: fn(&mut Enrolment)| {
            let mut e = person("alice", 1);
            change(&mut e);
            e.check().unwrap_err()
        };
        use InvalidEnrolment::{Empty, Length, Name, Norm};
        assert!(matches!(wrong(|e| e.name = "a/b".into()), Name(_)));
        assert!(matches!(wrong(|e| e.name.clear()), Name(_)));
        assert!(matches!(wrong(|e| e.name = "x".repeat(65)), Name(_)));
        assert!(matches!(wrong(|e| e.embedding.clear()), Length(0)));
        assert!(matches!(wrong(|e| e.embedding[0] = f32::NAN), Norm(_)));
        assert!(matches!(wrong(|e| e.embedding[0] += 1.0), Norm(_)));
        assert!(matches!(wrong(|e| e.segments = 0), Empty { .. }));
        assert!(matches!(wrong(|e| e.speech_s = f64::NAN), Empty { .. }));
    }

    #[test]
    fn another_version_and_another_pack_are_told_apart() {
        let alice = person("alice", 1);
        let text = String::from_utf8(alice.to_bytes().unwrap()).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert_ne!(newer, text);
        assert_eq!(
            Enrolment::from_bytes(newer.as_bytes()),
            Err(InvalidEnrolment::Version(2))
        );
        assert!(alice.check_pack("abc").is_ok());
        let error = alice.check_pack("def").unwrap_err().to_string();
        assert!(
            error.contains("abc") && error.contains("def") && error.contains("enrol `alice` again")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Enrolment::from_bytes(&bytes).is_err());
        }

        #[test]
        fn names_are_those_allowed(name in "\\PC{0,70}") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            let good = (1..=64).contains(&name.len()) && name.chars().all(plain);
            prop_assert_eq!(Enrolment::check_name(&name).is_ok(), good);
        }
    }
}
