//! How long something took: on the wall, and of one core.

use std::time::{Duration, Instant};

use crate::telemetry::Usage;
use serde::Serialize;

/// When something began.
pub struct Clock {
    wall: Instant,
    cpu: Option<Duration>,
}

/// How long it took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spent {
    /// Seconds that passed.
    pub wall: f64,
    /// Seconds of one core that it took; `None` where the system does not tell.
    pub cpu: Option<f64>,
}

impl Clock {
    /// Now.
    pub fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: Usage::now().map(|u| u.cpu),
        }
    }

    /// From then to now.
    pub fn spent(&self) -> Spent {
        let cpu = Usage::now().and_then(|u| u.cpu.checked_sub(self.cpu?));
        Spent {
            wall: self.wall.elapsed().as_secs_f64(),
            cpu: cpu.map(|cpu| cpu.as_secs_f64()),
        }
    }
}

impl Spent {
    /// Seconds of one core; where the system does not tell, those that passed.
    pub fn seconds(&self) -> f64 {
        self.cpu.unwrap_or(self.wall)
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s", self.wall)?;
        match self.cpu {
            Some(cpu) => write!(f, ", {cpu:.3} s of one core"),
            None => Ok(()),
        }
    }
}
