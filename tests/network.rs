//! Audio over the network into the real daemon: Wyoming, raw TCP, RTP and Hermes, from honest senders and from others.

#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::broker::{Mosquitto, free_port};
use common::listener::Listener;
use common::place::Place;
use common::program::Program;
use common::sound::{alice, silence, to_i16, wav, write_wav};
use common::wait;
use earwitness::publish::{Body, Event, SourceState, Verdict};
use rumqttc::{Client, MqttOptions, QoS};
use serde_json::{Value, json};

const RATE: u32 = 16_000;
/// Frames a chunk, as Rhasspy's and Wyoming's satellites send them.
const CHUNK: usize = 1_024;

fn mqtt(broker: &Mosquitto) -> String {
    format!("[mqtt]\nbroker = 'mqtt://127.0.0.1:{}'\n", broker.port)
}

fn stream(id: &str, kind: &str, port: u16, more: &str) -> String {
    format!(
        "[[stream]]\nid = '{id}'\nsource = {{ kind = '{kind}', listen = '127.0.0.1:{port}'{more} }}\n"
    )
}

fn connect(port: u16) -> TcpStream {
    let mut socket = None;
    wait("a listener", || {
        socket = TcpStream::connect(("127.0.0.1", port)).ok();
        socket.is_some()
    });
    socket.unwrap()
}

/// An event of the protocol, its data behind the line as the reference client sends it.
fn event(kind: &str, data: &Value, payload: &[u8]) -> Vec<u8> {
    let data = data.to_string();
    let line = json!({
        "type": kind, "version": "1.10.0", "data_length": data.len(), "payload_length": payload.len()
    });
    [line.to_string().as_bytes(), b"\n", data.as_bytes(), payload].concat()
}

fn format(timestamp: u64) -> Value {
    json!({ "rate": RATE, "width": 2, "channels": 1, "timestamp": timestamp })
}

fn bytes(samples: &[f32]) -> Vec<u8> {
    let samples = to_i16(samples).into_iter();
    samples.flat_map(i16::to_le_bytes).collect()
}

/// Sends audio whose first sample belongs to `ms`, as fast as it is taken.
fn chunks(socket: &mut TcpStream, ms: u64, samples: &[f32]) {
    for (n, part) in samples.chunks(CHUNK).enumerate() {
        let at = ms + (n * CHUNK) as u64 * 1_000 / u64::from(RATE);
        socket
            .write_all(&event("audio-chunk", &format(at), &bytes(part)))
            .unwrap();
    }
}

fn gaps(events: &[Event]) -> Vec<u64> {
    let gap = |e: &Event| match e.body {
        Body::Gap { samples, .. } => Some(samples),
        _ => None,
    };
    events.iter().filter_map(gap).collect()
}

fn states(place: &Place, id: &str) -> Vec<SourceState> {
    let told = place.source_of(id).into_iter();
    told.map(|(state, _)| state).collect()
}

fn until_down(daemon: &mut Program, place: &Place, id: &str, word: &str) {
    daemon.until(&format!("{id} is down: {word}"), || {
        let told = place.source_of(id);
        let is = |(state, reason): &(_, Option<String>)| {
            *state == SourceState::Down && reason.as_ref().is_some_and(|r| r.contains(word))
        };
        told.iter().any(is)
    });
}

#[test]
fn a_wyoming_satellite_is_recognised_and_what_it_lost_is_told() {
    let broker = Mosquitto::start();
    let listener = Listener::start(broker.port);
    let port = free_port();
    let place = Place::new(&(mqtt(&broker) + &stream("sat", "wyoming", port, "")));
    write_wav(&place.path("alice.wav"), RATE, &alice(6.0, RATE));
    place
        .run(&["enroll", "alice", "alice.wav", "--force"])
        .expect(0);
    let mut daemon = place.start(&["run"]);
    let mut socket = connect(port);

    socket
        .write_all(&event("describe", &json!({}), &[]))
        .unwrap();
    let ping = event("ping", &json!({ "text": "there?" }), &[]);
    socket.write_all(&ping).unwrap();
    let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();
    assert_eq!(answer()["type"], "info");
    let pong = answer();
    assert_eq!(
        (&pong["type"], &pong["data"]["text"]),
        (&json!("pong"), &json!("there?"))
    );

    socket
        .write_all(&event("audio-start", &format(0), &[]))
        .unwrap();
    // A whole number of chunks, then 1.5 s that never came, then more.
    let first = &alice(4.0, RATE)[..62 * CHUNK];
    chunks(&mut socket, 7_000, first);
    let then = 7_000 + (62 * CHUNK) as u64 / 16 + 1_500;
    chunks(&mut socket, then, &alice(3.0, RATE));
    socket
        .write_all(&event("audio-stop", &json!({}), &[]))
        .unwrap();
    until_down(&mut daemon, &place, "sat", "stopped its audio");

    let topic = |kind| format!("earwitness/test/sat/event/{kind}");
    let published: Vec<Event> = listener
        .wait_for(&topic("gap"), 1)
        .iter()
        .map(|p| serde_json::from_slice(&p.payload).unwrap())
        .collect();
    assert_eq!(gaps(&published), [24_000]);
    let windows = place.windows_of("sat");
    let of_alice = |e: &Event| matches!(&e.body, Body::Window { speaker: Some(s), .. } if s.name == "alice" && s.verdict == Verdict::Accept);
    assert!(windows.iter().filter(|e| of_alice(e)).count() >= 4);
    // The clock ran on over what was lost.
    let end = windows.iter().map(|e| e.end_s).fold(0.0, f64::max);
    let all = (62 * CHUNK) as f64 / 16_000.0 + 1.5 + 3.0;
    assert!((end - all).abs() < 0.01, "{end} {all}");
    listener.wait_for(&topic("speaker"), 1);
    daemon.stop();
}

#[test]
fn who_sends_garbage_harms_nobody_else() {
    let (bad, good) = (free_port(), free_port());
    let place =
        Place::new(&(stream("bad", "wyoming", bad, "") + &stream("good", "wyoming", good, "")));
    let mut daemon = place.start(&["run"]);
    let mut honest = connect(good);
    connect(bad);
    let before = daemon.peak_kib().unwrap();

    let mut noise = 1u32;
    let mut random = move |n: usize| -> Vec<u8> {
        let next = |_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        (0..n).map(next).collect()
    };
    let chunk = event("audio-chunk", &format(0), &bytes(&alice(0.1, RATE)));
    let line = |text: &str| format!("{text}\n").into_bytes();
    let hostile: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        line("{\"type\":\"audio-chunk\",\"payload_length\":99999999999999999999}"),
        line("{\"type\":\"audio-chunk\",\"payload_length\":-5}"),
        line("{\"type\":\"audio-chunk\",\"data_length\":1000000000}"),
        line(&"[".repeat(100_000)),
        vec![b'x'; 3_000_000],
        random(200_000),
        event(
            "audio-start",
            &json!({ "rate": 1, "width": 99, "channels": -3 }),
            &[],
        ),
        event("audio-chunk", &json!({ "rate": "fast" }), &[1, 2, 3]),
        event("audio-chunk", &format(0), &[1, 2, 3]),
        // In the middle of a chunk, after a whole one.
        [&chunk[..], &chunk[..chunk.len() - 1_000]].concat(),
        // Half a line.
        chunk[..20].to_vec(),
    ];
    let samples = alice(8.0, RATE);
    for (round, part) in samples.chunks(RATE as usize / 2).enumerate() {
        chunks(&mut honest, round as u64 * 500, part);
        for attack in &hostile {
            if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", bad)) {
                let _ = socket.set_write_timeout(Some(Duration::from_secs(5)));
                // It may be thrown out before it is done.
                let _ = socket.write_all(attack);
            }
        }
    }
    // Some stay, and say nothing or half of something.
    let mut stay: Vec<TcpStream> = (0..20).map(|_| connect(bad)).collect();
    for socket in &mut stay {
        let _ = socket.write_all(&chunk[..30]);
    }
    honest
        .write_all(&event("audio-stop", &json!({}), &[]))
        .unwrap();
    until_down(&mut daemon, &place, "good", "stopped its audio");
    let heard = place.events_of("good");
    assert!(gaps(&heard).is_empty(), "{heard:?}");
    let end = place.windows_of("good").last().unwrap().end_s;
    assert!((end - 8.0).abs() < 0.01, "{end}");

    // Whole chunks of the hostile ones were heard; half ones are told of; and an honest one is welcome.
    until_down(&mut daemon, &place, "bad", "in the middle of a message");
    let starts = |place: &Place| {
        states(place, "bad")
            .iter()
            .filter(|s| **s == SourceState::Up)
            .count()
    };
    let so_far = starts(&place);
    let mut honest = connect(bad);
    chunks(&mut honest, 0, &silence(1.0, RATE));
    daemon.until("an honest satellite", || starts(&place) > so_far);
    let grown = daemon.peak_kib().unwrap() - before;
    println!("grew by {grown} KiB under attack");
    assert!(grown < 60_000, "{grown} KiB");
    let (ended, _) = daemon.stop();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn raw_pcm_comes_by_tcp() {
    let port = free_port();
    let more = ", pcm = { rate = 8000, channels = 2 }";
    let place = Place::new(&stream("line", "tcp", port, more));
    let mut daemon = place.start(&["run"]);
    for _ in 0..2 {
        let mut socket = connect(port);
        let both = alice(3.0, 8_000).into_iter().flat_map(|x| [x, x]);
        let both: Vec<f32> = both.collect();
        socket.write_all(&bytes(&both)).unwrap();
        socket.write_all(&[1, 2, 3]).unwrap();
        let before = states(&place, "line").len();
        drop(socket);
        daemon.until("the end of the line", || {
            let now = states(&place, "line");
            now.len() > before && now.last() == Some(&SourceState::Down)
        });
    }
    until_down(&mut daemon, &place, "line", "3 byte(s) of it are lost");
    let windows = place.windows_of("line");
    let epochs: std::collections::BTreeSet<u64> = windows.iter().map(|e| e.id.epoch).collect();
    assert_eq!(epochs.len(), 2, "each connection has a clock of its own");
    for epoch in epochs {
        let of = windows.iter().filter(|e| e.id.epoch == epoch);
        let end = of.map(|e| e.end_s).fold(0.0, f64::max);
        assert!((end - 3.0).abs() < 0.01, "{end}");
    }
    daemon.stop();
}

#[test]
fn rtp_that_is_lost_swapped_and_repeated_leaves_exact_gaps() {
    let port = free_port();
    let more = ", payload_type = 97, jitter_ms = 200";
    let place = Place::new(&stream("call", "udp", port, more));
    let mut daemon = place.start(&["run"]);
    daemon.until_log("listening");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    const FRAMES: usize = 320;
    let samples = alice(4.0, RATE);
    let mut packets: Vec<(usize, Vec<u8>)> = samples
        .chunks(FRAMES)
        .enumerate()
        .map(|(n, part)| {
            let mut bytes = vec![0x80, 97];
            // Both numbers wrap on the way.
            bytes.extend((65_500u16.wrapping_add(n as u16)).to_be_bytes());
            bytes.extend(
                (u32::MAX - 9_000)
                    .wrapping_add((n * FRAMES) as u32)
                    .to_be_bytes(),
            );
            bytes.extend(7u32.to_be_bytes());
            bytes.extend(to_i16(part).into_iter().flat_map(i16::to_be_bytes));
            (n, bytes)
        })
        .collect();
    // Three in a row, and one alone.
    packets.retain(|(n, _)| !(50..53).contains(n) && *n != 120);
    let again = packets[20].clone();
    packets.insert(22, again);
    packets.swap(30, 32);
    packets.swap(100, 101);
    let start = Instant::now();
    for (n, (_, bytes)) in packets.iter().enumerate() {
        socket.send(bytes).unwrap();
        // Twice as fast as it sounds.
        let due = start + Duration::from_millis(10) * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let noise = [&b"hello"[..], &[0x80; 11], &[0xff; 2_000]];
    noise.iter().for_each(|n| drop(socket.send(n)));
    until_down(&mut daemon, &place, "call", "no RTP for 5 s");
    assert_eq!(gaps(&place.events_of("call")), [3 * 320, 320]);
    let end = place.windows_of("call").last().unwrap().end_s;
    assert!((end - 4.0).abs() < 0.01, "{end}");
    let (ended, _) = daemon.stop();
    assert!(ended.stderr.contains("missing=4"), "{}", ended.stderr);
    assert!(ended.stderr.contains("no RTP"), "{}", ended.stderr);
}

#[test]
fn a_hermes_satellite_is_heard_at_the_daemons_broker() {
    let mut broker = Mosquitto::start();
    let text =
        mqtt(&broker) + "[[stream]]\nid = 'room'\nsource = { kind = 'hermes', site = 'kitchen' }\n";
    let place = Place::new(&text);
    broker.kill();
    let mut daemon = place.start(&["run"]);
    // The site is unknown until the broker is there; both are no reason to end.
    until_down(
        &mut daemon,
        &place,
        "room",
        "waits for hermes/audioServer/kitchen/audioFrame",
    );
    broker.restart();
    daemon.until_log("subscribed");
    let (client, mut connection) =
        Client::new(MqttOptions::new("satellite", "127.0.0.1", broker.port), 100);
    let network = std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
    let topic = |site: &str| format!("hermes/audioServer/{site}/audioFrame");
    let send = |site: &str, payload: Vec<u8>| {
        client
            .publish(topic(site), QoS::AtMostOnce, false, payload)
            .unwrap();
    };
    let start = Instant::now();
    for (n, part) in alice(3.0, RATE).chunks(CHUNK).enumerate() {
        send("kitchen", wav(1, 1, RATE, 16, &bytes(part)));
        // Somebody else, and somebody broken.
        send("bath", wav(1, 1, RATE, 16, &bytes(part)));
        send("kitchen", b"RIFFnonsense".to_vec());
        send("kitchen", wav(1, 0, 0, 0, &[]));
        let due = start + Duration::from_millis(64) * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    until_down(&mut daemon, &place, "room", "no audio frame for 5 s");
    let samples: f64 = 3.0 * f64::from(RATE);
    let lost: u64 = gaps(&place.events_of("room")).iter().sum();
    let end = place.windows_of("room").last().unwrap().end_s;
    // A machine that stalls may make it think that something was lost; nothing that came is.
    assert!(
        (end - (samples + lost as f64) / 16_000.0).abs() < 0.01,
        "{end} {lost}"
    );
    client.disconnect().unwrap();
    network.join().unwrap();
    let (ended, _) = daemon.stop();
    assert!(
        ended.stderr.contains("an audio frame was left out"),
        "{}",
        ended.stderr
    );
}
