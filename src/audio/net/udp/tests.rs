use super::*;

const WAIT: Duration = Duration::from_millis(20);

fn source(encoding: Encoding, jitter_ms: u64) -> (UdpSource, UdpSocket) {
    let payload = Payload {
        encoding,
        rate: match encoding {
            Encoding::L16 => 16_000,
            Encoding::Opus => opus::RATE,
        },
        channels: 1,
    };
    let any = ([127, 0, 0, 1], 0).into();
    let depth = Duration::from_millis(jitter_ms);
    let source = UdpSource::start(any, (96, payload), depth, &Context::default()).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(source.socket.local_addr().unwrap()).unwrap();
    (source, sender)
}

fn datagram(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

/// Packets that are not `Idle`, until so many samples are there; at most 10 s.
fn until(source: &mut UdpSource, samples: &mut Vec<f32>, enough: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    for _ in 0..500 {
        match source.next(samples, WAIT).unwrap() {
            Packet::Idle => (),
            packet => packets.push(packet),
        }
        if samples.len() >= enough {
            return packets;
        }
    }
    panic!("waited in vain after {packets:?}")
}

fn gaps(packets: &[Packet]) -> u64 {
    let frames = |p: &Packet| match p {
        Packet::Gap { frames } => *frames,
        _ => 0,
    };
    packets.iter().map(frames).sum()
}

#[test]
fn l16_is_big_endian_and_what_is_missing_is_a_gap_of_its_length() {
    let (mut source, sender) = source(Encoding::L16, 30);
    let mut samples = Vec::new();
    for (sequence, timestamp) in [(1u16, 0u32), (3, 4), (2, 2), (6, 10)] {
        let payload = [0x40, 0, 0xc0, 0];
        sender
            .send(&datagram(96, sequence, timestamp, &payload))
            .unwrap();
    }
    let packets = until(&mut source, &mut samples, 8);
    assert!(matches!(&packets[0], Packet::Down { reason } if reason.contains("127.0.0.1")));
    assert!(matches!(
        packets[1],
        Packet::Format {
            rate: 16_000,
            channels: 1
        }
    ));
    assert_eq!(gaps(&packets), 4);
    assert_eq!(samples, [0.5, -0.5].repeat(4));
}

#[test]
fn a_static_payload_type_needs_no_configuration_and_garbage_does_no_harm() {
    let (mut source, sender) = source(Encoding::L16, 0);
    let mut samples = Vec::new();
    for bytes in [&b""[..], b"hello", &[0x80; 300], &[0xff; 1_400]] {
        sender.send(bytes).unwrap();
    }
    sender.send(&datagram(97, 1, 0, &[0; 64])).unwrap();
    sender
        .send(&datagram(10, 2, 0, &[0x40, 0, 0xc0, 0]))
        .unwrap();
    let packets = until(&mut source, &mut samples, 2);
    assert!(
        packets.contains(&Packet::Format {
            rate: 44_100,
            channels: 2
        }),
        "{packets:?}"
    );
}

#[test]
fn silence_that_was_left_out_keeps_the_clock_right() {
    let (mut source, sender) = source(Encoding::L16, 0);
    let mut samples = Vec::new();
    sender.send(&datagram(96, 1, 0, &[0x40, 0])).unwrap();
    sender.send(&datagram(96, 2, 16_001, &[0x40, 0])).unwrap();
    let packets = until(&mut source, &mut samples, 16_002);
    assert_eq!((samples.len(), gaps(&packets)), (16_002, 0));
    assert_eq!(samples.iter().filter(|x| **x == 0.0).count(), 16_000);
}

#[test]
fn a_flood_is_cut_to_real_time_and_told_as_lost() {
    let (mut source, sender) = source(Encoding::L16, 0);
    let mut samples = Vec::new();
    let mut packets = Vec::new();
    let start = Instant::now();
    // 40 s of audio.
    for n in 0..1_000u32 {
        sender
            .send(&datagram(96, n as u16, n * 640, &[1; 1_280]))
            .unwrap();
        packets.push(source.next(&mut samples, Duration::from_millis(1)).unwrap());
    }
    let most = (start.elapsed() + AHEAD + BEHIND).as_secs_f64() * 16_000.0 + 640.0;
    assert!((samples.len() as f64) < most, "{} samples", samples.len());
    assert!(samples.len() > 16_000 * 5);
}

#[test]
fn opus_packets_are_decoded_and_damaged_ones_are_gaps() {
    let (mut source, sender) = source(Encoding::Opus, 0);
    let mut samples = Vec::new();
    // SILK, wideband, 20 ms, mono: a frame of one byte is silence.
    for n in 0..3u16 {
        let payload: &[u8] = &[0x48, 0];
        sender
            .send(&datagram(96, n, u32::from(n) * 960, payload))
            .unwrap();
    }
    let packets = until(&mut source, &mut samples, 3 * 960);
    assert!(packets.contains(&Packet::Format {
        rate: 48_000,
        channels: 1
    }));
    assert_eq!((samples.len(), gaps(&packets)), (3 * 960, 0));
    assert!(samples.iter().all(|x| x.is_finite()));
    // Two frames of one length in an odd number of bytes.
    sender
        .send(&datagram(96, 3, 3 * 960, &[0x49, 1, 2, 3, 4, 5]))
        .ok();
    sender
        .send(&datagram(96, 4, 3 * 960 + 1_920, &[0x49, 1, 2, 3]))
        .unwrap();
    sender
        .send(&datagram(96, 5, 3 * 960 + 3_840, &[0x48, 0]))
        .unwrap();
    let packets = until(&mut source, &mut samples, 4 * 960);
    let whole = samples.len() as u64 + gaps(&packets);
    assert_eq!(whole, 3 * 960 + 2 * 1_920 + 960, "{packets:?}");
}
