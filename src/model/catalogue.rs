//! `models.toml`, parsed and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a model can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The catalogue is not there or not readable.
    #[error("can't read the model catalogue {path}: {source}; in a checkout, `cargo xtask models` makes the models")]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The catalogue does not parse.
    #[error("the model catalogue {path} is wrong: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why, in the parser's words.
        reason: String,
    },
    /// The catalogue has no such model.
    #[error("the model catalogue {path} has no {kind} named {name}")]
    NoSuchModel {
        /// Which file.
        path: PathBuf,
        /// `detector`, `embedder`, `head`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// A model's entry lacks something that its kind needs.
    #[error("the model {model} in the catalogue lacks {what}")]
    Incomplete {
        /// The model's name.
        model: String,
        /// The missing key.
        what: &'static str,
    },
    /// A model file is not there or not readable.
    #[error("can't read the model file {path}: {source}; in a checkout, `cargo xtask models` makes it")]
    FileUnreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model file is not the one that the catalogue describes.
    #[error(
        "the model file {path} is not the one in the catalogue: its sha256 is {found}, not {expected}; \
         make or install the models again"
    )]
    WrongFile {
        /// Which file.
        path: PathBuf,
        /// From the catalogue.
        expected: String,
        /// Of the file.
        found: String,
    },
}

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
    fn name(self) -> &'static str {
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
    /// Relative to the catalogue's folder.
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

/// A figure that was measured with a model, for people to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Share of right answers on the pairs, 0 to 1.
    pub pairs: f64,
    /// How it was measured.
    pub how: String,
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
    /// What it takes.
    pub input: Input,
    /// How a face is brought into the input's form; embedders only.
    pub alignment: Option<String>,
    /// By role, such as `embedding`; embedders only.
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
    /// What makes two vectors comparable; embedders only.
    pub embedding_space: Option<String>,
    /// Made by `cargo xtask calibrate`; embedders only.
    pub thresholds: Option<Thresholds>,
    /// Made by `cargo xtask calibrate`; embedders only.
    pub calibration: Option<Calibration>,
    /// Made by `cargo xtask calibrate`; embedders only.
    pub accuracy: Option<Accuracy>,
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
    /// What makes two vectors comparable.
    pub embedding_space: String,
    /// When a match counts; `None` until it was measured.
    pub thresholds: Option<Thresholds>,
    /// From similarity to probability; `None` until it was measured.
    pub calibration: Option<Calibration>,
}

/// The models of a folder.
#[derive(Debug, Clone)]
pub struct Catalogue {
    folder: PathBuf,
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Model>,
}

impl Catalogue {
    /// Reads `models.toml` in `folder`.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, CatalogueError> {
        let path = folder.join("models.toml");
        let text = fs::read_to_string(&path).map_err(|source| CatalogueError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let file: File = toml::from_str(&text).map_err(|error| CatalogueError::Malformed {
            path: path.clone(),
            reason: error.to_string().trim().to_string(),
        })?;
        let mut names = BTreeSet::new();
        if let Some(twice) = file
            .model
            .iter()
            .find(|model| !names.insert((model.kind.name(), &model.name)))
        {
            return Err(CatalogueError::Malformed {
                path,
                reason: format!("there is more than one {} named {:?}", twice.kind.name(), twice.name),
            });
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            models: file.model,
        })
    }

    /// The models, in the file's order.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The detector called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn detector(&self, name: &str) -> Result<&Model, CatalogueError> {
        self.find(Kind::Detector, name)
    }

    /// The embedder called `name`, complete.
    ///
    /// # Errors
    /// When there is none or its entry lacks something.
    pub fn embedder(&self, name: &str) -> Result<EmbedderModel, CatalogueError> {
        let model = self.find(Kind::Embedder, name)?;
        let lacks = |what| CatalogueError::Incomplete {
            model: model.name.clone(),
            what,
        };
        Ok(EmbedderModel {
            name: model.name.clone(),
            file: model
                .files
                .get("network")
                .cloned()
                .ok_or_else(|| lacks("files.network"))?,
            input: model.input.clone(),
            alignment: model.alignment.clone().ok_or_else(|| lacks("alignment"))?,
            embedding: model
                .outputs
                .get("embedding")
                .cloned()
                .ok_or_else(|| lacks("outputs.embedding"))?,
            embedding_space: model.embedding_space.clone().ok_or_else(|| lacks("embedding_space"))?,
            thresholds: model.thresholds,
            calibration: model.calibration,
        })
    }

    /// The bytes of a model's file, once its sha256 was found to be the catalogue's.
    ///
    /// # Errors
    /// When the file can't be read or is another one.
    pub fn read_file(&self, file: &ModelFile) -> Result<Vec<u8>, CatalogueError> {
        let path = self.folder.join(&file.path);
        let bytes = fs::read(&path).map_err(|source| CatalogueError::FileUnreadable {
            path: path.clone(),
            source,
        })?;
        let found = format!("{:x}", HexDigest(Sha256::digest(&bytes).as_slice()));
        if found != file.sha256 {
            return Err(CatalogueError::WrongFile {
                path,
                expected: file.sha256.clone(),
                found,
            });
        }
        Ok(bytes)
    }

    fn find(&self, kind: Kind, name: &str) -> Result<&Model, CatalogueError> {
        self.models
            .iter()
            .find(|model| model.kind == kind && model.name == name)
            .ok_or_else(|| CatalogueError::NoSuchModel {
                path: self.folder.join("models.toml"),
                kind: kind.name(),
                name: name.into(),
            })
    }
}

/// Lower-case hex of a digest.
struct HexDigest<'a>(&'a [u8]);

impl std::fmt::LowerHex for HexDigest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &[u8] = b"any bytes";

    /// An entry for [`NETWORK`], as `kind`, with `rest` after it.
    fn entry(kind: &str, rest: &str) -> String {
        let sha256 = format!("{:x}", HexDigest(Sha256::digest(NETWORK).as_slice()));
        format!(
            "[[model]]\nname = \"one\"\nkind = \"{kind}\"\nsource = \"here\"\nlicence = \"MIT\"\n\
             files.network = {{ path = \"one.onnx\", sha256 = \"{sha256}\" }}\n\
             input = {{ channels = \"rgb\", mean = 0.0, scale = 1.0 }}\n{rest}"
        )
    }

    fn folder_with(catalogue: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("models.toml"), catalogue).unwrap();
        fs::write(folder.path().join("one.onnx"), NETWORK).unwrap();
        folder
    }

    #[track_caller]
    fn check_malformed(catalogue: &str, words: &[&str]) {
        let error = Catalogue::read(folder_with(catalogue).path()).unwrap_err();
        assert!(matches!(error, CatalogueError::Malformed { .. }), "{error}");
        let said = error.to_string();
        assert!(words.iter().all(|word| said.contains(word)), "no {words:?} in {said}");
    }

    #[test]
    fn a_malformed_catalogue_is_refused_with_the_place() {
        check_malformed("", &["models.toml", "model"]);
        check_malformed(&entry("detector", "licence_of_code = \"MIT\"\n"), &["licence_of_code"]);
        check_malformed(&entry("oracle", ""), &["oracle", "line 3"]);
        check_malformed(
            &entry("embedder", "thresholds = { cosine = 0.5 }\n"),
            &["margin_cosine"],
        );
        let twice = entry("detector", "") + &entry("detector", "");
        check_malformed(&twice, &["more than one detector named \"one\""]);
    }

    #[test]
    fn models_of_two_kinds_may_share_a_name() {
        let folder = folder_with(&(entry("detector", "") + &entry("embedder", "")));
        assert_eq!(Catalogue::read(folder.path()).unwrap().models().len(), 2);
    }

    #[test]
    fn an_embedder_has_to_be_complete() {
        let rest = "alignment = \"a\"\nembedding_space = \"s\"\noutputs.embedding = { name = \"e\", values = 3 }\n";
        let complete = folder_with(&entry("embedder", rest));
        Catalogue::read(complete.path()).unwrap().embedder("one").unwrap();
        for lacking in ["alignment", "embedding_space", "outputs.embedding"] {
            let rest: String = rest
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(lacking))
                .collect();
            let folder = folder_with(&entry("embedder", &rest));
            let error = Catalogue::read(folder.path()).unwrap().embedder("one").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the model one in the catalogue lacks {lacking}")
            );
        }
    }

    #[test]
    fn a_file_is_read_only_with_the_right_sha256() {
        let folder = folder_with(&entry("detector", ""));
        let catalogue = Catalogue::read(folder.path()).unwrap();
        let file = &catalogue.detector("one").unwrap().files["network"];
        assert_eq!(catalogue.read_file(file).unwrap(), NETWORK);
        fs::write(folder.path().join("one.onnx"), b"Any bytes").unwrap();
        let error = catalogue.read_file(file).unwrap_err();
        assert!(matches!(error, CatalogueError::WrongFile { .. }), "{error}");
        fs::remove_file(folder.path().join("one.onnx")).unwrap();
        let error = catalogue.read_file(file).unwrap_err();
        assert!(matches!(error, CatalogueError::FileUnreadable { .. }), "{error}");
    }
}
