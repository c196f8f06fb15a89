//! A broker that comes late, stalls or was away while the daemon had something to tell.

use std::collections::HashSet;

use earwitness::publish::SourceState;

use super::common::PATIENCE;
use super::common::broker::Mosquitto;
use super::common::listener::Listener;
use super::common::place::Place;
use super::{BASE, enrol_alice, file, heard, mqtt, turns, write_long};

#[test]
fn a_broker_that_comes_later_hears_what_is_so() {
    let mut broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    broker.kill();
    let place = Place::new(&(mqtt(&broker) + &file("hall", "long.wav", 1.0)));
    enrol_alice(&place);
    write_long(&place);
    let mut daemon = place.start(&["run"]);
    daemon.until_log("MQTT not connected");
    daemon.until("a turn while nobody listens", || {
        turns(&place.events_of("hall")).len() == 1
    });
    assert!(listener.heard().is_empty());
    broker.restart();
    daemon.until("windows as they come", || {
        !heard(&listener, "hall", "window").is_empty()
    });
    listener.wait_last(&format!("{BASE}/status"), "online");
    // Decided before the broker came.
    let state = listener.wait_for(&format!("{BASE}/hall/state"), 1);
    let state: serde_json::Value = serde_json::from_slice(&state[0].payload).unwrap();
    assert_eq!(state["source"], "up", "{state}");
    assert_eq!(state["node"], "test", "{state}");
    daemon.until_log("MQTT connected");
    daemon.stop();
    listener.wait_last(&format!("{BASE}/status"), "offline");
}

#[test]
fn a_daemon_that_waits_for_its_broker_to_take_the_last_events_stops_when_told() {
    let broker = Mosquitto::start();
    let place = Place::new(&(mqtt(&broker) + &file("tape", "long.wav", 20.0)));
    write_long(&place);
    let mut daemon = place.start(&["run"]);
    daemon.until_log("MQTT connected");
    // Keeps the connection, acknowledges nothing.
    broker.stall();
    let ended = (SourceState::Ended, None);
    daemon.until("the tape's end", || {
        place.source_of("tape").contains(&ended)
    });
    assert!(daemon.is_running(), "{}", daemon.stderr());
    let (ended, _) = daemon.stop();
    assert!(
        ended.stderr.contains("events wait in the outbox")
            && !ended.stderr.contains("not acknowledged"),
        "{}",
        ended.stderr
    );
    // The next start delivers them.
    broker.go_on();
    let listener = Listener::start(broker.port);
    let mut daemon = place.start(&["run"]);
    daemon.until("the first tape's end", || {
        let told = heard(&listener, "tape", "source");
        let epochs: HashSet<u64> = told.iter().map(|e| e.id.epoch).collect();
        epochs.len() == 2
    });
    daemon.stop();
}

#[test]
fn what_a_file_held_is_delivered_to_a_broker_that_comes_after_its_end() {
    let mut broker = Mosquitto::start();
    broker.kill();
    let place = Place::new(&(mqtt(&broker) + &file("tape", "long.wav", 0.0)));
    write_long(&place);
    let mut daemon = place.start(&["run"]);
    let ended = (SourceState::Ended, None);
    daemon.until("the tape's end", || {
        place.source_of("tape").contains(&ended)
    });
    daemon.until_log("MQTT not connected");
    broker.restart();
    // By itself, once the broker has all of it.
    let ended = daemon.end(PATIENCE).expect(0);
    assert!(
        !ended.stderr.contains("not acknowledged"),
        "{}",
        ended.stderr
    );
    let listener = Listener::start(broker.port);
    listener.wait_last(&format!("{BASE}/status"), "offline");
    let state = listener.wait_for(&format!("{BASE}/tape/state"), 1);
    let state: serde_json::Value = serde_json::from_slice(&state[0].payload).unwrap();
    assert_eq!(state["source"], "ended", "{state}");
}
