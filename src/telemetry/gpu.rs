//! How busy a GPU is, as `nvidia-smi` tells.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// GPU use over a stretch of time.
pub struct GpuMeter {
    program: Child,
    reader: Option<JoinHandle<()>>,
    /// Sum and number of the readings.
    seen: Arc<Mutex<(f64, u32)>>,
}

impl GpuMeter {
    /// Starts measuring, twice a second; `None` where there is no `nvidia-smi`. GPUs are counted as it counts them.
    #[must_use]
    pub fn start(device_id: u16) -> Option<Self> {
        Self::with(Path::new("nvidia-smi"), device_id)
    }

    fn with(program: &Path, device_id: u16) -> Option<Self> {
        let mut program = Command::new(program)
            .args([
                "--query-gpu=utilization.gpu",
                "--format=csv,noheader,nounits",
            ])
            .arg(format!("--id={device_id}"))
            .arg("--loop-ms=500")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = BufReader::new(program.stdout.take()?);
        let seen = Arc::new(Mutex::new((0.0, 0)));
        let shared = seen.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(percent) = line.trim().parse::<f64>() {
                    let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.0 += percent;
                    seen.1 += 1;
                }
            }
        });
        Some(Self {
            program,
            reader: Some(reader),
            seen,
        })
    }

    /// Mean use since the start, per cent; `None` if nothing was read.
    #[must_use]
    pub fn stop(self) -> Option<f64> {
        let (sum, count) = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (count > 0).then(|| sum / f64::from(count))
    }
}

impl Drop for GpuMeter {
    fn drop(&mut self) {
        // Only fails for a program that has ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    #[test]
    fn readings_are_averaged_and_the_program_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nvidia-smi");
        // What is no number (no permission, an old driver) does not count.
        let script = "#!/bin/sh\necho \"$3\" >&2\nprintf '20\\n[N/A]\\n 60\\n'\nexec sleep 60\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let meter = GpuMeter::with(&program, 1).unwrap();
        let began = Instant::now();
        while meter.seen.lock().unwrap().1 < 2 && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(meter.stop(), Some(40.0));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn without_the_program_there_is_nothing_to_tell() {
        assert!(GpuMeter::with(Path::new("/nowhere/nvidia-smi"), 0).is_none());
    }
}
