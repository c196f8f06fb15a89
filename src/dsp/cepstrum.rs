//! Cosine transform, deltas and normalisation over a window: what turns log energies into cepstral features.

use std::f64::consts::PI;

use super::wide::wide;

/// Cepstral coefficients a feature: c0…c19.
pub const CEPSTRA: usize = 20;

/// The first coefficients of an orthonormal DCT-II.
pub struct Dct {
    outputs: usize,
    /// `[inputs, outputs]`: with the coefficients side by side, no sum waits for the one before.
    matrix: Vec<f64>,
}

impl Dct {
    /// From `inputs` values to coefficients 0 to `outputs − 1`: `c_k = s_k Σ_n x_n cos(πk(2n+1)/2N)`, `s_0 = √(1/N)`,
    /// else `√(2/N)`.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        let n = inputs as f64;
        let row = |i: usize| {
            (0..outputs).map(move |k| {
                let scale = if k == 0 { 1.0 / n } else { 2.0 / n }.sqrt();
                scale * (PI * k as f64 * (2 * i + 1) as f64 / (2.0 * n)).cos()
            })
        };
        Self {
            outputs,
            matrix: (0..inputs).flat_map(row).collect(),
        }
    }

    /// Writes as many coefficients of `x` as fit into `out`.
    pub fn apply(&self, x: &[f64], out: &mut [f64]) {
        apply(&self.matrix, self.outputs, x, out);
    }
}

wide! {
    fn apply(matrix: &[f64], outputs: usize, x: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (x, row) in x.iter().zip(matrix.chunks_exact(outputs)) {
            for (c, m) in out.iter_mut().zip(row) {
                *c += m * x;
            }
        }
    }
}

/// `d_t = Σ_{n=1,2} n·(c_{t+n} − c_{t−n}) / 10`, indices clamped to the first and the last frame, for `count` columns of
/// a row-major matrix `rows` with `width` columns: from column `from` on, to column `to` on.
pub fn delta(rows: &mut [f64], width: usize, from: usize, to: usize, count: usize) {
    debug_assert!(from.abs_diff(to) >= count && from.max(to) + count <= width);
    let last = match rows.len() / width {
        0 => return,
        n => n - 1,
    };
    for t in 0..=last {
        let at = |offset: isize| t.saturating_add_signed(offset).min(last) * width + from;
        let (b2, b1, f1, f2) = (at(-2), at(-1), at(1), at(2));
        for c in 0..count {
            let d = (rows[f1 + c] - rows[b1 + c]) + 2.0 * (rows[f2 + c] - rows[b2 + c]);
            rows[t * width + to + c] = d / 10.0;
        }
    }
}

/// Mean-variance normalisation over a window: each column of the row-major `rows` becomes
/// `(x − mean)/(std + 1e-5)` with the population's standard deviation.
pub fn normalise(rows: &mut [f64], width: usize) {
    let n = (rows.len() / width) as f64;
    // Row by row: a walk down the columns of a 180-wide matrix would miss the cache at every step.
    let mut mean = vec![0.0; width];
    let mut scale = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (m, x) in mean.iter_mut().zip(row) {
            *m += x / n;
        }
    }
    for row in rows.chunks_exact(width) {
        for ((v, m), x) in scale.iter_mut().zip(&mean).zip(row) {
            *v += (x - m) * (x - m) / n;
        }
    }
    for v in &mut scale {
        *v = 1.0 / (v.sqrt() + 1e-5);
    }
    for row in rows.chunks_exact_mut(width) {
        for ((x, m), s) in row.iter_mut().zip(&mean).zip(&scale) {
            *x = (*x - m) * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dct_is_orthonormal() {
        let dct = Dct::new(12, 12);
        for a in 0..12 {
            for b in 0..12 {
                let dot: f64 = (0..12)
                    .map(|i| dct.matrix[i * 12 + a] * dct.matrix[i * 12 + b])
                    .sum();
                assert!((dot - f64::from(u8::from(a == b))).abs() < 1e-12);
            }
        }
        let mut c = [0.0; 1];
        dct.apply(&[1.0; 12], &mut c);
        assert!((c[0] - 12f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn delta_of_a_ramp_is_its_slope() {
        // Two columns: x and room for its delta.
        let mut rows: Vec<f64> = (0..8).flat_map(|t| [3.0 * t as f64, 0.0]).collect();
        delta(&mut rows, 2, 0, 1, 1);
        for t in 2..6 {
            assert!((rows[t * 2 + 1] - 3.0).abs() < 1e-12);
        }
        // At t = 0 with clamped neighbours: (1·(3 − 0) + 2·(6 − 0)) / 10.
        assert!((rows[1] - 1.5).abs() < 1e-12);
        delta(&mut [], 2, 0, 1, 1);
    }

    #[test]
    fn normalised_columns_have_zero_mean_and_unit_variance() {
        let mut rows: Vec<f64> = (0..50)
            .flat_map(|t| [(t as f64).sin() * 40.0 + 7.0, 5.0])
            .collect();
        normalise(&mut rows, 2);
        let column: Vec<f64> = rows.iter().step_by(2).copied().collect();
        let mean = column.iter().sum::<f64>() / 50.0;
        let var = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 50.0;
        assert!(mean.abs() < 1e-6 && (var - 1.0).abs() < 1e-5);
        assert!(
            rows.iter().skip(1).step_by(2).all(|x| x.abs() < 1e-6),
            "a constant column becomes 0"
        );
    }
}
