//! Events as JSON lines, to a file that is appended to or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bus::{Inbox, Sink, SinkError};
use super::throttle::Throttle;

/// Why the output could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// Its folder is not there. It is not made: a typing error must not litter the disk.
    #[error(
        "cannot write {path}: the folder {parent} does not exist; create it or correct [jsonl] path"
    )]
    NoParent {
        /// The file.
        path: PathBuf,
        /// Its folder.
        parent: PathBuf,
    },
    /// The operating system refused.
    #[error(
        "cannot append to {path}: {source}; expected a file that this user may write ([jsonl] path)"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

/// Writes each event as one line, in one system call, so that a reader never sees half of one.
pub struct Jsonl {
    out: Box<dyn Write + Send>,
    name: String,
    /// A line was cut short by an error: the next one has to start with a line break.
    torn: bool,
    failed: u64,
    complaint: Throttle,
}

impl Jsonl {
    /// Appends to `path`, or writes to standard output when it is `-`.
    ///
    /// # Errors
    /// [`JsonlError`] when the file cannot be opened for appending.
    pub fn open(path: &Path) -> Result<Self, JsonlError> {
        if path == Path::new("-") {
            return Ok(Self::to_writer("standard output", Box::new(io::stdout())));
        }
        let parent = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(JsonlError::NoParent {
                path: path.into(),
                parent: parent.into(),
            });
        }
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| JsonlError::Open {
                path: path.into(),
                source,
            })?;
        Ok(Self::to_writer(&path.display().to_string(), Box::new(file)))
    }

    /// Writes to anything; `name` is what log lines call it.
    pub fn to_writer(name: &str, out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            name: name.to_owned(),
            torn: false,
            failed: 0,
            complaint: Throttle::new(Duration::from_secs(10)),
        }
    }

    fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.torn {
            line.insert(0, b'\n');
        }
        self.torn = true;
        self.out.write_all(&line)?;
        self.torn = false;
        self.out.flush()
    }

    fn complain(&mut self, error: &dyn std::fmt::Display) {
        self.failed += 1;
        if let Some(count) = self.complaint.hit(Instant::now()) {
            let (output, total) = (&self.name, self.failed);
            tracing::error!(output, count, total, "event not written: {error}");
        }
    }
}

impl Sink for Jsonl {
    fn run(mut self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        while let Some(event) = inbox.recv() {
            match event.to_json() {
                Err(error) => self.complain(&error),
                Ok(line) => match self.write(line) {
                    Ok(()) => {}
                    // The reader of our standard output has gone and will not come back.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                        return Err(SinkError(format!(
                            "{}: nobody reads it any more",
                            self.name
                        )));
                    }
                    // A full disk may be emptied: go on, one event poorer.
                    Err(error) => self.complain(&error),
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::publish::bus::Bus;
    use crate::publish::event::{Event, tests::samples};

    #[test]
    fn appends_one_object_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        for _ in 0..2 {
            let mut bus = Bus::new();
            bus.add("jsonl", 64, Jsonl::open(&path).unwrap()).unwrap();
            samples().into_iter().for_each(|e| bus.publish(e));
            assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Event> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(read, [samples(), samples()].concat());
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Jsonl::open(Path::new("/nonexistent-folder/x.jsonl"))
            .err()
            .unwrap();
        assert!(matches!(error, JsonlError::NoParent { .. }));
        assert!(
            error
                .to_string()
                .contains("/nonexistent-folder does not exist"),
            "{error}"
        );
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Jsonl::open(dir.path()),
            Err(JsonlError::Open { .. })
        ));
    }

    /// Takes 10 bytes, is full once, then works again.
    struct Full(Arc<Mutex<Vec<u8>>>, u32);

    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                1 => {
                    self.0.lock().unwrap().extend(&buf[..10]);
                    Ok(10)
                }
                2 => Err(io::ErrorKind::StorageFull.into()),
                _ => self.0.lock().unwrap().write(buf),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_full_disk_the_next_line_is_whole() {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let mut bus = Bus::new();
        let out = Box::new(Full(bytes.clone(), 0));
        bus.add("full", 64, Jsonl::to_writer("test", out)).unwrap();
        samples().into_iter().for_each(|e| bus.publish(e));
        assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
        let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap().len(), 10);
        let rest: Vec<Event> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rest, samples()[1..]);
    }
}
