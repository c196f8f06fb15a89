//! A Hermes satellite behind a broker that wants a password and speaks TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use earwitness::audio::{Context, Packet, Source, open_in};
use earwitness::config::{Input, Mqtt};
use rumqttc::{Client, MqttOptions, QoS};

use crate::PATIENCE;
use crate::broker::{Mosquitto, free_port};
use crate::common::sound::wav;
use crate::security::{authority, passwords};

fn open(mqtt: &Mqtt) -> Box<dyn Source> {
    let input = Input::Hermes {
        site: "kitchen".into(),
        broker: None,
    };
    let context = Context {
        node: "test",
        stream: "room",
        mqtt: Some(mqtt),
        ..Context::default()
    };
    open_in(&input, &context).unwrap()
}

/// Looks at packets until one is wanted.
fn until(source: &mut dyn Source, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
    let (limit, mut samples) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        let packet = source
            .next(&mut samples, Duration::from_millis(100))
            .unwrap();
        if wanted(&packet) {
            return packet;
        }
        assert!(Instant::now() < limit, "waited in vain: {what}");
    }
}

#[test]
fn a_satellite_is_heard_over_tls_and_with_the_right_password_only() {
    let plain = free_port();
    let broker = Mosquitto::with(
        &format!(
            "allow_anonymous false\npassword_file {{dir}}/passwords\n\
             certfile {{dir}}/ours-server.pem\nkeyfile {{dir}}/ours-server.key\n\
             listener {plain} 127.0.0.1\n"
        ),
        |dir| {
            authority(dir, "ours");
            authority(dir, "theirs");
            passwords(dir);
        },
    );
    let with = |password: &str, ca: &str| Mqtt {
        broker: format!("mqtts://127.0.0.1:{}", broker.port),
        username: Some("ear".into()),
        password_file: Some(broker.dir().join(password)),
        ca_file: Some(broker.dir().join(ca)),
        ..Mqtt::default()
    };
    let mut options = MqttOptions::new("satellite", "127.0.0.1", plain);
    options.set_credentials("ear", "right one");
    let (client, mut connection) = Client::new(options, 100);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    thread::spawn(move || {
        for event in connection.iter() {
            if over.load(Ordering::Relaxed) {
                break;
            }
            // The broker's second listener may open a moment after its first.
            if event.is_err() {
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let sending = thread::spawn(move || {
        let frame = wav(1, 1, 16_000, 16, &[7; 2_048]);
        let topic = "hermes/audioServer/kitchen/audioFrame";
        while client
            .publish(topic, QoS::AtMostOnce, false, frame.clone())
            .is_ok()
        {
            thread::sleep(Duration::from_millis(64));
        }
    });
    let is_audio = |packet: &Packet| matches!(packet, Packet::Audio { .. });
    let mut heard = open(&with("right", "ours.pem"));
    until(heard.as_mut(), "audio", is_audio);
    drop(heard);

    for (password, ca, why) in [
        ("wrong", "ours.pem", "notauthorized"),
        ("right", "theirs.pem", "certificate"),
    ] {
        let mut source = open(&with(password, ca));
        let told = until(source.as_mut(), why, |packet| {
            assert!(!is_audio(packet), "{why}");
            matches!(packet, Packet::Down { reason } if reason.contains("mqtts://"))
        });
        let Packet::Down { reason } = told else {
            unreachable!();
        };
        assert!(reason.to_lowercase().contains(why), "{reason}");
        assert!(!reason.contains("wrong one"), "{reason}");
    }
    // The satellite goes with its broker.
    is_over.store(true, Ordering::Relaxed);
    drop(broker);
    sending.join().unwrap();
}
