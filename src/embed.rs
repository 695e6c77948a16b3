//! Turning aligned crops into embeddings.

/// A unit-length vector that stands for a face. Comparable only within one `embedding_space`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Vec<f32>);

impl Embedding {
    /// Scales `raw` to unit length. `None` for a vector of length zero or with a value that is not finite.
    pub fn from_raw(raw: &[f32]) -> Option<Self> {
        let length = raw.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "a unit vector's values fit f32")]
        (length.is_finite() && length > 0.0)
            .then(|| Self(raw.iter().map(|v| (f64::from(*v) / length) as f32).collect()))
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

/// Runs the embedding network. Owned by one thread.
pub struct Embedder {
    space: String,
}

impl Embedder {
    /// The `embedding_space` of what [`Self::embed`] returns.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// Aligns the face to the form that this network takes (112x112 by five points, for MobileFaceNet).
    pub fn align(&self, picture: &image::RgbImage, landmarks: &crate::detect::Landmarks) -> image::RgbImage {
        let _ = (picture, landmarks);
        image::RgbImage::new(112, 112)
    }

    /// Embeds a batch of aligned crops, in order, in one run of the network.
    ///
    /// # Errors
    /// When the runtime can't run the network.
    pub fn embed(&mut self, crops: &[image::RgbImage]) -> Result<Vec<Embedding>, EmbedError> {
        let _ = crops;
        Ok(Vec::new())
    }
}

/// Why crops could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The network failed to run.
    #[error("the embedding network failed to run: {0}")]
    Run(#[from] ort::Error),
    /// An output was all zeros or not finite.
    #[error("the embedding network answered with a vector that has no direction")]
    NoDirection,
}
