//! Logs, counters, service-manager notification.
