//! The machine that was measured: figures say nothing without it.

/// What the operating system tells of it.
#[derive(Debug, serde::Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    cores: usize,
    /// Name of the processor; absent where the system does not tell.
    processor: Option<String>,
    /// Programs that wanted to run over the last minute, before anything was measured: above a half, somebody else was at work.
    load_before: Option<f64>,
    /// Our own version.
    version: &'static str,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        Self {
            cores: cores(),
            processor: std::fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| processor(&text)),
            load_before: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor(cpuinfo: &str) -> Option<String> {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(super::processor(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(super::processor("processor: 0"), None);
    }
}
