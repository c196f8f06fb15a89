//! A terminal at which the program runs: what it says there, and what is typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::wait;

/// A pseudo-terminal. Standard input and error of a command are its, as is what `/dev/tty` stands for.
pub struct Terminal {
    keyboard: File,
    line: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn open() -> Self {
        let (mut keyboard, mut line) = (-1, -1);
        let nothing = std::ptr::null_mut();
        // SAFETY: openpty(3) fills in two descriptors, which nobody else has; no name, modes or size are asked for.
        let (keyboard, line) = unsafe {
            let done = libc::openpty(
                &raw mut keyboard,
                &raw mut line,
                nothing,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            (OwnedFd::from_raw_fd(keyboard), OwnedFd::from_raw_fd(line))
        };
        let keyboard = File::from(keyboard);
        let (screen, mut output) = (Arc::default(), keyboard.try_clone().unwrap());
        let seen: Arc<Mutex<Vec<u8>>> = Arc::clone(&screen);
        // Ends with an error when the last process has let go of the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Self {
            keyboard,
            line,
            screen,
        }
    }

    /// Seats a command here.
    pub fn seat(&self, command: &mut Command) {
        let mine = || Stdio::from(self.line.try_clone().unwrap());
        command.stdin(mine()).stderr(mine());
        let sit = || {
            // SAFETY: both may be called between fork and exec; standard input is the terminal by then.
            let done = unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 };
            match done {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: `sit` neither allocates nor locks.
        unsafe { command.pre_exec(sit) };
    }

    /// What was said so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        // SAFETY: all zeros is a value of this struct of numbers, and tcgetattr(3) fills it in.
        let modes = unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            let done = libc::tcgetattr(self.line.as_raw_fd(), &raw mut modes);
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            modes
        };
        modes.c_lflag & libc::ECHO != 0
    }

    /// Types a secret after this prompt, once what is typed is not shown any more.
    pub fn answer(&mut self, prompt: &str, secret: &str) {
        wait(prompt, || self.screen().contains(prompt) && !self.echoes());
        writeln!(self.keyboard, "{secret}").unwrap();
    }
}
