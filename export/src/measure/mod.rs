//! Measuring an embedder and its head on faces that they have not seen. Plain data in, figures and pictures out; this
//! module knows neither networks nor files of faces.
//!
//! Closed set (everybody who is asked about is in the gallery): [`closed_set`] says how many faces get the right name,
//! by distance and by head; [`reliability`] says how true the head's probabilities are.
//!
//! Pairs: [`pairs`] compares two photos at a time, as Labeled Faces in the Wild does it (Huang et al., 2007: accuracy
//! over folds of disjoint people) and by true accept rate (TAR) at a false accept rate (FAR).
//!
//! Open set (strangers come by too): [`open_set`], with the rates of NIST's FRVT/FRTE 1:N (Grother, Ngan, Hanaoka:
//! NIST IR 8271, Face Recognition Vendor Test, Part 2: Identification):
//! - FPIR(T), false positive identification rate: the share of searches with a face of a stranger whose best score is T
//!   or more
//! - TPIR(T), true positive identification rate, 1 - FNIR: the share of searches with a face of a known person whose
//!   best score is that person's own and is T or more (rank 1)
//!
//! Every figure comes with an interval from resampling people, since the photos of a person are wrong together.
//! Where that is a handful of people the interval is wide, and rightly so; the one by photo stands beside it.
//!
//! A [`Measurement`] collects folds and ends in a [`report::Report`]: JSON, a table and [`pictures`].

pub mod closed_set;
#[cfg(test)]
mod example;
mod interval;
pub mod log;
mod measurement;
pub mod open_set;
pub mod pairs;
pub mod pictures;
pub mod rates;
pub mod rejection;
pub mod reliability;
pub mod report;
pub mod temperature;

pub use measurement::{About, Measurement};

/// A face that was embedded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index of the person: first the people of the measured folder, then those of further strangers.
    pub person: usize,
    /// The photo, as `PERSON/photo.jpg`; of one report no two photos have the same.
    pub file: String,
    /// Of unit length.
    pub embedding: Vec<f32>,
    /// What a head on the features reads, where there is such a head.
    pub features: Option<Vec<f32>>,
}

impl Sample {
    /// Cosine similarity of two embeddings, -1 to 1. Their squared distance is two minus twice that.
    pub fn cosine(&self, other: &Self) -> f32 {
        dot(&self.embedding, &other.embedding)
    }
}

/// One fold: a network and a gallery from the other folds, and the faces that both have not seen.
#[derive(Debug, Clone, Copy)]
pub struct FoldRun<'a> {
    /// Index of the fold that was held out.
    pub fold: usize,
    /// The gallery; what the fold's network and head were trained on.
    pub train: &'a [Sample],
    /// Held out.
    pub test: &'a [Sample],
}

/// One fold with one person taken out of training, who then comes by as a stranger.
#[derive(Debug, Clone, Copy)]
pub struct LeftOutRun<'a> {
    /// Index of the person taken out.
    pub left_out: usize,
    /// Index of the fold that was held out.
    pub fold: usize,
    /// The gallery, without the person left out.
    pub train: &'a [Sample],
    /// The held-out faces of the people in the gallery.
    pub test: &'a [Sample],
    /// All faces of the person left out, and those of further strangers (person indices after the folder's people).
    pub strangers: &'a [Sample],
}

/// What a head says of some faces.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadAnswers {
    /// The person index of each column.
    pub classes: Vec<usize>,
    /// `[N, C]`, each row a distribution.
    pub probabilities: Vec<Vec<f32>>,
}

/// Trains a head on the first samples and answers for the second.
pub type Head<'a> = dyn FnMut(&[Sample], &[&Sample]) -> anyhow::Result<HeadAnswers> + 'a;

/// What was said of a face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Index of the person named.
    pub person: usize,
    /// Cosine similarity (-1 to 1) or probability (0 to 1).
    pub score: f32,
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Trains and asks a head, and takes each face's most probable person.
fn ask(head: &mut Head<'_>, train: &[Sample], asked: &[&Sample]) -> anyhow::Result<Vec<Answer>> {
    let answers = head(train, asked)?;
    anyhow::ensure!(
        answers.probabilities.len() == asked.len(),
        "the head answered for {} faces and was asked about {}",
        answers.probabilities.len(),
        asked.len()
    );
    answers
        .probabilities
        .iter()
        .map(|row| {
            anyhow::ensure!(
                row.len() == answers.classes.len() && row.iter().all(|p| (0.0..=1.000_01).contains(p)),
                "the head's answer is no distribution over its {} classes: {row:?}",
                answers.classes.len()
            );
            best(answers.classes.iter().copied().zip(row.iter().copied()))
                .ok_or_else(|| anyhow::anyhow!("the head knows nobody"))
        })
        .collect()
}

/// The highest score; the first of equal ones.
fn best(scores: impl Iterator<Item = (usize, f32)>) -> Option<Answer> {
    scores
        .map(|(person, score)| Answer { person, score })
        .reduce(|best, next| if next.score > best.score { next } else { best })
}
