//! What lies on which topic, at which QoS, retained or not.

use std::time::Duration;

use earwitness::publish::mqtt::MqttSink;
use earwitness::publish::{Bus, Event, QUEUE, StreamState, Verdict, schema};
use rumqttc::QoS;

use crate::broker::Mosquitto;
use crate::listener::Listener;
use crate::proxy::Proxy;
use crate::{config, gap, source_up, speaker, spoof, start, wait, window};

const BASE: &str = "earwitness/test";

#[test]
fn events_state_info_and_status_lie_where_the_contract_says() {
    contract(4);
}

#[test]
fn mqtt_5_keeps_the_same_contract() {
    contract(5);
}

fn contract(version: u8) {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let (bus, status) = start(&earwitness::config::Mqtt {
        version,
        ..config(broker.port)
    });
    listener.wait_last(&format!("{BASE}/status"), "online");
    let events = [
        source_up(0),
        speaker(1, "alice"),
        spoof(2),
        gap(3),
        window(4),
    ];
    for event in &events {
        bus.publish(event.clone());
    }
    let schema = jsonschema::validator_for(&schema::event()).unwrap();
    for event in &events {
        let kind = event.body.kind();
        let heard = listener.wait_for(&format!("{BASE}/kitchen/event/{kind}"), 1);
        assert_eq!(heard.len(), 1, "{kind}");
        let expected = if kind == "window" {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        assert_eq!((heard[0].qos, heard[0].retain), (expected, false), "{kind}");
        assert_eq!(
            &serde_json::from_slice::<Event>(&heard[0].payload).unwrap(),
            event
        );
        assert!(schema.is_valid(&serde_json::from_slice(&heard[0].payload).unwrap()));
    }
    wait("acknowledgements", || status.get().pending == 0);
    let now = status.get();
    assert_eq!(
        (now.connected, now.acked, now.published),
        (true, 4, 5),
        "{now:?}"
    );
    assert_eq!(
        (now.dropped, now.invalid, now.windows_skipped),
        (0, 0, 0),
        "{now:?}"
    );

    // Somebody who comes late finds what is retained, and no event.
    let late = Listener::start(broker.port);
    late.wait_for(&format!("{BASE}/kitchen/state"), 1);
    late.wait_for(&format!("{BASE}/info"), 1);
    let mut found: Vec<String> = late.heard().iter().map(|p| p.topic.clone()).collect();
    found.sort();
    let expected = ["info", "kitchen/state", "status"].map(|t| format!("{BASE}/{t}"));
    assert_eq!(found, expected);
    assert!(
        late.heard()
            .iter()
            .all(|p| p.retain && p.qos == QoS::AtLeastOnce)
    );
    let state: serde_json::Value =
        serde_json::from_slice(&late.on(&format!("{BASE}/kitchen/state"))[0].payload).unwrap();
    assert!(jsonschema::is_valid(&schema::state(), &state), "{state}");
    let state: StreamState = serde_json::from_value(state).unwrap();
    assert_eq!(state.speaker.as_deref(), Some("alice"));
    assert_eq!(
        (state.spoof_verdict, state.lost_samples),
        (Some(Verdict::Reject), 160)
    );

    // A clean end says so itself, before the connection goes.
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    listener.wait_last(&format!("{BASE}/status"), "offline");
    assert!(!status.get().connected);
}

#[test]
fn the_broker_says_offline_when_the_connection_is_cut_and_we_online_when_it_is_back() {
    let broker = Mosquitto::start();
    let proxy = Proxy::to(broker.port);
    let listener = Listener::start(broker.port);
    let (bus, status) = start(&config(proxy.port));
    let topic = format!("{BASE}/status");
    listener.wait_last(&topic, "online");
    bus.publish(source_up(0));
    listener.wait_for(&format!("{BASE}/kitchen/state"), 1);
    proxy.cut();
    listener.wait_last(&topic, "offline");
    wait("the sink to notice", || !status.get().connected);
    assert!(status.get().last_error.is_some());
    proxy.open();
    listener.wait_last(&topic, "online");
    // Retained messages are told again: the broker may have lost them.
    listener.wait_for(&format!("{BASE}/kitchen/state"), 2);
    listener.wait_for(&format!("{BASE}/info"), 2);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_large_retained_payload_does_not_disconnect_us() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let info = serde_json::json!({"pack": "x".repeat(200_000)});
    let sink = MqttSink::new(&config(broker.port), "test", &info).unwrap();
    let status = sink.status();
    let mut bus = Bus::new();
    bus.add("mqtt", QUEUE, sink).unwrap();
    let heard = listener.wait_for(&format!("{BASE}/info"), 1);
    assert!(heard[0].payload.len() > 200_000);
    bus.publish(gap(0));
    wait("the event", || listener.gaps() == [0]);
    assert_eq!(status.get().connections, 1);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn an_event_that_cannot_be_published_is_counted_and_the_rest_goes_on() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let (bus, status) = start(&config(broker.port));
    let mut bad_stream = gap(0);
    bad_stream.id.stream = "a/#".into();
    let mut not_a_number = gap(1);
    not_a_number.lag_ms = f64::NAN;
    let mut huge = speaker(2, &"x".repeat(2 << 20));
    huge.id.stream = "huge".into();
    for event in [bad_stream, not_a_number, huge, gap(3)] {
        bus.publish(event);
    }
    wait("the good event", || listener.gaps() == [3]);
    wait("its acknowledgement", || status.get().pending == 0);
    let now = status.get();
    assert_eq!(
        (now.invalid, now.acked, now.connections),
        (3, 1, 1),
        "{now:?}"
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}
