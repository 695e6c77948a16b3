//! Accuracy on labelled pairs by folds whose people don't overlap.

use super::{Estimate, bootstrap_by_person};

/// A pair of photos with what is true and what was measured.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The two people; the same index twice for a pair of one person.
    pub people: [usize; 2],
    /// Cosine similarity of the photos.
    pub similarity: f32,
    /// Index of the fold that both people are in.
    pub fold: usize,
}

impl Pair {
    fn is_right(&self, threshold: f32) -> bool {
        (self.similarity >= threshold) == self.is_same()
    }

    fn is_same(&self) -> bool {
        self.people[0] == self.people[1]
    }
}

/// The share of pairs of each fold that are judged rightly with the threshold that is best on the other folds, averaged
/// over the folds; the interval comes from resampling people.
pub fn accuracy(pairs: &[Pair], folds: usize, people: usize, resamples: usize, seed: u64) -> Estimate {
    bootstrap_by_person(people, resamples, seed, |drawn| {
        let weight = |pair: &Pair| match pair.people {
            [a, b] if a == b => f64::from(drawn[a]),
            [a, b] => f64::from(drawn[a]) * f64::from(drawn[b]),
        };
        let weighted: Vec<(Pair, f64)> = pairs.iter().map(|pair| (*pair, weight(pair))).collect();
        let (mut sum, mut counted) = (0.0, 0.0);
        for fold in 0..folds {
            let (tested, trained): (Vec<_>, Vec<_>) = weighted.iter().partition(|(pair, _)| pair.fold == fold);
            let threshold = best_threshold(&trained);
            let total: f64 = tested.iter().map(|(_, weight)| weight).sum();
            if total > 0.0 {
                let right: f64 = tested
                    .iter()
                    .filter(|(pair, _)| pair.is_right(threshold))
                    .map(|(_, weight)| weight)
                    .sum();
                sum += right / total;
                counted += 1.0;
            }
        }
        sum / counted
    })
}

/// The threshold that judges most weight rightly; midway between two similarities.
fn best_threshold(pairs: &[(Pair, f64)]) -> f32 {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| b.0.similarity.total_cmp(&a.0.similarity));
    // From "nobody is the same" downwards: each step accepts one more pair.
    let mut right: f64 = sorted
        .iter()
        .filter(|(pair, _)| !pair.is_same())
        .map(|(_, weight)| weight)
        .sum();
    let (mut best, mut threshold) = (right, 1.0_f32);
    for (index, (pair, weight)) in sorted.iter().enumerate() {
        right += if pair.is_same() { *weight } else { -weight };
        if right > best {
            best = right;
            let next = sorted.get(index + 1).map_or(-1.0, |(pair, _)| pair.similarity);
            threshold = f32::midpoint(pair.similarity, next);
        }
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_pairs_are_all_right_and_one_overlap_costs_its_share() {
        let mut pairs: Vec<Pair> = (0..40)
            .map(|index| {
                let same = index % 2 == 0;
                let people = if same {
                    [index, index]
                } else {
                    [index, (index + 4) % 40]
                };
                Pair {
                    people,
                    similarity: if same { 0.7 } else { 0.1 },
                    fold: index % 10,
                }
            })
            .collect();
        let all = accuracy(&pairs, 10, 40, 20, 1);
        assert!((all.value - 1.0).abs() < 1e-9 && all.low > 0.99);
        pairs[0].similarity = 0.0;
        let one_wrong = accuracy(&pairs, 10, 40, 20, 1);
        assert!((one_wrong.value - 0.975).abs() < 1e-9, "{one_wrong:?}");
    }
}
