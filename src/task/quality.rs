//! Whether recordings are good enough to enrol a person from: overdriven, drowned in noise, several voices, a synthetic one.

use std::fmt;

use super::speaker::{centroid, cosine};

/// Share of samples near the peak from which on a recording counts as clipped. On dev speech that was not clipped had at most
/// 0.00048, clipped 6 dB below its peak at least 0.00098 (`models/recipes/speaker/enrol.py`).
pub const MAX_CLIPPED: f64 = 0.0005;
/// Least ratio of speech to noise, in decibels.
pub const MIN_SNR_DB: f64 = 8.0;
/// Least log-likelihood ratio (nats) of "one voice" between the two most unlike groups of seconds of speech, chosen on dev by the
/// same recipe: above zero, since a second across a change of turn holds both voices and draws the groups together.
pub const MIN_ONE_VOICE: f64 = 1.0;

/// Samples of this share of the peak are near it.
const NEAR_PEAK: f32 = 0.97;
/// Samples that a frame of speech probabilities stands for (20 ms at 16 kHz).
const FRAME: usize = 320;
/// Frames that noise and speech need each to be measured: half a second.
const ENOUGH_FRAMES: usize = 25;
/// Frames beside speech that are neither: it fades in and out, and rooms ring.
const GUARD: usize = 5;
/// A quieter noise than this below the speech is told as this.
const MAX_SNR_DB: f64 = 60.0;
/// Least embeddings in which two voices are looked for, and least in a group.
const ENOUGH: usize = 6;
const ENOUGH_IN_GROUP: usize = 2;

/// What keeps a recording from being enrolled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Overdriven: share of samples near the peak.
    Clipped(f64),
    /// Noise: ratio of speech to it, decibels.
    Noisy(f64),
    /// Several voices: log-likelihood ratio of one voice, nats.
    Voices(f64),
    /// Not a real voice: log-likelihood ratio of a real one, nats.
    Synthetic(f64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Clipped(share) => write!(
                f,
                "clipped: {:.2} % of the samples are at the limit, expected at most {:.2} %; turn the microphone down",
                100.0 * share,
                100.0 * MAX_CLIPPED
            ),
            Self::Noisy(snr) => write!(
                f,
                "too noisy: speech is {snr:.0} dB above the noise, expected {MIN_SNR_DB:.0} dB at least; go closer or to a quieter place"
            ),
            Self::Voices(llr) => write!(
                f,
                "more than one speaker: a log-likelihood ratio of {llr:+.1} for one voice, expected {MIN_ONE_VOICE:+.1} at least; enrol from recordings in which nobody else speaks"
            ),
            Self::Synthetic(llr) => write!(
                f,
                "synthetic: a log-likelihood ratio of {llr:+.1} for a real voice, which is rejected; record the person live"
            ),
        }
    }
}

/// Share of samples at 97 % and more of the peak, 0 to 1: clipping leaves plateaus there, also after the recording was
/// resampled or turned down.
pub fn clipped(samples: &[f32]) -> f64 {
    let peak = samples.iter().fold(0f32, |peak, x| peak.max(x.abs()));
    if peak == 0.0 {
        return 0.0;
    }
    let near = samples.iter().filter(|x| x.abs() >= NEAR_PEAK * peak);
    near.count() as f64 / samples.len() as f64
}

/// Speech over noise in decibels, at most 60: the mean power of frames that are speech, less that of frames that are not,
/// over the latter. `speech`: whether each frame of 20 ms is. `None` where there is too little of either.
pub fn snr_db(samples: &[f32], speech: &[bool]) -> Option<f64> {
    let power = |frame: &[f32]| {
        frame.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / frame.len() as f64
    };
    let (mut loud, mut quiet) = (Vec::new(), Vec::new());
    for (i, frame) in samples.chunks_exact(FRAME).take(speech.len()).enumerate() {
        let around = i.saturating_sub(GUARD)..(i + GUARD + 1).min(speech.len());
        if speech[i] {
            loud.push(power(frame));
        } else if !speech[around].contains(&true) {
            quiet.push(power(frame));
        }
    }
    if loud.len() < ENOUGH_FRAMES || quiet.len() < ENOUGH_FRAMES {
        return None;
    }
    let mean = |powers: &[f64]| powers.iter().sum::<f64>() / powers.len() as f64;
    let (loud, quiet) = (mean(&loud), mean(&quiet));
    let snr = 10.0 * ((loud - quiet).max(0.0) / quiet).log10();
    // Neither digital silence nor speech that is no louder than the noise has a finite one.
    Some(if snr.is_nan() {
        0.0
    } else {
        snr.clamp(-MAX_SNR_DB, MAX_SNR_DB)
    })
}

/// The two most unlike groups that pieces of speech fall into, mean embedding and number of pieces of each: of one voice
/// nearly as alike as two recordings of it, of two voices as strangers. Groups by spherical two-means (Dhillon and Modha 2001), begun on both sides of the
/// mean along the direction of greatest spread. `None` where there are too few pieces, or one of the groups has one piece
/// only: an odd one is no second voice.
pub fn sides(embeddings: &[Vec<f32>]) -> Option<[(Vec<f32>, usize); 2]> {
    if embeddings.len() < ENOUGH {
        return None;
    }
    let mut sides = principal_sides(embeddings);
    for _ in 0..20 {
        let [a, b] = groups(embeddings, &sides);
        let (a, b) = (centroid(&a)?, centroid(&b)?);
        let nearer = |e: &Vec<f32>| cosine(e, &a) > cosine(e, &b);
        let now: Vec<bool> = embeddings.iter().map(nearer).collect();
        if now == sides {
            break;
        }
        sides = now;
    }
    let [a, b] = groups(embeddings, &sides);
    if a.len() < ENOUGH_IN_GROUP || b.len() < ENOUGH_IN_GROUP {
        return None;
    }
    Some([(centroid(&a)?, a.len()), (centroid(&b)?, b.len())])
}

fn groups(embeddings: &[Vec<f32>], sides: &[bool]) -> [Vec<Vec<f32>>; 2] {
    let of = |side| {
        let here = embeddings.iter().zip(sides).filter(|(_, s)| **s == side);
        here.map(|(e, _)| e.clone()).collect()
    };
    [of(true), of(false)]
}

/// On which side of the mean each vector lies along the first principal component, which power iteration finds.
fn principal_sides(embeddings: &[Vec<f32>]) -> Vec<bool> {
    let dim = embeddings.first().map_or(0, Vec::len);
    let count = embeddings.len() as f64;
    let mut mean = vec![0.0; dim];
    for embedding in embeddings {
        for (m, x) in mean.iter_mut().zip(embedding) {
            *m += f64::from(*x) / count;
        }
    }
    let project = |embedding: &Vec<f32>, axis: &[f64]| -> f64 {
        let centred = embedding.iter().zip(&mean);
        centred
            .zip(axis)
            .map(|((x, m), a)| (f64::from(*x) - m) * a)
            .sum()
    };
    // Begun at the vector that is furthest from the mean: it is never at right angles to the answer and all others.
    let distance = |e: &Vec<f32>| -> f64 {
        let centred = e.iter().zip(&mean);
        centred.map(|(x, m)| (f64::from(*x) - m).powi(2)).sum()
    };
    let furthest = embeddings
        .iter()
        .max_by(|a, b| distance(a).total_cmp(&distance(b)));
    let mut axis: Vec<f64> = furthest.map_or_else(Vec::new, |e| {
        e.iter()
            .zip(&mean)
            .map(|(x, m)| f64::from(*x) - m)
            .collect()
    });
    for _ in 0..30 {
        let mut next = vec![0.0; dim];
        for embedding in embeddings {
            let along = project(embedding, &axis);
            for ((n, x), m) in next.iter_mut().zip(embedding).zip(&mean) {
                *n += along * (f64::from(*x) - m);
            }
        }
        let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            break;
        }
        axis = next.iter().map(|x| x / norm).collect();
    }
    embeddings.iter().map(|e| project(e, &axis) > 0.0).collect()
}

/// Mean of one minus the cosine of each vector to `centre`, 0 to 2; `None` of none.
pub fn spread(embeddings: &[Vec<f32>], centre: &[f32]) -> Option<f64> {
    let sum: f64 = embeddings.iter().map(|e| 1.0 - cosine(e, centre)).sum();
    (!embeddings.is_empty()).then(|| sum / embeddings.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, amplitude: f32, mut state: u32) -> Vec<f32> {
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                amplitude * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect()
    }

    #[test]
    fn clipping_is_seen_at_any_level() {
        // Like speech, two-sided exponential.
        let uniform = noise(16_000, 1.0, 3);
        let clean: Vec<f32> = uniform
            .iter()
            .map(|u| -u.signum() * u.abs().max(1e-5).ln() / 12.0)
            .collect();
        assert!(clipped(&clean) < MAX_CLIPPED, "{}", clipped(&clean));
        let over: Vec<f32> = clean.iter().map(|x| (5.0 * x).clamp(-1.0, 1.0)).collect();
        assert!(clipped(&over) > 10.0 * MAX_CLIPPED, "{}", clipped(&over));
        let down: Vec<f32> = over.iter().map(|x| 0.1 * x).collect();
        assert!((clipped(&down) - clipped(&over)).abs() < 0.01);
        assert_eq!(clipped(&[]), 0.0);
        assert_eq!(clipped(&[0.0; 9]), 0.0);
    }

    #[test]
    fn the_ratio_of_speech_to_noise_is_the_true_one() {
        // A second of noise, a second of noise with a louder, independent one on top, and so on.
        let second = 16_000;
        let mut samples = noise(6 * second, 0.01, 1);
        let loud = noise(6 * second, 0.1, 77);
        let mut speech = vec![false; 6 * 50];
        for i in 0..samples.len() {
            if (i / second) % 2 == 1 {
                samples[i] += loud[i];
                speech[i / FRAME] = true;
            }
        }
        let snr = snr_db(&samples, &speech).unwrap();
        assert!((snr - 20.0).abs() < 0.5, "{snr}");
        assert_eq!(
            snr_db(&samples, &vec![true; 300]),
            None,
            "no noise to measure"
        );
        assert_eq!(
            snr_db(&samples, &vec![false; 300]),
            None,
            "no speech to measure"
        );
        let silent: Vec<f32> = (0..samples.len())
            .map(|i| if speech[i / FRAME] { 0.1 } else { 0.0 })
            .collect();
        assert_eq!(snr_db(&silent, &speech), Some(60.0));
        assert_eq!(snr_db(&vec![0.0; samples.len()], &speech), Some(0.0));
    }

    /// Unit vectors around `centre` with noise of this length.
    fn cloud(centre: &[f32], n: u32, noisy: f32) -> Vec<Vec<f32>> {
        (0..n)
            .map(|i| {
                let e = noise(centre.len(), noisy, 1 + i * 97 + centre[0] as u32);
                let e: Vec<f32> = e.iter().zip(centre).map(|(e, c)| c + e).collect();
                centroid(&[e]).unwrap()
            })
            .collect()
    }

    fn unlikeness(embeddings: &[Vec<f32>]) -> Option<f64> {
        sides(embeddings).map(|[(a, _), (b, _)]| cosine(&a, &b))
    }

    #[test]
    fn two_voices_fall_apart_and_one_does_not() {
        let (mut a, mut b) = (vec![0.0; 32], vec![0.0; 32]);
        (a[0], b[0], b[1]) = (1.0, 0.3, 0.95);
        let one = cloud(&a, 12, 0.1);
        let alone = unlikeness(&one).unwrap();
        assert!(alone > 0.9, "{alone}");
        for others in [2, 6] {
            let mut two = one.clone();
            two.extend(cloud(&b, others, 0.1));
            let mixed = unlikeness(&two).unwrap();
            assert!((0.1..0.5).contains(&mixed), "{others}: {mixed}");
        }
        let mut odd = one.clone();
        odd.extend(cloud(&b, 1, 0.1));
        assert_eq!(unlikeness(&odd), None, "one odd piece is no voice");
        assert_eq!(unlikeness(&one[..5]), None);
        assert_eq!(unlikeness(&vec![a.clone(); 8]), None, "all the same");
        assert!(spread(&one, &a).unwrap() < 0.2 && spread(&[], &a).is_none());
        assert!((spread(&[b], &a).unwrap() - (1.0 - 0.3 / 0.9925f64.sqrt())).abs() < 0.01);
    }

    #[test]
    fn a_fault_says_what_was_found_and_expected() {
        for (fault, words) in [
            (Fault::Clipped(0.0123), ["1.23 %", "0.05 %"]),
            (Fault::Noisy(3.4), ["3 dB", "8 dB"]),
            (Fault::Voices(-5.02), ["-5.0", "+1.0"]),
            (Fault::Synthetic(-2.5), ["-2.5", "real voice"]),
        ] {
            let text = fault.to_string();
            assert!(words.iter().all(|w| text.contains(w)), "{text}");
        }
    }
}
