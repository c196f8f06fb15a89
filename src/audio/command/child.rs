//! A child process in a group of its own: reading with a deadline, its last words, its end with all descendants.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

/// Bytes of standard error that are kept.
const TAIL: usize = 4 << 10;
/// Time to end in good order before the group is killed.
const GRACE: Duration = Duration::from_millis(200);

/// Whether there is something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    No,
}

pub(super) struct Child {
    child: std::process::Child,
    stdout: ChildStdout,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Closes when standard error does.
    drained: Receiver<()>,
    ended: bool,
}

impl Child {
    pub(super) fn spawn(argv: &[String]) -> std::io::Result<Self> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| std::io::Error::other("no program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(std::io::Error::other("no pipes to the program"));
        };
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (open, drained) = bounded::<()>(0);
        let shared = tail.clone();
        let this = Self {
            child,
            stdout,
            tail,
            drained,
            ended: false,
        };
        std::thread::Builder::new()
            .name("command-stderr".into())
            .spawn(move || {
                drain(stderr, &shared);
                drop(open);
            })?;
        Ok(this)
    }

    /// Waits until there is output, or its end, or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration) -> std::io::Result<Ready> {
        let mut fd = libc::pollfd {
            fd: self.stdout.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd, whose descriptor `self.stdout` keeps open.
        match unsafe { libc::poll(&mut fd, 1, millis) } {
            0 => Ok(Ready::No),
            n if n > 0 => Ok(Ready::Yes),
            _ => match std::io::Error::last_os_error() {
                e if e.kind() == std::io::ErrorKind::Interrupted => Ok(Ready::No),
                e => Err(e),
            },
        }
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.stdout.read(bytes)
    }

    /// Ends the program with all that it started, and says how it ended and its last words.
    pub(super) fn end(&mut self) -> String {
        let status = self.stop();
        // A descendant in a group of its own may hold standard error open; do not wait for it.
        let _ = self.drained.recv_timeout(GRACE);
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        if !text.trim().is_empty() {
            tracing::info!(stderr = %text.trim(), "last words of the command");
        }
        // The reason that is published holds the last line; the log has the rest.
        let last = text.lines().rev().find(|l| !l.trim().is_empty());
        match last {
            Some(line) => format!(" ({status}): {}", line.trim()),
            None => format!(" ({status})"),
        }
    }

    fn stop(&mut self) -> String {
        self.ended = true;
        // The group first: a program that ended may have left others writing.
        self.signal(libc::SIGTERM);
        let until = Instant::now() + GRACE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.signal(libc::SIGKILL);
                    return status.to_string();
                }
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => break,
                Err(e) => return e.to_string(),
            }
        }
        self.signal(libc::SIGKILL);
        match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(e) => e.to_string(),
        }
    }

    fn signal(&self, signal: i32) {
        let Ok(group) = i32::try_from(self.child.id()) else {
            return;
        };
        // SAFETY: a plain system call; the group is the child's own, made by `process_group(0)`.
        unsafe {
            libc::kill(-group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            self.stop();
        }
    }
}

fn drain(mut stderr: ChildStderr, tail: &Mutex<VecDeque<u8>>) {
    let mut bytes = [0; 1024];
    while let Ok(n) = stderr.read(&mut bytes) {
        if n == 0 {
            return;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&bytes[..n]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}
