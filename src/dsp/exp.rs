//! Exponentials of many values at once: without branches or a call, so that the compiler can use vector registers.

use std::f32::consts::LOG2_E;

/// 3 · 2^22: what is added to it is rounded to a whole number, which the bits of the sum end with.
const WHOLE: f32 = 12_582_912.0;
/// ln 2 in two pieces, of which the first has few bits: a whole number times that is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Beyond these no power of two is left to multiply by.
const RANGE: [f32; 2] = [-87.0, 88.0];

/// e to the power of `x`, within 3e-7 of it; of what lies outside −87 to 88, that of the nearer end.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(RANGE[0], RANGE[1]);
    let shifted = x * LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    // |rest| is at most ln 2 / 2.
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut series = 1.0 / 5040.0;
    for factor in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        series = series * rest + factor;
    }
    let exponent = shifted
        .to_bits()
        .wrapping_sub(WHOLE.to_bits())
        .wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_standard_library(x in -87.0..88.0f32) {
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            prop_assert!((found / expected - 1.0).abs() <= 3e-7, "{x}: {found:e}, {expected:e}");
        }
    }

    #[test]
    fn what_is_too_large_or_too_small_stays_a_number() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-1e9), exp(f32::INFINITY)], [exp(-87.0), exp(88.0)]);
        assert!(exp(88.0).is_finite() && exp(-87.0) > 0.0);
    }
}
