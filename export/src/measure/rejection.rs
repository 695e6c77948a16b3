//! The score below which a face is unknown, chosen so that a stated share of strangers passes.

use serde::{Deserialize, Serialize};

/// A threshold with what it was chosen on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// A face whose highest probability is lower is unknown. The lowest value that keeps to the rate.
    pub probability: f32,
    /// The share of strangers that may pass.
    pub false_accept_rate: f64,
    /// The strangers it was chosen on.
    pub strangers: usize,
    /// Of those, how many pass.
    pub passed: usize,
}

/// Why no threshold could be chosen.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RejectionError {
    /// There are no strangers.
    #[error("a rejection threshold needs faces of strangers, and there are none; name a folder of other people")]
    NoStrangers,
    /// The rate is no share.
    #[error("a false accept rate of {0} is not between 0 and 1")]
    Rate(f64),
    /// A score is not finite.
    #[error("a stranger's probability is {0}; the head is broken")]
    NotFinite(f32),
    /// Even a probability of 1 lets too many pass.
    #[error(
        "the head is entirely sure of {sure} of {strangers} strangers, so no threshold keeps to a false accept rate of \
         {rate}; train it less hard or give it a higher temperature"
    )]
    Saturated {
        /// Strangers with probability 1.
        sure: usize,
        /// All of them.
        strangers: usize,
        /// The rate asked for.
        rate: f64,
    },
}

/// Chooses the threshold from the highest probability of each of some strangers, whom neither head nor network has
/// seen. With fewer strangers than one divided by the rate none of them passes.
///
/// # Errors
/// Without strangers, with a rate that is no share, or when no probability keeps to it.
pub fn rejection(strangers: &[f32], false_accept_rate: f64) -> Result<Rejection, RejectionError> {
    if !(0.0..=1.0).contains(&false_accept_rate) {
        return Err(RejectionError::Rate(false_accept_rate));
    }
    if let Some(bad) = strangers.iter().find(|score| !score.is_finite()) {
        return Err(RejectionError::NotFinite(*bad));
    }
    if strangers.is_empty() {
        return Err(RejectionError::NoStrangers);
    }
    let mut sorted = strangers.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let probability = threshold_at(sorted.iter().map(|score| (*score, 1.0)), false_accept_rate).max(0.0);
    if probability > 1.0 {
        return Err(RejectionError::Saturated {
            sure: sorted.iter().filter(|score| **score >= 1.0).count(),
            strangers: sorted.len(),
            rate: false_accept_rate,
        });
    }
    Ok(Rejection {
        probability,
        false_accept_rate,
        strangers: sorted.len(),
        passed: sorted.iter().filter(|score| **score >= probability).count(),
    })
}

/// The lowest threshold that at most the share `rate` of the weight reaches, of scores sorted downwards with weights:
/// just above the first score that may not pass, so that equal scores pass together or not at all. Negative infinity
/// when all may pass.
pub(super) fn threshold_at(scores: impl Iterator<Item = (f32, f64)> + Clone, rate: f64) -> f32 {
    let total: f64 = scores.clone().map(|(_, weight)| weight).sum();
    // Sums of weights are whole numbers; the slack is for the product's rounding.
    let allowed = rate * total + 1e-9;
    let mut passed = 0.0;
    for (score, weight) in scores {
        passed += weight;
        if passed > allowed {
            return score.next_up();
        }
    }
    f32::NEG_INFINITY
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_in_a_hundred_passes_and_ties_stay_together() {
        let scores: Vec<f32> = (0..200_u16).map(|i| f32::from(i) / 200.0).collect();
        let chosen = rejection(&scores, 0.01).unwrap();
        assert_eq!((chosen.passed, chosen.strangers), (2, 200));
        assert!(chosen.probability > 0.985 && chosen.probability <= 0.99);
        // Three share the highest score: all of them would be too many.
        let tied = rejection(&[0.9, 0.9, 0.9, 0.1], 0.5).unwrap();
        assert_eq!(tied.passed, 0);
        assert!(tied.probability > 0.9);
    }

    #[test]
    fn what_can_not_be_chosen_is_said() {
        assert_eq!(rejection(&[], 0.01), Err(RejectionError::NoStrangers));
        assert_eq!(rejection(&[0.5], 1.5), Err(RejectionError::Rate(1.5)));
        assert!(matches!(rejection(&[f32::NAN], 0.1), Err(RejectionError::NotFinite(_))));
        let saturated = rejection(&[1.0, 1.0, 0.2], 0.1).unwrap_err();
        assert!(
            matches!(saturated, RejectionError::Saturated { sure: 2, .. }),
            "{saturated}"
        );
        assert_eq!(rejection(&[0.4, 0.6], 1.0).unwrap().passed, 2);
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_and_the_threshold_is_the_lowest(
            scores in prop::collection::vec((0_u16..50).prop_map(|v| f32::from(v) / 51.0), 1..80),
            rate in 0.0_f64..1.0,
        ) {
            let chosen = rejection(&scores, rate).unwrap();
            let share = |t: f32| scores.iter().filter(|s| **s >= t).count() as f64 / scores.len() as f64;
            prop_assert!(share(chosen.probability) <= rate + 1e-9);
            prop_assert!(chosen.probability == 0.0 || share(chosen.probability.next_down()) > rate);
        }
    }
}
