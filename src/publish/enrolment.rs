//! Enrolling and forgetting people while the daemon runs: what is asked for, what is told of it, and the face of whoever does
//! it. No socket, no decision, no voice: nothing here says what anybody sounds like.

use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::SCHEMA;
use crate::store::Receipt;

/// Seconds of speech that may be asked for.
pub const SECONDS: RangeInclusive<f64> = 3.0..=120.0;
/// Seconds that they may take.
pub const WITHIN_S: RangeInclusive<u64> = 10..=600;
/// Words that may wait for who asked.
pub const WORDS: usize = 64;

/// A sitting that is to be taken from a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whom to enrol.
    pub name: String,
    /// Seconds of speech that it takes.
    pub seconds: f64,
    /// How long they may take to come.
    pub within: Duration,
    /// What it was recorded with.
    pub label: Option<String>,
    /// What the person agreed to.
    pub consent: Option<String>,
    /// Days for which it may be kept; absent: as configured.
    pub keep_days: Option<u32>,
    /// In place of the sittings before.
    pub replace: bool,
}

/// Who keeps the enrolled people. Every call returns at once; what becomes of one with a ticket is told as [`News`].
pub trait People: Send + Sync {
    /// Takes a sitting from the `stream`-th stream.
    ///
    /// # Errors
    /// Why it is not even begun.
    fn enrol(&self, ticket: u64, stream: usize, request: Request) -> Result<(), String>;

    /// Ends what is under way on the `stream`-th stream: nothing of it is stored, and no end of it is told.
    ///
    /// # Errors
    /// Why there is nothing to end.
    fn cancel(&self, stream: usize) -> Result<(), String>;

    /// Forgets a person.
    ///
    /// # Errors
    /// Why it is not even begun.
    fn forget(&self, ticket: u64, name: String) -> Result<(), String>;
}

/// Word of what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// Which.
    pub ticket: u64,
    /// What.
    pub word: Word,
}

/// All but the first end it.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// So many seconds of speech were heard so far.
    Heard(f64),
    /// It is done.
    Enrolled {
        /// Seconds of speech of this sitting.
        speech_s: f64,
        /// The same of all sittings that count.
        total_speech_s: f64,
        /// All sittings.
        sittings: usize,
    },
    /// It is done.
    Forgotten(Box<Receipt>),
    /// It is not, and why.
    Refused(String),
}

/// Where an enrolment stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// None was begun, or it was cancelled.
    #[default]
    Idle,
    /// Speech is waited for and taken.
    Listening,
    /// The person is enrolled.
    Enrolled,
    /// The person is not; the reason is told.
    Refused,
}

/// How the enrolment of a stream goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Where it stands.
    pub phase: Phase,
    /// Whom it is about, or the next one without a name of its own.
    pub name: Option<String>,
    /// Seconds of speech that were heard.
    pub speech_s: f64,
    /// Seconds of speech that it takes.
    pub wanted_s: f64,
    /// Why it was refused.
    pub reason: Option<String>,
    /// `enrolled`: seconds of speech of all sittings that count.
    pub total_speech_s: Option<f64>,
    /// `enrolled`: all sittings.
    pub sittings: Option<usize>,
}

/// The retained message of how the enrolment of a stream goes; only where enrolling is allowed to somebody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamEnrolment {
    /// Layout version: 1.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The daemon.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// How it goes.
    #[serde(flatten)]
    pub progress: Progress,
}
