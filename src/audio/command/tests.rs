use super::super::Packet;
use super::*;
use crate::config::PcmFormat;

fn start(argv: &[&str]) -> Worker {
    let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
    let pcm = Pcm {
        rate: 16_000,
        channels: 1,
        format: PcmFormat::S16,
    };
    let timing = Timing {
        backoff: Backoff::new(Duration::from_millis(20), Duration::from_millis(100)),
        stall: Duration::from_millis(400),
        healthy: Duration::from_secs(10),
    };
    super::start(&argv, &pcm, timing).unwrap()
}

/// The next packet that is not `Idle`.
fn next(source: &mut Worker, samples: &mut Vec<f32>) -> Packet {
    for _ in 0..100 {
        match source.next(samples, Duration::from_millis(100)).unwrap() {
            Packet::Idle => {}
            packet => return packet,
        }
    }
    panic!("nothing came")
}

fn reason(packet: Packet) -> String {
    match packet {
        Packet::Down { reason } => reason,
        other => panic!("expected Down, found {other:?}"),
    }
}

#[test]
fn it_is_restarted_with_a_new_format_and_its_last_words_are_told() {
    let script = "printf '\\000\\100\\000'; echo oops >&2; exit 3";
    let mut source = start(&["sh", "-c", script]);
    for _ in 0..2 {
        let mut samples = Vec::new();
        assert!(matches!(
            next(&mut source, &mut samples),
            Packet::Format {
                rate: 16_000,
                channels: 1
            }
        ));
        assert!(matches!(
            next(&mut source, &mut samples),
            Packet::Audio { .. }
        ));
        // The odd third byte must not shift the second run.
        assert_eq!(samples, [0.5]);
        let why = reason(next(&mut source, &mut samples));
        assert!(
            why.contains("exit status: 3") && why.contains("oops"),
            "{why}"
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_told_and_tried_again() {
    let mut source = start(&["/nonexistent/program"]);
    let samples = &mut Vec::new();
    let why = reason(next(&mut source, samples));
    assert!(why.contains("/nonexistent/program"), "{why}");
    // Told once, not at each retry.
    let idle = source.next(samples, Duration::from_millis(300)).unwrap();
    assert_eq!(idle, Packet::Idle);
}

#[test]
fn a_program_that_hangs_is_stopped_and_restarted() {
    let mut source = start(&["sh", "-c", "printf '\\000\\100'; sleep 60"]);
    for _ in 0..2 {
        let mut samples = Vec::new();
        assert!(matches!(
            next(&mut source, &mut samples),
            Packet::Format { .. }
        ));
        assert!(matches!(
            next(&mut source, &mut samples),
            Packet::Audio { .. }
        ));
        let why = reason(next(&mut source, &mut samples));
        assert!(why.contains("delivered nothing"), "{why}");
    }
}

#[test]
fn endless_complaints_fit_into_a_bounded_tail() {
    let mut source = start(&[
        "sh",
        "-c",
        "yes complaint | head -c 3000000 >&2; printf '\\000\\100'",
    ]);
    let samples = &mut Vec::new();
    assert!(matches!(next(&mut source, samples), Packet::Format { .. }));
    assert!(matches!(next(&mut source, samples), Packet::Audio { .. }));
    let why = reason(next(&mut source, samples));
    assert!(why.contains("complaint") && why.len() < 200, "{why}");
}

#[test]
fn dropping_the_source_ends_the_program_and_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    // The shell ignores SIGTERM and has a child: only killing the group ends both.
    let script = format!(
        "trap '' TERM; sleep 300 & echo $$ $! > {}; printf '\\000\\100'; wait",
        file.display()
    );
    let mut source = start(&["sh", "-c", &script]);
    assert!(matches!(
        next(&mut source, &mut Vec::new()),
        Packet::Format { .. }
    ));
    let pids = std::fs::read_to_string(&file).unwrap();
    let pids: Vec<&str> = pids.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    let begin = Instant::now();
    drop(source);
    assert!(begin.elapsed() < Duration::from_secs(2));
    for pid in pids {
        let dead = || {
            // An orphan stays a zombie until somebody reaps it.
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z"))
        };
        let until = Instant::now() + Duration::from_secs(2);
        while !dead() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(dead(), "{pid} still runs");
    }
}

#[test]
fn an_empty_argv_and_a_bad_layout_are_refused() {
    let bad = Pcm {
        rate: 7,
        ..Pcm::default()
    };
    let argv = ["true".to_owned()];
    assert!(super::start(&[], &Pcm::default(), Timing::default()).is_err());
    assert!(super::start(&argv, &bad, Timing::default()).is_err());
}
