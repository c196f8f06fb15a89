//! Files as sources and as clips: every format, damaged ones, hostile ones.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use earwitness::audio::{
    Clip, Decoder, Frontend, Output, Packet, SAMPLE_RATE, Source, decode, decode_clip, open,
};
use earwitness::config::Input;
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn source(path: &Path, speed: f64) -> Box<dyn Source> {
    open(&Input::File {
        path: path.into(),
        speed,
    })
    .unwrap()
}

/// A temporary file with this extension and content.
fn file(extension: &str, content: &[u8]) -> tempfile::NamedTempFile {
    let mut f = tempfile::Builder::new()
        .suffix(&format!(".{extension}"))
        .tempfile()
        .unwrap();
    f.write_all(content).unwrap();
    f.flush().unwrap();
    f
}

fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples
        .iter()
        .for_each(|s| writer.write_sample(*s).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn wav_f32(rate: u32, samples: &[f32]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples
        .iter()
        .for_each(|s| writer.write_sample(*s).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn ramp(n: usize) -> Vec<i16> {
    (0..n).map(|i| (i % 20_000) as i16 - 10_000).collect()
}

/// Everything that a source delivers.
fn drain(source: &mut dyn Source) -> (Vec<f32>, Vec<Packet>) {
    let (mut samples, mut packets) = (Vec::new(), Vec::new());
    loop {
        match source.next(&mut samples, Duration::from_secs(1)).unwrap() {
            Packet::Audio { .. } => {}
            Packet::End => return (samples, packets),
            packet => packets.push(packet),
        }
    }
}

/// Amplitude and phase (against a sine that starts at 0) of 440 Hz in the middle of a clip.
fn at_440(clip: &Clip) -> (f64, f64) {
    let range = 3_200..12_800; // 264 periods
    let (mut re, mut im) = (0.0, 0.0);
    for n in range.clone() {
        let phase = std::f64::consts::TAU * 440.0 * n as f64 / f64::from(SAMPLE_RATE);
        re += f64::from(clip.samples[n]) * phase.sin();
        im += f64::from(clip.samples[n]) * phase.cos();
    }
    let scale = 2.0 / range.len() as f64;
    ((re.hypot(im)) * scale, im.atan2(re))
}

#[test]
fn every_format_gives_the_tone_at_its_time() {
    // Lossy codecs keep a second of tone to a frame; what encoders put in front must be gone where the container says so.
    for (name, rate, aligned) in [
        ("tone.wav", 8_000, true),
        ("tone.flac", 8_000, true),
        ("tone.mp3", 44_100, true),
        ("tone.ogg", 44_100, true),
        ("tone.opus", 48_000, true),
        ("tone.m4a", 44_100, false),
    ] {
        let clip = decode_clip(&fixture(name), None).unwrap();
        assert_eq!((clip.rate, clip.channels), (rate, 1), "{name}");
        assert_eq!(clip.damage, None, "{name}");
        let length = clip.samples.len() as f64 / 16_000.0;
        assert!((0.99..1.1).contains(&length), "{name}: {length} s");
        let (amplitude, phase) = at_440(&clip);
        assert!(
            (amplitude - 0.5).abs() < 0.03,
            "{name}: amplitude {amplitude}"
        );
        if aligned {
            // 0.1 rad at 440 Hz is 0.6 samples at 16 kHz.
            assert!(phase.abs() < 0.1, "{name}: phase {phase}");
        }
    }
}

#[test]
fn a_clip_can_be_one_channel() {
    let stereo: Vec<i16> = (0..16_000).flat_map(|_| [8_192, -16_384]).collect();
    let f = file("wav", &wav(16_000, 2, &stereo));
    assert!(
        decode(f.path(), Some(0))
            .unwrap()
            .iter()
            .all(|x| *x == 0.25)
    );
    assert!(
        decode(f.path(), Some(1))
            .unwrap()
            .iter()
            .all(|x| *x == -0.5)
    );
    assert!(decode(f.path(), None).unwrap().iter().all(|x| *x == -0.125));
    let error = decode(f.path(), Some(2)).unwrap_err().to_string();
    assert!(error.contains("channel 2"), "{error}");
}

#[test]
fn a_truncated_wav_is_delivered_as_far_as_it_goes_and_reported() {
    let whole = wav(16_000, 1, &ramp(48_000));
    let f = file("wav", &whole[..whole.len() - 2 * 32_000 - 1]);
    let mut s = source(f.path(), 0.0);
    let (samples, packets) = drain(s.as_mut());
    let expected: Vec<f32> = ramp(48_000)
        .iter()
        .take(15_999)
        .map(|x| f32::from(*x) / 32_768.0)
        .collect();
    assert!(
        (15_900..=16_000).contains(&samples.len()),
        "{}",
        samples.len()
    );
    assert_eq!(samples[..15_900], expected[..15_900]);
    let Some(Packet::Down { reason }) = packets.last() else {
        panic!("{packets:?}")
    };
    assert!(
        reason.contains("cut off") && reason.contains("3.00 s"),
        "{reason}"
    );
    let clip = decode_clip(f.path(), None).unwrap();
    assert!(clip.damage.unwrap().contains("cut off"));
}

#[test]
fn headers_that_make_no_sense_are_refused_with_what_was_found() {
    let mut none = wav(16_000, 1, &ramp(100));
    none[22..24].copy_from_slice(&0u16.to_le_bytes());
    let mut seven = wav(16_000, 1, &ramp(100));
    seven[24..28].copy_from_slice(&7u32.to_le_bytes());
    let mut fast = wav(16_000, 1, &ramp(100));
    fast[24..28].copy_from_slice(&4_000_000u32.to_le_bytes());
    // 65535 channels of 2 bytes overflow the demuxer's arithmetic, which panics where overflow is checked.
    let mut many = wav(16_000, 1, &ramp(100));
    many[22..24].copy_from_slice(&u16::MAX.to_le_bytes());
    for (content, words) in [
        (none, "channel"),
        (many, "expected"),
        (seven, "found 7 Hz"),
        (fast, "found 4000000 Hz"),
        (Vec::new(), "empty"),
        (
            b"{\"this\": \"is json\"}\n".repeat(40),
            "expected wav, flac",
        ),
        (wav(16_000, 1, &[]), "none that decodes"),
    ] {
        let f = file("wav", &content);
        let error = decode(f.path(), None).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains(f.path().to_str().unwrap()), "{error}");
        assert!(error.contains("expected"), "{error}");
    }
    let error = decode(Path::new("/"), None).unwrap_err().to_string();
    assert!(error.contains("folder"), "{error}");
}

#[test]
fn samples_that_are_no_numbers_are_silence_and_counted() {
    let mut x = vec![0.25f32; 16_000];
    (x[10], x[20], x[30]) = (f32::NAN, f32::INFINITY, -1e30);
    let f = file("wav", &wav_f32(16_000, &x));
    let clip = decode_clip(f.path(), None).unwrap();
    assert!(clip.samples.iter().all(|v| v.is_finite()));
    assert_eq!(
        (clip.samples[9], clip.samples[10], clip.samples[20]),
        (0.25, 0.0, 0.0)
    );
    assert!(clip.damage.unwrap().contains("3 sample(s)"));
}

#[test]
fn a_paced_file_is_a_microphone_and_an_unpaced_one_waits() {
    let f = file("wav", &wav(16_000, 1, &ramp(16_000)));
    for (speed, seconds) in [(1.0, 1.0), (4.0, 0.25)] {
        let mut s = source(f.path(), speed);
        assert!(s.is_live());
        let (mut samples, mut last) = (Vec::new(), None);
        let start = Instant::now();
        loop {
            match s.next(&mut samples, Duration::from_millis(5)).unwrap() {
                Packet::Audio { captured } => {
                    assert!(captured <= Instant::now(), "audio from the future");
                    if let Some((before, frames)) = last {
                        // The schedule, not the moment of delivery.
                        let step = (samples.len() - frames) as f64 / (16_000.0 * speed);
                        let lag = captured.duration_since(before).as_secs_f64();
                        assert!((lag - step).abs() < 1e-6, "{lag} {step}");
                    }
                    last = Some((captured, samples.len()));
                }
                Packet::End => break,
                _ => {}
            }
        }
        let took = start.elapsed().as_secs_f64();
        assert_eq!(samples.len(), 16_000);
        assert!(
            (seconds - 0.05..seconds + 0.5).contains(&took),
            "speed {speed}: {took} s"
        );
    }
    let mut s = source(f.path(), 0.0);
    assert!(!s.is_live());
    assert_eq!(drain(s.as_mut()).0.len(), 16_000);
    for speed in [-1.0, f64::NAN, f64::INFINITY] {
        let input = Input::File {
            path: f.path().into(),
            speed,
        };
        assert!(open(&input).is_err(), "{speed}");
    }
}

#[test]
fn a_wav_that_was_piped_has_no_length_and_is_not_cut_off() {
    let mut piped = wav(16_000, 1, &ramp(16_000));
    for at in [4, 40] {
        piped[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let f = file("wav", &piped);
    let clip = decode_clip(f.path(), None).unwrap();
    assert_eq!((clip.samples.len(), clip.damage), (16_000, None));
}

#[test]
fn noise_in_the_middle_of_an_mp3_costs_time_but_not_the_clock() {
    let mut bytes = std::fs::read(fixture("tone.mp3")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 300].fill(0x55);
    let f = file("mp3", &bytes);
    let clip = decode_clip(f.path(), None).unwrap();
    let length = clip.samples.len() as f64 / 16_000.0;
    assert!((0.8..1.1).contains(&length), "{length}");
}

/// Runs a file through source and frontend; what matters is that it ends, in bounded space, without a panic.
fn survive(extension: &str, content: &[u8]) -> Option<u64> {
    let f = file(extension, content);
    let mut s = open(&Input::File {
        path: f.path().into(),
        speed: 0.0,
    })
    .ok()?;
    let mut frontend = Frontend::new("fuzz", SAMPLE_RATE, None);
    let (mut samples, mut out, mut total) = (Vec::new(), Vec::new(), 0);
    for _ in 0..100_000 {
        let packet = s.next(&mut samples, Duration::from_secs(1)).ok()?;
        frontend.push(&packet, &mut samples, &mut out).ok()?;
        for o in out.drain(..) {
            if let Output::Chunk(c) = o {
                assert!(c.samples.iter().all(|x| x.is_finite()));
                total += c.samples.len() as u64;
            }
        }
        if packet == Packet::End {
            return Some(total);
        }
    }
    panic!("a file of {} bytes does not end", content.len());
}

const FORMATS: [&str; 6] = ["wav", "flac", "mp3", "ogg", "opus", "m4a"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(kind in 0usize..6, content in prop::collection::vec(any::<u8>(), 0..4_096)) {
        survive(FORMATS[kind], &content);
    }

    #[test]
    fn real_files_with_random_damage_never_panic(
        kind in 0usize..6,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        keep in 0.05f64..1.0,
        early in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(fixture(&format!("tone.{}", FORMATS[kind]))).unwrap();
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        let reach = if early { bytes.len().min(200) } else { bytes.len() };
        for (at, value) in hits {
            bytes[at.index(reach)] = value;
        }
        survive(FORMATS[kind], &bytes);
    }
}

#[test]
fn an_undamaged_file_survives_with_all_its_samples() {
    for kind in FORMATS {
        let bytes = std::fs::read(fixture(&format!("tone.{kind}"))).unwrap();
        assert!(survive(kind, &bytes).unwrap() > 15_800, "{kind}");
    }
    let (rate, channels) = Decoder::open(&fixture("tone.opus")).unwrap().format();
    assert_eq!((rate, channels), (48_000, 1));
}
