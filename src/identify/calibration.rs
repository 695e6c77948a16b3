//! From the similarity of the best match to a probability.
//!
//! `s` is the similarity of the best of `n` enrolled people, `p` the stated prior that a visitor is enrolled. Three
//! things may be true, and up to a common factor they weigh:
//!
//! - the best match is the visitor: `p LR(s)`, with `LR(s) = exp(a + b s)` the likelihood ratio of two photos of one
//!   person to photos of two people having similarity `s`;
//! - the visitor is another enrolled person, whose own photo happened to score lower: `p (n - 1) G(s) / F(s)`, where
//!   `G(s)` and `F(s)` are the probabilities that photos of one person, or of two people, have less than `s`;
//! - the visitor is a stranger: `(1 - p) n`.

use crate::model::Calibration;

/// How the three cases share the probability; they sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    /// The best match is the visitor.
    pub best: f64,
    /// The visitor is another enrolled person.
    pub other: f64,
    /// The visitor is none of the enrolled.
    pub stranger: f64,
}

impl Calibration {
    /// What to believe when the best of `enrolled_people` has the similarity `cosine`.
    pub fn belief(&self, cosine: f32, enrolled_people: usize) -> Belief {
        if enrolled_people == 0 {
            return Belief {
                best: 0.0,
                other: 0.0,
                stranger: 1.0,
            };
        }
        #[expect(clippy::cast_precision_loss, reason = "no gallery has 2^52 people")]
        let people = enrolled_people as f64;
        let [lowest, highest] = self.cosine_range;
        let s = f64::from(cosine).max(lowest).min(highest);
        let prior = self.prior_known;
        let likelihood_ratio = (self.lr_intercept + self.lr_slope * s).exp();
        // Far below both means the quotient is one of two tiny tails; a lower photo of the same person is never likelier
        // than one of another person there.
        let lower_same = normal_cdf(s, self.same_mean, self.same_sd);
        let lower_different = normal_cdf(s, self.different_mean, self.different_sd);
        let lower = if lower_different > 0.0 {
            (lower_same / lower_different).min(1.0)
        } else {
            1.0
        };
        let best = prior * likelihood_ratio;
        let other = prior * (people - 1.0) * lower;
        let stranger = (1.0 - prior) * people;
        let sum = best + other + stranger;
        Belief {
            best: best / sum,
            other: other / sum,
            stranger: stranger / sum,
        }
    }
}

fn normal_cdf(x: f64, mean: f64, sd: f64) -> f64 {
    0.5 * libm::erfc((mean - x) / (sd * std::f64::consts::SQRT_2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::CALIBRATION;
    use super::*;

    proptest! {
        #[test]
        fn beliefs_are_probabilities(cosine in -1.0_f32..=1.0, people in 1_usize..10_000, prior in 0.01_f64..0.99) {
            let belief = Calibration { prior_known: prior, ..CALIBRATION }.belief(cosine, people);
            for part in [belief.best, belief.other, belief.stranger] {
                prop_assert!((0.0..=1.0).contains(&part), "{:?}", belief);
            }
            prop_assert!((belief.best + belief.other + belief.stranger - 1.0).abs() < 1e-9);
        }

        #[test]
        fn a_better_match_is_more_surely_the_visitor(a in -1.0_f32..=1.0, b in -1.0_f32..=1.0, people in 1_usize..1_000) {
            let (low, high) = (a.min(b), a.max(b));
            let (low, high) = (CALIBRATION.belief(low, people), CALIBRATION.belief(high, people));
            prop_assert!(low.best <= high.best + 1e-12);
            prop_assert!(low.stranger + 1e-12 >= high.stranger || low.other + 1e-12 < high.other);
        }

        #[test]
        fn a_larger_gallery_is_less_sure(cosine in -1.0_f32..=1.0, people in 1_usize..1_000) {
            prop_assert!(CALIBRATION.belief(cosine, people).best > CALIBRATION.belief(cosine, people + 1).best);
        }
    }

    #[test]
    fn a_higher_prior_is_surer_and_nobody_enrolled_means_a_stranger() {
        let likely = Calibration {
            prior_known: 0.9,
            ..CALIBRATION
        };
        assert!(likely.belief(0.4, 5).best > CALIBRATION.belief(0.4, 5).best);
        assert_eq!(
            CALIBRATION.belief(0.9, 0),
            Belief {
                best: 0.0,
                other: 0.0,
                stranger: 1.0
            }
        );
    }

    #[test]
    fn one_person_and_an_even_prior_is_the_likelihood_ratio() {
        let belief = CALIBRATION.belief(0.4, 1);
        let odds = belief.best / belief.stranger;
        assert!(
            (odds - (-10.0_f64 + 30.0 * f64::from(0.4_f32)).exp()).abs() < 1e-9,
            "{odds}"
        );
    }
}
