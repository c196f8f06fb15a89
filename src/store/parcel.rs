//! A person in a file of its own, to take elsewhere: a header that anyone can read, and all that is known of the person
//! behind a passphrase.
//!
//! The voice prints in it are not rotated, so that another store can take them in: who knows the passphrase has them.

use zeroize::Zeroizing;

use super::passphrase::{SALT, Stretch};
use super::row::{MAX_PLAIN, Record, RowError, from_plain, to_plain};
use super::secret::{self, OVERHEAD, SealError};

/// What a parcel begins with; the last byte is its layout.
const MAGIC: [u8; 8] = *b"EWPERSO\x01";
/// Magic, three costs, salt.
const HEADER: usize = MAGIC.len() + 3 * 4 + SALT;
/// Sittings that a parcel may hold.
const MAX_SITTINGS: usize = 256;
/// Largest parcel that is looked at.
pub const MAX_PARCEL: usize = 16 << 20;

/// Why bytes are no parcel of ours.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// They begin with something else.
    #[error("expected a file that `speakers export` wrote, found something else")]
    Foreign,
    /// Of another version of the program.
    #[error("the file has layout {0}, this program reads {layout}", layout = MAGIC[7])]
    Version(u8),
    /// Too many bytes or sittings.
    #[error("expected at most {MAX_PARCEL} bytes and {MAX_SITTINGS} sittings, found more")]
    TooLarge,
    /// Costs that nobody would choose.
    #[error(
        "the file asks for costs of its passphrase that are out of range; it is damaged or hostile"
    )]
    Costs,
    /// The passphrase does not fit, or the file was altered.
    #[error("wrong passphrase, or the file was altered or cut off")]
    Wrong,
    /// What was sealed is not a person.
    #[error("the file holds no person: {0}")]
    Content(String),
    /// No random numbers.
    #[error(transparent)]
    Seal(SealError),
}

impl From<SealError> for ParcelError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Wrong => Self::Wrong,
            other => Self::Seal(other),
        }
    }
}

impl From<RowError> for ParcelError {
    fn from(error: RowError) -> Self {
        Self::Content(error.to_string())
    }
}

/// Seals records of one person.
pub(super) fn pack(records: &[Record], passphrase: &str) -> Result<Vec<u8>, ParcelError> {
    pack_with(records, passphrase, &Stretch::fresh()?)
}

fn pack_with(
    records: &[Record],
    passphrase: &str,
    stretch: &Stretch,
) -> Result<Vec<u8>, ParcelError> {
    if records.len() > MAX_SITTINGS {
        return Err(ParcelError::TooLarge);
    }
    let mut parts = Vec::new();
    for record in records {
        parts.push(to_plain(record, &record.sitting.embedding)?);
    }
    let length = parts.iter().map(|part| 4 + part.len()).sum();
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    for part in &parts {
        let length = u32::try_from(part.len()).map_err(|_| ParcelError::TooLarge)?;
        plain.extend(length.to_le_bytes());
        plain.extend(part.iter());
    }
    let mut parcel = MAGIC.to_vec();
    for cost in stretch.costs() {
        parcel.extend(cost.to_le_bytes());
    }
    parcel.extend(stretch.salt());
    let sealed = secret::seal(&*stretch.key(passphrase)?, &parcel, &plain)?;
    parcel.extend(sealed);
    match parcel.len() <= MAX_PARCEL {
        true => Ok(parcel),
        false => Err(ParcelError::TooLarge),
    }
}

/// Opens a parcel: records of one person, at least one, each checked.
pub(super) fn unpack(bytes: &[u8], passphrase: &str) -> Result<Vec<Record>, ParcelError> {
    let stretch = stretch_of(bytes)?;
    let (head, sealed) = bytes.split_at(HEADER);
    let plain = secret::open(&*stretch.key(passphrase)?, head, sealed)?;
    records_of(&plain)
}

/// Reads the header; that it is there is checked, too.
fn stretch_of(bytes: &[u8]) -> Result<Stretch, ParcelError> {
    if bytes.len() > MAX_PARCEL {
        return Err(ParcelError::TooLarge);
    }
    let Some(rest) = bytes.strip_prefix(&MAGIC[..7]) else {
        return Err(ParcelError::Foreign);
    };
    match rest.first() {
        Some(1) => (),
        Some(other) => return Err(ParcelError::Version(*other)),
        None => return Err(ParcelError::Foreign),
    }
    if bytes.len() < HEADER + OVERHEAD {
        return Err(ParcelError::Wrong);
    }
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let at = MAGIC.len();
    let salt = std::array::from_fn(|i| bytes[at + 12 + i]);
    Stretch::new(number(at), number(at + 4), number(at + 8), salt).ok_or(ParcelError::Costs)
}

fn records_of(mut plain: &[u8]) -> Result<Vec<Record>, ParcelError> {
    let cut = || ParcelError::Content("its end is missing".into());
    let mut records: Vec<Record> = Vec::new();
    while !plain.is_empty() {
        let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_PLAIN || records.len() == MAX_SITTINGS {
            return Err(ParcelError::TooLarge);
        }
        let (part, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let record = from_plain(part)?;
        record.sitting.check().map_err(RowError::from)?;
        if records
            .first()
            .is_some_and(|first| first.name != record.name)
        {
            return Err(ParcelError::Content("it holds several people".into()));
        }
        records.push(record);
        plain = rest;
    }
    match records.is_empty() {
        true => Err(ParcelError::Content("it is empty".into())),
        false => Ok(records),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::enrolment::tests::sitting;

    fn records() -> Vec<Record> {
        let record = |seed| Record {
            name: "alice".into(),
            sitting: sitting(seed),
        };
        vec![record(1), record(2)]
    }

    /// The least that the costs may be.
    fn cheap() -> Stretch {
        Stretch::new(64, 1, 1, [7; SALT]).unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked_bit_for_bit_with_its_passphrase_only() {
        let parcel = pack_with(&records(), "correct horse", &cheap()).unwrap();
        assert_eq!(unpack(&parcel, "correct horse").unwrap(), records());
        assert!(!parcel.windows(5).any(|w| w == b"alice"));
        assert!(matches!(
            unpack(&parcel, "correct house"),
            Err(ParcelError::Wrong)
        ));
        for at in (0..parcel.len()).step_by(7) {
            let mut bad = parcel.clone();
            bad[at] ^= 1;
            assert!(unpack(&bad, "correct horse").is_err(), "byte {at}");
        }
        for length in (0..parcel.len()).step_by(11) {
            assert!(
                unpack(&parcel[..length], "correct horse").is_err(),
                "{length}"
            );
        }
        let mut newer = parcel.clone();
        newer[7] = 2;
        assert!(matches!(unpack(&newer, ""), Err(ParcelError::Version(2))));
        let mut costly = parcel;
        costly[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unpack(&costly, ""), Err(ParcelError::Costs)));
        assert!(matches!(
            unpack(b"RIFF....WAVE", ""),
            Err(ParcelError::Foreign)
        ));
        let real = pack(&records(), "x").unwrap();
        assert_eq!(stretch_of(&real).unwrap().costs(), [65_536, 3, 1]);
    }

    #[test]
    fn a_parcel_holds_one_person() {
        let mut two = records();
        two[1].name = "bob".into();
        for records in [&two[..], &[]] {
            let parcel = pack_with(records, "x", &cheap()).unwrap();
            assert!(matches!(unpack(&parcel, "x"), Err(ParcelError::Content(_))));
        }
        let many = vec![records().remove(0); MAX_SITTINGS + 1];
        assert!(matches!(
            pack_with(&many, "x", &cheap()),
            Err(ParcelError::TooLarge)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
            if ours && bytes.len() > 20 {
                bytes[..8].copy_from_slice(&MAGIC);
                // Costs that are refused or low: this runs many times.
                bytes[8..20].copy_from_slice(&[64, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
            }
            prop_assert!(unpack(&bytes, "x").is_err());
        }

        #[test]
        fn no_content_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u32..100) {
            let mut framed = length.to_le_bytes().to_vec();
            framed.extend(&bytes);
            prop_assert!(records_of(&framed).is_err());
            prop_assert!(bytes.is_empty() || records_of(&bytes).is_err());
        }
    }
}
