//! Turning aligned crops into embeddings.

use std::time::Duration;

use anyhow::Context;
use image::RgbImage;
use ort::session::SessionOutputs;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::align::Alignment;
use crate::model::{EmbedderModel, Input, Output};
use crate::runtime::Network;

/// A unit-length vector that stands for a face. Comparable only within one `embedding_space`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct Embedding(Vec<f32>);

impl TryFrom<Vec<f32>> for Embedding {
    type Error = &'static str;

    fn try_from(raw: Vec<f32>) -> Result<Self, Self::Error> {
        Self::from_raw(&raw).ok_or("a vector needs a length, and finite values")
    }
}

impl From<Embedding> for Vec<f32> {
    fn from(embedding: Embedding) -> Self {
        embedding.0
    }
}

impl Embedding {
    /// Scales `raw` to unit length. `None` for a vector of length zero or with a value that is not finite.
    pub fn from_raw(raw: &[f32]) -> Option<Self> {
        let length = raw.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "a unit vector's values fit f32")]
        let unit = |value: &f32| (f64::from(*value) / length) as f32;
        (length.is_finite() && length > 0.0).then(|| Self(raw.iter().map(unit).collect()))
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Cosine similarity, -1 to 1. Both must be of one space, so of one length.
    pub fn cosine(&self, other: &Self) -> f32 {
        debug_assert_eq!(self.0.len(), other.0.len());
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

/// What an embedding network says about one face.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Its unit vector.
    pub embedding: Embedding,
    /// What the vector was made from, as it comes; `None` where the catalogue names no such output.
    pub features: Option<Vec<f32>>,
}

impl From<Embedding> for Embedded {
    fn from(embedding: Embedding) -> Self {
        Self {
            embedding,
            features: None,
        }
    }
}

/// Why crops could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The network failed to run.
    #[error("the embedding network failed to run: {0}")]
    Run(#[from] ort::Error),
    /// The network has no such output, or one of another size.
    #[error(
        "the embedding network has no output {output:?} of {values} values; is this the file that the catalogue names?"
    )]
    Output {
        /// The output's name in the catalogue.
        output: String,
        /// Its size in the catalogue.
        values: usize,
    },
    /// An output was all zeros or not finite.
    #[error("the embedding network answered with a vector that has no direction")]
    NoDirection,
    /// A crop has another size than the network takes.
    #[error("a crop of {found_px:?} px does not fit the embedding network, which takes {expected_px:?}")]
    CropSize {
        /// Width and height of the crop.
        found_px: (u32, u32),
        /// Width and height of the network's input.
        expected_px: (u32, u32),
    },
}

/// Runs the embedding network. Owned by one thread.
pub struct Embedder {
    network: Network,
    model: EmbedderModel,
    alignment: Alignment,
    /// One for each lane of the network.
    planes: Vec<Vec<f32>>,
}

impl Embedder {
    /// An embedder of an open network and its catalogue entry.
    ///
    /// # Errors
    /// When the entry asks for an alignment that this version doesn't know, or that gives crops of another size than
    /// the entry says the network takes.
    pub fn new(mut network: Network, model: EmbedderModel) -> anyhow::Result<Self> {
        let alignment = Alignment::named(&model.alignment).with_context(|| {
            format!(
                "the model {} wants faces aligned by {:?}, which this version of Kith does not know (it knows {})",
                model.name,
                model.alignment,
                Alignment::ALL.map(Alignment::name).join(", ")
            )
        })?;
        let (side, input) = (alignment.side_px(), &model.input);
        for taken in [input.width_px, input.height_px].into_iter().flatten() {
            anyhow::ensure!(
                taken == side,
                "the model {} takes {taken} px, but its alignment {} gives {side} px",
                model.name,
                alignment.name()
            );
        }
        let planes = vec![Vec::new(); network.lanes().len()];
        Ok(Self {
            network,
            model,
            alignment,
            planes,
        })
    }

    /// The catalogue's entry.
    pub fn model(&self) -> &EmbedderModel {
        &self.model
    }

    /// The `embedding_space` of what [`Self::embed`] returns.
    pub fn space(&self) -> &str {
        &self.model.embedding_space
    }

    /// How a face is brought into the form that this network takes.
    pub fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// Embeds a batch of aligned crops, in order, divided among the lanes of the network.
    ///
    /// # Errors
    /// When a crop has another size, or the runtime can't run the network.
    pub fn embed(&mut self, crops: &[RgbImage]) -> Result<Vec<Embedding>, EmbedError> {
        let embedded = self.embed_all(crops)?;
        Ok(embedded.into_iter().map(|one| one.embedding).collect())
    }

    /// As [`Self::embed`], with the features where the catalogue names such an output.
    ///
    /// # Errors
    /// As there.
    pub fn embed_all(&mut self, crops: &[RgbImage]) -> Result<Vec<Embedded>, EmbedError> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let side_px = self.alignment.side_px();
        let expected_px = (side_px, side_px);
        if let Some(crop) = crops.iter().find(|crop| crop.dimensions() != expected_px) {
            return Err(EmbedError::CropSize {
                found_px: crop.dimensions(),
                expected_px,
            });
        }
        let (side, model) = (side_px as usize, &self.model);
        let batch = self.network.batch(side);
        let lanes = self.network.lanes();
        let share = crops.len().div_ceil(lanes.len());
        let of_lanes: Vec<Vec<Embedded>> = lanes
            .par_iter_mut()
            .zip(&mut self.planes)
            .zip(crops.par_chunks(share))
            .map(|((lane, planes), crops)| {
                let mut embeddings = Vec::with_capacity(crops.len());
                for crops in crops.chunks(batch) {
                    planes.resize(crops.len() * 3 * side * side, 0.0);
                    for (crop, planes) in crops.iter().zip(planes.chunks_exact_mut(3 * side * side)) {
                        normalise(crop, &model.input, planes);
                    }
                    let shape = [crops.len(), 3, side, side];
                    embeddings.extend(lane.run(shape, planes, |outputs| read(outputs, model, crops.len()))??);
                }
                Ok(embeddings)
            })
            .collect::<Result<_, EmbedError>>()?;
        Ok(of_lanes.into_iter().flatten().collect())
    }

    /// The time spent inside the runtime's session since the last call.
    pub fn take_session_time(&mut self) -> Duration {
        self.network.take_spent()
    }
}

/// Splits a crop into planes and brings its values to what the network takes: `(value - mean) * scale`. `planes` has room
/// for three times as many values as the crop has pixels. Training and serving both go this way.
pub fn normalise(crop: &RgbImage, input: &Input, planes: &mut [f32]) {
    let pixels = crop.as_raw().as_chunks::<3>().0;
    for (channel, plane) in planes.chunks_exact_mut(pixels.len()).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(pixels) {
            *value = (f32::from(pixel[channel]) - input.mean) * input.scale;
        }
    }
}

fn read(outputs: &SessionOutputs<'_>, model: &EmbedderModel, crops: usize) -> Result<Vec<Embedded>, EmbedError> {
    let embeddings = values_of(outputs, &model.embedding, crops)?;
    let features = model.features.as_ref();
    let features = features.map(|output| values_of(outputs, output, crops)).transpose()?;
    let mut features = features.into_iter().flatten();
    embeddings
        .map(|raw| {
            Ok(Embedded {
                embedding: Embedding::from_raw(raw).ok_or(EmbedError::NoDirection)?,
                features: features.next().map(<[f32]>::to_vec),
            })
        })
        .collect()
}

/// The values of each crop in `output`.
fn values_of<'a>(
    outputs: &'a SessionOutputs<'_>,
    output: &Output,
    crops: usize,
) -> Result<std::slice::ChunksExact<'a, f32>, EmbedError> {
    let wrong = || EmbedError::Output {
        output: output.name.clone(),
        values: output.values,
    };
    let value = outputs.get(&output.name).ok_or_else(wrong)?;
    let (_, values) = value.try_extract_tensor::<f32>().map_err(|_| wrong())?;
    if output.values == 0 || values.len() != crops * output.values {
        return Err(wrong());
    }
    Ok(values.chunks_exact(output.values))
}
