//! Made-up faces for tests: people in known directions, photos turned away from them by a known amount.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::report::Report;
use super::{About, FoldRun, HeadAnswers, LeftOutRun, Measurement, Sample};

/// A sample with a hand-made vector, scaled to unit length.
pub(super) fn sample(person: usize, photo: usize, raw: &[f32]) -> Sample {
    let length = raw.iter().map(|v| v * v).sum::<f32>().sqrt();
    Sample {
        person,
        file: format!("person-{person}/{photo}.jpg"),
        embedding: raw.iter().map(|v| v / length).collect(),
        features: None,
    }
}

/// `photos` photos of each of `people` people (at most 8) in 8 values, in turn: person 0, 1, … 0, 1, …; the higher
/// `noise`, the less alike the photos of a person are.
pub(super) fn samples(people: usize, photos: usize, noise: f32, seed: u64) -> Vec<Sample> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..people * photos)
        .map(|index| {
            let mut raw: Vec<f32> = (0..8).map(|_| random.random_range(-noise..=noise)).collect();
            raw[index % people] += 1.0;
            sample(index % people, index, &raw)
        })
        .collect()
}

/// People named `person-0`, ….
pub(super) fn about(people: usize) -> About {
    About {
        model: "example".into(),
        embedding_space: "example-v1".into(),
        head_reads: Some("embedding".into()),
        faces: "made-up".into(),
        strangers: Some("made-up-too".into()),
        without: None,
        people: (0..people).map(|person| format!("person-{person}")).collect(),
        seed: 1,
    }
}

/// A small measurement with all parts: four people in two folds, four further strangers.
pub(super) fn report() -> Report {
    let all = samples(8, 40, 0.62, 11);
    let mut measurement = Measurement::new(about(4));
    for fold in 0..2 {
        let side = |of_fold: bool| -> Vec<Sample> {
            all.iter()
                .enumerate()
                .filter(|(index, sample)| sample.person < 4 && ((index / 8) % 2 == fold) == of_fold)
                .map(|(_, sample)| sample.clone())
                .collect()
        };
        let (train, test) = (side(false), side(true));
        let run = FoldRun {
            fold,
            train: &train,
            test: &test,
        };
        measurement.fold(&run, Some(&mut head)).unwrap();
        for left_out in 0..4 {
            let (out, known): (Vec<Sample>, Vec<Sample>) = test.iter().cloned().partition(|s| s.person == left_out);
            let train: Vec<Sample> = train
                .iter()
                .filter(|sample| sample.person != left_out)
                .cloned()
                .collect();
            let strangers: Vec<Sample> = out
                .into_iter()
                .chain(all.iter().filter(|s| s.person >= 4).cloned())
                .collect();
            let run = LeftOutRun {
                left_out,
                fold,
                train: &train,
                test: &known,
                strangers: &strangers,
            };
            measurement.left_out(&run, Some(&mut head)).unwrap();
        }
    }
    measurement.finish().unwrap()
}

/// A head without training: softmax of the similarities to the people's mean faces.
pub(super) fn head(train: &[Sample], asked: &[&Sample]) -> anyhow::Result<HeadAnswers> {
    let classes: Vec<usize> = train
        .iter()
        .map(|sample| sample.person)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let row = |face: &&Sample| {
        let scores: Vec<f32> = classes
            .iter()
            .map(|class| {
                let of: Vec<f32> = train
                    .iter()
                    .filter(|s| s.person == *class)
                    .map(|s| s.cosine(face))
                    .collect();
                (8.0 * of.iter().sum::<f32>() / of.len() as f32).exp()
            })
            .collect();
        let sum: f32 = scores.iter().sum();
        scores.iter().map(|score| score / sum).collect()
    };
    Ok(HeadAnswers {
        probabilities: asked.iter().map(row).collect(),
        classes,
    })
}
