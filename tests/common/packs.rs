//! The tiny pack of the fixtures, and copies of it that can be broken.

use std::path::Path;

use earwitness::config::Provider;
use earwitness::model::{ModelError, Models, Pack, Part, Runtime};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// In hex, as manifests have it.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs"))
}

pub fn runtime() -> &'static Runtime {
    Runtime::load(None).unwrap_or_else(|e| {
        panic!("these tests need the ONNX Runtime library (`make test` fetches it): {e}")
    })
}

pub fn tiny() -> Pack {
    Pack::load(&fixtures().join("tiny")).expect("the tiny pack")
}

pub fn open(pack: &Pack) -> Result<Models, ModelError> {
    Models::open(runtime(), pack, Provider::Cpu)
}

/// A copy of the tiny pack that can be broken.
pub struct Copy(pub TempDir);

impl Copy {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for entry in std::fs::read_dir(fixtures().join("tiny")).expect("the tiny pack") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces text in the manifest.
    pub fn edit(&self, old: &str, new: &str) {
        let path = self.path().join("pack.toml");
        let text = std::fs::read_to_string(&path).expect("the manifest");
        assert!(text.contains(old), "`{old}` is not in the manifest");
        std::fs::write(&path, text.replacen(old, new, 1)).expect("the manifest");
    }

    /// Replaces a model and its hash.
    pub fn replace(&self, part: Part, bytes: &[u8]) {
        let old = Pack::load(self.path())
            .expect("still whole")
            .file_hash(part)
            .to_owned();
        let new = sha256(bytes);
        std::fs::write(self.path().join(format!("{part}.onnx")), bytes).expect("the model");
        self.edit(&old, &new);
    }

    /// Gives the speaker head a cohort file with a hash that is right.
    pub fn add_cohort(&self, bytes: &[u8], voices: usize) {
        let hash = sha256(bytes);
        std::fs::write(self.path().join("cohort.f32"), bytes).expect("the cohort");
        let section = format!(
            "[speaker.cohort]\nfile = \"cohort.f32\"\nsha256 = \"{hash}\"\nvoices = {voices}\n[spoof]\n"
        );
        self.edit("[spoof]\n", &section);
    }

    pub fn replace_by(&self, part: Part, fixture: &str) {
        self.replace(
            part,
            &std::fs::read(fixtures().join(fixture)).expect(fixture),
        );
    }

    pub fn load(&self) -> Result<Pack, ModelError> {
        Pack::load(self.path())
    }

    /// The error of loading and opening.
    pub fn refusal(&self) -> ModelError {
        match self.load().and_then(|pack| open(&pack)) {
            Ok(_) => panic!("a broken pack was accepted"),
            Err(e) => e,
        }
    }
}
