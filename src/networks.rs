//! The networks that a frame goes through, opened together: the detector and the embedder that the catalogue names.

use image::RgbImage;

use crate::detect::{Detector, Face, Mtcnn, ONET_SIDE_PX, RNET_SIDE_PX};
use crate::embed::{Embedded, Embedder};
use crate::model::{Catalogue, CatalogueError, EmbedderModel, Input, ModelFile};
use crate::paths;
use crate::runtime::{NetworkFile, ProviderInUse, Runtime, RuntimeSettings, Takes};

/// The catalogue's name of the detector.
pub const DETECTOR: &str = "mtcnn";
/// The catalogue's name of the embedder that is used unless another one is asked for.
pub const EMBEDDER: &str = "mobilefacenet";
/// What the runtime calls the embedder, whichever it is.
pub const EMBEDDING: &str = "embedder";

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

/// What the runtime is told of an embedder's file.
pub fn embedder_file<'a>(onnx: &'a [u8], model: &'a EmbedderModel) -> NetworkFile<'a> {
    NetworkFile {
        name: EMBEDDING,
        onnx,
        sha256: &model.file.sha256,
        takes: takes(&model.input),
        half_precision: model.half_precision,
    }
}

/// The pictures of an embedder. It takes square crops as far as is known here; `Embedder::new` checks that.
fn takes(input: &Input) -> Takes {
    input.width_px.map_or(Takes::AnySize, |side_px| Takes::Crops {
        side_px: side_px as usize,
    })
}

/// An open detector and an open embedder, owned by one thread.
pub struct Networks {
    /// Finds faces.
    pub detector: Box<dyn Detector>,
    /// Embeds aligned crops.
    pub embedder: Embedder,
    /// What really runs them, and why not something better.
    pub provider: ProviderInUse,
    /// Name and sha256 of each network's file.
    pub files: [(&'static str, String); 4],
}

/// The files of a detector and an embedder, each with the sha256 that the catalogue says.
pub struct Files {
    embedder: EmbedderModel,
    files: [File; 4],
}

struct File {
    name: &'static str,
    sha256: String,
    onnx: Vec<u8>,
    takes: Takes,
    half_precision: bool,
}

impl Files {
    /// Reads the files that `settings` name, and checks their sha256.
    ///
    /// # Errors
    /// When one is missing or does not fit the catalogue.
    pub fn read(settings: &RuntimeSettings) -> anyhow::Result<Self> {
        let catalogue = catalogue(settings)?;
        let detector = catalogue.detector(DETECTOR)?;
        let embedder = catalogue.embedder(settings.embedder.as_deref().unwrap_or(EMBEDDER))?;
        let read = |name, file: &ModelFile, takes, half_precision| -> Result<File, CatalogueError> {
            Ok(File {
                name,
                sha256: file.sha256.clone(),
                onnx: catalogue.read_file(file)?,
                takes,
                half_precision,
            })
        };
        let of_detector = |role: &'static str, takes| {
            let file = detector.files.get(role).ok_or(CatalogueError::Incomplete {
                model: DETECTOR.into(),
                what: role,
            })?;
            read(role, file, takes, detector.may_be_half())
        };
        Ok(Self {
            files: [
                of_detector("pnet", Takes::AnySize)?,
                of_detector("rnet", Takes::Crops { side_px: RNET_SIDE_PX })?,
                of_detector("onet", Takes::Crops { side_px: ONET_SIDE_PX })?,
                read(
                    EMBEDDING,
                    &embedder.file,
                    takes(&embedder.input),
                    embedder.half_precision,
                )?,
            ],
            embedder,
        })
    }

    /// What the runtime is told of them: P-Net, R-Net, O-Net and the embedder.
    pub fn networks(&self) -> [NetworkFile<'_>; 4] {
        self.files.each_ref().map(|file| NetworkFile {
            name: file.name,
            onnx: &file.onnx,
            sha256: &file.sha256,
            takes: file.takes,
            half_precision: file.half_precision,
        })
    }
}

impl Networks {
    /// Loads the runtime library, checks the models' sha256 and opens them.
    ///
    /// # Errors
    /// When the library or a model is missing, does not fit the catalogue or can't run on the provider asked for.
    pub fn open(settings: &RuntimeSettings) -> anyhow::Result<Self> {
        let files = Files::read(settings)?;
        let runtime = Runtime::load(settings)?;
        let ([pnet, rnet, onet, embedding], provider) = runtime.open(settings, files.networks())?;
        Ok(Self {
            files: files.files.each_ref().map(|file| (file.name, file.sha256.clone())),
            detector: Box::new(Mtcnn::new([pnet, rnet, onet])),
            embedder: Embedder::new(embedding, files.embedder)?,
            provider,
        })
    }

    /// What keeps these networks from going on with the work of `before`, in words: other networks, or vectors that mean
    /// something else. `None` where they can.
    pub fn differ_from(&self, before: &Self) -> Option<String> {
        let other = self.files.iter().zip(&before.files).find(|(now, then)| now != then);
        if let Some(((name, now), (_, then))) = other {
            return Some(format!("the sha256 of {name} is {now}, and was {then}"));
        }
        let (now, then) = (self.embedder.model(), before.embedder.model());
        let changed = |what: &str, now: &str, then: &str| {
            (now != then).then(|| format!("the embedder's {what} is {now}, and was {then}"))
        };
        changed("name", &now.name, &then.name)
            .or_else(|| changed("embedding_space", &now.embedding_space, &then.embedding_space))
            .or_else(|| changed("alignment", &now.alignment, &then.alignment))
            .or_else(|| changed("input", &format!("{:?}", now.input), &format!("{:?}", then.input)))
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
