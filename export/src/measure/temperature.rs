//! Temperature scaling: one number that makes a head's probabilities true (Guo, Pleiss, Sun, Weinberger: On Calibration
//! of Modern Neural Networks, 2017).

/// Where the search looks; beyond, a softmax over logits of usual size is either certain or even.
const RANGE: (f64, f64) = (0.02, 50.0);
/// Golden-section steps: each keeps 0.618 of the range, so these leave a millionth of it.
const STEPS: usize = 40;

/// Why no temperature could be fitted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemperatureError {
    /// No faces.
    #[error("a temperature is fitted on held-out faces, and there are none")]
    NoFaces,
    /// Rows and classes don't fit each other.
    #[error("held-out face {0} has no logit for its class, or one that is not finite")]
    Row(usize),
}

/// The temperature `T` for which `softmax(logits / T)` fits held-out answers best, between 0.02 and 50.
///
/// `logits` is `[N, C]`, `truth` the class of each row. Minimises the cross-entropy, with targets as Platt has them
/// (Probabilistic Outputs for Support Vector Machines, 1999): `(N+1)/(N+2)` for the true class and the rest shared by the
/// others. Without that, a head that is right on every held-out face would be made certain, which N faces don't show.
///
/// # Errors
/// Without faces, or when a row has no finite logit for its class.
pub fn fit_temperature(logits: &[Vec<f32>], truth: &[usize]) -> Result<f64, TemperatureError> {
    if logits.is_empty() || truth.len() != logits.len() {
        return Err(TemperatureError::NoFaces);
    }
    for (index, (row, class)) in logits.iter().zip(truth).enumerate() {
        if *class >= row.len() || row.iter().any(|logit| !logit.is_finite()) {
            return Err(TemperatureError::Row(index));
        }
    }
    // The cross-entropy is convex in 1/T, so it has one valley in ln T.
    let loss = |ln_t: f64| cross_entropy(logits, truth, ln_t.exp());
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (RANGE.0.ln(), RANGE.1.ln());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = loss(right);
        }
    }
    Ok(f64::midpoint(low, high).exp())
}

/// Mean cross-entropy in nats of `softmax(logits / temperature)` and the softened truth.
#[expect(clippy::cast_precision_loss, reason = "counts of faces and classes")]
fn cross_entropy(logits: &[Vec<f32>], truth: &[usize], temperature: f64) -> f64 {
    let faces = logits.len() as f64;
    let of_true = (faces + 1.0) / (faces + 2.0);
    let sum: f64 = logits
        .iter()
        .zip(truth)
        .map(|(row, class)| {
            let scaled: Vec<f64> = row.iter().map(|logit| f64::from(*logit) / temperature).collect();
            let highest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = highest + scaled.iter().map(|z| (z - highest).exp()).sum::<f64>().ln();
            let others = (scaled.len() as f64 - 1.0).max(1.0);
            let expected: f64 = scaled
                .iter()
                .enumerate()
                .map(|(index, z)| {
                    z * if index == *class {
                        of_true
                    } else {
                        (1.0 - of_true) / others
                    }
                })
                .sum();
            // With a single class there are no others to share the rest.
            log_sum * if scaled.len() > 1 { 1.0 } else { of_true } - expected
        })
        .sum();
    sum / faces
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Logits, and classes drawn from their softmax; then the logits times `factor`, which is the temperature to find.
    fn drawn(factor: f32) -> (Vec<Vec<f32>>, Vec<usize>) {
        let mut random = StdRng::seed_from_u64(5);
        (0..20_000)
            .map(|_| {
                let row: Vec<f32> = (0..5).map(|_| random.random_range(-3.0..3.0)).collect();
                let sum: f32 = row.iter().map(|z| z.exp()).sum();
                let mut left = random.random_range(0.0..sum);
                let class = row
                    .iter()
                    .position(|z| {
                        left -= z.exp();
                        left < 0.0
                    })
                    .unwrap_or(4);
                (row.iter().map(|z| z * factor).collect::<Vec<f32>>(), class)
            })
            .unzip()
    }

    #[test]
    fn a_known_temperature_is_found() {
        for factor in [0.3, 1.0, 4.0] {
            let (logits, truth) = drawn(factor);
            let found = fit_temperature(&logits, &truth).unwrap();
            assert!((found / f64::from(factor) - 1.0).abs() < 0.03, "{found} for {factor}");
        }
    }

    #[test]
    fn the_found_one_is_better_than_its_neighbours() {
        let (logits, truth) = drawn(2.0);
        let found = fit_temperature(&logits, &truth).unwrap();
        let at = |t: f64| cross_entropy(&logits, &truth, t);
        assert!(at(found) < at(found * 1.01) && at(found) < at(found / 1.01));
    }

    #[test]
    fn always_right_is_no_certainty() {
        let logits = vec![vec![2.0, 0.0, 0.0]; 98];
        let temperature = fit_temperature(&logits, &[0; 98]).unwrap();
        // The softmax must say (N+1)/(N+2) = 0.99: 2/T = ln(0.99 / 0.005).
        assert!(
            (2.0 / temperature - (0.99_f64 / 0.005).ln()).abs() < 1e-3,
            "{temperature}"
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(fit_temperature(&[], &[]), Err(TemperatureError::NoFaces));
        assert_eq!(fit_temperature(&[vec![0.0, 1.0]], &[2]), Err(TemperatureError::Row(0)));
        assert_eq!(
            fit_temperature(&[vec![0.0, f32::NAN]], &[0]),
            Err(TemperatureError::Row(0))
        );
        assert!(fit_temperature(&[vec![1.0]], &[0]).is_ok());
    }
}
