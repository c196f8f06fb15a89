//! A sitting as bytes: what is sealed, what the disk sees, and the rows of files from before there was a cipher.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::enrolment::{InvalidEnrolment, MAX_DIM, Note, Sitting, check_dim};
use super::secret::{self, SealError, Secret, derive};
use super::transform::Rotation;

/// A record's random name, its key in the table.
pub(super) type RecordId = [u8; 16];
/// A person's name, hashed under the store's key: rows of one person share it.
pub(super) type Pseudonym = [u8; 16];

/// Layout of a row.
const VERSION: u8 = 1;
/// Bytes of version, pseudonym and length of the pack's hash.
const HEADER: usize = 1 + 16 + 1;

/// One person's sitting out of its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) sitting: Sitting,
}

/// What stands before the embedding.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pack: std::borrow::Cow<'a, str>,
    note: Note,
}

/// Keys for the rows of one store.
pub(super) struct RowKeys {
    seal: Secret,
    rotate: Secret,
    names: Secret,
}

impl RowKeys {
    /// Those that follow from the store's data key.
    pub(super) fn of(data: &[u8; 32]) -> Self {
        Self {
            seal: derive(data, "earwitness rows", b""),
            rotate: derive(data, "earwitness rotations", b""),
            names: derive(data, "earwitness names", b""),
        }
    }

    /// What the disk sees instead of a name.
    pub(super) fn pseudonym(&self, name: &str) -> Pseudonym {
        let mac = secret::mac(&self.names, name.as_bytes());
        std::array::from_fn(|i| mac[i])
    }

    /// The row of a record: version, pseudonym and pack in clear, and sealed, bound to these and to `id`, the rest. The
    /// embedding is rotated by a key of this record's own.
    pub(super) fn row(&self, id: &RecordId, record: &Record) -> Result<Vec<u8>, RowError> {
        let sitting = &record.sitting;
        sitting.check()?;
        let rotated = self.rotation(id, sitting.embedding.len())?;
        let plain = to_plain(record, &rotated.apply(&sitting.embedding))?;
        let mut row = vec![VERSION];
        row.extend(self.pseudonym(&record.name));
        // At most 128, says the check.
        row.push(u8::try_from(sitting.pack_hash.len()).unwrap_or(u8::MAX));
        row.extend(sitting.pack_hash.as_bytes());
        let sealed = secret::seal(&self.seal, &place(id, &row), &plain)?;
        row.extend(sealed);
        Ok(row)
    }

    /// Reads a row back.
    pub(super) fn record(&self, id: &RecordId, row: &[u8]) -> Result<Record, RowError> {
        let (head, sealed) = split(row).ok_or_else(|| malformed("a row that is too short"))?;
        if head[0] != VERSION {
            return Err(malformed(&format!(
                "a row of layout {}, this program reads {VERSION}",
                head[0]
            )));
        }
        let plain = secret::open(&self.seal, &place(id, head), sealed)?;
        let mut record = from_plain(&plain)?;
        let is_whose_it_says = head[1..17] == self.pseudonym(&record.name)
            && head[HEADER..] == *record.sitting.pack_hash.as_bytes();
        if !is_whose_it_says {
            return Err(malformed("a row that belongs to somebody else"));
        }
        let rotation = self.rotation(id, record.sitting.embedding.len())?;
        record.sitting.embedding = rotation.undo(&record.sitting.embedding);
        record.sitting.check()?;
        Ok(record)
    }

    fn rotation(&self, id: &RecordId, dim: usize) -> Result<Rotation, SealError> {
        Rotation::new(&derive(&self.rotate, "record", id), dim)
    }
}

/// Whose row it is.
pub(super) fn pseudonym_of(row: &[u8]) -> Option<Pseudonym> {
    row.get(1..17)?.try_into().ok()
}

/// What a row is bound to.
fn place(id: &RecordId, head: &[u8]) -> Vec<u8> {
    [b"earwitness sitting ".as_slice(), id, head].concat()
}

fn split(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let pack = usize::from(*row.get(HEADER - 1)?);
    row.split_at_checked(HEADER + pack)
}

/// Length and JSON of what is no number, then the numbers. One allocation of the right size: growing would leave copies
/// of the voice print in freed memory.
pub(super) fn to_plain(record: &Record, embedding: &[f32]) -> Result<Zeroizing<Vec<u8>>, RowError> {
    let head = Head {
        name: record.name.as_str().into(),
        pack: record.sitting.pack_hash.as_str().into(),
        note: record.sitting.note.clone(),
    };
    let head = serde_json::to_vec(&head).map_err(|e| malformed(&e.to_string()))?;
    let length = u32::try_from(head.len()).map_err(|e| malformed(&e.to_string()))?;
    let mut plain = Zeroizing::new(Vec::with_capacity(4 + head.len() + 4 * embedding.len()));
    plain.extend(length.to_le_bytes());
    plain.extend(&head);
    for x in embedding {
        plain.extend(x.to_le_bytes());
    }
    Ok(plain)
}

/// Undoes [`to_plain`]; what it says is not checked yet.
pub(super) fn from_plain(plain: &[u8]) -> Result<Record, RowError> {
    let cut = || malformed("its end is missing");
    let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (head, numbers) = rest.split_at_checked(length).ok_or_else(cut)?;
    let head: Head = serde_json::from_slice(head).map_err(|e| malformed(&e.to_string()))?;
    check_dim(numbers.len() / 4)?;
    if numbers.len() % 4 != 0 {
        return Err(cut());
    }
    let mut embedding = Zeroizing::new(Vec::with_capacity(numbers.len() / 4));
    for number in numbers.chunks_exact(4) {
        embedding.push(f32::from_le_bytes([
            number[0], number[1], number[2], number[3],
        ]));
    }
    super::Enrolment::check_name(&head.name)?;
    Ok(Record {
        name: head.name.into_owned(),
        sitting: Sitting {
            embedding,
            pack_hash: head.pack.into_owned(),
            note: head.note,
        },
    })
}

/// Most bytes that [`to_plain`] makes of a sitting that passes its check.
pub(super) const MAX_PLAIN: usize = 4 + (64 << 10) + 4 * MAX_DIM;

/// A row of the first layout: one embedding a person, in JSON, not sealed.
pub(super) fn from_first_layout(name: &str, bytes: &[u8]) -> Result<Record, RowError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stored {
        version: u32,
        enrolment: Old,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Old {
        name: String,
        embedding: Vec<f32>,
        segments: u32,
        speech_s: f64,
        pack_hash: String,
        created: String,
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|e| malformed(&e.to_string()))?;
    let mut old = stored.enrolment;
    if stored.version != 1 || old.name != name {
        old.embedding.zeroize();
        return Err(malformed(&format!(
            "`{}` of version {} stands under `{name}`",
            old.name, stored.version
        )));
    }
    let sitting = Sitting {
        embedding: Zeroizing::new(old.embedding),
        pack_hash: old.pack_hash,
        note: Note {
            created: old.created,
            windows: old.segments,
            speech_s: old.speech_s,
            ..Note::default()
        },
    };
    super::Enrolment::check_name(name)?;
    sitting.check()?;
    Ok(Record {
        name: old.name,
        sitting,
    })
}

/// Why a row cannot be written or read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum RowError {
    /// The cipher.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What was in it.
    #[error(transparent)]
    Invalid(#[from] InvalidEnrolment),
}

fn malformed(reason: &str) -> RowError {
    InvalidEnrolment::Bytes(reason.into()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::enrolment::tests::sitting;
    use crate::task::speaker::cosine;

    fn alice() -> Record {
        Record {
            name: "alice".into(),
            sitting: sitting(1),
        }
    }

    #[test]
    fn what_comes_back_is_what_was_put_in_to_the_last_digits() {
        let keys = RowKeys::of(&[3; 32]);
        let row = keys.row(&[9; 16], &alice()).unwrap();
        let mut back = keys.record(&[9; 16], &row).unwrap();
        for (x, y) in back
            .sitting
            .embedding
            .iter()
            .zip(alice().sitting.embedding.iter())
        {
            assert!((x - y).abs() < 1e-6, "{x} {y}");
        }
        back.sitting.embedding = alice().sitting.embedding;
        assert_eq!(back, alice());
        assert!(!row.windows(5).any(|w| w == b"alice"));
    }

    #[test]
    fn a_row_is_bound_to_its_key_its_place_its_person_and_its_pack() {
        let keys = RowKeys::of(&[3; 32]);
        let row = keys.row(&[9; 16], &alice()).unwrap();
        let wrong = Err(RowError::Seal(SealError::Wrong));
        assert_eq!(RowKeys::of(&[4; 32]).record(&[9; 16], &row), wrong);
        assert_eq!(keys.record(&[8; 16], &row), wrong);
        // Version, pseudonym, pack and all that is sealed.
        for i in 0..row.len() {
            let mut bad = row.clone();
            bad[i] ^= 1;
            assert!(keys.record(&[9; 16], &bad).is_err(), "byte {i}");
        }
    }

    #[test]
    fn what_is_sealed_matches_nothing_elsewhere() {
        let (here, there) = (RowKeys::of(&[3; 32]), RowKeys::of(&[4; 32]));
        let sealed = |keys: &RowKeys, id: u8| {
            let row = keys.row(&[id; 16], &alice()).unwrap();
            let (head, sealed) = split(&row).unwrap();
            let plain = secret::open(&keys.seal, &place(&[id; 16], head), sealed).unwrap();
            from_plain(&plain).unwrap().sitting.embedding
        };
        let (a, b, c) = (sealed(&here, 1), sealed(&there, 1), sealed(&here, 2));
        for cosine in [
            cosine(&a, &b),
            cosine(&a, &c),
            cosine(&a, &alice().sitting.embedding),
        ] {
            // Five standard deviations of random vectors in 192 dimensions.
            assert!(cosine.abs() < 5.0 / 192f64.sqrt(), "{cosine}");
        }
    }

    #[test]
    fn the_first_layout_is_read() {
        let old = alice();
        let numbers = serde_json::to_string(&*old.sitting.embedding).unwrap();
        let text = format!(
            "{{\"version\":1,\"enrolment\":{{\"name\":\"alice\",\"embedding\":{numbers},\"segments\":4,\
             \"speech_s\":12.5,\"pack_hash\":\"abc\",\"created\":\"{}\"}}}}",
            old.sitting.note.created
        );
        let mut expected = old;
        expected.sitting.note.spread = None;
        assert_eq!(from_first_layout("alice", text.as_bytes()), Ok(expected));
        assert!(from_first_layout("bob", text.as_bytes()).is_err());
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(from_first_layout("alice", newer.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = RowKeys::of(&[3; 32]);
            prop_assert!(keys.record(&[9; 16], &bytes).is_err());
            prop_assert!(from_first_layout("alice", &bytes).is_err());
            let _ = from_plain(&bytes);
        }

        #[test]
        fn no_head_panics(length in 0u32..80, text in "\\{\"name\":\"[a-z]{0,3}\",\"pack\":\"\",\"note\":\\{.{0,20}") {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            let _ = from_plain(&bytes);
        }
    }
}
