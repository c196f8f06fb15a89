//! CPU time and memory of this process, read from the operating system.

use std::time::{Duration, Instant};

/// What this process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads since the process began, user and system.
    pub cpu: Duration,
    /// Resident memory now, in bytes; `None` where the system does not tell.
    pub resident: Option<u64>,
    /// Greatest resident memory so far, in bytes.
    pub resident_peak: u64,
}

impl Usage {
    /// Reads it; `None` if the system does not tell.
    #[must_use]
    pub fn now() -> Option<Self> {
        // SAFETY: rusage is plain data for which all-zero bytes are a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live rusage that the call fills.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
            return None;
        }
        // Linux counts the peak in KiB, macOS in bytes.
        let unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
        Some(Self {
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            resident: resident(),
            resident_peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
        })
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Second field of `/proc/self/statm`: resident pages.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: sysconf takes a constant and touches no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// CPU use over a stretch of time.
#[derive(Debug, Clone, Copy)]
pub struct CpuMeter {
    started: Instant,
    cpu: Duration,
}

impl CpuMeter {
    /// Starts measuring; `None` if the system does not tell.
    #[must_use]
    pub fn start() -> Option<Self> {
        let usage = Usage::now()?;
        Some(Self {
            started: Instant::now(),
            cpu: usage.cpu,
        })
    }

    /// Mean number of cores kept busy since the start: 1.0 is one whole core.
    #[must_use]
    pub fn cores(&self) -> Option<f64> {
        let cpu = Usage::now()?.cpu.checked_sub(self.cpu)?;
        let wall = self.started.elapsed();
        (!wall.is_zero()).then(|| cpu.as_secs_f64() / wall.as_secs_f64())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let busy = Usage::now().expect("Linux tells");
        let until = Instant::now() + Duration::from_secs(5);
        // Until the counter moves, not for a fixed time: this machine may be shared.
        while Usage::now().expect("Linux tells").cpu < busy.cpu + Duration::from_millis(50) {
            assert!(Instant::now() < until, "5 s of work were not counted");
        }
    }

    #[test]
    fn memory_that_is_touched_is_resident() {
        let block = vec![1u8; 64 << 20];
        let usage = Usage::now().expect("Linux tells");
        assert_eq!(block[block.len() - 1], 1);
        // Absolute, with room for the system: other tests of this process free memory meanwhile.
        assert!(usage.resident.expect("Linux tells") > 56 << 20, "{usage:?}");
        assert!(usage.resident_peak >= 56 << 20, "{usage:?}");
    }

    #[test]
    fn a_meter_reads_the_share_of_its_own_time() {
        let meter = CpuMeter {
            started: Instant::now(),
            cpu: Duration::ZERO,
        };
        std::thread::sleep(Duration::from_millis(20));
        let used = Usage::now().expect("Linux tells").cpu.as_secs_f64();
        let cores = meter.cores().expect("Linux tells");
        assert!(
            cores >= used / meter.started.elapsed().as_secs_f64() && cores <= (used + 60.0) / 0.02,
            "{cores} of {used} s"
        );
    }
}
