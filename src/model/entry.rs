//! An entry of a catalogue: what a model is, takes and gives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Finds faces.
    Detector,
    /// Turns a crop into a vector.
    Embedder,
    /// A classifier on an embedder's output.
    Head,
}

impl Kind {
    /// As in the catalogue.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Embedder => "embedder",
            Self::Head => "head",
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// In a file: relative to that file's folder. In a [`Catalogue`](super::Catalogue): with that folder before it.
    pub path: PathBuf,
    /// Lower-case hex.
    pub sha256: String,
}

/// What a model takes: pixels as `(value - mean) * scale`, in planes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The order of the planes; only `rgb` so far.
    pub channels: Channels,
    /// `None` where the network takes any.
    pub width_px: Option<u32>,
    /// `None` where the network takes any.
    pub height_px: Option<u32>,
    /// In grey levels, 0 to 255.
    pub mean: f32,
    /// Per grey level.
    pub scale: f32,
}

/// The order of a picture's planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
}

/// An output of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name in the ONNX graph.
    pub name: String,
    /// Values for each face.
    pub values: usize,
}

/// From which similarity on two faces count as one person's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Least cosine similarity of the best match.
    pub cosine: f32,
    /// Least distance in cosine similarity to the runner-up person.
    pub margin_cosine: f32,
}

/// What turns a similarity into a probability; see `identify::calibration` and `docs/design/confidence.md`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// `a` in the likelihood ratio of same to different person, `exp(a + b * cosine)`.
    pub lr_intercept: f64,
    /// `b` there; positive.
    pub lr_slope: f64,
    /// Mean cosine similarity of two photos of one person.
    pub same_mean: f64,
    /// Its standard deviation.
    pub same_sd: f64,
    /// Mean cosine similarity of photos of two people.
    pub different_mean: f64,
    /// Its standard deviation.
    pub different_sd: f64,
    /// The range of similarities that the fit saw; outside of it the likelihood ratio stays at the end's.
    pub cosine_range: [f64; 2],
    /// The stated prior that a visitor is an enrolled person.
    pub prior_known: f64,
}

/// Figures that were measured with a model, for people to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// How they were measured.
    pub how: String,
    /// By name, such as `pairs`: the share of right answers on pairs of photos, 0 to 1.
    #[serde(flatten)]
    pub figures: BTreeMap<String, f64>,
}

/// What was measured of a network that computes with 16 bits instead of 32.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfPrecision {
    /// Whether it is as accurate, by what was measured.
    pub as_accurate: bool,
    /// What was measured, how, and on which card.
    pub measured: String,
}

/// Which output of its embedder a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// The embedding, at unit length.
    Embedding,
    /// The features before it, as they come.
    Features,
}

impl Reads {
    /// As in the catalogue.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Features => "features",
        }
    }
}

/// When a head's answer is "unknown".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Below this probability of the best class, 0 to 1.
    pub probability: f64,
    /// The share of strangers who get a name all the same, for which `probability` was chosen; 0 to 1.
    pub false_accept_rate: f64,
}

/// One entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Unique within its kind.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The package that the weights come from.
    pub source: String,
    /// SPDX identifier of the weights' licence.
    pub licence: String,
    /// By role: `pnet`, `rnet`, `onet`; `network`.
    pub files: BTreeMap<String, ModelFile>,
    /// What it takes; detectors and embedders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// How a face is brought into the input's form; embedders only.
    pub alignment: Option<String>,
    /// By role, `embedding` and perhaps `features`; embedders only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Output>,
    /// What makes two vectors comparable: an embedder's own, or that of a head's embedder.
    pub embedding_space: Option<String>,
    /// Made by `cargo xtask calibrate`; embedders only.
    pub thresholds: Option<Thresholds>,
    /// Made by `cargo xtask calibrate`; embedders only.
    pub calibration: Option<Calibration>,
    /// Made by `cargo xtask calibrate`, or by the trainer.
    pub accuracy: Option<Accuracy>,
    /// What was measured with 16 bits; detectors and embedders. Without it they compute with 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_precision: Option<HalfPrecision>,
    /// The name of the embedder whose output is read; heads only.
    pub embedder: Option<String>,
    /// Which output; heads only.
    pub reads: Option<Reads>,
    /// Whom it tells apart, in the order of its logits; heads only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// When it answers "unknown"; heads only.
    pub rejection: Option<Rejection>,
}

impl Model {
    /// Whether it may compute with 16 bits.
    pub fn may_be_half(&self) -> bool {
        self.half_precision.as_ref().is_some_and(|half| half.as_accurate)
    }
}

/// An embedder's entry with all that its kind needs.
#[derive(Debug, Clone)]
pub struct EmbedderModel {
    /// The catalogue's name.
    pub name: String,
    /// The network.
    pub file: ModelFile,
    /// Mean and scale of the input.
    pub input: Input,
    /// How a face is aligned.
    pub alignment: String,
    /// The output that holds the raw vector.
    pub embedding: Output,
    /// The output that holds the features before it, where the network gives them.
    pub features: Option<Output>,
    /// What makes two vectors comparable.
    pub embedding_space: String,
    /// When a match counts; `None` until it was measured.
    pub thresholds: Option<Thresholds>,
    /// From similarity to probability; `None` until it was measured.
    pub calibration: Option<Calibration>,
    /// Whether it was measured to be as accurate with 16 bits.
    pub half_precision: bool,
}

/// A head's entry with all that its kind needs, which fits its embedder.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadModel {
    /// The catalogue's name.
    pub name: String,
    /// The network: input `features` [N, K], output `logits` [N, classes], with the temperature divided in.
    pub file: ModelFile,
    /// The embedder's name.
    pub embedder: String,
    /// Which of its outputs is read.
    pub reads: Reads,
    /// Values of that output, K.
    pub values: usize,
    /// Whom it tells apart, in the order of the logits; at least one, no two the same.
    pub classes: Vec<String>,
    /// When it answers "unknown".
    pub rejection: Rejection,
}
