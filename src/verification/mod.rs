//! Measuring how well an embedder tells people apart, and fitting what identification needs from it.
//!
//! - [`pairs`]: accuracy on labelled pairs by folds of disjoint people, as Labeled Faces in the Wild does it
//! - [`pairs_file`]: which photos a set of pairs compares
//! - [`rates`]: true accept rate at a false accept rate, from all pairs of photos
//! - [`fit`]: the likelihood ratio and the threshold that the catalogue carries
//! - [`calibration_error`]: how true the resulting confidences are

pub mod calibration_error;
pub mod fit;
pub mod pairs;
pub mod pairs_file;
pub mod rates;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::embed::Embedding;

/// A photo that was embedded: whose, and the vector; `None` when no face was found in it.
#[derive(Debug, Clone)]
pub struct LabelledPhoto {
    /// Index of the person.
    pub person: usize,
    /// Of the most prominent face.
    pub embedding: Option<Embedding>,
}

/// Cosine similarity of two photos; -1 when one of them shows no face, so that they count as different people.
pub fn similarity(a: &LabelledPhoto, b: &LabelledPhoto) -> f32 {
    match (&a.embedding, &b.embedding) {
        (Some(a), Some(b)) => a.cosine(b),
        _ => -1.0,
    }
}

/// A figure with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Estimate {
    /// On all the data.
    pub value: f64,
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile of the resamples.
    pub high: f64,
}

/// Evaluates `statistic` with everybody counted once, then on `resamples` draws of as many people with replacement;
/// it gets how often each person was drawn. A draw for which it is NaN (nobody drawn who counts) is left out.
pub fn bootstrap_by_person(
    people: usize,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[u32]) -> f64,
) -> Estimate {
    let value = statistic(&vec![1; people]);
    let mut random = StdRng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..resamples)
        .map(|_| {
            let mut drawn = vec![0; people];
            for _ in 0..people {
                drawn[random.random_range(0..people)] += 1;
            }
            statistic(&drawn)
        })
        .filter(|value: &f64| !value.is_nan())
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |per_mille: usize| values.get(values.len() * per_mille / 1000).copied().unwrap_or(value);
    Estimate {
        value,
        low: at(25),
        high: at(975),
    }
}
