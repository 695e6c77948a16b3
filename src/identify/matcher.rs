//! Comparing a face with every enrolled one.

use std::sync::Arc;

use super::{Answer, Candidate, Identification, Identifier, MAX_RANKED, SimilarTo};
use crate::embed::{Embedded, Embedding};
use crate::gallery::{Person, Vectors};
use crate::model::{Calibration, Thresholds};

/// Values that are multiplied side by side; wide enough for two AVX registers, so that the compiler needs no promise
/// about the order of a sum.
const LANES: usize = 16;

/// The gallery's vectors of one space, in one block of memory. A person's score is the best of their faces.
#[derive(Debug, Clone)]
pub struct GalleryMatcher {
    people: Vec<Enrolled>,
    /// One row after the other, people in order, each row padded with zeros to a multiple of [`LANES`].
    rows: Vec<f32>,
    /// Values of a vector, and of a padded row.
    values: usize,
    row_len: usize,
    thresholds: Thresholds,
    calibration: Calibration,
}

#[derive(Debug, Clone)]
struct Enrolled {
    person: Arc<Person>,
    /// Number of rows.
    faces: usize,
}

impl GalleryMatcher {
    /// A matcher over `everybody`, whose vectors are of one length; people without a vector are left out.
    pub fn new(everybody: Vec<Vectors>, thresholds: Thresholds, calibration: Calibration) -> Self {
        let values = everybody
            .iter()
            .flat_map(|one| &one.faces)
            .map(|face| face.as_slice().len())
            .next()
            .unwrap_or(0);
        let row_len = values.next_multiple_of(LANES);
        let mut rows = Vec::new();
        let mut people = Vec::new();
        for one in everybody {
            for face in &one.faces {
                let end = rows.len() + row_len;
                rows.extend_from_slice(face.as_slice());
                rows.resize(end, 0.0);
            }
            if !one.faces.is_empty() {
                people.push(Enrolled {
                    person: Arc::new(one.person),
                    faces: one.faces.len(),
                });
            }
        }
        Self {
            people,
            rows,
            values,
            row_len,
            thresholds,
            calibration,
        }
    }

    /// The nearest people, best first. The only allocation of a call.
    fn rank(&self, embedding: &Embedding) -> Vec<Candidate> {
        let mut ranked: Vec<Candidate> = Vec::with_capacity(MAX_RANKED.min(self.people.len()));
        // A vector of another length is of another space, and like nobody.
        if embedding.as_slice().len() != self.values {
            debug_assert!(self.people.is_empty(), "a vector of another space");
            return ranked;
        }
        let mut rows = self.rows.chunks_exact(self.row_len.max(1));
        for enrolled in &self.people {
            let similarity = rows
                .by_ref()
                .take(enrolled.faces)
                .map(|row| dot(embedding.as_slice(), row))
                .fold(f32::NEG_INFINITY, f32::max)
                .clamp(-1.0, 1.0);
            let place = ranked.partition_point(|better| better.similarity >= similarity);
            if place < MAX_RANKED {
                ranked.truncate(MAX_RANKED - 1);
                ranked.insert(
                    place,
                    Candidate {
                        person: Arc::clone(&enrolled.person),
                        similarity,
                    },
                );
            }
        }
        ranked
    }
}

impl GalleryMatcher {
    /// As [`Identifier::identify`], which needs no more than the unit vector here.
    pub fn identify(&self, embedding: &Embedding) -> Identification {
        let ranked = self.rank(embedding);
        let Some(best) = ranked.first() else {
            return Identification {
                answer: Answer::Unknown {
                    confidence: 1.0,
                    similar_to: None,
                },
                ranked,
            };
        };
        let belief = self.calibration.belief(best.similarity, self.people.len());
        let person = Arc::clone(&best.person);
        let is_near = best.similarity >= self.thresholds.cosine;
        let is_clear = ranked
            .get(1)
            .is_none_or(|runner_up| best.similarity - runner_up.similarity >= self.thresholds.margin_cosine);
        let answer = if is_near && is_clear {
            Answer::Known {
                person,
                confidence: belief.best,
            }
        } else {
            let similar_to = Some(SimilarTo {
                person,
                confidence: belief.best,
            });
            Answer::Unknown {
                confidence: belief.stranger,
                similar_to,
            }
        };
        Identification { answer, ranked }
    }
}

impl Identifier for GalleryMatcher {
    fn identify(&self, embedded: &Embedded) -> Identification {
        self.identify(&embedded.embedding)
    }

    fn people(&self) -> usize {
        self.people.len()
    }
}

/// Dot product of a vector and a row that may be padded.
fn dot(vector: &[f32], row: &[f32]) -> f32 {
    let (blocks, rest) = vector.as_chunks::<LANES>();
    let (row_blocks, row_rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in blocks.iter().zip(row_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest_of_row = row_blocks.get(blocks.len()).map_or(row_rest, |block| block.as_slice());
    let tail: f32 = rest.iter().zip(rest_of_row).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::super::tests::{CALIBRATION, THRESHOLDS};
    use super::*;
    use crate::gallery::Name;

    fn person(id: &str, faces: Vec<Embedding>) -> Vectors {
        let person = Person {
            id: id.into(),
            uid: Ulid::from(1_u128),
            name: Name::parse(id).unwrap(),
            role: None,
        };
        Vectors { person, faces }
    }

    fn unit(raw: &[f32]) -> Embedding {
        Embedding::from_raw(raw).unwrap()
    }

    fn matcher(everybody: Vec<Vectors>) -> GalleryMatcher {
        GalleryMatcher::new(everybody, THRESHOLDS, CALIBRATION)
    }

    #[test]
    fn the_best_face_of_a_person_counts() {
        let (x, y, z) = (unit(&[1.0, 0.0, 0.0]), unit(&[0.0, 1.0, 0.0]), unit(&[0.0, 0.0, 1.0]));
        let matcher = matcher(vec![person("alice", vec![x.clone(), y]), person("bob", vec![z])]);
        let said = matcher.identify(&unit(&[0.1, 0.9, 0.2]));
        assert_eq!(said.answer.person().unwrap().id, "alice");
        assert!(said.answer.confidence() > 0.9);
        let ids: Vec<_> = said
            .ranked
            .iter()
            .map(|candidate| candidate.person.id.as_str())
            .collect();
        assert_eq!(ids, ["alice", "bob"]);
        assert!((said.ranked[0].similarity - 0.9 / 0.86_f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_stranger_is_unknown_and_like_somebody() {
        let matcher = matcher(vec![person("alice", vec![unit(&[1.0, 0.0])])]);
        let said = matcher.identify(&unit(&[0.1, 1.0]));
        let Answer::Unknown {
            confidence,
            similar_to: Some(similar),
        } = said.answer
        else {
            panic!("{said:?}")
        };
        assert_eq!(similar.person.id, "alice");
        assert!(
            confidence > 0.99 && similar.confidence < 0.01,
            "{confidence} {similar:?}"
        );
    }

    #[test]
    fn twins_are_told_from_neither() {
        let matcher = matcher(vec![
            person("ann", vec![unit(&[1.0, 0.05])]),
            person("bea", vec![unit(&[1.0, -0.05])]),
        ]);
        assert!(matches!(
            matcher.identify(&unit(&[1.0, 0.001])).answer,
            Answer::Unknown {
                similar_to: Some(_),
                ..
            }
        ));
    }

    #[test]
    fn with_nobody_enrolled_everybody_is_unknown() {
        let said = matcher(Vec::new()).identify(&unit(&[1.0, 0.0]));
        assert_eq!(
            said.answer,
            Answer::Unknown {
                confidence: 1.0,
                similar_to: None
            }
        );
        assert!(said.ranked.is_empty());
    }

    proptest! {
        #[test]
        fn ranking_is_that_of_plain_cosines(
            values in 1_usize..40,
            people in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..4), 1..12),
            probe in any::<u32>(),
        ) {
            // Any numbers will do; a hash of seed and place spreads them.
            let vector = |seed: u32| {
                let raw: Vec<f32> = (0..values)
                    .map(|i| {
                        let mixed = (seed ^ (i as u32).wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
                        (mixed >> 8) as f32 / 8_388_608.0 - 1.0
                    })
                    .collect();
                unit(&raw)
            };
            let everybody: Vec<_> = people
                .iter()
                .enumerate()
                .map(|(number, seeds)| person(&format!("p{number}"), seeds.iter().map(|seed| vector(*seed)).collect()))
                .collect();
            let probe = vector(probe);
            let mut expected: Vec<f32> = everybody
                .iter()
                .map(|one| one.faces.iter().map(|face| face.cosine(&probe)).fold(-1.0, f32::max))
                .collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            let ranked = matcher(everybody).identify(&probe).ranked;
            prop_assert_eq!(ranked.len(), expected.len().min(MAX_RANKED));
            for (candidate, expected) in ranked.iter().zip(expected) {
                prop_assert!((candidate.similarity - expected).abs() < 1e-5);
            }
        }
    }
}
