//! A mosquitto process that ends with the test.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::wait;

pub struct Mosquitto {
    child: Option<Child>,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Mosquitto {
    /// On a free port, anonymous.
    pub fn start() -> Self {
        Self::with("allow_anonymous true\n", |_| {})
    }

    /// With these lines of configuration, `{dir}` standing for a folder that `prepare` has filled.
    pub fn with(lines: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        // As root it would become another user, who cannot read our folder.
        let user = if unsafe { libc::geteuid() } == 0 {
            "user root\n"
        } else {
            ""
        };
        let lines = lines.replace("{dir}", dir.path().to_str().unwrap());
        let mut this = Self {
            child: None,
            port: 0,
            dir,
        };
        for attempt in 0.. {
            let port = free_port();
            let text = format!(
                "listener {port} 127.0.0.1\npersistence false\nmax_inflight_messages 0\n\
                 max_queued_messages 0\n{user}{lines}"
            );
            fs::write(this.dir.path().join("mosquitto.conf"), text).unwrap();
            this.port = port;
            match this.try_restart() {
                Ok(()) => break,
                // Another test process was faster.
                Err(log) if log.contains("in use") && attempt < 5 => {}
                Err(log) => panic!("mosquitto ended:\n{log}"),
            }
        }
        this
    }

    /// A folder of its own, for certificates and passwords.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it (again) on the same port; returns when it accepts connections.
    pub fn restart(&mut self) {
        self.try_restart().unwrap();
    }

    /// The error is what mosquitto wrote before it ended.
    fn try_restart(&mut self) -> Result<(), String> {
        assert!(self.child.is_none());
        let path = self.dir.path().join("log");
        let log = File::create(&path).unwrap();
        let mut child = Command::new(binary())
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut ended = None;
        wait("mosquitto to listen", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        if ended.is_some() {
            return Err(fs::read_to_string(&path).unwrap());
        }
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL: no goodbye, nothing saved.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP: keeps the port and every connection, answers nothing.
    pub fn stall(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        // SAFETY: kill(2) on a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nobody listens there now, and since it lies below Linux's range for outgoing connections, nobody gets it by chance
/// while a broker is down.
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 20_000 + (random % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a program that a test needs.
pub fn run(program: &Path, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{} is needed: {e}", program.display()));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {args:?}: {complaint}",
        program.display()
    );
}

/// Debian puts it where a user's PATH does not look.
fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/opt/homebrew/sbin".into()])
        .map(|dir| dir.join("mosquitto"))
        .find(|file| file.is_file())
        .expect("these tests need the mosquitto broker, which is neither on PATH nor in /usr/sbin: apt install mosquitto")
}
