//! A virtual sound card: ALSA's `file` plugin, which reads a FIFO that a writer feeds in real time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the card captures at, Hz.
pub const RATE: u32 = 48_000;
/// Frames that cpal reads from ALSA at a time, 10 ms.
const PERIOD: usize = 480;

/// A virtual card `name` that captures from `dir/name.fifo`; also the default if asked. Its `null` slave takes any format, so
/// that cpal chooses what it likes best, 32-bit float in stereo at 48 kHz: that is what the FIFO must carry. A `plug` in front
/// would make the `file` plugin read ahead and lose every third sample whenever it has to convert.
pub fn card(dir: &Path, name: &str, default: bool) -> String {
    let fifo = dir.join(format!("{name}.fifo"));
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let pcm = format!(
        "{{ type file slave.pcm {{ type null }} file \"/dev/null\" infile \"{}\" format raw hint {{ show on description \"Test card {name}\" }} }}",
        fifo.display()
    );
    let mut conf = format!("pcm.{name} {pcm}\n");
    if default {
        conf += &format!("pcm.!default {pcm}\n");
    }
    conf
}

pub fn write_conf(dir: &Path, cards: &str) {
    let conf = format!("</usr/share/alsa/alsa.conf>\n{cards}");
    std::fs::write(dir.join("asound.conf"), conf).unwrap();
}

/// Feeds a FIFO in real time: the recording, then silence until dropped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    pub fn start(fifo: &Path, recording: Vec<i16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Read and write, so that neither end waits for the other.
        let mut pipe: File = OpenOptions::new()
            .read(true)
            .write(true)
            .open(fifo)
            .unwrap();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            let (start, mut sent) = (Instant::now(), 0usize);
            while !flag.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * f64::from(RATE)) as usize;
                // Whole periods only: ALSA's plugin takes a short read for a full one and leaves the rest as it was.
                let due = due - due % PERIOD;
                let bytes: Vec<u8> = (sent..due)
                    .flat_map(|n| {
                        let x = f32::from(recording.get(n).copied().unwrap_or(0)) / 32_768.0;
                        // Right is the negative of left: channels that got mixed up would show.
                        [x, -x].map(f32::to_le_bytes)
                    })
                    .flatten()
                    .collect();
                pipe.write_all(&bytes).unwrap();
                sent = due;
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A full pipe that nobody reads any more would hold it for ever; the process ends anyway.
        drop(self.thread.take());
    }
}
