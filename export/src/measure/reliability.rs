//! How true probabilities are: of the answers given with 80 %, 80 % should be right.

use serde::Serialize;

/// Equally wide bins of probability, as `kith::verification::calibration_error` has them.
const BINS: usize = 10;

/// The answers whose probability lies in one tenth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub answers: usize,
    /// Their mean probability; 0 without answers.
    pub mean_probability: f64,
    /// The share that was right; 0 without answers.
    pub right: f64,
}

/// Probabilities held against what was right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error: the mean over the bins, weighted by their answers, of |share right - mean
    /// probability| (Naeini, Cooper, Hauskrecht 2015).
    pub expected_error: f64,
    /// From 0 to 1 by tenths; the last one has probability 1 too.
    pub bins: Vec<Bin>,
}

impl Reliability {
    /// Of answers with their probability (0 to 1) and whether they were right. `None` without answers.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts, and 0 to 9"
    )]
    pub fn of(answers: impl Iterator<Item = (f32, bool)>) -> Option<Self> {
        let mut sums = [(0_usize, 0.0_f64, 0_usize); BINS];
        for (probability, is_right) in answers {
            if let Some(bin) = sums.get_mut(((probability.max(0.0) * BINS as f32) as usize).min(BINS - 1)) {
                bin.0 += 1;
                bin.1 += f64::from(probability);
                bin.2 += usize::from(is_right);
            }
        }
        let all: usize = sums.iter().map(|(answers, ..)| answers).sum();
        let bins = sums
            .iter()
            .map(|&(answers, probability, right)| Bin {
                answers,
                mean_probability: probability / answers.max(1) as f64,
                right: right as f64 / answers.max(1) as f64,
            })
            .collect();
        let expected_error = sums
            .iter()
            .map(|(_, probability, right)| (*right as f64 - probability).abs())
            .sum::<f64>()
            / all.max(1) as f64;
        (all > 0).then_some(Self { expected_error, bins })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_of_four_at_three_quarters_is_no_error() {
        let said = |p: f32, right: usize, of: usize| (0..of).map(move |i| (p, i < right));
        let true_one = Reliability::of(said(0.75, 3, 4)).unwrap();
        assert!(true_one.expected_error < 1e-9, "{true_one:?}");
        // Two bins: 0.2 too sure on 4 answers, 0.1 too doubtful on 10: (4 * 0.2 + 10 * 0.1) / 14.
        let mixed = Reliability::of(said(0.95, 3, 4).chain(said(0.6, 7, 10))).unwrap();
        assert!((mixed.expected_error - 1.8 / 14.0).abs() < 1e-6, "{mixed:?}");
        assert_eq!(mixed.bins.iter().map(|bin| bin.answers).sum::<usize>(), 14);
        assert_eq!(Reliability::of(said(1.0, 1, 1)).unwrap().bins[9].answers, 1);
        assert!(Reliability::of(std::iter::empty()).is_none());
    }

    proptest! {
        #[test]
        fn the_error_is_a_share(answers in prop::collection::vec((0.0_f32..=1.0, any::<bool>()), 1..100)) {
            let measured = Reliability::of(answers.into_iter()).unwrap();
            prop_assert!((0.0..=1.0).contains(&measured.expected_error));
        }
    }
}
