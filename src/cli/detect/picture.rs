//! The timeline as a picture: the spectrogram, the segments, the score under it, all over one axis of seconds.

use std::ops::Range;

use crate::audio::SAMPLE_RATE;
use crate::dsp::{BINS, HOP, Spectrum, WINDOW};
use crate::publish::Verdict;
use crate::task::timeline::Segment;

use super::super::verdict::voice_word;
use super::canvas::{Anchor, Canvas, Colour, HEAD, PLAIN};

/// Size of the picture, pixels.
pub const SIZE: (usize, usize) = (1280, 660);

const LEFT: usize = 72;
const WIDE: usize = 1184;
/// Upper edge and height of the spectrogram, of the strip of segments and of the score.
const SPECTRUM: (usize, usize) = (48, 300);
const STRIP: (usize, usize) = (356, 24);
const SCORE: (usize, usize) = (388, 170);
/// Nats at the ends of the score's axis.
const NATS: f64 = 6.0;
/// What is this many dB below the loudest point, or more, has the darkest colour.
const DEPTH: f64 = 75.0;

const INK: Colour = [34; 3];
const GRID: Colour = [210; 3];
/// Colours that people with any colour vision tell apart (Okabe and Ito 2008).
const REAL: Colour = [0, 158, 115];
const SYNTHETIC: Colour = [213, 94, 0];
const UNCLEAR: Colour = [150, 150, 150];

/// What is drawn.
pub struct Picture<'a> {
    /// Above all.
    pub title: &'a str,
    /// The recording, 16 kHz mono.
    pub samples: &'a [f32],
    /// Pieces of speech, seconds, with their log-likelihood ratios, nats.
    pub curve: &'a [(f64, f64, f64)],
    /// The timeline.
    pub segments: &'a [Segment],
    /// From and to which log-likelihood ratio the answer is unclear.
    pub unclear: (f64, f64),
}

impl Picture<'_> {
    /// The picture as a PNG file's bytes.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        let mut canvas = Canvas::new(SIZE.0, SIZE.1);
        let most = (LEFT + WIDE) / HEAD.width(1) - 8;
        let title: String = self.title.chars().take(most).collect();
        canvas.words((LEFT, 14), Anchor::Start, HEAD, INK, &title);
        self.spectrogram(&mut canvas);
        self.strip(&mut canvas);
        self.score(&mut canvas);
        self.seconds_axis(&mut canvas);
        legend(&mut canvas);
        canvas.png()
    }

    fn seconds(&self) -> f64 {
        (self.samples.len() as f64 / f64::from(SAMPLE_RATE)).max(1e-3)
    }

    /// Where a second lies.
    fn across(&self, second: f64) -> f64 {
        LEFT as f64 + (second / self.seconds()).clamp(0.0, 1.0) * WIDE as f64
    }

    /// The columns of a stretch, at least one.
    fn columns(&self, start_s: f64, end_s: f64) -> (usize, usize) {
        let from = self.across(start_s).round() as usize;
        let to = self.across(end_s).round() as usize;
        (from, to.max(from + 1) - from)
    }

    fn spectrogram(&self, canvas: &mut Canvas) {
        let (top, high) = SPECTRUM;
        let columns = spectra(self.samples);
        let loudest = columns.iter().flatten().fold(f64::MIN, |a, b| a.max(*b));
        for (x, column) in columns.iter().enumerate() {
            for y in 0..high {
                // Between the two bins nearest to the pixel's frequency.
                let bin = (high - 1 - y) as f64 / (high - 1) as f64 * (BINS - 1) as f64;
                let low = (bin as usize).min(BINS - 2);
                let level = column[low] + (bin - low as f64) * (column[low + 1] - column[low]);
                let share = 1.0 + (level - loudest) / DEPTH;
                canvas.blend(LEFT + x, top + y, heat(share), 1.0);
            }
        }
        for segment in self
            .segments
            .iter()
            .filter(|s| s.verdict == Verdict::Reject)
        {
            for edge in [segment.start_s, segment.end_s] {
                let x = self.across(edge).round() as usize;
                canvas.area([x.min(LEFT + WIDE - 2), top, 2, high], SYNTHETIC, 1.0);
            }
        }
        canvas.frame([LEFT, top, WIDE, high], INK);
        for khz in [0, 2, 4, 6, 8] {
            let y = top + (high - 1) * (8 - khz) / 8;
            canvas.area([LEFT - 5, y, 5, 1], INK, 1.0);
            canvas.words((LEFT - 9, y - 8), Anchor::End, PLAIN, INK, &khz.to_string());
        }
        canvas.upright((10, top + high / 2), Anchor::Middle, INK, "frequency, kHz");
    }

    fn strip(&self, canvas: &mut Canvas) {
        let (top, high) = STRIP;
        canvas.area([LEFT, top, WIDE, high], [240; 3], 1.0);
        for segment in self.segments {
            let (x, width) = self.columns(segment.start_s, segment.end_s);
            canvas.area([x, top, width, high], colour(segment.verdict), 1.0);
            let word = voice_word(segment.verdict);
            // How probable the word is.
            let long = match segment.verdict {
                Verdict::Accept => format!("{word} {:.0} %", 100.0 * (1.0 - segment.synthetic())),
                Verdict::Reject => format!("{word} {:.0} %", 100.0 * segment.synthetic()),
                Verdict::Inconclusive => word.to_owned(),
            };
            let fits = |words: &str| PLAIN.width(words.chars().count() + 1) <= width;
            let words = [long.as_str(), word].into_iter().find(|w| fits(w));
            let middle = (x + width / 2, top + 4);
            canvas.words(
                middle,
                Anchor::Middle,
                PLAIN,
                [255; 3],
                words.unwrap_or_default(),
            );
        }
        canvas.frame([LEFT, top, WIDE, high], INK);
    }

    fn score(&self, canvas: &mut Canvas) {
        let (top, high) = SCORE;
        let down = |nats: f64| {
            let share = (nats.clamp(-NATS, NATS) + NATS) / (2.0 * NATS);
            top as f64 + (1.0 - share) * (high - 1) as f64
        };
        for segment in self.segments {
            let (x, width) = self.columns(segment.start_s, segment.end_s);
            canvas.area([x, top, width, high], colour(segment.verdict), 0.18);
        }
        for nats in [-6, -3, 0, 3, 6] {
            let y = down(f64::from(nats)).round() as usize;
            canvas.area([LEFT, y, WIDE, 1], GRID, 1.0);
            canvas.area([LEFT - 5, y, 5, 1], INK, 1.0);
            canvas.words((LEFT - 9, y - 8), Anchor::End, PLAIN, INK, &signed(nats));
        }
        for edge in [self.unclear.0, self.unclear.1] {
            let y = down(edge).round() as usize;
            for x in (LEFT..LEFT + WIDE).step_by(8) {
                canvas.area([x, y, 4, 1], INK, 0.7);
            }
        }
        for (at, &(start, end, llr)) in self.curve.iter().enumerate() {
            let middle =
                |(start, end, llr): (f64, f64, f64)| (self.across((start + end) / 2.0), down(llr));
            canvas.line(
                (self.across(start), down(llr)),
                (self.across(end), down(llr)),
                INK,
            );
            // Steps are joined within an utterance, and not across a pause.
            if let Some(&next) = self.curve.get(at + 1).filter(|next| next.0 <= end) {
                let (_, level) = middle(next);
                canvas.line(
                    (self.across(end), down(llr)),
                    (self.across(end), level),
                    INK,
                );
            }
        }
        canvas.frame([LEFT, top, WIDE, high], INK);
        canvas.upright((10, top + high / 2), Anchor::Middle, INK, "score, nats");
    }

    fn seconds_axis(&self, canvas: &mut Canvas) {
        let below = SCORE.0 + SCORE.1;
        let step = step(self.seconds());
        for tick in 0..=(self.seconds() / step) as usize {
            let second = tick as f64 * step;
            let x = self.across(second).round() as usize;
            canvas.area([x, below, 1, 6], INK, 1.0);
            let label = if step < 1.0 {
                format!("{second:.1}")
            } else {
                format!("{second:.0}")
            };
            canvas.words((x, below + 8), Anchor::Middle, PLAIN, INK, &label);
        }
        canvas.words(
            (LEFT + WIDE / 2, below + 28),
            Anchor::Middle,
            PLAIN,
            INK,
            "time, seconds",
        );
    }
}

/// With its sign, but for 0.
fn signed(nats: i32) -> String {
    match nats {
        0 => "0".to_owned(),
        nats => format!("{nats:+}"),
    }
}

fn legend(canvas: &mut Canvas) {
    let y = SCORE.0 + SCORE.1 + 62;
    let mut x = LEFT;
    let name = |canvas: &mut Canvas, x: &mut usize, words: &str| {
        canvas.words((*x, y - 1), Anchor::Start, PLAIN, INK, words);
        *x += PLAIN.width(words.chars().count()) + 28;
    };
    for (verdict, words) in [
        (Verdict::Accept, "real"),
        (Verdict::Reject, "synthetic"),
        (Verdict::Inconclusive, "unclear"),
    ] {
        canvas.area([x, y, 22, 14], colour(verdict), 1.0);
        x += 30;
        name(canvas, &mut x, words);
    }
    canvas.area([x, y + 6, 22, 2], INK, 1.0);
    x += 30;
    name(canvas, &mut x, "score, + real");
    for dash in [0, 8, 16] {
        canvas.area([x + dash, y + 7, 5, 1], INK, 0.7);
    }
    x += 30;
    name(canvas, &mut x, "unclear between");
    for step in 0..60 {
        canvas.area([x + step, y, 1, 14], heat(step as f64 / 59.0), 1.0);
    }
    x += 68;
    name(canvas, &mut x, &format!("-{DEPTH:.0} to 0 dB"));
}

fn colour(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Accept => REAL,
        Verdict::Reject => SYNTHETIC,
        Verdict::Inconclusive => UNCLEAR,
    }
}

/// From black over violet and orange to a pale yellow, each step lighter than the last.
fn heat(share: f64) -> Colour {
    const STOPS: [[f64; 3]; 6] = [
        [6.0, 5.0, 20.0],
        [51.0, 19.0, 92.0],
        [120.0, 34.0, 110.0],
        [196.0, 62.0, 80.0],
        [245.0, 140.0, 50.0],
        [252.0, 245.0, 180.0],
    ];
    let at = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let low = (at as usize).min(STOPS.len() - 2);
    let mix = |i: usize| STOPS[low][i] + (at - low as f64) * (STOPS[low + 1][i] - STOPS[low][i]);
    [mix(0) as u8, mix(1) as u8, mix(2) as u8]
}

/// Seconds between ticks: at most a dozen of them.
fn step(seconds: f64) -> f64 {
    const STEPS: [f64; 15] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ];
    let enough = STEPS.into_iter().find(|step| seconds / step <= 12.0);
    enough.unwrap_or_else(|| (seconds / 12.0 / 3600.0).ceil() * 3600.0)
}

/// Levels in dB of each column's frames, the loudest of each bin; where there are fewer frames than columns, of the nearest one.
fn spectra(samples: &[f32]) -> Vec<[f64; BINS]> {
    let mut spectrum = Spectrum::new();
    let frames = crate::dsp::frames(samples.len());
    let mut column = |range: Range<usize>| {
        let mut loudest = [1e-12f64; BINS];
        let mut power = [0.0; BINS];
        for frame in range.take_while(|frame| *frame < frames) {
            spectrum.power(&samples[frame * HOP..frame * HOP + WINDOW], &mut power);
            for (most, power) in loudest.iter_mut().zip(power) {
                *most = most.max(power);
            }
        }
        loudest.map(|power| 10.0 * power.log10())
    };
    let edge = |x: usize| x * frames / WIDE;
    (0..WIDE)
        .map(|x| column(edge(x)..edge(x + 1).max(edge(x) + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        for (seconds, want) in [
            (0.6, 0.1),
            (5.0, 0.5),
            (12.0, 1.0),
            (64.0, 10.0),
            (3600.0, 300.0),
        ] {
            assert_eq!(step(seconds), want, "{seconds} s");
        }
        assert!(1e6 / step(1e6) <= 12.0);
    }

    #[test]
    fn a_tone_lights_its_bin_in_its_half_of_the_picture() {
        let tone = |n: usize| (n as f32 * std::f32::consts::TAU / 16.0).sin();
        let samples: Vec<f32> = (0..32_000)
            .map(|n| if n < 16_000 { 0.0 } else { tone(n) })
            .collect();
        let columns = spectra(&samples);
        assert_eq!(columns.len(), WIDE);
        let loudest = |x: usize| {
            (0..BINS)
                .max_by(|a, b| columns[x][*a].total_cmp(&columns[x][*b]))
                .unwrap()
        };
        assert_eq!(loudest(WIDE - 10), 32, "1 kHz");
        assert!(columns[10].iter().all(|level| *level < -100.0));
        assert!(spectra(&[]).iter().flatten().all(|level| level.is_finite()));
    }
}
