//! The networks that a frame goes through, opened together: the detector and the embedder that the catalogue names.

use image::RgbImage;

use crate::detect::{Detector, Face, Mtcnn};
use crate::embed::{Embedded, Embedder};
use crate::model::{Catalogue, CatalogueError};
use crate::paths;
use crate::runtime::{ProviderInUse, Runtime, RuntimeSettings};

/// The catalogue's name of the detector.
pub const DETECTOR: &str = "mtcnn";
/// The catalogue's name of the embedder that is used unless another one is asked for.
pub const EMBEDDER: &str = "mobilefacenet";

/// The shipped catalogue and the user's own models.
///
/// # Errors
/// See [`Catalogue::read_with`].
pub fn catalogue(settings: &RuntimeSettings) -> Result<Catalogue, CatalogueError> {
    Catalogue::read_with(
        &paths::models_dir(settings.models.as_deref()),
        &paths::models_d(settings.models_d.as_deref()),
    )
}

/// An open detector and an open embedder, owned by one thread.
pub struct Networks {
    /// Finds faces.
    pub detector: Box<dyn Detector>,
    /// Embeds aligned crops.
    pub embedder: Embedder,
    /// What really runs them, and why not something better.
    pub provider: ProviderInUse,
}

impl Networks {
    /// Loads the runtime library, checks the models' sha256 and opens them.
    ///
    /// # Errors
    /// When the library or a model is missing, does not fit the catalogue or can't run on the provider asked for.
    pub fn open(settings: &RuntimeSettings) -> anyhow::Result<Self> {
        let catalogue = catalogue(settings)?;
        let detector = catalogue.detector(DETECTOR)?;
        let embedder = catalogue.embedder(settings.embedder.as_deref().unwrap_or(EMBEDDER))?;
        let mtcnn_file = |role: &'static str| {
            let file = detector.files.get(role).ok_or(CatalogueError::Incomplete {
                model: DETECTOR.into(),
                what: role,
            })?;
            catalogue.read_file(file)
        };
        let (pnet, rnet, onet) = (mtcnn_file("pnet")?, mtcnn_file("rnet")?, mtcnn_file("onet")?);
        let embedding = catalogue.read_file(&embedder.file)?;
        let runtime = Runtime::load(settings)?;
        let ([pnet, rnet, onet, embedding], provider) = runtime.open(
            settings.provider,
            [
                ("pnet", &pnet),
                ("rnet", &rnet),
                ("onet", &onet),
                ("embedder", &embedding),
            ],
        )?;
        Ok(Self {
            detector: Box::new(Mtcnn::new([pnet, rnet, onet])),
            embedder: Embedder::new(embedding, embedder)?,
            provider,
        })
    }

    /// Embeds `faces` of `picture` in one run; `None` for a face that can't be aligned.
    ///
    /// # Errors
    /// When the runtime can't run the network.
    pub fn embed_faces(&mut self, picture: &RgbImage, faces: &[Face]) -> anyhow::Result<Vec<Option<Embedded>>> {
        let crops: Vec<Option<RgbImage>> = faces
            .iter()
            .map(|face| self.embedder.alignment().align(picture, face))
            .collect();
        let aligned: Vec<bool> = crops.iter().map(Option::is_some).collect();
        let crops: Vec<RgbImage> = crops.into_iter().flatten().collect();
        let mut embeddings = self.embedder.embed_all(&crops)?.into_iter();
        Ok(aligned
            .into_iter()
            .map(|is_aligned| is_aligned.then(|| embeddings.next()).flatten())
            .collect())
    }
}
