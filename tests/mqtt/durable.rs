//! Events on disk: an outbox across starts, how soon an event is in it, disks that are full, damaged or refuse.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use earwitness::publish::mqtt::{MqttError, MqttSink, OutboxError, StatusHandle};

use crate::broker::{Mosquitto, free_port};
use crate::listener::Listener;
use crate::{config, gap, start, wait};

pub fn with_outbox(port: u16, outbox: &Path) -> config::Mqtt {
    config::Mqtt {
        outbox: Some(outbox.into()),
        ..config(port)
    }
}

/// Waits until everything published is safe, and how long that took.
fn until_secured(status: &StatusHandle, count: u64) {
    wait("the disk", || status.get().secured >= count);
}

#[test]
fn a_daemon_that_ends_without_a_broker_delivers_at_the_next_start_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    let nobody = with_outbox(free_port(), &outbox);
    let (bus, status) = start(&nobody);
    // More than is kept in memory.
    for n in 0..1500 {
        bus.publish(gap(n));
        if n % 500 == 499 {
            until_secured(&status, n + 1);
        }
    }
    let now = status.get();
    assert_eq!(
        (now.pending, now.dropped, now.stored),
        (1500, 0, 1500),
        "{now:?}"
    );
    assert!(bus.shutdown(Duration::from_secs(1)).is_empty());

    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let (bus, status) = start(&with_outbox(broker.port, &outbox));
    bus.publish(gap(1500));
    wait("all", || listener.gaps().len() > 1500);
    assert_eq!(listener.gaps(), (0..=1500).collect::<Vec<_>>());
    wait("an empty outbox", || {
        let now = status.get();
        (now.pending, now.stored) == (0, 0)
    });
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    // Nothing is left for a third start.
    let (bus, status) = start(&with_outbox(broker.port, &outbox));
    wait("the connection", || status.get().connected);
    assert_eq!(status.get().pending, 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    assert_eq!(listener.gaps().len(), 1501);
}

/// Prints what docs/mqtt.md speaks of. A machine's disk is no subject of a test.
#[test]
fn an_event_is_in_memory_only_for_a_commit_or_two() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, status) = start(&with_outbox(
        free_port(),
        &folder.path().join("outbox.redb"),
    ));
    let mut took: Vec<Duration> = (0..200)
        .map(|n| {
            let begin = Instant::now();
            bus.publish(gap(n));
            while status.get().secured <= n && begin.elapsed() < Duration::from_secs(30) {
                thread::sleep(Duration::from_micros(50));
            }
            begin.elapsed()
        })
        .collect();
    until_secured(&status, 200);
    took.sort();
    println!(
        "one event at a time, from published to secured: median {:?}, 99 of 100 within {:?}, longest {:?}",
        took[100], took[198], took[199]
    );
    let begin = Instant::now();
    let many = 20_000;
    for n in 0..many {
        // Less than `backlog`, beyond which the oldest would go.
        while bus.counters()[0].waiting > 900 || 200 + n - status.get().secured.min(200 + n) > 5000
        {
            thread::sleep(Duration::from_micros(200));
        }
        bus.publish(gap(200 + n));
    }
    until_secured(&status, 200 + many);
    let rate = many as f64 / begin.elapsed().as_secs_f64();
    println!("secured as fast as they come: {rate:.0} events a second");
    assert_eq!(bus.counters()[0].dropped + status.get().dropped, 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn what_finds_no_room_on_the_disk_is_counted_and_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_outbox(free_port(), &folder.path().join("outbox.redb"));
    config.outbox_max_mb = 1;
    let (bus, status) = start(&config);
    const EVENTS: u64 = 400;
    for n in 0..EVENTS {
        let mut event = gap(n);
        event.time = "x".repeat(10_000);
        bus.publish(event);
        if n % 50 == 49 {
            until_secured(&status, n + 1);
        }
    }
    let now = status.get();
    assert_eq!(now.pending + now.evicted, EVENTS, "{now:?}");
    assert!(now.stored_bytes <= 1_000_000 && now.dropped == 0, "{now:?}");
    assert!((90..100).contains(&now.pending), "{now:?}");
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());

    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    config.broker = format!("mqtt://127.0.0.1:{}", broker.port);
    let (bus, _) = start(&config);
    wait("the rest", || listener.gaps().len() as u64 >= now.pending);
    assert_eq!(listener.gaps(), (now.evicted..EVENTS).collect::<Vec<_>>());
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn two_daemons_cannot_share_an_outbox_and_a_damaged_one_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    let config = with_outbox(free_port(), &outbox);
    let (bus, _) = start(&config);
    let info = serde_json::Value::Null;
    let error = MqttSink::new(&config, "other", &info).err().unwrap();
    assert!(
        matches!(error, MqttError::Outbox(OutboxError::Locked(_))),
        "{error}"
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());

    std::fs::write(&outbox, "an outbox no more").unwrap();
    let (bus, status) = start(&config);
    bus.publish(gap(0));
    until_secured(&status, 1);
    assert!(folder.path().join("outbox.redb.damaged-1").is_file());
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

/// `/dev/full` refuses each write as a full disk does.
#[test]
fn a_disk_that_refuses_is_told_and_events_wait_in_memory_and_reach_the_broker() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    std::os::unix::fs::symlink("/dev/full", &outbox).unwrap();
    let (bus, status) = start(&with_outbox(broker.port, &outbox));
    let error = status.get().outbox_error.expect("told at the start");
    assert!(error.contains("outbox.redb"), "{error}");
    (0..100).for_each(|n| bus.publish(gap(n)));
    wait("the events", || listener.gaps().len() == 100);
    wait("acknowledgements", || status.get().acked == 100);
    // Somebody makes room.
    std::fs::remove_file(&outbox).unwrap();
    wait("the disk", || {
        bus.publish(gap(100));
        thread::sleep(Duration::from_millis(50));
        status.get().outbox_error.is_none()
    });
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    assert_eq!(status.get().dropped, 0);
}
