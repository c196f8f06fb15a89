//! Voices that the tiny pack tells apart: its embedding follows the mean spectrum, so two chords are two people. And WAV
//! files, good and bad.

use std::f64::consts::TAU;
use std::path::Path;

/// The voice that tests enrol: low harmonics.
pub fn alice(seconds: f64, rate: u32) -> Vec<f32> {
    chord(seconds, rate, &[150.0, 300.0, 450.0, 600.0, 750.0], 0.1)
}

/// Somebody else: high partials.
pub fn stranger(seconds: f64, rate: u32) -> Vec<f32> {
    chord(seconds, rate, &[3_700.0, 4_400.0, 5_100.0, 5_800.0], 0.1)
}

/// White noise; at a thousandth of full scale the tiny pack takes it for no speech, but not for nothing.
pub fn noise(seconds: f64, rate: u32, amplitude: f32) -> Vec<f32> {
    let noise = chord(seconds, rate, &[], 0.0);
    noise.into_iter().map(|x| x * 1_000.0 * amplitude).collect()
}

/// Digital silence.
pub fn silence(seconds: f64, rate: u32) -> Vec<f32> {
    vec![0.0; (seconds * f64::from(rate)) as usize]
}

/// Partials over a faint noise, without which the bands between them would be empty.
fn chord(seconds: f64, rate: u32, partials: &[f64], amplitude: f64) -> Vec<f32> {
    let mut state = 1u32;
    (0..(seconds * f64::from(rate)) as u32)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state >> 8) / f64::from(1 << 23) - 1.0;
            let t = f64::from(n) / f64::from(rate);
            let tones = partials.iter().map(|f| (TAU * f * t).sin());
            (amplitude * tones.sum::<f64>() + 0.001 * noise) as f32
        })
        .collect()
}

/// 16-bit full scale.
pub fn to_i16(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|x| (x * 32_768.0) as i16).collect()
}

/// A good file: 16 bit, mono.
pub fn write_wav(path: &Path, rate: u32, samples: &[f32]) {
    let data: Vec<u8> = to_i16(samples)
        .into_iter()
        .flat_map(i16::to_le_bytes)
        .collect();
    std::fs::write(path, wav(1, 1, rate, 16, &data)).unwrap();
}

/// A WAV file with any header: `tag` 1 is integer PCM, 3 is float.
pub fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let length = u32::try_from(data.len()).unwrap();
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend(tag.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.wrapping_mul(u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// Three chirps and noise under an envelope, as `models/recipes/common/signal.py` writes it down.
pub fn chirps(seconds: f64) -> Vec<f32> {
    let mut state: u32 = 12_345;
    (0..(seconds * 16_000.0).round() as usize)
        .map(|i| {
            let t = i as f64 / 16_000.0;
            let chirp = |amplitude: f64, from: f64, to: f64| {
                amplitude * (TAU * (from * t + (to - from) * t * t / (2.0 * seconds))).sin()
            };
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state) / 2f64.powi(31) - 1.0;
            let sum = chirp(0.30, 120.0, 900.0)
                + chirp(0.20, 3_500.0, 400.0)
                + chirp(0.10, 7_000.0, 2_000.0)
                + 0.05 * noise;
            (sum * (0.6 + 0.4 * (TAU * 3.0 * t).sin())) as f32
        })
        .collect()
}
