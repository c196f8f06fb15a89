//! Model packs (manifest, hashes, contract), the ONNX Runtime library, sessions and providers. No task logic lives here.
//!
//! ```text
//! Runtime::load(path)            the shared library, once a process
//! Pack::load(dir)                manifest checked, every file's hash checked
//! Pack::configured(&models)      the same, if somebody vouches for it whom the configuration trusts
//! Models::open(rt, &pack, p)     one set of single-thread sessions, owned by one engine worker
//!   .speech(fbank)    [T, 80]         -> [T/2]             probability a 20 ms frame
//!   .hear(stretch)    samples, fbank  -> [layers, vectors, dim], from whatever this encoder reads
//!   .encode(features) [T, 80]         -> [layers, T/2, dim]; [1, samples] for encoders of waveforms
//!   .embed(&hidden)                   -> [dim], L2 norm 1
//!   .genuine(&hidden, samples)        -> score, higher = bona fide; .opinions: what it is the sum of, too
//!   .sounds(&hidden)                  -> probability of each class, if the pack has a sound head
//!   .probe(&hidden)                   -> the answers of its probes, if it has any
//! ```
//!
//! A stream's windows overlap: `.hear_on(windows, memories)` encodes only what is new in them, where the encoder can stream.
//! Each has a twin for many windows (`.hear_all`, …), which runs those of one shape together. Hidden states stay where the
//! encoder left them, on a GPU too, and heads read them there; they are fetched only by who looks at them (`Hidden::view`).
//!
//! `docs/pack.md` is the contract that a pack is held to.

mod batch;
mod calibration;
mod calls;
mod cut;
mod error;
mod head;
mod heads;
mod hidden;
mod input;
mod manifest;
mod memory;
mod net;
mod onnx;
mod pack;
mod part;
mod place;
mod plans;
mod prove;
mod repeat;
mod runtime;
mod sessions;
mod spent;
mod trust;
mod views;

pub use batch::Tally;
pub use calibration::{Calibration, DurationTerms, FusionCalibration, SpeakerCalibration};
pub use calls::Opinion;
pub use error::ModelError;
pub use heads::{ProbeKind, Short};
pub use hidden::Hidden;
pub use input::{Input, Stretch};
pub use manifest::Health;
pub use memory::{Memory, Moment};
pub use onnx::check_onnx;
pub use pack::{Accuracy, Pack};
pub use part::Part;
pub use place::{Device, Execution};
pub use runtime::Runtime;
pub use sessions::{GPU_LEAST, Models, Wanted};
pub use spent::{Spent, Took};
pub use trust::{Origin, SIGNATURE, Trust, make_keys, sign};
