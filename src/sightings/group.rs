//! Which visits of unknown people are visits of one: a pure function.
//!
//! Visits are taken in the order in which they came. Each joins the group that it is most like, or begins one. So what
//! comes later never moves an earlier visit to another group, and a group is well named by its first visit.

use crate::embed::Embedding;

/// A visit joins a group from this cosine similarity on, between its mean vector and the mean of the group's visits;
/// `docs/design/visitors.md` has the measurement.
pub const SAME_VISITOR_COSINE: f32 = 0.6;

/// What a visit looked like.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    /// The embedding space; visits of two spaces can't be compared.
    pub space: String,
    /// The mean direction of its shots.
    pub mean: Embedding,
}

impl Looks {
    /// The mean of `shots`, each a weight above 0 and a vector of `space`. `None` where there is none, or they cancel each
    /// other out.
    pub fn of<'a>(space: &str, shots: impl IntoIterator<Item = (f32, &'a Embedding)>) -> Option<Self> {
        let mut sum: Vec<f32> = Vec::new();
        for (weight, vector) in shots {
            sum.resize(vector.as_slice().len(), 0.0);
            for (sum, value) in sum.iter_mut().zip(vector.as_slice()) {
                *sum += weight * value;
            }
        }
        Some(Self {
            space: space.to_owned(),
            mean: Embedding::from_raw(&sum)?,
        })
    }
}

/// Groups visits, which are given in the order in which they came: each group holds the numbers of its visits, in order,
/// and groups are in the order of their first visits. Groups join at `threshold_cosine`; see [`SAME_VISITOR_COSINE`].
pub fn group(visits: &[Looks], threshold_cosine: f32) -> Vec<Vec<usize>> {
    struct Group {
        visits: Vec<usize>,
        /// Of the visits' means.
        sum: Vec<f32>,
        mean: Embedding,
    }
    let mut groups: Vec<Group> = Vec::new();
    for (number, visit) in visits.iter().enumerate() {
        let likeness = |group: &Group| {
            let first = group.visits.first().and_then(|first| visits.get(*first));
            let is_comparable = first.is_some_and(|first| {
                first.space == visit.space && first.mean.as_slice().len() == visit.mean.as_slice().len()
            });
            is_comparable.then(|| group.mean.cosine(&visit.mean))
        };
        let nearest = groups
            .iter_mut()
            .filter_map(|group| Some((likeness(group)?, group)))
            .filter(|(cosine, _)| *cosine >= threshold_cosine)
            // Of equals the older one.
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        match nearest {
            Some((_, group)) => {
                group.visits.push(number);
                for (sum, value) in group.sum.iter_mut().zip(visit.mean.as_slice()) {
                    *sum += value;
                }
                // Members are within a right angle of their group's mean, so a sum is never zero.
                if let Some(mean) = Embedding::from_raw(&group.sum) {
                    group.mean = mean;
                }
            }
            None => groups.push(Group {
                visits: vec![number],
                sum: visit.mean.as_slice().to_vec(),
                mean: visit.mean.clone(),
            }),
        }
    }
    groups.into_iter().map(|group| group.visits).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn looks(space: &str, raw: &[f32]) -> Looks {
        Looks {
            space: space.to_owned(),
            mean: Embedding::from_raw(raw).unwrap(),
        }
    }

    #[test]
    fn visits_of_one_stranger_are_one_group() {
        let visits = [
            looks("s", &[1.0, 0.1, 0.0]),
            looks("s", &[0.0, 1.0, 0.1]),
            looks("s", &[0.9, 0.0, 0.1]),
            // Another model's vectors: comparable with nobody.
            looks("t", &[1.0, 0.1, 0.0]),
            looks("s", &[0.1, 0.9, 0.0]),
        ];
        assert_eq!(group(&visits, 0.6), [vec![0, 2], vec![1, 4], vec![3]]);
        assert!(group(&[], 0.6).is_empty());
    }

    #[test]
    fn good_shots_weigh_more_in_a_visits_looks() {
        let (x, y) = (looks("s", &[1.0, 0.0]).mean, looks("s", &[0.0, 1.0]).mean);
        let mean = Looks::of("s", [(3.0, &x), (1.0, &y)]).unwrap().mean;
        assert!((mean.as_slice()[0] / mean.as_slice()[1] - 3.0).abs() < 1e-5);
        assert_eq!(Looks::of("s", []), None);
    }

    fn any_visits() -> impl Strategy<Value = Vec<Looks>> {
        let visit = (prop::sample::select(vec!["s", "t"]), -9_i8..9, -9_i8..9, 1_i8..9)
            .prop_map(|(space, x, y, z)| looks(space, &[f32::from(x), f32::from(y), f32::from(z)]));
        prop::collection::vec(visit, 0..25)
    }

    proptest! {
        #[test]
        fn each_visit_is_in_one_group_of_one_space(visits in any_visits(), threshold in 0.1_f32..1.0) {
            let groups = group(&visits, threshold);
            let mut seen: Vec<usize> = groups.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..visits.len()).collect::<Vec<_>>());
            for one in &groups {
                prop_assert!(one.is_sorted());
                prop_assert!(one.iter().all(|visit| visits[*visit].space == visits[one[0]].space));
            }
            prop_assert!(groups.iter().map(|one| one[0]).is_sorted());
        }

        #[test]
        fn a_later_visit_moves_no_earlier_one(visits in any_visits(), threshold in 0.1_f32..1.0) {
            let all = group(&visits, threshold);
            let before = group(&visits[..visits.len().saturating_sub(1)], threshold);
            let without_last: Vec<Vec<usize>> = all
                .iter()
                .map(|one| one.iter().copied().filter(|visit| visit + 1 < visits.len()).collect::<Vec<_>>())
                .filter(|one| !one.is_empty())
                .collect();
            prop_assert_eq!(without_last, before);
        }

        #[test]
        fn a_second_visit_joins_as_the_threshold_says(a in any_visits(), threshold in 0.1_f32..1.0) {
            // The plain rule for two: nearer than the threshold, and of one space.
            for pair in a.windows(2) {
                let together = group(pair, threshold).len() == 1;
                let cosine = pair[0].mean.cosine(&pair[1].mean);
                prop_assume!((cosine - threshold).abs() > 1e-5);
                prop_assert_eq!(together, pair[0].space == pair[1].space && cosine >= threshold);
            }
        }

        #[test]
        fn the_same_visit_again_joins_the_first_or_a_nearer_one(visits in any_visits(), threshold in 0.1_f32..0.9) {
            // A group's first visit, come again, is never alone when its group has no other members.
            let groups = group(&visits, threshold);
            for one in groups.iter().filter(|one| one.len() == 1) {
                let mut more = visits.clone();
                more.push(visits[one[0]].clone());
                let joined = group(&more, threshold);
                prop_assert!(!joined.contains(&vec![visits.len()]), "a double began a group of its own");
            }
        }
    }
}
