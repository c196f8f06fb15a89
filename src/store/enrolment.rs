//! One enrolled person: sittings, each with a voice print and what is known of how it came about.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::publish::time;

/// Longest embedding that any pack may have.
pub(super) const MAX_DIM: usize = 4096;
/// Longest text that a note may hold, in bytes.
pub const MAX_TEXT: usize = 1000;

/// An enrolled person.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// At least one, oldest first.
    pub sittings: Vec<Sitting>,
}

/// One sitting: recordings of one person, by one device, on one day. Its `Debug` form leaves the voice print out.
#[derive(Clone, PartialEq)]
pub struct Sitting {
    /// Centroid of the windows' embeddings, L2 norm 1; overwritten in memory when it is dropped.
    pub embedding: Zeroizing<Vec<f32>>,
    /// The pack whose speaker head made the embedding; another one's embeddings cannot be compared with it.
    pub pack_hash: String,
    /// What may be told of it.
    pub note: Note,
}

/// What may be told of a sitting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When it was taken, RFC 3339 UTC.
    pub created: String,
    /// Windows that went into it, at least 1.
    pub windows: u32,
    /// Seconds of speech that went into it, > 0.
    pub speech_s: f64,
    /// Mean of one minus the cosine of a window to the centroid, 0 to 2; absent where it was not measured.
    #[serde(default)]
    pub spread: Option<f64>,
    /// What it was recorded with, in the words of whoever enrolled.
    #[serde(default)]
    pub device: Option<String>,
    /// What the person agreed to, in the words of whoever enrolled; the date is `created`.
    #[serde(default)]
    pub consent: Option<String>,
    /// From when on it is neither matched nor kept, RFC 3339 UTC; absent: for ever.
    #[serde(default)]
    pub expires: Option<String>,
    /// Faults of the recordings that were overridden.
    #[serde(default)]
    pub forced: Vec<String>,
}

/// Why an enrolment cannot be stored.
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
    #[error("enrolment of {windows} windows and {speech_s} s of speech: expected some of both")]
    Empty {
        /// Windows.
        windows: u32,
        /// Seconds.
        speech_s: f64,
    },
    /// A time that is none, or a text that is too long.
    #[error("{what} `{found}`: expected {expected}")]
    Text {
        /// The field.
        what: &'static str,
        /// Its beginning.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Stored bytes are not an enrolment.
    #[error(
        "stored enrolment cannot be read: {0}; restore the store from a backup, or move it away and enrol again"
    )]
    Bytes(String),
}

/// Why an enrolled person cannot be recognised now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Every sitting was taken with other models.
    OtherPack,
    /// The time for which each sitting of this pack was to be kept is over.
    Expired,
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

    /// The voice print to match with the embeddings of the pack of this hash: the mean of its sittings that have not expired
    /// at `now`, each weighted by its seconds of speech, L2 norm 1.
    ///
    /// # Errors
    /// [`Unusable`] says why there is none.
    pub fn template(
        &self,
        pack_hash: &str,
        now: SystemTime,
    ) -> Result<Zeroizing<Vec<f32>>, Unusable> {
        let mut of_pack = self.sittings_of(pack_hash).peekable();
        if of_pack.peek().is_none() {
            return Err(Unusable::OtherPack);
        }
        let mut sum: Zeroizing<Vec<f64>> = Zeroizing::default();
        for sitting in of_pack.filter(|s| !s.has_expired(now)) {
            if sum.is_empty() {
                sum.resize(sitting.embedding.len(), 0.0);
            }
            for (sum, x) in sum.iter_mut().zip(sitting.embedding.iter()) {
                *sum += sitting.note.speech_s * f64::from(*x);
            }
        }
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Sittings that cancel each other out would be no person either.
        if norm.is_nan() || norm <= 0.0 {
            return Err(Unusable::Expired);
        }
        Ok(Zeroizing::new(
            sum.iter().map(|x| (x / norm) as f32).collect(),
        ))
    }

    /// Seconds of speech that count for the pack of this hash at `now`.
    pub fn speech_s(&self, pack_hash: &str, now: SystemTime) -> f64 {
        let usable = self.sittings_of(pack_hash).filter(|s| !s.has_expired(now));
        usable.map(|s| s.note.speech_s).sum()
    }

    fn sittings_of<'a>(&'a self, pack_hash: &'a str) -> impl Iterator<Item = &'a Sitting> {
        let of_pack = move |s: &&Sitting| s.pack_hash == pack_hash;
        self.sittings.iter().filter(of_pack)
    }
}

impl Sitting {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// [`InvalidEnrolment`] names the field.
    pub fn check(&self) -> Result<(), InvalidEnrolment> {
        check_dim(self.embedding.len())?;
        let sum: f64 = self.embedding.iter().map(|x| f64::from(*x).powi(2)).sum();
        let norm = sum.sqrt();
        if norm.is_nan() || (norm - 1.0).abs() > 1e-3 {
            return Err(InvalidEnrolment::Norm(norm));
        }
        let Note {
            windows, speech_s, ..
        } = self.note;
        if windows == 0 || !speech_s.is_finite() || speech_s <= 0.0 {
            return Err(InvalidEnrolment::Empty { windows, speech_s });
        }
        let text = |what, found: &str, expected, is_fine: bool| match is_fine {
            true => Ok(()),
            false => Err(InvalidEnrolment::Text {
                what,
                found: found.chars().take(40).collect(),
                expected,
            }),
        };
        let hash = &self.pack_hash;
        let expected = "the hash of a pack";
        text("pack", hash, expected, (1..=128).contains(&hash.len()))?;
        let note = &self.note;
        let times = [
            ("date", Some(&note.created)),
            ("end", note.expires.as_ref()),
        ];
        for (what, found) in times {
            let found = found.map_or("", String::as_str);
            let is_fine = (found.is_empty() && what == "end") || time::parse(found).is_some();
            text(what, found, "a time like 2026-11-23T08:30:00.250Z", is_fine)?;
        }
        let texts = [("device", &note.device), ("consent", &note.consent)];
        for (what, found) in texts {
            let found = found.as_deref().unwrap_or_default();
            let expected = "at most 1000 bytes";
            text(what, found, expected, found.len() <= MAX_TEXT)?;
        }
        Ok(())
    }

    /// Whether it may neither be matched nor kept any longer. An end that cannot be read is one that has come.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        let end = self.note.expires.as_deref();
        end.is_some_and(|end| time::parse(end).is_none_or(|end| end <= now))
    }
}

pub(super) fn check_dim(dim: usize) -> Result<(), InvalidEnrolment> {
    match dim {
        1..=MAX_DIM => Ok(()),
        other => Err(InvalidEnrolment::Length(other)),
    }
}

impl fmt::Debug for Sitting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Sitting")
            .field("dim", &self.embedding.len())
            .field("pack_hash", &self.pack_hash)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    pub fn sitting(seed: u32) -> Sitting {
        let raw: Vec<f32> = (0..192).map(|i| ((i * 7 + seed) as f32).sin()).collect();
        let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        Sitting {
            embedding: Zeroizing::new(raw.iter().map(|x| x / norm).collect()),
            pack_hash: "abc".into(),
            note: Note {
                created: time::rfc3339_millis(1_795_422_600_250 + u64::from(seed)),
                windows: 4,
                speech_s: 12.5,
                spread: Some(0.1),
                ..Note::default()
            },
        }
    }

    #[test]
    fn a_template_is_the_mean_by_speech_of_what_may_be_compared() {
        let axis = |i: usize, speech_s| {
            let mut sitting = sitting(i as u32);
            sitting.embedding = Zeroizing::new(vec![0.0; 3]);
            sitting.embedding[i] = 1.0;
            sitting.note.speech_s = speech_s;
            sitting
        };
        let now = SystemTime::now();
        let mut person = Enrolment {
            name: "alice".into(),
            sittings: vec![axis(0, 30.0), axis(1, 40.0), axis(2, 99.0)],
        };
        person.sittings[2].pack_hash = "def".into();
        let template = person.template("abc", now).unwrap();
        for (found, expected) in template.iter().zip([0.6, 0.8, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(person.speech_s("abc", now), 70.0);
        assert_eq!(
            person.template("def", now).unwrap().as_slice(),
            [0.0, 0.0, 1.0]
        );
        assert_eq!(person.template("xyz", now), Err(Unusable::OtherPack));
        let end = now + Duration::from_secs(60);
        person.sittings[1].note.expires = Some(time::rfc3339(end));
        assert!(person.template("abc", now).unwrap()[1] > 0.7);
        assert_eq!(
            person.template("abc", end).unwrap().as_slice(),
            [1.0, 0.0, 0.0]
        );
        person.sittings[0].note.expires = Some("soon".into());
        assert_eq!(person.template("abc", end), Err(Unusable::Expired));
    }

    #[test]
    fn nobody_s_voice_is_printed() {
        let alice = Enrolment {
            name: "alice".into(),
            sittings: vec![sitting(3)],
        };
        let text = format!("{alice:?} {alice:#?}");
        assert!(text.contains("alice") && text.contains("192") && text.contains("12.5"));
        for number in alice.sittings[0].embedding.iter() {
            assert!(!text.contains(&format!("{number:?}")), "{number}");
        }
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let wrong = |change: fn(&mut Sitting)| {
            let mut s = sitting(1);
            change(&mut s);
            s.check().unwrap_err()
        };
        use InvalidEnrolment::{Empty, Length, Norm, Text};
        assert_eq!(sitting(1).check(), Ok(()));
        assert!(matches!(wrong(|s| s.embedding.clear()), Length(0)));
        assert!(matches!(wrong(|s| s.embedding[0] = f32::NAN), Norm(_)));
        assert!(matches!(wrong(|s| s.embedding[0] += 1.0), Norm(_)));
        assert!(matches!(wrong(|s| s.note.windows = 0), Empty { .. }));
        assert!(matches!(
            wrong(|s| s.note.speech_s = f64::NAN),
            Empty { .. }
        ));
        assert!(matches!(
            wrong(|s| s.pack_hash.clear()),
            Text { what: "pack", .. }
        ));
        assert!(matches!(
            wrong(|s| s.note.created.clear()),
            Text { what: "date", .. }
        ));
        assert!(matches!(
            wrong(|s| s.note.expires = Some("later".into())),
            Text { what: "end", .. }
        ));
        assert!(matches!(
            wrong(|s| s.note.consent = Some("x".repeat(1001))),
            Text {
                what: "consent",
                ..
            }
        ));
        for name in ["a/b", "", &"x".repeat(65)] {
            assert!(Enrolment::check_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_are_those_allowed(name in "\\PC{0,70}") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            let good = (1..=64).contains(&name.len()) && name.chars().all(plain);
            prop_assert_eq!(Enrolment::check_name(&name).is_ok(), good);
        }
    }
}
