//! The demo's broker, with clients that know nothing of it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use earwitness::config;
use earwitness::publish::broker::{BrokerError, Embedded};
use earwitness::publish::mqtt::MqttSink;
use earwitness::publish::{Body, Bus, Event, EventId, GapReason, QUEUE, SCHEMA};
use rumqttc::{Client, Event as Happening, MqttOptions, Packet, Publish, QoS};

/// Collects `count` messages under a filter.
fn collect(
    port: u16,
    id: &str,
    filter: &str,
    count: usize,
) -> std::thread::JoinHandle<Vec<Publish>> {
    let (client, mut connection) = Client::new(MqttOptions::new(id, "127.0.0.1", port), 10);
    client.subscribe(filter, QoS::AtLeastOnce).unwrap();
    let (ready, subscribed) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _keep = client;
        let mut all = Vec::new();
        while all.len() < count {
            match connection
                .recv_timeout(Duration::from_secs(20))
                .unwrap()
                .unwrap()
            {
                Happening::Incoming(Packet::SubAck(_)) => ready.send(()).unwrap(),
                Happening::Incoming(Packet::Publish(publish)) => all.push(publish),
                _ => {}
            }
        }
        all
    });
    subscribed.recv_timeout(Duration::from_secs(20)).unwrap();
    thread
}

#[test]
fn clients_publish_and_subscribe_through_it() {
    let broker = Embedded::start(0).unwrap();
    assert!(broker.address().ip().is_loopback());
    let port = broker.address().port();
    let heard = collect(port, "reader", "hello/#", 100);
    let (client, mut connection) = Client::new(MqttOptions::new("writer", "127.0.0.1", port), 200);
    for n in 0..100 {
        client
            .publish("hello/world", QoS::AtLeastOnce, false, n.to_string())
            .unwrap();
    }
    std::thread::spawn(move || connection.iter().take_while(Result::is_ok).for_each(drop));
    let texts: Vec<String> = heard
        .join()
        .unwrap()
        .iter()
        .map(|p| String::from_utf8(p.payload.to_vec()).unwrap())
        .collect();
    assert_eq!(texts, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_daemon_s_sink_works_with_it() {
    let broker = Embedded::start(0).unwrap();
    let config = config::Mqtt {
        broker: broker.url(),
        ..config::Mqtt::default()
    };
    let sink = MqttSink::new(&config, "demo", &serde_json::json!({"version": "test"})).unwrap();
    let status = sink.status();
    let port = broker.address().port();
    let events = collect(port, "reader", "earwitness/demo/+/event/#", 500);
    let mut bus = Bus::new();
    bus.add("mqtt", QUEUE, sink).unwrap();
    for sequence in 0..500 {
        bus.publish(Event {
            schema: SCHEMA,
            id: EventId {
                node: "demo".into(),
                stream: "scene".into(),
                epoch: 1,
                sequence,
            },
            time: "2026-11-23T08:30:00.250Z".into(),
            start_s: 0.0,
            end_s: 1.0,
            lag_ms: 1.0,
            body: Body::Gap {
                samples: 1,
                reason: GapReason::Overrun,
            },
        });
    }
    let heard = events.join().unwrap();
    assert!(
        heard
            .iter()
            .all(|p| p.topic == "earwitness/demo/scene/event/gap" && !p.retain)
    );
    let limit = Instant::now() + Duration::from_secs(20);
    while status.get().pending > 0 && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((status.get().acked, status.get().connections), (500, 1));
    // What is retained waits for a reader that comes late.
    let retained = collect(port, "late", "earwitness/#", 3).join().unwrap();
    let mut topics: Vec<&str> = retained.iter().map(|p| p.topic.as_str()).collect();
    topics.sort_unstable();
    assert_eq!(
        topics,
        [
            "earwitness/demo/info",
            "earwitness/demo/scene/state",
            "earwitness/demo/status"
        ]
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Embedded::start(port).unwrap_err();
    assert!(
        matches!(error, BrokerError::PortInUse(p) if p == port),
        "{error}"
    );
}
