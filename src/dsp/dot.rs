//! The scalar product of two vectors.

use super::wide::wide;

/// Scalar product of two vectors of equal length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    product(a, b, &mut sum);
    sum
}

wide! {
    /// In eight sums that a processor makes at once: a cohort is hundreds of vectors, a window's audio thousands of samples.
    fn product(a: &[f32], b: &[f32], sum: &mut f64) {
        let mut lanes = [0.0f64; 8];
        let (whole, rest) = a.as_chunks::<8>();
        let (like, more) = b.as_chunks::<8>();
        for (a, b) in whole.iter().zip(like) {
            for (lane, (&x, &y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += f64::from(x) * f64::from(y);
            }
        }
        *sum = lanes.iter().sum();
        for (&x, &y) in rest.iter().zip(more) {
            *sum += f64::from(x) * f64::from(y);
        }
    }
}
