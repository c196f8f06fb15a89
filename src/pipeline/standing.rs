//! By what is decided now: the same for all streams, and exchanged as a whole when people come or go.

use std::sync::{Arc, PoisonError, RwLock};

use crate::task::Judge;
use crate::task::speaker::{Candidate, Matcher};

/// The judge in office.
#[derive(Debug)]
pub struct Standing(RwLock<Arc<Judge>>);

impl Standing {
    /// This one, to begin with.
    pub fn new(judge: Judge) -> Self {
        Self(RwLock::new(Arc::new(judge)))
    }

    /// Who is in office.
    pub fn now(&self) -> Arc<Judge> {
        // Whole at any time: it is only ever exchanged.
        let judge = self.0.read().unwrap_or_else(PoisonError::into_inner);
        judge.clone()
    }

    /// From now on these people are known, and nobody else.
    pub fn know(&self, people: Vec<Candidate>) {
        let before = self.now();
        let judge = Judge {
            matcher: Matcher::new(people, before.matcher.scoring().clone()),
            ..(*before).clone()
        };
        let mut office = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *office = Arc::new(judge);
    }
}
