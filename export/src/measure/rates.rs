//! Two rates against each other as a threshold moves: ROC (FAR, TAR) and identification (FPIR, TPIR).

use serde::Serialize;

/// Points of a curve that is drawn; more don't show.
const POINTS: i32 = 120;

/// What a threshold lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Scores of this and more pass.
    pub threshold: f32,
    /// Share of those that should not pass: FAR or FPIR.
    pub false_rate: f64,
    /// Share of those that should: TAR or TPIR.
    pub true_rate: f64,
}

/// Points from the lowest false rate that the data can tell up to 1, evenly by its logarithm.
///
/// `negatives` and `positives` are sorted downwards; `positives_total` counts also those whose best score was
/// another's, which no threshold makes right. Empty without negatives or positives.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts"
)]
pub(super) fn curve(positives: &[f32], positives_total: usize, negatives: &[f32]) -> Vec<CurvePoint> {
    if negatives.is_empty() || positives_total == 0 {
        return Vec::new();
    }
    let reach = |scores: &[f32], threshold: f32| scores.partition_point(|score| *score >= threshold);
    let total = negatives.len() as f64;
    let mut points: Vec<CurvePoint> = Vec::new();
    // How many negatives may pass: none, one, … all; steps of equal ratio, each at least one.
    let counts =
        std::iter::once(0).chain((0..=POINTS).map(|step| total.powf(f64::from(step) / f64::from(POINTS)) as usize));
    for allowed in counts {
        // The lowest threshold that refuses the next one.
        let threshold = negatives
            .get(allowed)
            .map_or(f32::NEG_INFINITY, |refused| refused.next_up());
        let threshold = if threshold == f32::NEG_INFINITY {
            positives.last().map_or(-1.0, |lowest| lowest.min(-1.0))
        } else {
            threshold
        };
        let point = CurvePoint {
            threshold,
            false_rate: reach(negatives, threshold) as f64 / total,
            true_rate: reach(positives, threshold) as f64 / positives_total as f64,
        };
        if points.last().is_none_or(|last| point.threshold < last.threshold) {
            points.push(point);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hand_made_curve() {
        // One of four positives was given to somebody else.
        let points = curve(&[0.9, 0.6, 0.2], 4, &[0.7, 0.3]);
        let rates: Vec<(f64, f64)> = points.iter().map(|point| (point.false_rate, point.true_rate)).collect();
        assert_eq!(rates, [(0.0, 0.25), (0.5, 0.5), (1.0, 0.75)]);
    }

    proptest! {
        #[test]
        fn rates_are_shares_and_grow_together_as_the_threshold_falls(
            mut positives in prop::collection::vec(-1.0_f32..1.0, 1..60),
            mut negatives in prop::collection::vec((-20_i8..20).prop_map(|v| f32::from(v) / 20.0), 1..200),
            misnamed in 0_usize..5,
        ) {
            positives.sort_by(|a, b| b.total_cmp(a));
            negatives.sort_by(|a, b| b.total_cmp(a));
            let total = positives.len() + misnamed;
            let points = curve(&positives, total, &negatives);
            for pair in points.windows(2) {
                prop_assert!(pair[0].threshold > pair[1].threshold);
                prop_assert!(pair[0].false_rate <= pair[1].false_rate && pair[0].true_rate <= pair[1].true_rate);
            }
            for point in &points {
                prop_assert!((0.0..=1.0).contains(&point.false_rate) && (0.0..=1.0).contains(&point.true_rate));
                let naive = |scores: &[f32]| scores.iter().filter(|s| **s >= point.threshold).count() as f64;
                prop_assert!((naive(&positives) / total as f64 - point.true_rate).abs() < 1e-12);
                prop_assert!((naive(&negatives) / negatives.len() as f64 - point.false_rate).abs() < 1e-12);
            }
            prop_assert_eq!(points.last().map(|p| p.false_rate), Some(1.0));
        }
    }
}
