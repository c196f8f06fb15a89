//! Raw PCM from programs and files at full size: a gigabyte of zeros goes through in bounded memory.

#![cfg(target_os = "linux")]

use std::time::Duration;

use earwitness::audio::{Frontend, Output, Packet, SAMPLE_RATE, open};
use earwitness::config::{Input, Pcm, PcmFormat};

/// The most memory that this process has held, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

/// Runs an input through the frontend until it ends or goes down; returns native frames and samples at 16 kHz.
fn run(input: &Input) -> (u64, u64) {
    let mut source = open(input).unwrap();
    let mut frontend = Frontend::new("zeros", SAMPLE_RATE, None);
    let (mut samples, mut out) = (Vec::new(), Vec::new());
    let (mut native, mut mono, mut width) = (0, 0, 1);
    loop {
        let packet = source.next(&mut samples, Duration::from_secs(5)).unwrap();
        if let Packet::Format { channels, .. } = packet {
            width = u64::from(channels);
        }
        native += samples.len() as u64 / width;
        frontend.push(&packet, &mut samples, &mut out).unwrap();
        for o in out.drain(..) {
            if let Output::Chunk(c) = o {
                assert!(c.level.is_digital_silence());
                mono += c.samples.len() as u64;
            }
        }
        if matches!(packet, Packet::End | Packet::Down { .. }) {
            return (native, mono);
        }
    }
}

#[test]
fn a_gigabyte_of_zeros_takes_bounded_memory() {
    let before = peak_memory();
    let argv = ["head", "-c", "1000000000", "/dev/zero"].map(String::from);
    let pcm = Pcm {
        rate: 384_000,
        channels: 8,
        format: PcmFormat::F32,
    };
    let input = Input::Command {
        argv: argv.to_vec(),
        pcm,
    };
    assert_eq!(run(&input), (31_250_000, 1_302_083));

    // The same as a file; a sparse one, for the disk's sake.
    let mut file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
    let (rate, channels) = (192_000u32, 8u16);
    let mut header = Vec::from(*b"RIFF");
    header.extend((36 + 1_000_000_000u32).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    header.extend(3u16.to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(rate.to_le_bytes());
    header.extend((rate * 32).to_le_bytes());
    header.extend(32u16.to_le_bytes());
    header.extend(32u16.to_le_bytes());
    header.extend(b"data");
    header.extend(1_000_000_000u32.to_le_bytes());
    std::io::Write::write_all(file.as_file_mut(), &header).unwrap();
    file.as_file().set_len(44 + 1_000_000_000).unwrap();
    let input = Input::File {
        path: file.path().into(),
        speed: 0.0,
    };
    assert_eq!(run(&input), (31_250_000, 2_604_167));
    let grown = peak_memory() - before;
    println!("two gigabytes took {grown} MiB");
    assert!(grown < 64, "grew by {grown} MiB");
}
