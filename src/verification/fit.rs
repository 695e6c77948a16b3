//! Fitting what identification needs: the likelihood ratio of a similarity, and thresholds.

use super::rates::AllPairs;
use crate::model::Calibration;

/// The prior that a visitor is enrolled, where nobody says otherwise: even odds.
pub const PRIOR_KNOWN: f64 = 0.5;

/// Fits the calibration to all pairs: `exp(a + b s)`, the likelihood ratio of same to different person, by logistic
/// regression with both classes weighing the same (so that the log odds are the log likelihood ratio), and the two
/// distributions by mean and standard deviation. Pairs with a photo without a face are left out.
pub fn calibration(pairs: &AllPairs) -> Calibration {
    let same: Vec<f64> = pairs
        .same
        .iter()
        .map(|(s, _)| f64::from(*s))
        .filter(|s| *s > -1.0)
        .collect();
    let different: Vec<f64> = pairs
        .different
        .iter()
        .map(|(s, _)| f64::from(*s))
        .filter(|s| *s > -1.0)
        .collect();
    let (lr_intercept, lr_slope) = balanced_logistic_regression(&same, &different);
    let (same_mean, same_sd) = mean_and_sd(&same);
    let (different_mean, different_sd) = mean_and_sd(&different);
    let lowest = different.last().copied().unwrap_or(-1.0);
    let highest = same.first().copied().unwrap_or(1.0);
    Calibration {
        lr_intercept: to_places(lr_intercept, 4),
        lr_slope: to_places(lr_slope, 4),
        same_mean: to_places(same_mean, 4),
        same_sd: to_places(same_sd, 4),
        different_mean: to_places(different_mean, 4),
        different_sd: to_places(different_sd, 4),
        cosine_range: [to_places(lowest, 4), to_places(highest, 4)],
        prior_known: PRIOR_KNOWN,
    }
}

/// Rounds to `places` decimals: digits beyond what the data can tell would make the catalogue change with the machine.
pub fn to_places(value: f64, places: i32) -> f64 {
    let per_unit = 10_f64.powi(places);
    (value * per_unit).round() / per_unit
}

#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (
        mean,
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt(),
    )
}

/// Intercept and slope of the log odds, by Newton's method on the weighted likelihood.
#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
fn balanced_logistic_regression(positive: &[f64], negative: &[f64]) -> (f64, f64) {
    const STEPS: usize = 50;
    let (mut a, mut b) = (0.0_f64, 0.0_f64);
    for _ in 0..STEPS {
        // Gradient (2) and Hessian (3 distinct entries) of the log likelihood.
        let (mut g_a, mut g_b, mut h_aa, mut h_ab, mut h_bb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (values, label) in [(positive, 1.0), (negative, 0.0)] {
            let weight = 0.5 / values.len() as f64;
            for &s in values {
                let p = 1.0 / (1.0 + (-(a + b * s)).exp());
                let (error, curvature) = (weight * (label - p), weight * p * (1.0 - p));
                g_a += error;
                g_b += error * s;
                h_aa += curvature;
                h_ab += curvature * s;
                h_bb += curvature * s * s;
            }
        }
        let determinant = h_aa * h_bb - h_ab * h_ab;
        if determinant <= f64::EPSILON {
            break;
        }
        let (step_a, step_b) = (
            (h_bb * g_a - h_ab * g_b) / determinant,
            (h_aa * g_b - h_ab * g_a) / determinant,
        );
        a += step_a;
        b += step_b;
        if step_a.abs() + step_b.abs() < 1e-10 {
            break;
        }
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likelihood_ratio_of_two_normals_is_found() {
        // Two normal distributions of one variance have the log likelihood ratio (m1 - m0)/v * (s - (m1 + m0)/2).
        let quantiles = |mean: f64, sd: f64| -> Vec<f64> {
            // Box-Muller on a lattice: deterministic, near enough to normal.
            (1..200)
                .flat_map(|i| {
                    (0..50).map(move |j| {
                        let radius = (-2.0 * (f64::from(i) / 200.0).ln()).sqrt();
                        mean + sd * radius * (std::f64::consts::TAU * f64::from(j) / 50.0).cos()
                    })
                })
                .collect()
        };
        let (a, b) = balanced_logistic_regression(&quantiles(0.6, 0.15), &quantiles(0.1, 0.15));
        let expected = 0.5 / (0.15 * 0.15);
        assert!((b - expected).abs() < 0.05 * expected, "{b} {expected}");
        assert!((-a / b - 0.35).abs() < 0.01, "{a} {b}");
    }
}
