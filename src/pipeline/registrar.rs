//! Who judges what was heard for an enrolment, and alone writes to the store while the daemon runs: on a thread of their own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use super::enrol::{Desk, Order, Taking};
use super::roll::Roll;
use crate::config;
use crate::model::ModelError;
use crate::publish::enrolment::{Request, Word};
use crate::publish::time;
use crate::store::{Enrolment, Note, Sitting, StoreError, expiry};
use crate::task::enrol::{Gate, Heard, Recording};
use crate::task::recording::Evidence;

/// What the store keeps of a sitting.
pub fn sitting(
    config: &config::Speaker,
    pack_hash: &str,
    evidence: &Evidence,
    embedding: Vec<f32>,
) -> Sitting {
    Sitting {
        embedding: embedding.into(),
        pack_hash: pack_hash.to_owned(),
        note: Note {
            created: time::now(),
            windows: u32::try_from(evidence.windows).unwrap_or(u32::MAX),
            speech_s: evidence.speech_s,
            expires: config.keep_days.map(expiry),
            ..Note::default()
        },
    }
}

/// Who keeps the store, on a thread of their own.
pub struct Registrar {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

struct Office {
    desk: Arc<Desk>,
    roll: Arc<Roll>,
    config: config::Speaker,
    pack_hash: String,
    gate: Gate,
}

impl Registrar {
    /// Begins to work.
    pub fn start(
        desk: Arc<Desk>,
        roll: Arc<Roll>,
        config: &config::Speaker,
        pack_hash: &str,
        gate: Gate,
    ) -> std::io::Result<Self> {
        let office = Office {
            desk: desk.clone(),
            roll,
            config: config.clone(),
            pack_hash: pack_hash.to_owned(),
            gate,
        };
        let thread = std::thread::Builder::new()
            .name("registrar".into())
            .spawn(move || office.run())?;
        Ok(Self { desk, thread })
    }

    /// Ends with what is under way.
    pub fn stop(self) {
        self.desk.close();
        if self.thread.join().is_err() {
            tracing::error!("the registrar panicked; the store is whole, since its writes are");
        }
    }
}

impl Office {
    fn run(self) {
        while let Some(order) = self.desk.next() {
            match order {
                Order::Judge(stream, ticket, recordings) => {
                    if let Some(taking) = self.desk.free_of(stream, ticket) {
                        let word = self.judge(&taking, recordings);
                        self.end(&taking, word);
                    }
                }
                Order::Late(stream, ticket) => {
                    if let Some(taking) = self.desk.free_of(stream, ticket) {
                        let request = &taking.request;
                        let refusal = format!(
                            "expected {:.0} s of speech within {} s, found {:.1} s; speak longer, closer or with less noise",
                            request.seconds,
                            request.within.as_secs(),
                            taking.gathered.speech_s(),
                        );
                        self.end(&taking, Word::Refused(refusal));
                    }
                }
                Order::Forget(ticket, name) => {
                    self.give_up(&name);
                    let word = self.forget(&name);
                    self.desk.tell(ticket, word);
                }
            }
        }
    }

    fn end(&self, taking: &Taking, word: Word) {
        let name = &taking.request.name;
        match &word {
            Word::Enrolled { speech_s, .. } => tracing::info!(name, speech_s, "enrolled"),
            Word::Refused(reason) => tracing::warn!(name, "not enrolled: {reason}"),
            Word::Heard(_) | Word::Forgotten(_) => {}
        }
        self.desk.tell(taking.ticket, word);
    }

    fn judge(&self, taking: &Taking, recordings: Result<Vec<Recording>, ModelError>) -> Word {
        let recordings = match recordings {
            Ok(recordings) => recordings,
            Err(error) => return Word::Refused(error.to_string()),
        };
        let heard = match self.gate.judge(&recordings) {
            Ok(heard) if heard.faults.is_empty() => heard,
            Ok(heard) => return Word::Refused(heard.faults.join("; ")),
            Err(error) => return Word::Refused(error.to_string()),
        };
        let speech_s = heard.evidence.speech_s;
        match self.keep(&taking.request, heard) {
            Ok(person) => Word::Enrolled {
                speech_s,
                total_speech_s: person.speech_s(&self.pack_hash, SystemTime::now()),
                sittings: person.sittings.len(),
            },
            Err(error) => Word::Refused(error.to_string()),
        }
    }

    /// Stores a sitting, and lets all streams know.
    fn keep(&self, request: &Request, heard: Heard) -> Result<Enrolment, StoreError> {
        let mut sitting = sitting(
            &self.config,
            &self.pack_hash,
            &heard.evidence,
            heard.embedding,
        );
        let note = &mut sitting.note;
        note.spread = heard.spread;
        note.device.clone_from(&request.label);
        note.consent.clone_from(&request.consent);
        note.expires = request.keep_days.map(expiry).or(note.expires.take());
        let store = self.roll.store();
        let person = store.add(&request.name, sitting, request.replace)?;
        self.make_known();
        Ok(person)
    }

    fn forget(&self, name: &str) -> Word {
        let receipt = match self.roll.store().forget(name) {
            Ok(Some(receipt)) => receipt,
            Ok(None) => return Word::Refused(format!("nobody of the name {name} is enrolled")),
            Err(error) => return Word::Refused(error.to_string()),
        };
        // It exists nowhere else, and an answer may be lost on its way. It names nobody.
        let text = serde_json::to_string(&receipt).unwrap_or_default();
        tracing::info!(receipt = text, "a person is forgotten");
        self.make_known();
        Word::Forgotten(Box::new(receipt))
    }

    /// What was asked for is done, and told, also if this fails.
    fn make_known(&self) {
        if let Err(error) = self.roll.renew() {
            tracing::error!(
                "the store cannot be read anew: it is tried again until all know: {error}"
            );
        }
    }

    /// Who is to be forgotten is not enrolled by what is under way.
    fn give_up(&self, name: &str) {
        for stream in 0..self.desk.streams() {
            let is_theirs = |taking: &Taking| taking.request.name == name;
            if let Some(taking) = self.desk.free(stream, is_theirs) {
                self.end(&taking, Word::Refused("forgotten meanwhile".into()));
            }
        }
    }
}
