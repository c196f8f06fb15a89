//! What can be wrong with a pack, the runtime library or a model; each message says what was expected, what was found
//! and what to do.

use std::path::PathBuf;

use super::part::Part;
use super::place::Device;

/// Why models cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the pack cannot be read.
    #[error(
        "cannot read {path}: {source}; a pack is a folder with pack.toml and the files that it names"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// `pack.toml` is not what `docs/pack.md` describes.
    #[error("{path} is no pack manifest that this version reads: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line, key, expected and found.
        reason: String,
    },
    /// The manifest asks for something that this program does not do.
    #[error(
        "{path}: {key} is {found}, expected {expected}; use a pack made for this version of earwitness"
    )]
    Unsupported {
        /// The manifest.
        path: PathBuf,
        /// The key in the manifest.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it has to say.
        expected: String,
    },
    /// A file named in the manifest lies outside of the pack.
    #[error(
        "the pack names the {part} file `{file}`, expected a file inside the pack's folder; do not use this pack"
    )]
    Outside {
        /// Whose file.
        part: Part,
        /// As named.
        file: String,
    },
    /// A file is larger than anything that we would load.
    #[error("{path} has {bytes} bytes, expected at most {limit}; is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is loaded.
        limit: u64,
    },
    /// A file is not the one that the manifest describes.
    #[error(
        "{path} has SHA-256 {found}, the manifest expects {expected}; the file is damaged or another: fetch the pack again"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// As in the manifest.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// Nobody vouches for a pack.
    #[error(
        "the pack in {folder} is refused: {reason}; name its maker's public key in models.trusted_keys, sign it if it is your own (earwitness models keygen, earwitness models sign), or allow it with --allow-unsigned or models.allow_unsigned = true"
    )]
    Untrusted {
        /// Of the pack.
        folder: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that should hold a key.
    #[error(
        "{path} is no usable key: {reason}; earwitness models keygen makes a pair, and so does openssl genpkey -algorithm ed25519"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// There is no runtime library.
    #[error(
        "no ONNX Runtime library: looked at {}; run the project's set-up, or name the library in EARWITNESS_ORT or `models.runtime`",
        list(.tried)
    )]
    RuntimeMissing {
        /// Every place that was looked at.
        tried: Vec<PathBuf>,
    },
    /// The library that was named or found cannot be used.
    #[error(
        "{path} is no ONNX Runtime that works here (1.24 or later for this platform is expected): {reason}"
    )]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// Another library is loaded already, and a process can have one only.
    #[error(
        "ONNX Runtime is loaded from {loaded} already, cannot change to {asked}; restart the process"
    )]
    RuntimeConflict {
        /// In use.
        loaded: PathBuf,
        /// Asked for.
        asked: PathBuf,
    },
    /// The provider that the configuration demands does not work.
    #[error(
        "{device} does not work here (device {id}): {reason}; install the GPU build of ONNX Runtime with the libraries of {device}, or set models.provider to \"auto\" or \"cpu\""
    )]
    Provider {
        /// Which.
        device: Device,
        /// Which of several GPUs.
        id: u16,
        /// The runtime's words.
        reason: String,
    },
    /// The runtime or our own check refuses the model.
    #[error(
        "the {part} model cannot be loaded: {reason}; the file is damaged or made for something else"
    )]
    Refused {
        /// Which model.
        part: Part,
        /// Why.
        reason: String,
    },
    /// Inputs or outputs differ from the contract.
    #[error(
        "the {part} model breaks the contract: expected {expected}, found {found}; export it as docs/pack.md says"
    )]
    Contract {
        /// Which model.
        part: Part,
        /// As the contract and the manifest have it.
        expected: String,
        /// As the model has it.
        found: String,
    },
    /// A model does not answer as it did where it was exported.
    #[error(
        "the {part} model answers {found} where the manifest has {expected} (value {index} of its known answer); the pack was changed, or this ONNX Runtime computes it wrongly: do not trust it"
    )]
    KnownAnswer {
        /// Which model.
        part: Part,
        /// Which of the first eight values.
        index: usize,
        /// As in the manifest.
        expected: f64,
        /// As computed here.
        found: f64,
    },
    /// A model failed while running.
    #[error("the {part} model failed: {reason}")]
    Run {
        /// Which model.
        part: Part,
        /// The runtime's words.
        reason: String,
    },
    /// A model was given something that it does not take.
    #[error("the {part} model takes {expected}, was given {found}")]
    Input {
        /// Which model.
        part: Part,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A model's output is not usable: not finite, not a probability, not of unit length.
    #[error(
        "the {part} model gave {found}, expected {expected}; check the audio for values that are not finite"
    )]
    Output {
        /// Which model.
        part: Part,
        /// What the contract says.
        expected: &'static str,
        /// What came.
        found: f32,
    },
    /// A head that the pack does not have.
    #[error(
        "this pack has no {part} model; use one with a [{part}] section (docs/pack.md), train one for it (docs/encoders.md), or switch off what needs it"
    )]
    Absent {
        /// Which model.
        part: Part,
    },
    /// A head was used that was not opened.
    #[error("the {part} model was not opened; open all models to use it")]
    NotOpen {
        /// Which model.
        part: Part,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}
