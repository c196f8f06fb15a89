//! The outbox as the link sees it: opened with the sink, then on a thread of its own; a disk that refuses, or a thread that died,
//! leaves the events in memory, and is told.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::publish::bus::SinkError;
use crate::publish::mqtt::delivery::{Delivery, Order};
use crate::publish::mqtt::options::MqttError;
use crate::publish::mqtt::outbox::{Limits, OutboxError, Report, Store, Writer};
use crate::publish::mqtt::status::StatusHandle;
use crate::publish::throttle::Throttle;

/// The outbox, if there is one.
pub struct Disk {
    waiting: Option<Waiting>,
    writer: Option<Writer>,
    status: StatusHandle,
    evicted: Throttle,
}

/// The outbox before its thread runs.
struct Waiting {
    path: PathBuf,
    limits: Limits,
    /// None when the disk refused; it is tried again.
    store: Option<Store>,
    /// The first key that it does not have.
    end: u64,
}

impl Disk {
    /// Everything is in memory only.
    pub fn none(status: &StatusHandle) -> Self {
        Self {
            waiting: None,
            writer: None,
            status: status.clone(),
            evicted: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// Opens the outbox, with the delivery that it backs. One that another daemon has, or that is none, is an error; a disk that
    /// refuses is waited for.
    pub fn open(
        path: PathBuf,
        limits: Limits,
        backlog: usize,
        status: &StatusHandle,
    ) -> Result<(Delivery, Self), MqttError> {
        let mut disk = Self::none(status);
        let opened = Store::open(&path, limits).and_then(|(store, _)| {
            let (first, end) = store.range()?;
            Ok((store, first, end))
        });
        let (store, first, end) = match opened {
            Ok((store, first, end)) => (Some(store), first, end),
            Err(error @ OutboxError::Disk { .. }) => {
                disk.fails(&error.to_string());
                // Whatever the disk holds, its keys are lower: a daemon would need centuries to count so far.
                (None, 1 << 62, 1 << 62)
            }
            Err(error) => return Err(error.into()),
        };
        let waiting = store.as_ref().map_or(0, Store::events);
        if waiting > 0 {
            tracing::info!(waiting, outbox = %path.display(), "events of an earlier run wait in the outbox");
        }
        disk.waiting = Some(Waiting {
            path,
            limits,
            store,
            end,
        });
        Ok((Delivery::durable(backlog, first, end, waiting), disk))
    }

    /// Notes the retained topics of this run; returns those that an earlier one announced and this one does not.
    pub fn announce(&mut self, topics: &[String]) -> Vec<String> {
        let store = self.waiting.as_mut().and_then(|w| w.store.as_mut());
        match store.map(|store| store.announce(topics)) {
            Some(Ok(gone)) => gone,
            Some(Err(error)) => {
                self.fails(&error.to_string());
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Starts the outbox's thread.
    pub fn start(&mut self) -> Result<(), SinkError> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        let writer = Writer::start(&waiting.path, waiting.limits, waiting.store, waiting.end)
            .map_err(|e| SinkError(format!("cannot start the outbox's thread: {e}")))?;
        self.writer = Some(writer);
        Ok(())
    }

    /// The next word of the outbox; waits for ever where there is none.
    pub async fn next(&mut self) -> Option<Report> {
        Writer::next(&mut self.writer).await
    }

    /// Hands the outbox what there is to do.
    pub fn place_orders(&self, delivery: &mut Delivery) {
        let orders = std::mem::take(&mut delivery.orders);
        let Some(writer) = &self.writer else {
            return;
        };
        for order in orders {
            match order {
                Order::Insert(key, message) => writer.desk.insert(key, message),
                Order::Remove(key) => writer.desk.remove(key),
                Order::Load(from) => writer.desk.load(from),
                Order::Forget(topic) => writer.desk.forget(topic),
            }
        }
    }

    /// Takes in what the outbox says; `None`: its thread has died.
    pub fn take(&mut self, report: Option<Report>, delivery: &mut Delivery) {
        match report {
            Some(Report::Stored {
                below,
                events,
                bytes,
            }) => {
                delivery.stored(below);
                self.status.update(|s| {
                    if s.outbox_error.take().is_some() {
                        tracing::info!(events, "the outbox works again");
                    }
                    (s.stored, s.stored_bytes) = (events, bytes);
                });
            }
            Some(Report::Evicted(evicted)) => {
                let aged = delivery.evicted(&evicted.aged);
                let crowded = delivery.evicted(&evicted.crowded);
                self.status.update(|s| s.evicted += aged + crowded);
                if aged + crowded > 0 && self.evicted.hit(Instant::now()).is_some() {
                    let total = self.status.get().evicted;
                    tracing::warn!(
                        aged,
                        crowded,
                        total,
                        "the oldest events left the outbox undelivered: outbox_max_age_h or outbox_max_mb is reached"
                    );
                }
            }
            Some(Report::Loaded {
                from,
                below,
                messages,
            }) => delivery.loaded(from, below, messages),
            Some(Report::Failing(reason)) => self.fails(&reason),
            Some(Report::Reset) => delivery.reset(),
            None => {
                self.writer = None;
                delivery.abandon();
                self.fails("its thread has ended; restart earwitness");
            }
        }
        self.place_orders(delivery);
    }

    /// Lets the outbox write what it has, until `deadline`.
    pub fn finish(&mut self, delivery: &mut Delivery, deadline: Instant) {
        self.place_orders(delivery);
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        writer.desk.close();
        while let Some(report) = writer.next_until(deadline) {
            self.take(Some(report), delivery);
        }
        if !writer.finish(deadline) {
            tracing::warn!("the outbox was not written in time");
        }
    }

    /// Events are not safe any more: told once for each reason.
    fn fails(&self, reason: &str) {
        self.status.update(|s| {
            if s.outbox_error.as_deref() != Some(reason) {
                tracing::error!(
                    "events wait in memory only, and would be lost with the process: {reason}"
                );
                s.outbox_error = Some(reason.to_owned());
            }
        });
    }
}
