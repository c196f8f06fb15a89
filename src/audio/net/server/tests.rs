use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::tcp::Raw;
use super::super::wyoming::Satellite;
use super::*;
use crate::config::Pcm;

const WAIT: Duration = Duration::from_millis(20);

fn raw() -> Server<Raw> {
    let any = ([127, 0, 0, 1], 0).into();
    Server::start("test", any, || Raw::new(Pcm::default())).unwrap()
}

fn wyoming() -> Server<Satellite> {
    let any = ([127, 0, 0, 1], 0).into();
    Server::start("test", any, || Satellite::new(None)).unwrap()
}

/// Packets until `enough` says so; at most 10 s.
fn until<P: Peer + 'static>(
    server: &mut Server<P>,
    samples: &mut Vec<f32>,
    mut enough: impl FnMut(&Packet, &[f32]) -> bool,
) -> Vec<Packet> {
    let mut packets = Vec::new();
    for _ in 0..500 {
        let packet = server.next(samples, WAIT).unwrap();
        if packet == Packet::Idle {
            continue;
        }
        let done = enough(&packet, samples);
        packets.push(packet);
        if done {
            return packets;
        }
    }
    panic!("waited in vain after {packets:?}")
}

fn is_down(packet: &Packet, word: &str) -> bool {
    matches!(packet, Packet::Down { reason } if reason.contains(word))
}

#[test]
fn raw_audio_is_heard_until_its_sender_goes() {
    let mut server = raw();
    let mut samples = Vec::new();
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(&[0, 0x40, 0, 0xc0, 7]).unwrap();
    let heard = until(&mut server, &mut samples, |_, s| s.len() == 2);
    assert!(is_down(&heard[0], "waits for audio at 127.0.0.1"));
    assert!(matches!(
        heard[1],
        Packet::Format {
            rate: 16_000,
            channels: 1
        }
    ));
    assert_eq!(samples, [0.5, -0.5]);
    drop(client);
    until(&mut server, &mut samples, |p, _| is_down(p, "1 byte"));
    // The next one is heard at once.
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(&[0, 0x40]).unwrap();
    let heard = until(&mut server, &mut samples, |_, s| s.len() == 3);
    assert!(matches!(heard[0], Packet::Format { .. }));
}

#[test]
fn audio_that_comes_too_fast_is_held_up_and_not_lost() {
    let mut server = raw();
    let mut samples = Vec::new();
    let mut client = TcpStream::connect(server.address()).unwrap();
    // 6 s at once.
    let writer = std::thread::spawn(move || client.write_all(&[1; 192_000]).map(|()| client));
    let start = Instant::now();
    until(&mut server, &mut samples, |_, s| s.len() == 96_000);
    // What is beyond the 5 s that may come at once takes as long as it sounds.
    assert!(
        start.elapsed() > Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
    drop(writer.join().unwrap().unwrap());
}

#[test]
fn a_second_sender_is_told_off_and_the_first_is_heard_on() {
    let mut server = wyoming();
    let chunk = b"{\"type\":\"audio-chunk\",\"data\":{\"rate\":16000,\"width\":2,\"channels\":1},\"payload_length\":2}\n\0\x40";
    let mut samples = Vec::new();
    let mut first = TcpStream::connect(server.address()).unwrap();
    first.write_all(chunk).unwrap();
    until(&mut server, &mut samples, |_, s| s.len() == 1);
    // Asking is not speaking.
    let mut second = TcpStream::connect(server.address()).unwrap();
    second.write_all(b"{\"type\":\"ping\"}\n").unwrap();
    second.write_all(chunk).unwrap();
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        second.read_to_string(&mut answer).map(|_| answer)
    });
    while !reader.is_finished() {
        assert_eq!(server.next(&mut samples, WAIT).unwrap(), Packet::Idle);
    }
    let answer = reader.join().unwrap().unwrap();
    assert!(
        answer.contains("pong") && answer.contains("one at a time"),
        "{answer}"
    );
    assert_eq!(samples.len(), 1);
    first.write_all(chunk).unwrap();
    until(&mut server, &mut samples, |_, s| s.len() == 2);
    // The first falls silent: the next takes over.
    std::thread::sleep(TAKE_OVER);
    let mut third = TcpStream::connect(server.address()).unwrap();
    third.write_all(chunk).unwrap();
    let heard = until(&mut server, &mut samples, |_, s| s.len() == 3);
    assert!(matches!(heard[0], Packet::Format { .. }), "{heard:?}");
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("took over"), "{answer}");
}

#[test]
fn many_silent_clients_do_not_keep_another_out() {
    let mut server = raw();
    let mut samples = Vec::new();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..3 * CONNECTIONS {
        crowd.push(TcpStream::connect(server.address()).unwrap());
        for _ in 0..2 {
            server.next(&mut samples, WAIT).unwrap();
        }
    }
    assert!(server.hall.connections.len() <= CONNECTIONS);
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(&[0, 0x40]).unwrap();
    until(&mut server, &mut samples, |_, s| s.len() == 1);
}

#[test]
fn a_client_that_asks_and_never_reads_is_left() {
    let mut server = wyoming();
    let mut samples = Vec::new();
    let mut client = TcpStream::connect(server.address()).unwrap();
    client
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let asker = std::thread::spawn(move || {
        let many = b"{\"type\":\"describe\"}\n".repeat(1_000);
        while client.write_all(&many).is_ok() {}
    });
    while !asker.is_finished() {
        server.next(&mut samples, WAIT).unwrap();
        let waiting: usize = server.hall.connections.iter().map(|c| c.reply.len()).sum();
        assert!(waiting <= REPLY + 2 * READ * 8, "{waiting}");
    }
    assert!(server.hall.connections.is_empty());
}
