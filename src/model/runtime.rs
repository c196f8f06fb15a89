//! The ONNX Runtime shared library: where it is looked for, and the one environment that a process has of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::error::ModelError;

/// Names a library when the configuration does not.
const VARIABLE: &str = "EARWITNESS_ORT";

/// The loaded library. One a process: ONNX Runtime cannot be unloaded or loaded twice.
#[derive(Debug)]
pub struct Runtime {
    path: PathBuf,
    build: &'static str,
    environment: Environment,
}

static LOADED: OnceLock<Runtime> = OnceLock::new();
/// The library that passed the loader's checks. It stays even if the environment then could not be made.
static LIBRARY: Mutex<Option<PathBuf>> = Mutex::new(None);

impl Runtime {
    /// Loads the library, or hands out the loaded one. Looked for in this order, the first that is there must work:
    ///
    /// 1. `path`, if given
    /// 2. the environment variable `EARWITNESS_ORT`, unless empty
    /// 3. `.deps/onnxruntime/` in the working directory, then beside the executable and in each folder above it
    /// 4. the system's library path
    ///
    /// # Errors
    /// Nothing there, not a library, not ONNX Runtime, older than 1.24, or another one is loaded already.
    pub fn load(path: Option<&Path>) -> Result<&'static Self, ModelError> {
        let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        let place = find(path)?;
        if let Some(loaded) = library.as_ref().filter(|loaded| **loaded != place.path) {
            // Only an explicit wish conflicts; a search that ends elsewhere (another working directory) does not.
            if place.explicit || LOADED.get().is_none() {
                return Err(ModelError::RuntimeConflict {
                    loaded: loaded.clone(),
                    asked: place.path,
                });
            }
        }
        if let Some(runtime) = LOADED.get() {
            return Ok(runtime);
        }
        let (place, environment) = open(place, &mut library)?;
        let runtime = LOADED.get_or_init(|| Self {
            path: place,
            build: ort::info(),
            environment,
        });
        tracing::info!(library = %runtime.path.display(), build = runtime.build, "ONNX Runtime loaded");
        Ok(runtime)
    }

    /// The one that was loaded.
    pub(super) fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// Where the library lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the library says about its build.
    pub fn build(&self) -> &'static str {
        self.build
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

struct Place {
    path: PathBuf,
    /// Named by the caller or the environment variable.
    explicit: bool,
    /// To try, in this order, when `path` is only a name for the system's loader.
    names: Vec<PathBuf>,
    /// What was looked at before.
    tried: Vec<PathBuf>,
}

/// Loads the library and makes the environment. The library sends nothing home, and logs warnings and above.
fn open(place: Place, library: &mut Option<PathBuf>) -> Result<(PathBuf, Environment), ModelError> {
    let mut reasons = Vec::new();
    for name in &place.names {
        // Never `ort::init()` alone: without a library it panics.
        let builder = match ort::init_from(name) {
            Ok(builder) => builder,
            Err(e) => {
                reasons.push(chain(&e));
                continue;
            }
        };
        *library = Some(place.path.clone());
        let unusable = |reason: String| ModelError::RuntimeUnusable {
            path: name.clone(),
            reason,
        };
        // A library with the right version that has no such interface makes `ort` panic.
        let environment = catch_unwind(AssertUnwindSafe(|| builder.with_telemetry(false).build()))
            .map_err(|_| unusable("it does not offer the interface of its version".into()))?
            .map_err(|e| unusable(chain(&e)))?;
        environment.set_log_level(LogLevel::Warning);
        return Ok((place.path, environment));
    }
    if place.path.is_absolute() {
        return Err(ModelError::RuntimeUnusable {
            path: place.path,
            reason: reasons.join("; "),
        });
    }
    tracing::debug!(?reasons, "the system has no ONNX Runtime");
    Err(ModelError::RuntimeMissing {
        tried: place.tried.into_iter().chain(place.names).collect(),
    })
}

fn find(explicit: Option<&Path>) -> Result<Place, ModelError> {
    let variable = std::env::var_os(VARIABLE)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    if let Some(wish) = explicit.map(Path::to_path_buf).or(variable) {
        return match wish.canonicalize() {
            Ok(path) => Ok(Place {
                names: vec![path.clone()],
                path,
                explicit: true,
                tried: Vec::new(),
            }),
            Err(_) => Err(ModelError::RuntimeMissing { tried: vec![wish] }),
        };
    }
    let name = format!(
        "{}onnxruntime{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let executable = std::env::current_exe().unwrap_or_default();
    let folders = std::env::current_dir().into_iter();
    let folders = folders.chain(executable.ancestors().skip(1).map(Path::to_path_buf));
    let mut tried = Vec::new();
    for folder in folders {
        let candidate = folder.join(".deps/onnxruntime").join(&name);
        // The real path, for the library looks for its provider libraries beside itself.
        if let Ok(path) = candidate.canonicalize() {
            return Ok(Place {
                names: vec![path.clone()],
                path,
                explicit: false,
                tried,
            });
        }
        tried.push(candidate);
    }
    Ok(Place {
        path: name.clone().into(),
        explicit: false,
        // Distributions install the plain name with their development package only.
        names: vec![name.clone().into(), format!("{name}.1").into()],
        tried,
    })
}

/// An error with all its causes, which `Display` alone leaves out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
