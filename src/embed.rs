//! Turning aligned crops into embeddings.

use std::time::Duration;

use image::RgbImage;
use ort::session::SessionOutputs;
use rayon::prelude::*;

use crate::align;
use crate::detect::Landmarks;
use crate::model::{EmbedderModel, Input, Output};
use crate::runtime::Network;

/// A unit-length vector that stands for a face. Comparable only within one `embedding_space`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Vec<f32>);

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
    side_px: u32,
    /// One for each lane of the network.
    planes: Vec<Vec<f32>>,
}

impl Embedder {
    /// An embedder of an open network and its catalogue entry.
    ///
    /// # Errors
    /// When the entry asks for an alignment that this version doesn't know.
    pub fn new(mut network: Network, model: EmbedderModel) -> anyhow::Result<Self> {
        anyhow::ensure!(
            model.alignment == align::FIVE_POINT_112,
            "the model {} wants faces aligned by {:?}, which this version of Kith does not know (it knows {:?})",
            model.name,
            model.alignment,
            align::FIVE_POINT_112
        );
        let planes = vec![Vec::new(); network.lanes().len()];
        Ok(Self {
            network,
            model,
            side_px: align::FIVE_POINT_112_SIDE_PX,
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

    /// Aligns the face to the form that this network takes (112x112 by five points, for MobileFaceNet). `None` when
    /// the landmarks coincide.
    pub fn align(&self, picture: &RgbImage, landmarks: &Landmarks) -> Option<RgbImage> {
        align::five_point_112(picture, landmarks)
    }

    /// Embeds a batch of aligned crops, in order, divided among the lanes of the network.
    ///
    /// # Errors
    /// When a crop has another size, or the runtime can't run the network.
    pub fn embed(&mut self, crops: &[RgbImage]) -> Result<Vec<Embedding>, EmbedError> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let expected_px = (self.side_px, self.side_px);
        if let Some(crop) = crops.iter().find(|crop| crop.dimensions() != expected_px) {
            return Err(EmbedError::CropSize {
                found_px: crop.dimensions(),
                expected_px,
            });
        }
        let (side, input, output) = (self.side_px as usize, &self.model.input, &self.model.embedding);
        let batch = self.network.batch(side);
        let lanes = self.network.lanes();
        let share = crops.len().div_ceil(lanes.len());
        let of_lanes: Vec<Vec<Embedding>> = lanes
            .par_iter_mut()
            .zip(&mut self.planes)
            .zip(crops.par_chunks(share))
            .map(|((lane, planes), crops)| {
                let mut embeddings = Vec::with_capacity(crops.len());
                for crops in crops.chunks(batch) {
                    planes.resize(crops.len() * 3 * side * side, 0.0);
                    for (crop, planes) in crops.iter().zip(planes.chunks_exact_mut(3 * side * side)) {
                        normalise(crop, input, planes);
                    }
                    let shape = [crops.len(), 3, side, side];
                    embeddings.extend(lane.run(shape, planes, |outputs| unit_vectors(outputs, output, crops.len()))??);
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

fn unit_vectors(outputs: &SessionOutputs<'_>, output: &Output, crops: usize) -> Result<Vec<Embedding>, EmbedError> {
    let wrong = || EmbedError::Output {
        output: output.name.clone(),
        values: output.values,
    };
    let value = outputs.get(&output.name).ok_or_else(wrong)?;
    let (_, values) = value.try_extract_tensor::<f32>().map_err(|_| wrong())?;
    if output.values == 0 || values.len() != crops * output.values {
        return Err(wrong());
    }
    values
        .chunks_exact(output.values)
        .map(|raw| Embedding::from_raw(raw).ok_or(EmbedError::NoDirection))
        .collect()
}
