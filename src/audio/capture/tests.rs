use super::*;

fn read(reader: &mut CaptureReader) -> (Read, Vec<f32>) {
    let mut samples = Vec::new();
    let read = reader.read(&mut samples);
    (read, samples)
}

#[test]
fn sample_formats_are_scaled_to_one() {
    let (mut w, mut r) = capture_ring(48_000, 1);
    w.write(&[i16::MIN, 0, 16_384], Duration::ZERO);
    w.write(&[0u8, 128, 192], Duration::ZERO);
    w.write(&[i32::MIN, 1 << 30], Duration::ZERO);
    w.write(&[0.25f32], Duration::ZERO);
    w.write(&[0u16, 32_768], Duration::ZERO);
    let (got, samples) = read(&mut r);
    assert!(matches!(got, Read::Audio(_)));
    assert_eq!(
        samples,
        [-1.0, 0.0, 0.5, -1.0, 0.0, 0.5, -1.0, 0.5, 0.25, -1.0, 0.0]
    );
    assert_eq!(read(&mut r).0, Read::Empty);
    assert_eq!(r.health().beats(), 5);
}

#[test]
fn a_full_ring_loses_whole_blocks_and_says_where() {
    let (mut w, mut r) = ring_of(48_000, 2, 8);
    w.write(&[1.0f32, 1.0, 2.0, 2.0, 3.0, 3.0], Duration::ZERO);
    w.write(&[4.0f32; 6], Duration::ZERO); // no room for three frames
    w.write(&[5.0f32; 4], Duration::ZERO); // nor for two
    let (got, samples) = read(&mut r);
    assert!(matches!(got, Read::Audio(_)));
    assert_eq!(samples, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(read(&mut r).0, Read::Empty, "told with what follows");
    w.write(&[6.0f32; 2], Duration::ZERO);
    assert_eq!(read(&mut r), (Read::Gap(5), vec![]));
    assert_eq!(read(&mut r).1, [6.0, 6.0]);
    assert_eq!(read(&mut r).0, Read::Empty);
    assert_eq!(r.health().lost(), 5);
}

#[test]
fn a_gap_between_two_readable_blocks_splits_them() {
    let (mut w, mut r) = ring_of(48_000, 1, 4);
    w.write(&[1.0f32; 3], Duration::ZERO);
    w.write(&[2.0f32; 3], Duration::ZERO);
    w.write(&[3.0f32; 1], Duration::ZERO);
    assert_eq!(read(&mut r).1, [1.0; 3]);
    assert_eq!(read(&mut r), (Read::Gap(3), vec![]));
    assert_eq!(read(&mut r).1, [3.0]);
}

#[test]
fn an_overrun_in_the_driver_is_measured_by_the_clock() {
    let (mut w, mut r) = capture_ring(1_000, 1);
    w.write(&[0.0f32; 10], Duration::ZERO);
    std::thread::sleep(Duration::from_millis(200));
    w.health().xrun();
    w.write(&[0.0f32; 10], Duration::ZERO);
    assert_eq!(read(&mut r).1.len(), 10);
    let (Read::Gap(lost), _) = read(&mut r) else {
        panic!("no gap")
    };
    assert!((180..400).contains(&lost), "{lost}");
    // Without a report a late callback is only late.
    std::thread::sleep(Duration::from_millis(50));
    w.write(&[0.0f32; 10], Duration::ZERO);
    assert_eq!(read(&mut r).1.len(), 20);
    assert_eq!(r.health().xruns(), 1);
}

#[test]
fn the_time_of_capture_is_that_of_the_last_sample() {
    let (mut w, mut r) = capture_ring(1_000, 1);
    let before = Instant::now();
    // 100 ms of audio, the first of which waited 300 ms: the last is 200 ms old.
    w.write(&[0.0f32; 100], Duration::from_millis(300));
    let Read::Audio(captured) = read(&mut r).0 else {
        panic!("nothing")
    };
    let age = before.saturating_duration_since(captured);
    assert!(
        age.abs_diff(Duration::from_millis(200)) < Duration::from_millis(20),
        "{age:?}"
    );
}

#[test]
fn faults_are_kept() {
    let health = Health::default();
    assert_eq!(health.fault(), None);
    for fault in [Fault::Gone, Fault::Changed, Fault::Backend] {
        health.fail(fault);
        assert_eq!(health.fault(), Some(fault));
    }
}
