//! A model's sessions: one where a session takes any shape, otherwise one for each shape that it is given.
//!
//! On CUDA a convolution knows how to run the shape that it saw last, and takes half a second or more to find out about
//! another (ONNX Runtime to 1.31, cuDNN 9). Two shapes in turn would have it do nothing else. Workers share such sessions: each
//! holds its weights and what it computes in the GPU's memory, and who waits for one has the GPU busy anyway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::session::Session;

use super::error::ModelError;
use super::net::{Given, commit};
use super::part::Part;
use super::place::Place;
use super::runtime::Runtime;

/// The most sessions of one model, each of which holds its weights on the GPU: eight lengths in two sizes of batch, or one in as many as
/// utterances have.
const MOST: usize = 16;

/// Dimensions of each input of a run.
type Shapes = Vec<Vec<usize>>;

/// What another session is opened from.
pub(super) struct Again {
    pub runtime: &'static Runtime,
    pub bytes: Vec<u8>,
    pub place: Place,
    pub part: Part,
}

/// A session that one at a time may run. A clone is the same one.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Session>>);

impl Shared {
    pub fn new(session: Session) -> Self {
        Self(Arc::new(Mutex::new(session)))
    }

    /// Waits for it. One that a panic let go of is as good as it was: a run leaves nothing behind.
    pub fn hold(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions, each with the shapes that it ran last. A clone has the same ones.
#[derive(Clone)]
pub(super) struct Plans(Arc<Mutex<Shelf>>);

struct Shelf {
    sessions: Vec<(Shapes, Shared)>,
    again: Option<Again>,
}

impl Plans {
    /// `again`: for a device that wants a session a shape.
    pub fn new(session: Session, again: Option<Again>) -> Self {
        Self(Arc::new(Mutex::new(Shelf {
            sessions: vec![(Vec::new(), Shared::new(session))],
            again,
        })))
    }

    /// The session that these inputs are for.
    pub fn for_inputs(&self, inputs: &[Given]) -> Result<Shared, ModelError> {
        let mut shelf = self.shelf();
        let is_only = shelf.again.is_none() && shelf.sessions.len() == 1;
        let at = match is_only {
            true => 0,
            false => shelf.planned(inputs.iter().map(Given::shape).collect())?,
        };
        Ok(shelf.sessions[at].1.clone())
    }

    /// Takes what was run so far for a trial: none of its shapes will come again.
    pub fn forget(&self) {
        let mut shelf = self.shelf();
        shelf.sessions.iter_mut().for_each(|(held, _)| held.clear());
    }

    /// Opens no more sessions, and lets go of what they are opened from.
    pub fn settle(&self) {
        self.shelf().again = None;
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// The one that ran these shapes last; else one that ran none yet, another one, or, where no more may be, the last.
    fn planned(&mut self, shapes: Shapes) -> Result<usize, ModelError> {
        let fits = |(held, _): &(Shapes, Shared)| *held == shapes || held.is_empty();
        if let Some(at) = self.sessions.iter().position(fits) {
            self.sessions[at].0 = shapes;
            return Ok(at);
        }
        if let Some(again) = self.again.as_ref().filter(|_| self.sessions.len() < MOST) {
            let session = commit(again.runtime, &again.bytes, &again.place, again.part)?;
            self.sessions.push((shapes, Shared::new(session)));
        } else if let Some((held, _)) = self.sessions.last_mut() {
            *held = shapes;
        }
        Ok(self.sessions.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pack;
    use super::*;

    fn plans(has_again: bool) -> Plans {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs/tiny");
        let pack = Pack::load(folder.as_ref()).expect("the tiny pack");
        let runtime = Runtime::load(None).expect("the library that `make test` fetches");
        let (part, bytes) = (Part::Vad, pack.read(Part::Vad).expect("a model"));
        let place = Place::host();
        let session = commit(runtime, &bytes, &place, part).expect("a session");
        let again = Again {
            runtime,
            bytes,
            place,
            part,
        };
        Plans::new(session, has_again.then_some(again))
    }

    /// Where the session for windows of so many frames lies.
    fn at(plans: &Plans, frames: usize) -> *const Mutex<Session> {
        let values = vec![0.0; frames * 80];
        let inputs = [Given::Host(&[1, frames, 80], &values)];
        Arc::as_ptr(&plans.for_inputs(&inputs).expect("a session").0)
    }

    #[test]
    fn each_shape_has_a_session_of_its_own_until_there_are_enough() {
        let plans = plans(true);
        // A trial, whose session is free again.
        at(&plans, 298);
        plans.forget();
        for frames in [98, 198, 98, 298, 198] {
            at(&plans, frames);
        }
        let held = |plans: &Plans| -> Vec<usize> {
            let shelf = plans.shelf();
            let sessions = shelf.sessions.iter();
            sessions.map(|(shapes, _)| shapes[0][1]).collect()
        };
        assert_eq!(held(&plans), [98, 198, 298]);
        assert_eq!(at(&plans, 198), at(&plans, 198));
        assert_eq!(at(&plans.clone(), 198), at(&plans, 198));
        for frames in 1..20 {
            at(&plans, 2 * frames);
        }
        let others = (1..13).map(|n| 2 * n).chain([38]);
        assert_eq!(
            held(&plans),
            Vec::from_iter([98, 198, 298].into_iter().chain(others))
        );
    }

    #[test]
    fn once_settled_what_is_new_takes_the_last_one() {
        let plans = plans(true);
        at(&plans, 98);
        let second = at(&plans, 198);
        plans.settle();
        assert_eq!(at(&plans, 298), second);
        assert_eq!(plans.shelf().sessions.len(), 2);
    }

    #[test]
    fn a_cpu_has_one() {
        let plans = plans(false);
        assert_eq!(at(&plans, 98), at(&plans, 198));
        assert_eq!(plans.shelf().sessions.len(), 1);
    }
}
