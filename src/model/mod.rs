//! Model packs (manifest, hashes, contract), the ONNX Runtime library, sessions and providers. No task logic lives here.
//!
//! ```text
//! Runtime::load(path)            the shared library, once a process
//! Pack::load(dir)                manifest checked, every file's hash checked
//! Models::open(rt, &pack, p)     one set of single-thread sessions, owned by one engine worker
//!   .speech(fbank)    [T, 80]         -> [T/2]             probability a 20 ms frame
//!   .hear(stretch)    samples, fbank  -> [layers, vectors, dim], from whatever this encoder reads
//!   .encode(features) [T, 80]         -> [layers, T/2, dim]; [1, samples] for encoders of waveforms
//!   .embed(&hidden)                   -> [dim], L2 norm 1
//!   .genuine(&hidden, spectral)       -> score, higher = bona fide
//!   .sounds(&hidden)                  -> probability of each class, if the pack has a sound head
//!   .probe(&hidden)                   -> the answers of its probes, if it has any
//! ```
//!
//! `docs/pack.md` is the contract that a pack is held to.

mod calibration;
mod error;
mod heads;
mod input;
mod manifest;
mod net;
mod onnx;
mod pack;
mod runtime;
mod sessions;

pub use calibration::Calibration;
pub use error::ModelError;
pub use heads::ProbeKind;
pub use input::{Input, Stretch};
pub use net::Device;
pub use pack::{Accuracy, Pack, Part};
pub use runtime::Runtime;
pub use sessions::{Hidden, Models, Wanted};
