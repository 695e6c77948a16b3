//! Comparing a face with every enrolled one.

use std::sync::Arc;

use super::{Answer, Candidate, Doubt, Identification, Identifier, MAX_RANKED, SimilarTo, Strictness};
use crate::embed::{Embedded, Embedding};
use crate::gallery::{Person, Vectors};
use crate::model::{Calibration, Thresholds};

/// Values that are multiplied side by side; wide enough for two AVX registers, so that the compiler needs no promise
/// about the order of a sum.
const LANES: usize = 16;

/// A person is ruled out unless one of their faces is nearer, by so much cosine similarity, than all of their negative
/// examples; `docs/design/confidence.md` has the measurement.
const LEAD_OVER_NEGATIVES_COSINE: f32 = 0.05;

/// A name that is likelier wrong than right is not said. It asks for more than the threshold where many are enrolled
/// (31 with the shipped calibration), since among many somebody is near.
const LEAST_CONFIDENCE: f64 = 0.5;

/// The gallery's vectors of one space, in one block of memory. A person's score is the best of their faces.
#[derive(Debug, Clone)]
pub struct GalleryMatcher {
    people: Vec<Enrolled>,
    /// One row after the other, people in order, each person's faces before the negative examples, each row padded with
    /// zeros to a multiple of [`LANES`].
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
    negatives: usize,
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
        for one in everybody.into_iter().filter(|one| !one.faces.is_empty()) {
            for face in one.faces.iter().chain(&one.negatives) {
                let end = rows.len() + row_len;
                rows.extend_from_slice(face.as_slice());
                rows.resize(end, 0.0);
            }
            people.push(Enrolled {
                person: Arc::new(one.person),
                faces: one.faces.len(),
                negatives: one.negatives.len(),
            });
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

    /// The nearest people, best first.
    fn rank(&self, embedding: &Embedding) -> Ranked {
        let mut ranked = Ranked {
            possible: Vec::with_capacity(MAX_RANKED.min(self.people.len())),
            ruled_out: Vec::new(),
        };
        // A vector of another length is of another space, and like nobody.
        if embedding.as_slice().len() != self.values {
            debug_assert!(self.people.is_empty(), "a vector of another space");
            return ranked;
        }
        let mut rows = self.rows.chunks_exact(self.row_len.max(1));
        for enrolled in &self.people {
            let mut nearest = |count: usize| {
                rows.by_ref()
                    .take(count)
                    .map(|row| dot(embedding.as_slice(), row))
                    .fold(f32::NEG_INFINITY, f32::max)
                    .clamp(-1.0, 1.0)
            };
            let similarity = nearest(enrolled.faces);
            let negative = (enrolled.negatives > 0).then(|| nearest(enrolled.negatives));
            let ruled_out_by = negative.filter(|negative| similarity < *negative + LEAD_OVER_NEGATIVES_COSINE);
            let list = match ruled_out_by {
                None => &mut ranked.possible,
                Some(_) => &mut ranked.ruled_out,
            };
            let place = list.partition_point(|better| better.similarity >= similarity);
            if place < MAX_RANKED {
                list.truncate(MAX_RANKED - 1);
                list.insert(
                    place,
                    Candidate {
                        person: Arc::clone(&enrolled.person),
                        similarity,
                        ruled_out_by,
                    },
                );
            }
        }
        ranked
    }

    /// As [`Identifier::identify`] with the model's thresholds; it needs no more than the unit vector here.
    pub fn identify(&self, embedding: &Embedding) -> Identification {
        self.identify_as(embedding, &Strictness::default())
    }

    fn identify_as(&self, embedding: &Embedding, strictness: &Strictness) -> Identification {
        let ranked = self.rank(embedding);
        let doubt = self.doubt(&ranked, strictness);
        Identification {
            answer: self.answer(&ranked.possible, doubt),
            doubt,
            ranked: ranked.together(),
        }
    }

    /// From which cosine similarity on a face is `person`'s.
    fn threshold(&self, person: &Person, strictness: &Strictness) -> f32 {
        let own = person.threshold_cosine.or(strictness.threshold_cosine);
        own.unwrap_or(self.thresholds.cosine)
    }

    /// Why the best of `ranked` is not to be named, if so.
    fn doubt(&self, ranked: &Ranked, strictness: &Strictness) -> Option<Doubt> {
        let best = ranked.possible.first();
        let is_near = |one: &Candidate| one.similarity >= self.threshold(&one.person, strictness);
        if let Some(best) = best.filter(|best| is_near(best)) {
            if let Some(runner_up) = ranked.possible.get(1) {
                let margin = best.similarity - runner_up.similarity;
                let least = self.thresholds.margin_cosine;
                if margin < least {
                    return Some(Doubt::MarginTooThin { margin, least });
                }
            }
            // Who chose a threshold has weighed that.
            let is_chosen = best.person.threshold_cosine.or(strictness.threshold_cosine).is_some();
            let people = self.people.len();
            let confidence = self.calibration.belief(best.similarity, people).best;
            return (!is_chosen && confidence < LEAST_CONFIDENCE)
                .then_some(Doubt::LikelierWrong { confidence, people });
        }
        let ruled_out = ranked.ruled_out.first().filter(|one| is_near(one));
        Some(match (ruled_out, best) {
            (Some(one), _) => Doubt::NegativeExample {
                similarity: one.similarity,
                negative: one.ruled_out_by.unwrap_or(one.similarity),
            },
            (None, Some(best)) => Doubt::BelowThreshold {
                similarity: best.similarity,
                threshold: self.threshold(&best.person, strictness),
            },
            (None, None) => match ranked.ruled_out.first() {
                Some(one) => Doubt::BelowThreshold {
                    similarity: one.similarity,
                    threshold: self.threshold(&one.person, strictness),
                },
                None => Doubt::NobodyEnrolled,
            },
        })
    }

    /// What `possible` people, best first, mean where there is this doubt.
    fn answer(&self, possible: &[Candidate], doubt: Option<Doubt>) -> Answer {
        let Some(best) = possible.first() else {
            return Answer::Unknown {
                confidence: 1.0,
                similar_to: None,
            };
        };
        let belief = self.calibration.belief(best.similarity, self.people.len());
        let person = Arc::clone(&best.person);
        if doubt.is_none() {
            Answer::Known {
                person,
                confidence: belief.best,
            }
        } else {
            Answer::Unknown {
                confidence: belief.stranger,
                similar_to: Some(SimilarTo {
                    person,
                    confidence: belief.best,
                }),
            }
        }
    }
}

/// Two lists, best first, each of at most [`MAX_RANKED`].
struct Ranked {
    possible: Vec<Candidate>,
    /// Those of whom a negative example is nearer.
    ruled_out: Vec<Candidate>,
}

impl Ranked {
    /// Both in one list of at most [`MAX_RANKED`], best first.
    fn together(self) -> Vec<Candidate> {
        let mut all = self.possible;
        if !self.ruled_out.is_empty() {
            all.extend(self.ruled_out);
            // Stable: of equals, one who is possible comes first.
            all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
            all.truncate(MAX_RANKED);
        }
        all
    }
}

impl Identifier for GalleryMatcher {
    fn identify(&self, embedded: &Embedded, strictness: &Strictness) -> Identification {
        self.identify_as(&embedded.embedding, strictness)
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
        Vectors {
            person: Person::new(id, Ulid::from(1_u128), Name::parse(id).unwrap()),
            faces,
            negatives: Vec::new(),
        }
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
        let said = matcher.identify(&unit(&[1.0, 0.001]));
        assert!(matches!(
            said.answer,
            Answer::Unknown {
                similar_to: Some(_),
                ..
            }
        ));
        assert!(matches!(said.doubt, Some(Doubt::MarginTooThin { margin, .. }) if margin < 0.05));
    }

    /// Among 505 people a stranger was named with a confidence of 10 %.
    #[test]
    fn among_many_a_name_that_is_likelier_wrong_is_not_said() {
        let crowd = |people: usize| {
            let mut crowd = vec![person("alice", vec![unit(&[1.0, 0.0, 0.0])])];
            crowd.extend((1..people).map(|other| person(&format!("p{other}"), vec![unit(&[0.0, 1.0, 0.0])])));
            matcher(crowd)
        };
        let cosine = 0.45;
        let seen = unit(&[cosine, 0.0, (1.0 - cosine * cosine).sqrt()]);
        assert!(cosine > THRESHOLDS.cosine);
        assert_eq!(crowd(2).identify(&seen).answer.person().unwrap().id, "alice");
        let said = crowd(2_000).identify(&seen);
        assert!(
            matches!(said.doubt, Some(Doubt::LikelierWrong { confidence, people: 2_000 }) if confidence < 0.5),
            "{said:?}"
        );
        assert!(
            matches!(&said.answer, Answer::Unknown { similar_to: Some(similar), .. } if similar.person.id == "alice")
        );
        // Who asks for less gets it.
        let chosen = Strictness {
            threshold_cosine: Some(0.4),
            ..Strictness::default()
        };
        assert!(crowd(2_000).identify_as(&seen, &chosen).answer.person().is_some());
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

    #[test]
    fn a_nearer_negative_rules_somebody_out_and_others_stay_possible() {
        let mut alice = person("alice", vec![unit(&[1.0, 0.0, 0.0])]);
        alice.negatives = vec![unit(&[0.9, 0.3, 0.0])];
        let bob = person("bob", vec![unit(&[0.8, 0.6, 0.0])]);
        let matcher = matcher(vec![alice, bob]);
        // Nearer to the negative than to Alice, and near enough to Bob, who was the runner-up.
        let said = matcher.identify(&unit(&[0.9, 0.35, 0.0]));
        assert_eq!(said.answer.person().unwrap().id, "bob");
        let alice = said.ranked.iter().find(|one| one.person.id == "alice").unwrap();
        assert!(alice.ruled_out_by.unwrap() > alice.similarity);
        // Alice herself is still known.
        let said = matcher.identify(&unit(&[1.0, -0.05, 0.0]));
        assert_eq!(said.answer.person().unwrap().id, "alice");
        assert_eq!(said.ranked[0].ruled_out_by, None);
    }

    #[test]
    fn somebody_who_is_ruled_out_is_not_even_similar() {
        let mut alice = person("alice", vec![unit(&[1.0, 0.0])]);
        alice.negatives = vec![unit(&[0.8, 0.6])];
        let said = matcher(vec![alice]).identify(&unit(&[0.8, 0.6]));
        assert_eq!(
            said.answer,
            Answer::Unknown {
                confidence: 1.0,
                similar_to: None
            }
        );
        assert_eq!(said.ranked.len(), 1);
        assert!(matches!(said.doubt, Some(Doubt::NegativeExample { negative, .. }) if negative > 0.99));
    }

    #[test]
    fn a_persons_own_threshold_wins() {
        let with = |threshold| {
            let mut alice = person("alice", vec![unit(&[1.0, 0.0])]);
            alice.person.threshold_cosine = threshold;
            matcher(vec![alice])
        };
        // A cosine of 0.6; the model's threshold is 0.4.
        let probe = unit(&[0.6, 0.8]);
        for (threshold, is_known) in [(None, true), (Some(0.7), false), (Some(0.5), true)] {
            let said = with(threshold).identify(&probe);
            assert_eq!(said.answer.person().is_some(), is_known, "{threshold:?}");
        }
        // A camera's threshold wins over the model's, and loses to the person's.
        for (threshold, camera, is_known) in [
            (None, 0.7, false),
            (None, 0.5, true),
            (Some(0.5), 0.7, true),
            (Some(0.7), 0.5, false),
        ] {
            let strictness = Strictness {
                threshold_cosine: Some(camera),
                ..Strictness::default()
            };
            let said = with(threshold).identify_as(&probe, &strictness);
            assert_eq!(
                said.answer.person().is_some(),
                is_known,
                "{threshold:?}, camera {camera}"
            );
            let below =
                matches!(said.doubt, Some(Doubt::BelowThreshold { threshold, .. }) if (threshold - 0.7).abs() < 1e-6);
            assert_eq!(below, !is_known, "{said:?}");
        }
        assert!(with(Some(0.2)).identify(&unit(&[0.3, 1.0])).answer.person().is_some());
    }

    /// What the docs say, word by word: slow, and easy to believe.
    fn plainly(everybody: &[Vectors], probe: &Embedding) -> Option<String> {
        let nearest = |faces: &[Embedding]| faces.iter().map(|face| face.cosine(probe)).fold(-1.0, f32::max);
        let mut possible: Vec<(f32, &Person)> = everybody
            .iter()
            .filter(|one| {
                one.negatives.is_empty() || nearest(&one.faces) >= nearest(&one.negatives) + LEAD_OVER_NEGATIVES_COSINE
            })
            .map(|one| (nearest(&one.faces), &one.person))
            .collect();
        possible.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (best, person) = possible.first()?;
        let is_near = *best >= person.threshold_cosine.unwrap_or(THRESHOLDS.cosine);
        let is_clear = possible
            .get(1)
            .is_none_or(|next| best - next.0 >= THRESHOLDS.margin_cosine);
        (is_near && is_clear).then(|| person.id.clone())
    }

    /// A vector of three values on a coarse grid, so that angles are small often and never nearly equal.
    fn coarse() -> impl Strategy<Value = Embedding> {
        (1_u8..6, 0_u8..6, 0_u8..6).prop_map(|(x, y, z)| unit(&[f32::from(x), f32::from(y), f32::from(z) * 0.71]))
    }

    proptest! {
        #[test]
        fn names_are_those_of_the_plain_rule(
            people in prop::collection::vec(
                (
                    prop::collection::vec(coarse(), 1..4),
                    prop::collection::vec(coarse(), 0..3),
                    prop::option::of(0.3_f32..1.0),
                ),
                0..9,
            ),
            probe in coarse(),
        ) {
            let everybody: Vec<Vectors> = people
                .into_iter()
                .enumerate()
                .map(|(number, (faces, negatives, threshold))| {
                    let mut one = person(&format!("p{number}"), faces);
                    one.negatives = negatives;
                    one.person.threshold_cosine = threshold;
                    one
                })
                .collect();
            // On a grid two people may be equally near, and two sums of one cosine differ in their last digit.
            let distances: Vec<f32> = everybody
                .iter()
                .flat_map(|one| one.faces.iter().chain(&one.negatives))
                .map(|face| face.cosine(&probe))
                .collect();
            prop_assume!(distances.iter().all(|a| {
                distances.iter().all(|b| a == b || ((a - b).abs() > 1e-5 && ((a - b).abs() - 0.05).abs() > 1e-5))
            }));
            let expected = plainly(&everybody, &probe);
            let said = matcher(everybody).identify(&probe);
            prop_assert_eq!(said.answer.person().map(|person| person.id.clone()), expected);
        }

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
