//! Brokers that are absent, killed or stalled.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use earwitness::publish::{Body, Event, SpeakerFinding, Verdict};

use crate::broker::{Mosquitto, free_port};
use crate::listener::Listener;
use crate::proxy::Proxy;
use crate::{PATIENCE, config, gap, start, wait, window};

#[test]
fn a_broker_that_comes_later_gets_everything_but_windows() {
    let mut broker = Mosquitto::start();
    broker.kill();
    let proxy = Proxy::to(broker.port);
    proxy.cut();
    let (bus, status) = start(&config(proxy.port));
    (0..100).for_each(|n| bus.publish(gap(n)));
    (0..50).for_each(|n| bus.publish(window(n)));
    wait("the sink to say why", || status.get().last_error.is_some());
    wait("the inbox to empty", || status.get().windows_skipped == 50);
    let before = status.get();
    assert_eq!(
        (before.connected, before.pending),
        (false, 100),
        "{before:?}"
    );
    broker.restart();
    let listener = Listener::start(broker.port);
    proxy.open();
    wait("all events", || listener.gaps().len() >= 100);
    assert_eq!(listener.gaps(), (0..100).collect::<Vec<_>>());
    wait("acknowledgements", || status.get().pending == 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    assert!(
        listener
            .on("earwitness/test/kitchen/event/window")
            .is_empty()
    );
}

#[test]
fn nobody_at_the_address_is_told_in_words_and_stops_in_time() {
    let port = free_port();
    let (bus, status) = start(&config(port));
    bus.publish(gap(0));
    wait("an error", || status.get().last_error.is_some());
    let error = status.get().last_error.unwrap();
    assert!(
        error.contains(&format!("nobody listens at mqtt://127.0.0.1:{port}")),
        "{error}"
    );
    let begin = Instant::now();
    assert!(bus.shutdown(Duration::from_secs(2)).is_empty());
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(status.get().pending, 1);
}

#[test]
fn a_broker_killed_in_the_middle_loses_no_event() {
    const EVENTS: u64 = 3000;
    let mut broker = Mosquitto::start();
    // Through a proxy, so that the listener can be back before the sink is: what a broker takes while nobody is
    // subscribed it may forget.
    let proxy = Proxy::to(broker.port);
    let listener = Listener::start(broker.port);
    let (bus, status) = start(&config(proxy.port));
    wait("the connection", || status.get().connected);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EVENTS {
                bus.publish(gap(n));
                if n % 10 == 0 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        for round in 0..2 {
            wait("some events", || listener.gaps().len() > 300 * (round + 1));
            // Stopped first, so that some events are under way and unacknowledged when it dies.
            broker.stall();
            thread::sleep(Duration::from_millis(100));
            proxy.cut_after(|| broker.kill());
            broker.restart();
            listener.wait_subscribed(2 + round as u64);
            proxy.open();
        }
    });
    wait("acknowledgements", || status.get().pending == 0);
    let all: BTreeSet<u64> = (0..EVENTS).collect();
    wait("every event", || {
        listener.gaps().into_iter().collect::<BTreeSet<_>>() == all
    });
    let now = status.get();
    assert_eq!((now.acked, now.dropped), (EVENTS, 0), "{now:?}");
    assert!(now.connections >= 3, "{now:?}");
    let counters = &bus.counters()[0];
    assert_eq!((counters.queued, counters.dropped), (EVENTS, 0));
    assert!(now.published > EVENTS, "nothing was sent again: {now:?}");
    println!(
        "{} of {EVENTS} events sent again over 2 kills",
        now.published - EVENTS
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_stalled_broker_blocks_nobody_and_gets_the_newest_events_when_it_goes_on() {
    const EVENTS: u64 = 20_000;
    const BACKLOG: usize = 2000;
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let mut config = config(broker.port);
    config.backlog = BACKLOG;
    let (bus, status) = start(&config);
    wait("the connection", || status.get().connected);
    broker.stall();
    let mut longest = Duration::ZERO;
    for n in 0..EVENTS {
        let begin = Instant::now();
        bus.publish(if n % 4 == 3 { wide_window(n) } else { gap(n) });
        longest = longest.max(begin.elapsed());
        // The inbox is emptied all the while; give its thread a turn on a small machine.
        if n % 200 == 0 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    println!("longest publish beside a stalled broker: {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let counters = bus.counters().remove(0);
    let stalled = status.get();
    assert!(stalled.pending <= BACKLOG as u64, "{stalled:?}");
    broker.go_on();
    wait("acknowledgements", || status.get().pending == 0);
    let now = status.get();
    println!("{now:?} {counters:?}");
    assert!(now.dropped > 0 && now.windows_skipped > 0, "{now:?}");
    let heard: BTreeSet<u64> = listener.gaps().into_iter().collect();
    if counters.dropped == 0 {
        assert!(heard.contains(&(EVENTS - 2)), "the newest events stay");
    }
    // Each event is somewhere: acknowledged, dropped from the backlog, skipped as a window, or dropped by the bus.
    let windows = EVENTS / 4;
    assert!(
        now.acked + now.dropped + counters.dropped + windows >= EVENTS,
        "{now:?} {counters:?}"
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

/// 4 KiB, so that some thousands fill every buffer between us and the broker.
fn wide_window(sequence: u64) -> Event {
    let mut event = window(sequence);
    if let Body::Window { speaker, .. } = &mut event.body {
        *speaker = Some(SpeakerFinding {
            name: "x".repeat(4096),
            cosine: 0.5,
            llr: 0.0,
            verdict: Verdict::Inconclusive,
        });
    }
    event
}

#[test]
fn a_broker_that_stalls_with_every_buffer_full_is_given_up_and_found_again() {
    let broker = Mosquitto::start();
    let mut config = config(broker.port);
    config.keep_alive_s = 1;
    let (bus, status) = start(&config);
    wait("the connection", || status.get().connected);
    broker.stall();
    // rumqttc is now stuck in a write, where its own keep-alive does not look.
    let mut n = 0;
    wait("full buffers", || {
        (0..100).for_each(|_| bus.publish(wide_window(n)));
        n += 100;
        status.get().windows_skipped > 500 || !status.get().connected
    });
    bus.publish(gap(1));
    wait("the loss to be noticed", || !status.get().connected);
    println!("{:?}", status.get().last_error);
    broker.go_on();
    wait("a new connection and the event", || {
        let now = status.get();
        now.connections >= 2 && now.acked == 1
    });
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn shutting_down_beside_a_stalled_broker_keeps_its_deadline() {
    let broker = Mosquitto::start();
    let (bus, status) = start(&config(broker.port));
    wait("the connection", || status.get().connected);
    broker.stall();
    (0..500).for_each(|n| bus.publish(gap(n)));
    let begin = Instant::now();
    let late = bus.shutdown(Duration::from_secs(2));
    assert!(
        begin.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begin.elapsed()
    );
    assert!(late.is_empty(), "{late:?}");
    assert!(status.get().pending > 0);
    broker.go_on();
}

#[test]
fn a_silent_broker_is_given_up_and_found_again() {
    let broker = Mosquitto::start();
    let mut config = config(broker.port);
    config.keep_alive_s = 1;
    let (bus, status) = start(&config);
    wait("the connection", || status.get().connected);
    broker.stall();
    let begin = Instant::now();
    wait("the loss to be noticed", || !status.get().connected);
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    bus.publish(gap(1));
    broker.go_on();
    wait("a new connection and the event", || {
        let now = status.get();
        now.connections >= 2 && now.acked == 1
    });
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn two_daemons_with_one_client_id_do_not_spin() {
    let broker = Mosquitto::start();
    let mut config = config(broker.port);
    config.client_id = Some("same".into());
    let (one, a) = start(&config);
    wait("the first", || a.get().connected);
    let (two, b) = start(&config);
    thread::sleep(Duration::from_secs(4));
    // Each throws the other out; with the waits growing from 0.25–0.5 s there is room for a few rounds only.
    let rounds = a.get().connections + b.get().connections;
    assert!((3..=14).contains(&rounds), "{rounds}");
    one.shutdown(Duration::from_secs(2));
    two.shutdown(Duration::from_secs(2));
}

#[test]
fn a_refusing_proxy_is_not_hammered() {
    let proxy = Proxy::to(free_port());
    proxy.cut();
    let (bus, _) = start(&config(proxy.port));
    thread::sleep(Duration::from_secs(3));
    let attempts = proxy.accepted();
    assert!((2..=7).contains(&attempts), "{attempts}");
    bus.shutdown(Duration::from_secs(2));
}
