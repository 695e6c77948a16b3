//! The networks that a frame goes through, opened together: the detector and the embedder that the catalogue names.

use crate::detect::Detector;
use crate::embed::Embedder;
use crate::runtime::RuntimeSettings;

/// An open detector and an open embedder, owned by one thread.
pub struct Networks {
    /// Finds faces.
    pub detector: Box<dyn Detector>,
    /// Embeds aligned crops.
    pub embedder: Embedder,
    /// What really runs them and why, such as `cpu` or `cpu (cuda: library not found)`.
    pub provider: String,
}

impl Networks {
    /// Loads the runtime library, checks the models' sha256 and opens them.
    ///
    /// # Errors
    /// When the library or a model is missing, does not fit the catalogue or can't run on the provider asked for.
    pub fn open(_settings: &RuntimeSettings) -> anyhow::Result<Self> {
        anyhow::bail!("not here yet")
    }
}
