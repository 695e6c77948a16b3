//! How many held-out faces get the right name when everybody is known.

use std::collections::BTreeMap;

use kith::verification::{Estimate, bootstrap_by_person};
use serde::Serialize;

use super::interval::RESAMPLES;
use super::{Answer, FoldRun, Head, Sample, ask, best, dot};

/// The gallery's most similar face, for each face asked about.
///
/// # Errors
/// When the gallery is empty.
pub fn nearest_neighbour(train: &[Sample], asked: &[&Sample]) -> anyhow::Result<Vec<Answer>> {
    asked
        .iter()
        .map(|face| {
            best(train.iter().map(|known| (known.person, known.cosine(face))))
                .ok_or_else(|| anyhow::anyhow!("there is nobody to compare {} with", face.file))
        })
        .collect()
}

/// The person whose mean embedding, scaled to unit length, is most similar, for each face asked about.
///
/// # Errors
/// When the gallery is empty.
pub fn class_centre(train: &[Sample], asked: &[&Sample]) -> anyhow::Result<Vec<Answer>> {
    let mut centres: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for sample in train {
        let centre = centres
            .entry(sample.person)
            .or_insert_with(|| vec![0.0; sample.embedding.len()]);
        for (sum, value) in centre.iter_mut().zip(&sample.embedding) {
            *sum += value;
        }
    }
    for centre in centres.values_mut() {
        let length = dot(centre, centre).sqrt().max(f32::MIN_POSITIVE);
        for value in centre {
            *value /= length;
        }
    }
    asked
        .iter()
        .map(|face| {
            best(
                centres
                    .iter()
                    .map(|(person, centre)| (*person, dot(centre, &face.embedding))),
            )
            .ok_or_else(|| anyhow::anyhow!("there is nobody to compare {} with", face.file))
        })
        .collect()
}

/// The answers of all folds by one method.
#[derive(Debug, Default)]
pub struct Answers {
    /// File, true person, answer.
    given: Vec<(String, usize, Answer)>,
}

impl Answers {
    /// Adds a fold's answers by distance.
    ///
    /// # Errors
    /// What `method` says.
    pub fn add_by(
        &mut self,
        run: &FoldRun<'_>,
        method: impl Fn(&[Sample], &[&Sample]) -> anyhow::Result<Vec<Answer>>,
    ) -> anyhow::Result<()> {
        let asked: Vec<&Sample> = run.test.iter().collect();
        self.extend(&asked, method(run.train, &asked)?);
        Ok(())
    }

    /// Trains a head on the fold's gallery and adds its answers.
    ///
    /// # Errors
    /// What the head says, or that its answer is no distribution.
    pub fn add_by_head(&mut self, run: &FoldRun<'_>, head: &mut Head<'_>) -> anyhow::Result<()> {
        let asked: Vec<&Sample> = run.test.iter().collect();
        self.extend(&asked, ask(head, run.train, &asked)?);
        Ok(())
    }

    fn extend(&mut self, asked: &[&Sample], answers: Vec<Answer>) {
        self.given.extend(
            asked
                .iter()
                .zip(answers)
                .map(|(face, answer)| (face.file.clone(), face.person, answer)),
        );
    }

    /// Score, and whether it was right, of each answer.
    pub fn scores(&self) -> impl Iterator<Item = (f32, bool)> {
        self.given
            .iter()
            .map(|(_, person, answer)| (answer.score, answer.person == *person))
    }

    /// The figures; `people` is how many people the folder has. `None` when nothing was asked.
    pub fn figures(&self, people: usize, seed: u64) -> Option<ClosedSet> {
        if self.given.is_empty() {
            return None;
        }
        let mut confusion = vec![vec![0; people]; people];
        // Photos and right answers of each person who was asked about.
        let mut counts: BTreeMap<usize, (u32, u32)> = BTreeMap::new();
        for (_, person, answer) in &self.given {
            if let Some(cell) = confusion.get_mut(*person).and_then(|row| row.get_mut(answer.person)) {
                *cell += 1;
            }
            let (photos, right) = counts.entry(*person).or_default();
            *photos += 1;
            *right += u32::from(answer.person == *person);
        }
        let counts: Vec<(u32, u32)> = counts.into_values().collect();
        let by_person = bootstrap_by_person(counts.len(), RESAMPLES, seed, |drawn| {
            let (photos, right) = counts
                .iter()
                .zip(drawn)
                .fold((0, 0), |(photos, right), (count, times)| {
                    (photos + count.0 * times, right + count.1 * times)
                });
            f64::from(right) / f64::from(photos)
        });
        let is_right: Vec<bool> = self.scores().map(|(_, is_right)| is_right).collect();
        let by_photo = bootstrap_by_person(is_right.len(), RESAMPLES, seed, |drawn| {
            let right: u32 = drawn
                .iter()
                .zip(&is_right)
                .filter(|(_, is_right)| **is_right)
                .map(|(times, _)| times)
                .sum();
            f64::from(right) / f64::from(drawn.iter().sum::<u32>())
        });
        let mut wrong: Vec<Wrong> = self
            .given
            .iter()
            .filter(|(_, person, answer)| answer.person != *person)
            .map(|(file, person, answer)| Wrong {
                file: file.clone(),
                person: *person,
                said: answer.person,
                score: answer.score,
            })
            .collect();
        wrong.sort_by(|a, b| a.file.cmp(&b.file));
        Some(ClosedSet {
            photos: self.given.len(),
            right: self.given.len() - wrong.len(),
            accuracy_by_person: by_person,
            accuracy_by_photo: by_photo,
            confusion,
            wrong,
        })
    }
}

/// Accuracy on held-out faces of known people, all folds together.
#[derive(Debug, Clone, Serialize)]
pub struct ClosedSet {
    /// Held-out faces, each asked about once.
    pub photos: usize,
    /// Of those, named rightly.
    pub right: usize,
    /// Share named rightly; interval by resampling people.
    pub accuracy_by_person: Estimate,
    /// The same share; interval by resampling photos, as if they were independent.
    pub accuracy_by_photo: Estimate,
    /// `confusion[true person][person named]`: number of faces.
    pub confusion: Vec<Vec<usize>>,
    /// By file.
    pub wrong: Vec<Wrong>,
}

/// A face that got somebody else's name.
#[derive(Debug, Clone, Serialize)]
pub struct Wrong {
    /// The photo.
    pub file: String,
    /// Index of the person whose folder it is in.
    pub person: usize,
    /// Index of the person named.
    pub said: usize,
    /// Cosine similarity or probability.
    pub score: f32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::example::{sample, samples};
    use super::*;

    #[test]
    fn neighbour_and_centre_answer_as_naive_distances_do() {
        let all = samples(4, 12, 0.9, 7);
        let (train, test) = all.split_at(24);
        let asked: Vec<&Sample> = test.iter().collect();
        let squared = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum() };
        let mean = |person: usize| -> Vec<f32> {
            let of: Vec<_> = train.iter().filter(|sample| sample.person == person).collect();
            let sum: Vec<f64> = (0..8)
                .map(|i| of.iter().map(|s| f64::from(s.embedding[i])).sum())
                .collect();
            let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            sum.iter().map(|v| (v / length) as f32).collect()
        };
        let near = nearest_neighbour(train, &asked).unwrap();
        let centre = class_centre(train, &asked).unwrap();
        for (face, (near, centre)) in asked.iter().zip(near.iter().zip(&centre)) {
            let nearest = train
                .iter()
                .min_by(|a, b| {
                    squared(&a.embedding, &face.embedding).total_cmp(&squared(&b.embedding, &face.embedding))
                })
                .unwrap();
            assert_eq!(near.person, nearest.person);
            let distance = squared(&nearest.embedding, &face.embedding);
            assert!((2.0 - 2.0 * f64::from(near.score) - distance).abs() < 1e-5);
            let by_centre = (0..4)
                .min_by(|a, b| squared(&mean(*a), &face.embedding).total_cmp(&squared(&mean(*b), &face.embedding)))
                .unwrap();
            assert_eq!(centre.person, by_centre);
        }
    }

    #[test]
    fn an_empty_gallery_is_said_and_not_answered() {
        let face = sample(0, 0, &[1.0, 0.0]);
        assert!(
            nearest_neighbour(&[], &[&face])
                .unwrap_err()
                .to_string()
                .contains(&face.file)
        );
        assert!(class_centre(&[], &[&face]).is_err());
        assert!(Answers::default().figures(3, 1).is_none());
    }

    #[test]
    fn wrong_answers_are_listed_and_counted_in_the_matrix() {
        let train = [sample(0, 0, &[1.0, 0.0]), sample(1, 1, &[0.0, 1.0])];
        let test = [
            sample(0, 2, &[0.8, 0.6]),
            sample(0, 3, &[0.6, 0.8]),
            sample(1, 4, &[0.0, 1.0]),
            sample(1, 5, &[0.1, 0.995]),
        ];
        let mut answers = Answers::default();
        let run = FoldRun {
            fold: 0,
            train: &train,
            test: &test,
        };
        answers.add_by(&run, nearest_neighbour).unwrap();
        let figures = answers.figures(2, 1).unwrap();
        assert_eq!((figures.photos, figures.right), (4, 3));
        assert_eq!(figures.confusion, [[1, 1], [0, 2]]);
        assert_eq!(
            (figures.wrong[0].file.as_str(), figures.wrong[0].said),
            (test[1].file.as_str(), 1)
        );
        assert!((figures.accuracy_by_person.value - 0.75).abs() < 1e-9);
        // Two people, 50 % and 100 %: a draw of one of them twice is likely.
        assert!((figures.accuracy_by_person.low - 0.5).abs() < 1e-9 && figures.accuracy_by_person.high > 0.99);
    }

    proptest! {
        #[test]
        fn the_matrix_adds_up(truth in prop::collection::vec((0_usize..4, 0_usize..4), 1..60)) {
            let answers = Answers {
                given: truth
                    .iter()
                    .enumerate()
                    .map(|(i, (person, said))| (format!("{i}"), *person, Answer { person: *said, score: 0.5 }))
                    .collect(),
            };
            let figures = answers.figures(4, 3).unwrap();
            prop_assert_eq!(figures.confusion.iter().flatten().sum::<usize>(), truth.len());
            prop_assert_eq!((0..4).map(|i| figures.confusion[i][i]).sum::<usize>(), figures.right);
            prop_assert_eq!(figures.wrong.len() + figures.right, truth.len());
            for estimate in [figures.accuracy_by_person, figures.accuracy_by_photo] {
                prop_assert!(0.0 <= estimate.low && estimate.low <= estimate.value + 1e-9);
                prop_assert!(estimate.value <= estimate.high + 1e-9 && estimate.high <= 1.0);
            }
        }
    }
}
