//! States for systemd (`Type=notify`). Each call does nothing where no manager listens (`NOTIFY_SOCKET` unset), and
//! a manager that cannot be told is no reason to stop listening: failures are logged.

use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon works: its streams and sinks are started.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon drains and stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// A sign of life; call it at least every [`watchdog_interval`], and only while the pipeline moves.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is expected: half of the unit's `WatchdogSec`, as systemd advises; `None` without a watchdog.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
