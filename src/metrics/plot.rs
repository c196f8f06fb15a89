//! The DET plot and the histogram of scores, as SVG.

use super::det::{det_points, probit};
use super::svg::{Axis, Plot};
use super::trials::Trials;

/// One line of a DET plot.
#[derive(Debug)]
pub struct DetCurve<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Its trials.
    pub trials: &'a Trials,
}

/// Error rates in per cent at which a DET axis has a tick.
const TICKS: [f64; 14] = [
    0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 95.0,
];

/// The DET plot of one or more systems or groups: `x_label` names the false accepts, `y_label` the misses. The axes reach from
/// about half an error of the largest list to 60 %, or to 95 % where a curve's equal error rate lies beyond a third.
pub fn det_plot(title: &str, x_label: &str, y_label: &str, curves: &[DetCurve]) -> String {
    let most = curves
        .iter()
        .map(|c| c.trials.positives().max(c.trials.negatives()));
    let finest = 50.0 / most.max().unwrap_or(1).max(1) as f64;
    let low = TICKS
        .into_iter()
        .rev()
        .find(|&t| t <= finest)
        .unwrap_or(TICKS[0])
        .min(1.0);
    let worst = curves.iter().map(|c| c.trials.eer()).fold(0.0, f64::max);
    let high = if worst > 1.0 / 3.0 { 95.0 } else { 60.0 };
    let axis = |label: &str| Axis {
        low: probit(low / 100.0),
        high: probit(high / 100.0),
        label: format!("{label} (%)"),
        ticks: TICKS
            .into_iter()
            .filter(|t| (low..=high).contains(t))
            .map(|t| (probit(t / 100.0), t.to_string()))
            .collect(),
    };
    let (x, y) = (axis(x_label), axis(y_label));
    let ends = (x.low, x.high);
    let mut plot = Plot::new(title, x, y, 630.0);
    plot.guide((ends.0, ends.0), (ends.1, ends.1));
    for (i, curve) in curves.iter().enumerate() {
        plot.curve(det_points(curve.trials), i, false);
        plot.name(
            format!(
                "{}: EER {:.2} % ({} + {} trials)",
                curve.name,
                100.0 * curve.trials.eer(),
                curve.trials.positives(),
                curve.trials.negatives()
            ),
            i,
        );
    }
    plot.finish()
}

/// The scores of one class.
#[derive(Debug)]
pub struct Class<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Log-likelihood ratios, nats.
    pub scores: &'a [f64],
}

const BINS: usize = 60;

/// How the scores of each class are spread, each class to 100 %; `threshold` is marked.
pub fn histogram(title: &str, classes: &[Class], threshold: f64) -> String {
    let all = || {
        classes
            .iter()
            .flat_map(|c| c.scores)
            .copied()
            .chain([threshold])
    };
    let all = || all().filter(|s| s.is_finite());
    let (mut low, mut high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(f64::NEG_INFINITY, f64::max),
    );
    if low >= high {
        let middle = if low.is_finite() { low } else { 0.0 };
        (low, high) = (middle - 1.0, middle + 1.0);
    }
    let width = (high - low) / BINS as f64;
    let bars: Vec<Vec<f64>> = classes
        .iter()
        .map(|class| {
            let mut bars = vec![0.0; BINS];
            for &score in class.scores.iter().filter(|s| s.is_finite()) {
                let bin = ((score - low) / width) as usize;
                bars[bin.min(BINS - 1)] += 100.0 / class.scores.len() as f64;
            }
            bars
        })
        .collect();
    let top = bars.iter().flatten().copied().fold(1.0, f64::max) * 1.05;
    let axis = |low, high, label: &str| Axis {
        low,
        high,
        label: label.to_owned(),
        ticks: round_ticks(low, high),
    };
    let x = axis(low, high, "Log-likelihood ratio (nats)");
    let mut plot = Plot::new(title, x, axis(0.0, top, "Share of the class (%)"), 400.0);
    for (i, (class, bars)) in classes.iter().zip(&bars).enumerate() {
        let steps = bars.iter().enumerate().flat_map(|(bin, &height)| {
            let left = low + bin as f64 * width;
            [(left, height), (left + width, height)]
        });
        plot.curve(
            [(low, 0.0)].into_iter().chain(steps).chain([(high, 0.0)]),
            i,
            true,
        );
        plot.name(format!("{} ({} trials)", class.name, class.scores.len()), i);
    }
    plot.guide((threshold, 0.0), (threshold, top));
    plot.note((threshold, top), "threshold");
    plot.finish()
}

/// About eight ticks at 1, 2 or 5 times a power of ten.
fn round_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 8.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= rough);
    let step = step.unwrap_or(rough);
    let digits = (-power.log10()).max(0.0).ceil() as usize;
    let first = (low / step).ceil() as i64;
    (first..first + 20)
        .map(|i| i as f64 * step)
        .take_while(|value| *value <= high)
        .map(|value| (value, format!("{value:.digits$}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(shift: f64) -> Trials {
        Trials::new((0..200).map(|i| {
            let positive = i % 2 == 0;
            (
                f64::from(i * 37 % 200) / 40.0 + if positive { shift } else { 0.0 },
                positive,
            )
        }))
        .unwrap()
    }

    #[test]
    fn a_det_plot_has_axes_in_per_cent_and_a_line_a_curve() {
        let (good, bad) = (trials(3.0), trials(0.1));
        let curves = [
            DetCurve {
                name: "good",
                trials: &good,
            },
            DetCurve {
                name: "bad",
                trials: &bad,
            },
        ];
        let svg = det_plot("DET", "False accepts", "False rejects", &curves);
        assert_eq!(svg.matches("<polyline").count(), 2);
        for word in [
            "False accepts (%)",
            "False rejects (%)",
            ">95<",
            ">0.5<",
            "bad: EER 49.00 %",
        ] {
            assert!(svg.contains(word), "no {word} in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_histogram_of_anything_is_drawn() {
        for scores in [&[][..], &[1.0], &[1.0, 1.0, 1.0], &[-1e9, 1e9], &[f64::NAN]] {
            let svg = histogram("scores", &[Class { name: "a", scores }], 1.0);
            assert!(
                svg.contains("threshold") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }

    #[test]
    fn ticks_are_round() {
        let labels = |low, high| {
            round_ticks(low, high)
                .into_iter()
                .map(|t| t.1)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            labels(-1.0, 7.0),
            ["-1", "0", "1", "2", "3", "4", "5", "6", "7"]
        );
        assert_eq!(
            labels(0.0, 0.4),
            [
                "0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30", "0.35", "0.40"
            ]
        );
    }
}
