//! True accept rate at a false accept rate, from all pairs of photos.

use super::{Estimate, LabelledPhoto, bootstrap_by_person, similarity};

/// The similarities of all pairs of photos, sorted downwards, with whose they are.
#[derive(Debug)]
pub struct AllPairs {
    /// Of one person.
    pub same: Vec<(f32, u32)>,
    /// Of two people.
    pub different: Vec<(f32, [u32; 2])>,
    people: usize,
}

impl AllPairs {
    /// Compares every photo with every other one.
    pub fn of(photos: &[LabelledPhoto], people: usize) -> Self {
        let (mut same, mut different) = (Vec::new(), Vec::new());
        let index = |photo: &LabelledPhoto| u32::try_from(photo.person).unwrap_or(u32::MAX);
        for (position, a) in photos.iter().enumerate() {
            for b in &photos[position + 1..] {
                if a.person == b.person {
                    same.push((similarity(a, b), index(a)));
                } else {
                    different.push((similarity(a, b), [index(a), index(b)]));
                }
            }
        }
        Self::from_similarities(same, different, people)
    }

    /// Pairs that were compared elsewhere, each with whose they are: indices below `people`.
    pub fn from_similarities(mut same: Vec<(f32, u32)>, mut different: Vec<(f32, [u32; 2])>, people: usize) -> Self {
        same.sort_by(|a, b| b.0.total_cmp(&a.0));
        different.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self {
            same,
            different,
            people,
        }
    }

    /// The similarity that the share `false_accept_rate` of the pairs of different people reaches.
    pub fn threshold_at(&self, false_accept_rate: f64) -> f32 {
        self.threshold_drawn(false_accept_rate, &vec![1; self.people])
    }

    /// The share of pairs of one person that reach the similarity which `false_accept_rate` of the pairs of different
    /// people reach; in a resample both are those of the people drawn.
    pub fn true_accept_rate_at(&self, false_accept_rate: f64, resamples: usize, seed: u64) -> Estimate {
        bootstrap_by_person(self.people, resamples, seed, |drawn| {
            let threshold = self.threshold_drawn(false_accept_rate, drawn);
            if threshold.is_nan() {
                return f64::NAN;
            }
            let weight = |pair: &&(f32, u32)| f64::from(drawn[pair.1 as usize]);
            let total: f64 = self.same.iter().map(|pair| weight(&pair)).sum();
            let accepted: f64 = self
                .same
                .iter()
                .take_while(|pair| pair.0 > threshold)
                .map(|pair| weight(&pair))
                .sum();
            accepted / total
        })
    }

    /// NaN when one person alone was drawn, so that no pair of two people says anything.
    fn threshold_drawn(&self, false_accept_rate: f64, drawn: &[u32]) -> f32 {
        let weight = |people: &[u32; 2]| f64::from(drawn[people[0] as usize]) * f64::from(drawn[people[1] as usize]);
        let total: f64 = self.different.iter().map(|(_, people)| weight(people)).sum();
        if total == 0.0 {
            return f32::NAN;
        }
        let mut accepted = 0.0;
        for (similarity, people) in &self.different {
            accepted += weight(people);
            if accepted > false_accept_rate * total {
                return *similarity;
            }
        }
        -1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lets_the_stated_share_pass() {
        let pairs = AllPairs {
            same: vec![(0.9, 0), (0.5, 1), (0.05, 2), (0.04, 3)],
            different: (0..1000_u16).rev().map(|i| (f32::from(i) / 2000.0, [0, 1])).collect(),
            people: 4,
        };
        // 1 % of 1000 pairs may pass: those above 989/2000.
        assert!((pairs.threshold_at(0.01) - 989.0 / 2000.0).abs() < 1e-6);
        assert!((pairs.true_accept_rate_at(0.01, 0, 1).value - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_draw_of_one_person_alone_counts_for_nothing() {
        // Of two people every second draw is one of them twice; without pairs of two people all would be accepted.
        let different = (0..100_u16).map(|i| (f32::from(i) / 100.0, [0, 1])).collect();
        let pairs = AllPairs::from_similarities(vec![(0.5, 0), (0.4, 1)], different, 2);
        let rate = pairs.true_accept_rate_at(0.01, 100, 1);
        assert!(rate.value == 0.0 && rate.high == 0.0, "{rate:?}");
    }
}
