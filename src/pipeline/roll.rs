//! Who is enrolled, as the store has it: the one way from its file to those who are known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Standing;
use crate::store::{Enrolment, SpeakerStore, StoreError, Unusable};
use crate::task::speaker::Candidate;

/// What people are enrolled for the pack of this hash; those of whom there is nothing that it can be compared with are left out, with a
/// warning.
pub fn candidates(enrolments: Vec<Enrolment>, pack_hash: &str) -> Vec<Candidate> {
    let sorted = Sorted::of(enrolments, pack_hash);
    sorted.warn();
    sorted.people
}

/// The people of a store, and all who have to know them. Whoever wrote to the store and whoever saw that somebody did meet here.
pub struct Roll {
    store: SpeakerStore,
    pack_hash: String,
    standing: Arc<Standing>,
    known: Mutex<Sorted>,
}

/// Enrolled people, as they are known, and those who cannot be.
#[derive(PartialEq)]
struct Sorted {
    people: Vec<Candidate>,
    left_out: Vec<(String, Unusable)>,
}

impl Roll {
    /// Of a store from which those come who are known in `standing`: `enrolments`.
    pub fn new(
        store: SpeakerStore,
        enrolments: Vec<Enrolment>,
        pack_hash: &str,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            store,
            known: Mutex::new(Sorted::of(enrolments, pack_hash)),
            pack_hash: pack_hash.to_owned(),
            standing,
        }
    }

    /// Where they are kept.
    pub fn store(&self) -> &SpeakerStore {
        &self.store
    }

    /// Lets all know who is enrolled now, after a write of ours.
    pub fn renew(&self) -> Result<(), StoreError> {
        self.take(SpeakerStore::list)
    }

    /// The same without holding anybody up, for whoever looks again if it fails.
    pub fn look(&self) -> Result<(), StoreError> {
        self.take(SpeakerStore::peek)
    }

    fn take(
        &self,
        read: impl FnOnce(&SpeakerStore) -> Result<Vec<Enrolment>, StoreError>,
    ) -> Result<(), StoreError> {
        // Before it is read: or who read first might have the last word, with people who have gone since.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Sorted::of(read(&self.store)?, &self.pack_hash);
        if now == *known {
            return Ok(());
        }
        now.warn();
        // Each turn that is under way is judged anew by it: not for nothing.
        if now.people != known.people {
            let people = now.people.len();
            tracing::info!(people, "other people are known from now on");
            self.standing.know(now.people.clone());
        }
        *known = now;
        Ok(())
    }
}

impl Sorted {
    fn of(enrolments: Vec<Enrolment>, pack_hash: &str) -> Self {
        let now = SystemTime::now();
        let (mut people, mut left_out) = (Vec::new(), Vec::new());
        for person in enrolments {
            match person.template(pack_hash, now) {
                Ok(template) => people.push(Candidate {
                    embedding: template.to_vec(),
                    speech_s: person.speech_s(pack_hash, now),
                    name: person.name,
                }),
                Err(why) => left_out.push((person.name, why)),
            }
        }
        Self { people, left_out }
    }

    fn warn(&self) {
        for (name, why) in &self.left_out {
            match why {
                Unusable::OtherPack => tracing::warn!(
                    name,
                    "was enrolled with other models and is not recognised: enrol again"
                ),
                Unusable::Expired => tracing::warn!(
                    name,
                    "the time for which this voice may be kept is over: it is not recognised, and deleted at the next write"
                ),
            }
        }
    }
}
