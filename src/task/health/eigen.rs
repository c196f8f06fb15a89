//! Eigenvalues of a symmetric matrix: Householder's reflections to three diagonals, then bisection on Sturm's count, which
//! cannot fail to converge. Values only; O(n³).

/// The eigenvalues of a symmetric `n` × `n` matrix, row by row, in ascending order, to some 1e-13 of the largest. Whatever
/// lies above the diagonal is not read.
pub fn eigenvalues(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let (diagonal, beside) = tridiagonal(&mut a, n);
    // Gershgorin: all of them lie between these two.
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for (i, d) in diagonal.iter().enumerate() {
        let before = if i > 0 { beside[i - 1].abs() } else { 0.0 };
        let radius = before + beside.get(i).map_or(0.0, |e| e.abs());
        low = low.min(d - radius);
        high = high.max(d + radius);
    }
    let smallest = f64::EPSILON * low.abs().max(high.abs());
    let (low, high) = (low - smallest, high + smallest);
    let mut found = Vec::with_capacity(n);
    let mut least = low;
    for k in 0..n {
        // More than k of them lie below `to`, at most k below `from`.
        let (mut from, mut to) = (least, high);
        while to - from > 2.0 * smallest {
            let middle = 0.5 * (from + to);
            if middle <= from || middle >= to {
                break;
            }
            match below(&diagonal, &beside, middle, smallest) > k {
                true => to = middle,
                false => from = middle,
            }
        }
        least = from;
        found.push(0.5 * (from + to));
    }
    found
}

/// The diagonal and the values beside it of a matrix with the same eigenvalues.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = Vec::with_capacity(n.saturating_sub(1));
    for k in 0..n.saturating_sub(1) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        beside.push(alpha);
        v[0] -= alpha;
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square <= f64::MIN_POSITIVE {
            continue;
        }
        // The rest of the matrix, A ← HAH with H = 1 − 2vvᵀ/(vᵀv), in its lower half.
        let (m, first, beta) = (v.len(), k + 1, 2.0 / square);
        let mut p = vec![0.0; m];
        for i in 0..m {
            let row = &a[(first + i) * n + first..][..=i];
            for (j, x) in row.iter().enumerate() {
                p[i] += x * v[j];
                if j < i {
                    p[j] += x * v[i];
                }
            }
        }
        let along: f64 = p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>() * beta * beta / 2.0;
        let w: Vec<f64> = p
            .iter()
            .zip(&v)
            .map(|(p, v)| beta * p - along * v)
            .collect();
        for i in 0..m {
            let row = &mut a[(first + i) * n + first..][..=i];
            for (j, x) in row.iter_mut().enumerate() {
                *x -= v[i] * w[j] + w[i] * v[j];
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), beside)
}

/// How many eigenvalues lie below `x`: the negative pivots of the matrix less `x` (Sturm).
fn below(diagonal: &[f64], beside: &[f64], x: f64, smallest: f64) -> usize {
    let (mut count, mut pivot) = (0, 1.0);
    for (i, d) in diagonal.iter().enumerate() {
        let back = if i > 0 { beside[i - 1] } else { 0.0 };
        pivot = d - x - back * back / pivot;
        if pivot.abs() < smallest.max(f64::MIN_POSITIVE) {
            pivot = -smallest.max(f64::MIN_POSITIVE);
        }
        count += usize::from(pivot < 0.0);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_matrices_have_the_eigenvalues_of_a_textbook() {
        assert!(eigenvalues(Vec::new(), 0).is_empty());
        assert!((eigenvalues(vec![3.0], 1)[0] - 3.0).abs() < 1e-12);
        // [2 1; 1 2] has 1 and 3; what stands above the diagonal is not read.
        let found = eigenvalues(vec![2.0, f64::NAN, 1.0, 2.0], 2);
        assert!((found[0] - 1.0).abs() < 1e-12 && (found[1] - 3.0).abs() < 1e-12);
        let unit = (0..25).map(|i| f64::from(u8::from(i % 6 == 0))).collect();
        assert!(eigenvalues(unit, 5).iter().all(|e| (e - 1.0).abs() < 1e-12));
        assert!(
            eigenvalues(vec![0.0; 16], 4)
                .iter()
                .all(|e| e.abs() < 1e-12)
        );
    }

    #[test]
    fn a_chain_of_springs_has_its_known_frequencies() {
        let n = 40;
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            a[i * n + i] = 2.0;
            if i > 0 {
                a[i * n + i - 1] = -1.0;
            }
        }
        for (k, found) in eigenvalues(a, n).into_iter().enumerate() {
            let angle = (k + 1) as f64 * std::f64::consts::PI / (n + 1) as f64;
            assert!((found - (2.0 - 2.0 * angle.cos())).abs() < 1e-12, "{k}");
        }
    }
}
