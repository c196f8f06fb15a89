use proptest::prelude::*;

use super::*;

const CLOCK: u32 = 16_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn packet(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Rtp<'_> {
    Rtp {
        payload_type: 96,
        marker: false,
        sequence,
        timestamp,
        ssrc,
        payload,
    }
}

/// 20 ms packets whose payload is their number, as (time in ms, sequence number).
fn play(jitter: &mut Jitter, packets: &[(u64, u16)]) -> Vec<Out> {
    let mut out = Vec::new();
    for (at, sequence) in packets {
        let payload = sequence.to_be_bytes();
        let rtp = packet(1, *sequence, u32::from(*sequence) * 320, &payload);
        jitter.push(ms(*at), &rtp, CLOCK, 320);
        out.extend(std::iter::from_fn(|| jitter.pop(ms(*at))));
    }
    out
}

fn audio(sequence: u16) -> Out {
    Out::Audio(sequence.to_be_bytes().to_vec())
}

#[test]
fn order_is_restored_and_what_is_in_order_does_not_wait() {
    let mut jitter = Jitter::new(ms(60));
    assert_eq!(play(&mut jitter, &[(0, 11), (10, 10)]), [Out::Start(96)]);
    let out = play(&mut jitter, &[(60, 12)]);
    assert_eq!(out, [audio(10), audio(11), audio(12)]);
    assert_eq!(play(&mut jitter, &[(80, 13)]), [audio(13)]);
    assert_eq!(
        play(&mut jitter, &[(100, 15), (110, 14)]),
        [audio(14), audio(15)]
    );
    assert_eq!(jitter.counts().missing, 0);
}

#[test]
fn a_hole_is_given_up_after_the_depth_and_its_frames_are_exact() {
    let mut jitter = Jitter::new(ms(60));
    play(&mut jitter, &[(0, 1), (60, 2)]);
    assert_eq!(play(&mut jitter, &[(100, 5)]), []);
    assert_eq!(jitter.deadline(), Some(ms(160)));
    assert_eq!(jitter.pop(ms(159)), None);
    assert_eq!(jitter.pop(ms(160)), Some(Out::Lost(640)));
    assert_eq!(jitter.pop(ms(160)), Some(audio(5)));
    // One of them comes after all, another twice.
    assert_eq!(
        play(&mut jitter, &[(170, 3), (171, 5), (172, 6)]),
        [audio(6)]
    );
    let counts = jitter.counts();
    assert_eq!((counts.missing, counts.late, counts.duplicates), (2, 1, 1));
}

#[test]
fn sequence_numbers_and_timestamps_wrap() {
    let mut jitter = Jitter::new(ms(0));
    let mut out = Vec::new();
    for n in 0..70_000u32 {
        let timestamp = 0xffff_0000u32.wrapping_add(n * 320);
        jitter.push(ms(0), &packet(1, n as u16, timestamp, &[1]), CLOCK, 320);
        out.extend(std::iter::from_fn(|| jitter.pop(ms(0))));
    }
    assert_eq!(out.len(), 70_001);
    assert_eq!(jitter.counts().packets, 70_000);
}

#[test]
fn another_sender_counts_from_its_second_packet_and_a_stray_one_does_not() {
    let mut jitter = Jitter::new(ms(0));
    play(&mut jitter, &[(0, 1), (20, 2)]);
    let mut push = |ssrc, sequence, timestamp| {
        jitter.push(ms(40), &packet(ssrc, sequence, timestamp, &[7]), CLOCK, 320);
        std::iter::from_fn(|| jitter.pop(ms(40))).collect::<Vec<_>>()
    };
    let heard = || Out::Audio(vec![7]);
    assert_eq!(push(2, 900, 5), []);
    assert_eq!(push(1, 3, 960), [heard()]);
    assert_eq!(push(2, 901, 325), []);
    assert_eq!(push(2, 902, 645), [Out::Start(96), heard(), heard()]);
    // The same sender, started again with other numbers.
    assert_eq!(push(2, 40_000, 9), []);
    assert_eq!(push(2, 40_001, 329), [Out::Start(96), heard(), heard()]);
}

#[test]
fn silence_that_was_not_sent_is_no_loss() {
    let mut jitter = Jitter::new(ms(0));
    let mut push = |sequence, timestamp, frames| {
        jitter.push(ms(0), &packet(1, sequence, timestamp, &[7]), CLOCK, frames);
        std::iter::from_fn(|| jitter.pop(ms(0))).collect::<Vec<_>>()
    };
    let heard = || Out::Audio(vec![7]);
    push(1, 0, 320);
    // Rounded.
    assert_eq!(push(2, 321, 320), [heard()]);
    assert_eq!(push(3, 641 + 8_000, 320), [Out::Silence(8_000), heard()]);
    // A key press between two packets.
    assert_eq!(push(4, 0, 0), []);
    assert_eq!(push(5, 641 + 8_320, 320), [heard()]);
    assert_eq!(push(6, 10, 320), [Out::Start(96), heard()]);
}

#[test]
fn what_waits_is_bounded() {
    let mut jitter = Jitter::new(ms(2_000));
    play(&mut jitter, &[(0, 1)]);
    for n in 0..1_000u16 {
        play(&mut jitter, &[(1, 3 + n)]);
        assert!(jitter.current.as_ref().unwrap().waiting.len() <= MAX_PACKETS);
    }
    assert_eq!(jitter.counts().missing, 1);
}

proptest! {
    /// Whatever is lost, comes twice or in another order: at each place of the time line stands what was sent for it, or a
    /// gap, and nothing is lost that came within the depth.
    #[test]
    fn output_is_what_was_sent_less_what_is_told_as_lost(
        // Frames, lost, delay in packets, comes again.
        sent in prop::collection::vec((1u32..500, prop::bool::weighted(0.15), 0u64..12, prop::bool::weighted(0.2)), 1..200),
        first: u16,
        start: u32,
        depth in 0u64..16,
    ) {
        let (mut at, mut packets, mut line) = (0u32, Vec::new(), Vec::new());
        for (n, (frames, lost, delay, again)) in sent.iter().enumerate() {
            let payload: Vec<u8> = (at..at + frames).flat_map(|x| x.to_be_bytes()).collect();
            let sequence = first.wrapping_add(n as u16);
            let timestamp = start.wrapping_add(at);
            if !lost {
                let came = n as u64 + delay;
                packets.push((came, sequence, timestamp, *frames, payload.clone()));
                if *again {
                    packets.push((came + 3, sequence, timestamp, *frames, payload));
                }
            }
            line.extend(at..at + frames);
            at += frames;
        }
        packets.sort_by_key(|p| p.0);
        let mut jitter = Jitter::new(ms(depth));
        let mut out = Vec::new();
        for (came, sequence, timestamp, frames, payload) in &packets {
            jitter.push(ms(*came), &packet(1, *sequence, *timestamp, payload), CLOCK, *frames);
            out.extend(std::iter::from_fn(|| jitter.pop(ms(*came))));
        }
        jitter.finish();
        out.extend(std::iter::from_fn(|| jitter.pop(ms(u64::MAX))));

        let mut place: Option<usize> = None;
        for piece in &out {
            match piece {
                Out::Start(_) => prop_assert!(place.is_none(), "one sender, one beginning"),
                Out::Audio(bytes) => {
                    let values: Vec<u32> = bytes.as_chunks().0.iter().map(|b| u32::from_be_bytes(*b)).collect();
                    let from = *place.get_or_insert(values[0] as usize);
                    prop_assert_eq!(&values[..], &line[from..from + values.len()]);
                    place = Some(from + values.len());
                }
                Out::Lost(frames) => place = place.map(|p| p + *frames as usize),
                Out::Silence(_) => prop_assert!(false, "no silence was left out"),
            }
        }
        let counts = jitter.counts();
        let unique = sent.iter().filter(|s| !s.1).count() as u64;
        let again = packets.len() as u64 - unique;
        // Before the first that was handed on a packet that is late cannot be told from one that comes twice.
        prop_assert_eq!(counts.packets + counts.late + counts.duplicates, unique + again);
        prop_assert_eq!(counts.foreign, 0);
        if depth >= 12 {
            prop_assert_eq!(counts.packets, unique);
            prop_assert_eq!(counts.late, 0);
        }
    }

    /// No packets panic, and what is held stays bounded.
    #[test]
    fn any_packets_are_survived(
        packets in prop::collection::vec((0u64..50, 0u32..3, any::<u16>(), any::<u32>(), 0u32..6_000, 95u8..98), 0..300),
    ) {
        let mut jitter = Jitter::new(ms(60));
        let mut now = 0;
        for (step, ssrc, sequence, timestamp, frames, payload_type) in packets {
            now += step;
            let rtp = Rtp { payload_type, ..packet(ssrc, sequence, timestamp, &[1, 2]) };
            jitter.push(ms(now), &rtp, CLOCK, frames);
            while let Some(out) = jitter.pop(ms(now)) {
                if let Out::Silence(frames) = out {
                    prop_assert!(frames <= 10 * CLOCK);
                }
            }
        }
        jitter.finish();
    }
}
