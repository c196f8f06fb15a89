//! Keeps what C libraries print away from the terminal while they are asked something.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Runs `ask` with standard error closed to everybody. ALSA tells each device that it cannot open there, in lines that
/// look like failures of ours, and its interface for silencing it takes a variadic callback, which Rust cannot write.
/// For commands only: a daemon logs from other threads meanwhile.
pub(super) fn without_library_chatter<T>(ask: impl FnOnce() -> T) -> T {
    let hushed = Hushed::start();
    let answer = ask();
    drop(hushed);
    answer
}

/// Standard error as it was; put back on drop, also when `ask` panics.
struct Hushed(OwnedFd);

impl Hushed {
    fn start() -> Option<Self> {
        let nowhere = File::options().write(true).open("/dev/null").ok()?;
        // SAFETY: dup takes any number, and fails with a negative one; a result is ours alone.
        let saved = unsafe {
            match libc::dup(libc::STDERR_FILENO) {
                fd if fd >= 0 => OwnedFd::from_raw_fd(fd),
                _ => return None,
            }
        };
        // SAFETY: both are open descriptors; failing leaves standard error as it was.
        unsafe { libc::dup2(nowhere.as_raw_fd(), libc::STDERR_FILENO) };
        Some(Self(saved))
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        // SAFETY: both are open descriptors.
        unsafe { libc::dup2(self.0.as_raw_fd(), libc::STDERR_FILENO) };
    }
}
