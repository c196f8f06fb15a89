//! The detection error trade-off curve on normal-deviate axes (Martin et al. 1997, "The DET curve in assessment of detection
//! task performance").

use super::trials::Trials;

/// `(probit of the false-accept rate, probit of the miss rate)` of every step of the error curve at which both lie inside (0, 1).
pub fn det_points(trials: &Trials) -> Vec<(f64, f64)> {
    let inside = |rate: f64| rate > 0.0 && rate < 1.0;
    let curve = trials.curve().into_iter();
    curve
        .filter(|p| inside(p.miss) && inside(p.false_accept))
        .map(|p| (probit(p.false_accept), probit(p.miss)))
        .collect()
}

/// The normal deviate of a probability inside (0, 1): the inverse of the standard normal distribution function. Rational
/// approximations by P. J. Acklam (2003), relative error below 1.2e−9; ±∞ at 0 and 1, NaN outside.
pub fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    /// Where the tail begins.
    const TAIL: f64 = 0.024_25;

    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    if p > 1.0 - TAIL {
        return -probit(1.0 - p);
    }
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / polynomial(&D, q);
    }
    let q = p - 0.5;
    q * polynomial(&A, q * q) / polynomial(&B, q * q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_normal_distribution() {
        for (p, z) in [
            (0.5, 0.0),
            (0.841_344_746_068_542_9, 1.0),
            (0.158_655_253_931_457_05, -1.0),
            (0.975, 1.959_963_984_540_054),
            (0.001, -3.090_232_306_167_813_5),
            (1e-6, -4.753_424_308_822_899),
            (0.999, 3.090_232_306_167_813_5),
        ] {
            assert!((probit(p) - z).abs() < 1e-8, "{p}: {}", probit(p));
        }
        assert_eq!(
            (probit(0.0), probit(1.0)),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
        assert!(probit(-0.1).is_nan() && probit(f64::NAN).is_nan());
    }

    #[test]
    fn only_steps_with_both_errors_are_drawn() {
        let trials = Trials::new([(0.0, false), (1.0, true), (2.0, false), (3.0, true)]).unwrap();
        let points = det_points(&trials);
        assert_eq!(points.len(), 1);
        assert!(points[0].0.abs() < 1e-12 && points[0].1.abs() < 1e-12);
    }
}
