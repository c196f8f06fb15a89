//! Natural logarithm of many values at once: without branches or a call, so that the compiler can use vector registers.

use std::f64::consts::LN_2;

use super::wide::wide;

/// Bits of √½: mantissas are counted from there, so that the series below starts near 1.
const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
/// Bits of 2^52: a small whole number in the bits below them makes 2^52 plus that number.
const WHOLE: u64 = 0x4330_0000_0000_0000;
/// Makes exponents positive, which spares a shift that keeps the sign: before AVX-512 there is none for 64 bits.
const BIAS: u64 = 1024;

/// Replaces each of `values`, which have to be positive, finite and normal, by its logarithm, within 2e-14.
#[inline(always)]
pub(super) fn ln_all(values: &mut [f64]) {
    for x in values {
        let biased = x.to_bits().wrapping_add(BIAS << 52);
        let exponent = biased.wrapping_sub(HALF_ROOT) >> 52;
        let mantissa = f64::from_bits(biased.wrapping_sub(exponent << 52));
        // What f64::from would make of the exponent; SSE2 has no instruction for it.
        let exponent = f64::from_bits(WHOLE | exponent) - (f64::from_bits(WHOLE) + BIAS as f64);
        // ln m = 2·artanh s; |s| is at most 0.172.
        let s = (mantissa - 1.0) / (mantissa + 1.0);
        let square = s * s;
        let mut series = 1.0 / 15.0;
        for factor in [
            1.0 / 13.0,
            1.0 / 11.0,
            1.0 / 9.0,
            1.0 / 7.0,
            1.0 / 5.0,
            1.0 / 3.0,
        ] {
            series = series * square + factor;
        }
        *x = exponent * LN_2 + 2.0 * (s + s * square * series);
    }
}

wide! {
    /// The same for callers that are not compiled for wide registers themselves.
    pub(super) fn logarithms(values: &mut [f64]) {
        ln_all(values);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_standard_library(power in -300.0..300.0f64) {
            let x = 10f64.powf(power);
            let mut found = [x, 1.0];
            ln_all(&mut found);
            prop_assert!((found[0] - x.ln()).abs() <= 2e-14 * x.ln().abs().max(1.0), "{x:e}: {found:?}");
            prop_assert_eq!(found[1], 0.0);
        }
    }
}
