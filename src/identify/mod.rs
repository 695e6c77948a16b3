//! Whose face it is: an embedding goes in, ranked people with a calibrated confidence come out, or unknown.

mod calibration;
mod head;
mod matcher;
mod source;

use std::sync::Arc;

pub use calibration::Belief;
pub use head::{Head, HeadError, HeadIdentifier};
pub use matcher::GalleryMatcher;
pub use source::{IdentifierSource, IdentifyBy};

use crate::embed::Embedded;
use crate::gallery::Person;

/// Most people in [`Identification::ranked`].
pub const MAX_RANKED: usize = 5;

/// Names whose face an embedding is. A trait, since a trained head answers the same question in another way
/// (`identify.by = "gallery"` or `"head:NAME"`). The workers of all cameras ask one, which lasts until the gallery
/// changes.
pub trait Identifier: Send + Sync {
    /// Whose face `embedded` is, as strictly as its camera asks for; it must be of the space that the identifier was made
    /// for.
    fn identify(&self, embedded: &Embedded, strictness: &Strictness) -> Identification;

    /// Number of people that it can name.
    fn people(&self) -> usize;
}

/// From when on a match is a match, where a camera is not to be judged as the model says. A person's own threshold wins
/// over both.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Strictness {
    /// Least cosine similarity by the gallery, above 0 and at most 1; `None`: the model's.
    pub threshold_cosine: Option<f32>,
    /// Least probability by a trained head, above 0 and at most 1; `None`: the head's.
    pub threshold_probability: Option<f64>,
}

/// Why a face is nobody's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doubt {
    /// There is nobody whom it could be.
    NobodyEnrolled,
    /// The nearest person is not near enough: by the gallery cosine similarities, by a head probabilities.
    BelowThreshold {
        /// How near.
        similarity: f32,
        /// How near at least.
        threshold: f32,
    },
    /// Two people are nearly equally near.
    MarginTooThin {
        /// Cosine similarity between the two.
        margin: f32,
        /// How much at least.
        least: f32,
    },
    /// Near enough, but among so many people somebody is likely to be that near: a name would be wrong more often than
    /// right.
    LikelierWrong {
        /// Probability that it is the nearest person, 0 to 1.
        confidence: f64,
        /// People who are enrolled.
        people: usize,
    },
    /// The nearest person would be near enough, but a face that is marked as not theirs is nearer.
    NegativeExample {
        /// Cosine similarity to the person.
        similarity: f32,
        /// Cosine similarity to the negative example.
        negative: f32,
    },
    /// A head takes it for somebody who was removed.
    Removed,
    /// The identifier failed, which was logged.
    Failed,
}

/// Somebody who may be meant, and how near they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Who.
    pub person: Arc<Person>,
    /// By the gallery: cosine similarity of the best face, -1 to 1. By a head: its probability. For explaining only:
    /// published, it would help an attacker climb.
    pub similarity: f32,
    /// Cosine similarity of the nearest face that is marked as not this person's, where that rules the person out.
    pub ruled_out_by: Option<f32>,
}

/// The answer about one face.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An enrolled person.
    Known {
        /// Who.
        person: Arc<Person>,
        /// Probability that this is right, 0 to 1.
        confidence: f64,
    },
    /// None of the enrolled.
    Unknown {
        /// Probability that this is right, 0 to 1; 1 where nobody is enrolled.
        confidence: f64,
        /// The enrolled person who is nearest; `None` where nobody is enrolled, or a head takes the face for somebody
        /// who was removed.
        similar_to: Option<SimilarTo>,
    },
}

/// Who an unknown face resembles most.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarTo {
    /// Who.
    pub person: Arc<Person>,
    /// Probability that it is this person all the same, 0 to 1.
    pub confidence: f64,
}

/// What an identifier says about one face.
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    /// The answer.
    pub answer: Answer,
    /// The nearest people, best first, at most [`MAX_RANKED`]; empty where nobody is enrolled. Those who are ruled out
    /// take no part in the answer.
    pub ranked: Vec<Candidate>,
    /// Why nobody is named; `None` where somebody is.
    pub doubt: Option<Doubt>,
}

impl Identification {
    /// How near the person is who is named, or else the nearest one; 0 where there is nobody.
    pub fn similarity(&self) -> f32 {
        let named = self.answer.person();
        let one = match named {
            Some(named) => self.ranked.iter().find(|one| one.person.uid == named.uid),
            None => self.ranked.first(),
        };
        one.map_or(0.0, |one| one.similarity)
    }
}

impl Answer {
    /// Probability that the answer is right, 0 to 1.
    pub fn confidence(&self) -> f64 {
        match self {
            Self::Known { confidence, .. } | Self::Unknown { confidence, .. } => *confidence,
        }
    }

    /// The person, if it is an enrolled one.
    pub fn person(&self) -> Option<&Arc<Person>> {
        match self {
            Self::Known { person, .. } => Some(person),
            Self::Unknown { .. } => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::model::{Calibration, Thresholds};

    /// Made up, of the size that MobileFaceNet's have.
    pub(crate) const THRESHOLDS: Thresholds = Thresholds {
        cosine: 0.4,
        margin_cosine: 0.05,
    };
    pub(crate) const CALIBRATION: Calibration = Calibration {
        lr_intercept: -10.0,
        lr_slope: 30.0,
        same_mean: 0.65,
        same_sd: 0.12,
        different_mean: 0.05,
        different_sd: 0.11,
        cosine_range: [-0.2, 0.9],
        prior_known: 0.5,
    };
}
