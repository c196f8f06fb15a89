use super::*;

fn resample(rate_in: u32, input: &[f32]) -> Vec<f32> {
    let mut r = Resampler::new(rate_in, 16_000).unwrap();
    let mut out = Vec::new();
    r.push(input, &mut out).unwrap();
    let wanted = (input.len() as f64 * 16_000.0 / f64::from(rate_in)).round() as usize;
    r.finish(wanted - out.len(), &mut out).unwrap();
    out
}

fn tone(rate: u32, hertz: f64) -> Vec<f32> {
    (0..rate)
        .map(|n| {
            (0.5 * (std::f64::consts::TAU * hertz * f64::from(n) / f64::from(rate)).sin()) as f32
        })
        .collect()
}

/// A tone must come out as the tone sampled at 16 kHz: frequency, amplitude and time in one comparison.
fn worst_error(rate: u32, hertz: f64) -> f32 {
    let (out, ideal) = (resample(rate, &tone(rate, hertz)), tone(16_000, hertz));
    assert_eq!(out.len(), ideal.len());
    // The ends see the silence around the clip.
    let inner = 1_600..14_400;
    out[inner.clone()]
        .iter()
        .zip(&ideal[inner])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_tone_keeps_frequency_amplitude_and_time() {
    for rate in [
        8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000,
    ] {
        let error = worst_error(rate, 1_000.0);
        assert!(error < 2e-4, "{rate} Hz: {error}");
    }
}

#[test]
fn odd_rates_take_the_sinc_resampler_and_are_right_to_half_a_sample() {
    for rate in [1_009, 7_919, 15_999, 44_099, 47_999, 383_987] {
        let hertz = if rate < 4_000 { 200.0 } else { 1_000.0 };
        let out = resample(rate, &tone(rate, hertz));
        let (mut re, mut im) = (0.0, 0.0);
        for (n, x) in out.iter().enumerate().take(11_200).skip(4_800) {
            let phase = std::f64::consts::TAU * hertz * n as f64 / 16_000.0;
            re += f64::from(*x) * phase.sin() / 3_200.0;
            im += f64::from(*x) * phase.cos() / 3_200.0;
        }
        let (amplitude, phase) = (re.hypot(im), im.atan2(re));
        let late = phase / std::f64::consts::TAU / hertz * 16_000.0;
        assert!((amplitude - 0.5).abs() < 1e-3, "{rate} Hz: {amplitude}");
        assert!(late.abs() < 0.55, "{rate} Hz: {late} samples");
    }
}

#[test]
fn the_band_of_the_features_passes_and_what_would_alias_does_not() {
    for rate in [44_100, 48_000] {
        assert!(
            worst_error(rate, 7_500.0) < 5e-3,
            "{}",
            worst_error(rate, 7_500.0)
        );
        let alias = resample(rate, &tone(rate, 9_000.0));
        let peak = alias[1_600..14_400]
            .iter()
            .fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(peak < 5e-4, "{rate} Hz: {peak}");
    }
}

#[test]
fn finishing_forgets_the_past() {
    let mut r = Resampler::new(48_000, 16_000).unwrap();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for out in [&mut first, &mut second] {
        r.push(&tone(48_000, 440.0)[..10_000], out).unwrap();
        let held = 3_333 - out.len();
        r.finish(held, out).unwrap();
    }
    assert_eq!(first.len(), 3_333);
    assert_eq!(first, second);
}
