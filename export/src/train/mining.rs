//! Which triplets of a batch to learn from: anchor and positive show one person, the negative another one.
//!
//! `random` is what the original project did; `semi-hard` is FaceNet's (Schroff, Kalenichenko and Philbin 2015, arXiv
//! 1503.03832, section 3.2); `batch-hard` is from "In defense of the triplet loss for person re-identification"
//! (Hermans, Beyer and Leibe 2017, arXiv 1703.07737, section 2).

use clap::ValueEnum;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// How triplets are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mining {
    /// For each pair of one person any face of another person
    Random,
    /// For each pair the nearest face of another person that is farther than the positive, but by less than the margin
    SemiHard,
    /// For each face the farthest of the same person and the nearest of another one
    BatchHard,
}

/// Places in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Triplet {
    /// A face.
    pub anchor: usize,
    /// Another face of that person.
    pub positive: usize,
    /// A face of somebody else.
    pub negative: usize,
}

/// Chooses triplets of a batch of `people.len()` faces; `distances` holds the squared distances of their embeddings, row
/// after row. A face without a second one of its person is no anchor; a batch of one person has no triplets.
pub fn mine(mining: Mining, people: &[usize], distances: &[f32], margin: f32, random: &mut StdRng) -> Vec<Triplet> {
    let size = people.len();
    let distance = |a: usize, b: usize| distances.get(a * size + b).copied().unwrap_or(f32::NAN);
    let mut triplets = Vec::new();
    for anchor in 0..size {
        let positives = (0..size).filter(|&other| other != anchor && people[other] == people[anchor]);
        let negatives = || (0..size).filter(|&other| people[other] != people[anchor]);
        match mining {
            Mining::Random => {
                let negatives: Vec<usize> = negatives().collect();
                if negatives.is_empty() {
                    return triplets;
                }
                // Each pair once: the loss is the same from the other side but for the negative.
                triplets.extend(positives.filter(|&positive| positive > anchor).map(|positive| Triplet {
                    anchor,
                    positive,
                    negative: negatives[random.random_range(0..negatives.len())],
                }));
            }
            Mining::SemiHard => {
                for positive in positives {
                    let near = distance(anchor, positive);
                    let within = |&negative: &usize| {
                        let far = distance(anchor, negative);
                        far > near && far < near + margin
                    };
                    let hardest = negatives()
                        .filter(within)
                        .min_by(|&a, &b| distance(anchor, a).total_cmp(&distance(anchor, b)));
                    triplets.extend(hardest.map(|negative| Triplet {
                        anchor,
                        positive,
                        negative,
                    }));
                }
            }
            Mining::BatchHard => {
                let by_distance = |&a: &usize, &b: &usize| distance(anchor, a).total_cmp(&distance(anchor, b));
                let farthest = positives.max_by(by_distance);
                let nearest = negatives().min_by(by_distance);
                triplets.extend(farthest.zip(nearest).map(|(positive, negative)| Triplet {
                    anchor,
                    positive,
                    negative,
                }));
            }
        }
    }
    triplets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    const MARGIN: f32 = 0.2;

    fn distances_of(points: &[[f32; 2]]) -> Vec<f32> {
        points
            .iter()
            .flat_map(|a| points.iter().map(|b| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)))
            .collect()
    }

    /// All triplets there are, by the definition.
    fn every_triplet(people: &[usize]) -> Vec<Triplet> {
        let all = 0..people.len();
        let mut triplets = Vec::new();
        for anchor in all.clone() {
            for positive in all.clone() {
                for negative in all.clone() {
                    if anchor != positive && people[anchor] == people[positive] && people[anchor] != people[negative] {
                        triplets.push(Triplet {
                            anchor,
                            positive,
                            negative,
                        });
                    }
                }
            }
        }
        triplets
    }

    /// Semi-hard and batch-hard, naively: out of all triplets, by the papers' words.
    fn naive(mining: Mining, people: &[usize], distances: &[f32]) -> BTreeSet<Triplet> {
        let d = |a: usize, b: usize| distances[a * people.len() + b];
        let all = every_triplet(people);
        all.iter()
            .copied()
            .filter(|t| match mining {
                Mining::Random => true,
                Mining::SemiHard => {
                    let semi = |t: &Triplet| {
                        let (near, far) = (d(t.anchor, t.positive), d(t.anchor, t.negative));
                        far > near && far < near + MARGIN
                    };
                    semi(t)
                        && all.iter().all(|o| {
                            (o.anchor, o.positive) != (t.anchor, t.positive)
                                || !semi(o)
                                || d(o.anchor, o.negative) >= d(t.anchor, t.negative)
                        })
                }
                Mining::BatchHard => all.iter().all(|o| {
                    o.anchor != t.anchor
                        || d(o.anchor, o.positive) <= d(t.anchor, t.positive)
                            && d(o.anchor, o.negative) >= d(t.anchor, t.negative)
                }),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_chosen_are_those_of_the_definition(
            faces in proptest::collection::vec((0_usize..4, -1.0_f32..1.0, -1.0_f32..1.0), 0..14),
            seed in any::<u64>(),
        ) {
            let people: Vec<usize> = faces.iter().map(|face| face.0).collect();
            // Distances without ties, so that the hardest is one.
            let points: Vec<[f32; 2]> = faces.iter().map(|face| [face.1, face.2]).collect();
            let distances = distances_of(&points);
            let mut random = StdRng::seed_from_u64(seed);
            for mining in [Mining::SemiHard, Mining::BatchHard] {
                let mined = mine(mining, &people, &distances, MARGIN, &mut random);
                prop_assert_eq!(mined.iter().copied().collect::<BTreeSet<_>>(), naive(mining, &people, &distances));
                prop_assert_eq!(mined.iter().collect::<BTreeSet<_>>().len(), mined.len());
            }
            let all: BTreeSet<Triplet> = every_triplet(&people).into_iter().collect();
            let mined = mine(Mining::Random, &people, &distances, MARGIN, &mut random);
            prop_assert!(mined.iter().all(|t| all.contains(t)));
            let pairs: BTreeSet<_> = all.iter().filter(|t| t.anchor < t.positive).map(|t| (t.anchor, t.positive)).collect();
            prop_assert_eq!(mined.iter().map(|t| (t.anchor, t.positive)).collect::<BTreeSet<_>>(), pairs);
        }
    }

    #[test]
    fn one_person_alone_has_no_triplets() {
        let distances = distances_of(&[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]);
        for mining in [Mining::Random, Mining::SemiHard, Mining::BatchHard] {
            let mut random = StdRng::seed_from_u64(1);
            assert!(mine(mining, &[7, 7, 7], &distances, MARGIN, &mut random).is_empty());
        }
    }
}
