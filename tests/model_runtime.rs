//! Which library is taken for ONNX Runtime, and that a wrong one is refused without harm. A process can load one only,
//! so every case runs in a child process: this test binary again, with only its last test.

use std::path::{Path, PathBuf};
use std::process::Command;

use earwitness::model::Runtime;
use tempfile::TempDir;

struct Child {
    library: Option<PathBuf>,
    folder: PathBuf,
}

impl Child {
    fn named(library: impl Into<PathBuf>) -> Self {
        Self {
            library: Some(library.into()),
            folder: ".".into(),
        }
    }

    /// What the child said, after it ended well.
    fn says(&self) -> String {
        self.run(&mut Command::new(
            std::env::current_exe().expect("this test binary"),
        ))
    }

    fn run(&self, command: &mut Command) -> String {
        command.args([
            "--exact",
            "child_loads_a_library",
            "--ignored",
            "--nocapture",
        ]);
        command
            .current_dir(&self.folder)
            .env_remove("EARWITNESS_ORT");
        command.envs(self.library.iter().map(|path| ("EARWITNESS_ORT", path)));
        let output = command.output().expect("the child runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the process did not survive: {}\n{text}\n{errors}",
            output.status
        );
        text
    }
}

fn real_library() -> PathBuf {
    let runtime = Runtime::load(None);
    let runtime = runtime.unwrap_or_else(|e| {
        panic!("these tests need the ONNX Runtime library (`make test` fetches it): {e}")
    });
    runtime.path().to_path_buf()
}

/// A library that says to be ONNX Runtime of some version, and has no interface to offer.
fn impostor(folder: &Path, version: &str) -> PathBuf {
    let source = folder.join("impostor.rs");
    let code = r#"
        #[repr(C)]
        pub struct Base(extern "C" fn(u32) -> *const u8, extern "C" fn() -> *const u8);
        extern "C" fn api(_: u32) -> *const u8 { std::ptr::null() }
        extern "C" fn version() -> *const u8 { concat!("VERSION", "\0").as_ptr() }
        static BASE: Base = Base(api, version);
        #[unsafe(no_mangle)]
        pub extern "C" fn OrtGetApiBase() -> *const Base { &BASE }
    "#;
    std::fs::write(&source, code.replace("VERSION", version)).expect("the source");
    let library = folder.join("impostor.so");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(compiler)
        .args(["--edition=2024", "--crate-type=cdylib", "-o"])
        .args([&library, &source])
        .status();
    assert!(status.expect("rustc").success(), "the impostor compiles");
    library
}

#[test]
fn a_missing_library_says_what_to_do() {
    let text = Child::named("/nowhere/libonnxruntime.so").says();
    assert!(
        text.contains("REFUSED no ONNX Runtime library: looked at /nowhere/libonnxruntime.so"),
        "{text}"
    );
    assert!(text.contains("EARWITNESS_ORT"), "{text}");
}

#[test]
fn wrong_libraries_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let text_file = folder.path().join("libonnxruntime.so");
    std::fs::write(&text_file, "not a library").expect("a file");
    let this_program = std::env::current_exe().expect("this test binary");
    for library in [
        Path::new("/bin/ls"),
        Path::new("/dev/null"),
        &text_file,
        &this_program,
        folder.path(),
    ] {
        let text = Child::named(library).says();
        assert!(
            text.contains("REFUSED") && text.contains("no ONNX Runtime that works here"),
            "{library:?}: {text}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn another_real_library_is_refused() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own libraries");
    let libc = maps
        .split_whitespace()
        .find(|word| word.ends_with("/libc.so.6"))
        .expect("libc");
    let text = Child::named(libc).says();
    assert!(text.contains("does not export `OrtGetApiBase`"), "{text}");
}

#[test]
fn impostors_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let text = Child::named(impostor(folder.path(), "1.10.0")).says();
    assert!(
        text.contains("REFUSED") && text.contains("got '1.10.0'"),
        "{text}"
    );
    let text = Child::named(impostor(folder.path(), "1.99.0")).says();
    assert!(
        text.contains("REFUSED") && text.contains("does not offer the interface"),
        "{text}"
    );
}

#[test]
fn the_working_directory_is_searched() {
    let folder = TempDir::new().expect("a folder");
    let place = folder.path().join(".deps/onnxruntime");
    std::fs::create_dir_all(&place).expect("folders");
    let real = real_library();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&real, place.join("libonnxruntime.so")).expect("a link");
    #[cfg(not(unix))]
    std::fs::copy(&real, place.join("onnxruntime.dll")).expect("a copy");
    let text = Child {
        library: None,
        folder: folder.path().into(),
    }
    .says();
    assert!(
        text.contains(&format!("LOADED {}", real.display())),
        "{text}"
    );
}

/// The folders above the executable, then the system's library path, seen by a copy of this program in a folder of its
/// own, so that the project's `.deps` is out of sight.
#[test]
#[cfg(target_os = "linux")]
fn the_executables_folders_and_the_system_are_searched() {
    let (folder, elsewhere) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("another folder"),
    );
    let program = folder.path().join("bin/child");
    std::fs::create_dir(folder.path().join("bin")).expect("a folder");
    std::fs::copy(std::env::current_exe().expect("this test binary"), &program).expect("a copy");
    let real = real_library();
    let library = |place: &Path| {
        std::fs::create_dir_all(place).expect("folders");
        std::os::unix::fs::symlink(&real, place.join("libonnxruntime.so")).expect("a link");
    };
    let system = elsewhere.path().join("lib");
    library(&system);
    let child = Child {
        library: None,
        folder: elsewhere.path().into(),
    };
    let text = child.run(Command::new(&program).env("LD_LIBRARY_PATH", &system));
    assert!(text.contains("LOADED libonnxruntime.so\n"), "{text}");

    library(&folder.path().join(".deps/onnxruntime"));
    let text = child.run(Command::new(&program).env("LD_LIBRARY_PATH", &system));
    assert!(
        text.contains(&format!("LOADED {}", real.display())),
        "{text}"
    );
}

#[test]
fn one_library_a_process() {
    let real = real_library();
    let again = Runtime::load(Some(&real)).expect("the same library again");
    assert_eq!(again.path(), real);
    let error = Runtime::load(Some(Path::new("/bin/ls")))
        .expect_err("another library")
        .to_string();
    assert!(error.contains("restart the process"), "{error}");
}

#[test]
#[ignore = "run by the_executables_folders_and_the_system_are_searched and others, in a process of its own"]
fn child_loads_a_library() {
    match Runtime::load(None) {
        Ok(runtime) => println!("LOADED {}", runtime.path().display()),
        Err(e) => println!("REFUSED {e}"),
    }
}
