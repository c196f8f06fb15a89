//! A started earwitness: watched while it runs, killed when the test lets go of it.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use super::PATIENCE;

pub struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

/// A program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails with what it said unless it ended with this code; a panic is never a way to end.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Its standard output as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

impl Program {
    /// Its output goes into these files, so that it never waits for a reader.
    pub fn new(child: Child, stdout: PathBuf, stderr: PathBuf) -> Self {
        Self {
            child,
            stdout,
            stderr,
            ended: None,
        }
    }

    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_none()
    }

    /// Waits until `done`; fails with its log when it ends before, or when that takes too long.
    pub fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done() {
            // Looked at again: it may have been done just before the end.
            let running = self.is_running();
            assert!(
                running || done(),
                "ended without: {what}\n{}",
                self.stderr()
            );
            assert!(
                Instant::now() < limit,
                "waited in vain: {what}\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until this stands in its log.
    pub fn until_log(&mut self, text: &str) {
        let path = self.stderr.clone();
        self.until(text, || read(&path).contains(text));
    }

    pub fn signal(&self, signal: i32) {
        assert!(self.ended.is_none(), "it has ended");
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill(2) on a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end, at most `limit`.
    pub fn end(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "still running after {limit:?}\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ended {
            code: self.ended.and_then(|status| status.code()),
            stdout: read(&self.stdout),
            stderr: self.stderr(),
        }
    }

    /// SIGTERM; it has to end in good order within the promised 2 s. Returns how long it took.
    pub fn stop(self) -> (Ended, Duration) {
        let start = Instant::now();
        self.signal(libc::SIGTERM);
        let ended = self.end(PATIENCE).expect(0);
        let took = start.elapsed();
        println!("stopped after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}\n{}", ended.stderr);
        (ended, took)
    }

    /// Most memory that it has held so far, KiB; `None` once it has ended.
    pub fn peak_kib(&mut self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read(path: &std::path::Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
