use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Runs packets through and returns everything that came out.
fn run(frontend: &mut Frontend, packets: &[(Packet, Vec<f32>)]) -> Vec<Output> {
    let mut out = Vec::new();
    for (packet, samples) in packets {
        let mut samples = samples.clone();
        frontend.push(packet, &mut samples, &mut out).unwrap();
        assert!(samples.is_empty());
    }
    out
}

fn format(rate: u32, channels: u16) -> (Packet, Vec<f32>) {
    (Packet::Format { rate, channels }, vec![])
}

fn audio(samples: &[f32]) -> (Packet, Vec<f32>) {
    let captured = Instant::now();
    (Packet::Audio { captured }, samples.to_vec())
}

fn end() -> (Packet, Vec<f32>) {
    (Packet::End, vec![])
}

/// All samples, laid on the time line; panics when a chunk is not where the last one or the gap ended.
fn timeline(out: &[Output]) -> Vec<f32> {
    let mut line: Vec<f32> = Vec::new();
    for o in out {
        match o {
            Output::NewEpoch { .. } => line.clear(),
            Output::Chunk(c) => {
                assert_eq!(c.first_sample, line.len() as u64);
                line.extend(&c.samples);
            }
            Output::Gap {
                first_sample,
                samples,
                ..
            } => {
                assert_eq!(*first_sample, line.len() as u64);
                line.resize(line.len() + *samples as usize, 0.0);
            }
        }
    }
    line
}

fn tone(rate: u32, frames: usize) -> Vec<f32> {
    (0..frames)
        .map(|n| {
            (0.5 * (std::f64::consts::TAU * 1_000.0 * n as f64 / f64::from(rate)).sin()) as f32
        })
        .collect()
}

#[test]
fn stereo_is_mixed_or_chosen() {
    let stereo: Vec<f32> = (0..1_600).flat_map(|_| [0.5, -0.25]).collect();
    for (channel, expected) in [(None, 0.125), (Some(0), 0.5), (Some(1), -0.25)] {
        let mut f = Frontend::new("t", 16_000, channel);
        let out = run(&mut f, &[format(16_000, 2), audio(&stereo), end()]);
        assert_eq!(timeline(&out), vec![expected; 1_600]);
    }
}

#[test]
fn a_channel_that_is_not_there_is_a_clear_error() {
    let mut f = Frontend::new("desk", 16_000, Some(2));
    let packet = Packet::Format {
        rate: 48_000,
        channels: 2,
    };
    let error = f.push(&packet, &mut vec![], &mut vec![]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("desk") && text.contains("channel 2") && text.contains("found 2"),
        "{text}"
    );
}

#[test]
fn seven_hertz_and_no_channels_are_refused() {
    for (rate, channels, found) in [
        (7, 1, "7 Hz"),
        (16_000, 0, "found 0"),
        (4_000_000, 1, "4000000"),
    ] {
        let mut f = Frontend::new("t", 16_000, None);
        let error = f
            .push(&Packet::Format { rate, channels }, &mut vec![], &mut vec![])
            .unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn numbers_that_are_none_are_repaired_and_counted() {
    let mut x = tone(48_000, 48_000);
    x[1_000] = f32::NAN;
    x[2_000] = f32::INFINITY;
    let mut f = Frontend::new("t", 16_000, None);
    let line = timeline(&run(&mut f, &[format(48_000, 1), audio(&x), end()]));
    assert_eq!(f.repaired(), 2);
    assert_eq!(line.len(), 16_000);
    assert!(line.iter().all(|v| v.is_finite()));
}

#[test]
fn a_gap_moves_the_clock_and_the_tone_after_it_is_in_its_place() {
    let rate = 44_100;
    let x = tone(rate, 3 * 44_100);
    // 12 345 frames are lost; both sides of the hole must lie on the same tone.
    let (cut, lost) = (50_001, 12_345);
    let mut f = Frontend::new("t", 16_000, None);
    let gap = (
        Packet::Gap {
            frames: lost as u64,
        },
        vec![],
    );
    let out = run(
        &mut f,
        &[
            format(rate, 1),
            audio(&x[..cut]),
            gap,
            audio(&x[cut + lost..]),
            end(),
        ],
    );
    let line = timeline(&out);
    assert_eq!(line.len(), 48_000);
    let ideal = tone(16_000, 48_000);
    let hole = 50_001 * 160 / 441..(50_001 + 12_345) * 160 / 441 + 1;
    for n in 800..47_200 {
        // The filter sees silence within 40 ms of the hole. A segment starts up to half a sample off its place.
        if n + 640 < hole.start {
            assert!((line[n] - ideal[n]).abs() < 1e-3, "{n}");
        } else if n > hole.end + 640 {
            assert!(
                (line[n] - ideal[n]).abs() < 0.12,
                "{n}: {} {}",
                line[n],
                ideal[n]
            );
        }
    }
    assert!(line[hole.start + 1..hole.end - 1].iter().all(|v| *v == 0.0));
}

#[test]
fn a_new_format_ends_the_epoch_and_loses_nothing() {
    let mut f = Frontend::new("t", 16_000, None);
    let out = run(
        &mut f,
        &[
            format(48_000, 1),
            audio(&tone(48_000, 4_800)),
            (
                Packet::Down {
                    reason: "unplugged".into(),
                },
                vec![],
            ),
            format(8_000, 2),
            audio(&tone(8_000, 1_600)),
            end(),
        ],
    );
    let epochs: Vec<u64> = out
        .iter()
        .filter_map(|o| match o {
            Output::NewEpoch { epoch, .. } => Some(*epoch),
            _ => None,
        })
        .collect();
    assert_eq!(epochs.len(), 2);
    assert!(epochs[1] > epochs[0]);
    let samples = |epoch| -> usize {
        out.iter()
            .map(|o| match o {
                Output::Chunk(c) if c.epoch == epoch => c.samples.len(),
                _ => 0,
            })
            .sum()
    };
    assert_eq!((samples(epochs[0]), samples(epochs[1])), (1_600, 1_600));
}

#[test]
fn capture_times_belong_to_the_last_sample_handed_out() {
    let mut f = Frontend::new("t", 16_000, None);
    let captured = Instant::now();
    let mut out = Vec::new();
    f.push(&format(48_000, 1).0, &mut vec![], &mut out).unwrap();
    f.push(
        &Packet::Audio { captured },
        &mut tone(48_000, 48_000),
        &mut out,
    )
    .unwrap();
    let Some(Output::Chunk(chunk)) = out.last() else {
        panic!("{out:?}")
    };
    let held = 16_000 - chunk.samples.len();
    assert!(held > 0, "the resampler has a delay");
    let lag = captured - chunk.captured;
    let expected = Duration::from_secs_f64(held as f64 / 16_000.0);
    assert!(
        lag.abs_diff(expected) < Duration::from_micros(10),
        "{lag:?} {expected:?}"
    );
}

#[test]
fn other_output_rates_work() {
    let mut f = Frontend::new("t", 24_000, None);
    let line = timeline(&run(
        &mut f,
        &[format(16_000, 1), audio(&tone(16_000, 16_000)), end()],
    ));
    assert_eq!(line.len(), 24_000);
    let ideal = tone(24_000, 24_000);
    assert!(
        line[2_400..21_600]
            .iter()
            .zip(&ideal[2_400..])
            .all(|(a, b)| (a - b).abs() < 1e-3)
    );
}

#[test]
fn clipping_is_measured_before_it_is_mixed_away() {
    let mut f = Frontend::new("t", 16_000, None);
    let stereo: Vec<f32> = (0..1_000).flat_map(|_| [1.0, 0.0]).collect();
    let out = run(&mut f, &[format(16_000, 2), audio(&stereo)]);
    let Some(Output::Chunk(c)) = out.last() else {
        panic!("{out:?}")
    };
    assert_eq!(c.level.clipped(), 0.5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn how_packets_are_cut_makes_no_difference(
        rate in prop::sample::select(vec![8_000u32, 16_000, 22_050, 44_100, 48_000, 44_099]),
        channels in 1u16..4,
        cuts in prop::collection::vec(1usize..3_000, 1..40),
        seed in any::<u32>(),
    ) {
        let mut state = seed;
        let noise: Vec<f32> = (0..20_000 * usize::from(channels)).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        }).collect();
        let whole = run(&mut Frontend::new("t", 16_000, None), &[format(rate, channels), audio(&noise), end()]);
        let mut packets = vec![format(rate, channels)];
        let mut rest = &noise[..];
        for cut in cuts {
            let (head, tail) = rest.split_at((cut * usize::from(channels)).min(rest.len()));
            packets.push(audio(head));
            rest = tail;
        }
        packets.push(audio(rest));
        packets.push(end());
        let parts = run(&mut Frontend::new("t", 16_000, None), &packets);
        let (a, b) = (timeline(&whole), timeline(&parts));
        prop_assert_eq!(a.len() as u64, (20_000 * 16_000 + u64::from(rate) / 2) / u64::from(rate));
        prop_assert!(a == b);
    }
}
