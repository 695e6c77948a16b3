//! `models.toml` and the files of `models.d`, parsed and checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::entry::{EmbedderModel, HeadModel, Kind, Model, ModelFile, Reads};
use super::error::{CatalogueError, MOST_VALUES};

/// The name of the shipped catalogue's file.
pub const FILE_NAME: &str = "models.toml";

/// The models of one or more files.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    /// The files that were read.
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
struct Entry {
    model: Model,
    /// The file that it stands in.
    file: PathBuf,
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
        let mut catalogue = Self::default();
        catalogue.add(&folder.join(FILE_NAME))?;
        Ok(catalogue)
    }

    /// Reads `models.toml` in `folder` and every `*.toml` in `models_d`, in the order of their names; no such folder is
    /// an empty one.
    ///
    /// # Errors
    /// When one of them is malformed, or has a model that another one has.
    pub fn read_with(folder: &Path, models_d: &Path) -> Result<Self, CatalogueError> {
        let (catalogue, mut problems) = Self::gather(folder, models_d);
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            Err(problems.swap_remove(0))
        }
    }

    /// As [`Self::read_with`], but goes on after a problem: what could be read, and everything that is wrong.
    pub fn gather(folder: &Path, models_d: &Path) -> (Self, Vec<CatalogueError>) {
        let mut catalogue = Self::default();
        let mut problems = Vec::new();
        problems.extend(catalogue.add(&folder.join(FILE_NAME)).err());
        match toml_files(models_d) {
            Ok(files) => problems.extend(files.iter().filter_map(|file| catalogue.add(file).err())),
            Err(source) => problems.push(CatalogueError::Unreadable {
                path: models_d.to_path_buf(),
                source,
            }),
        }
        (catalogue, problems)
    }

    /// Reads every `*.toml` in `models_d`, the user's own models alone.
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub fn own(models_d: &Path) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        let files = toml_files(models_d).map_err(|source| CatalogueError::Unreadable {
            path: models_d.to_path_buf(),
            source,
        })?;
        files.iter().try_for_each(|file| catalogue.add(file))?;
        Ok(catalogue)
    }

    /// Adds the models in `file`, all or none.
    ///
    /// # Errors
    /// When it can't be read, is malformed, or has a model that is there already.
    pub fn add(&mut self, file: &Path) -> Result<(), CatalogueError> {
        let text = fs::read_to_string(file).map_err(|source| CatalogueError::Unreadable {
            path: file.to_path_buf(),
            source,
        })?;
        let read: File = toml::from_str(&text).map_err(|error| CatalogueError::Malformed {
            path: file.to_path_buf(),
            reason: error.to_string().trim().to_string(),
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let before = self.entries.len();
        for mut model in read.model {
            let twin = |entry: &&Entry| entry.model.kind == model.kind && entry.model.name == model.name;
            if let Some(first) = self.entries.iter().find(twin) {
                let twice = CatalogueError::Twice {
                    kind: model.kind.name(),
                    name: model.name,
                    first: first.file.clone(),
                    second: file.to_path_buf(),
                };
                self.entries.truncate(before);
                return Err(twice);
            }
            for part in model.files.values_mut() {
                part.path = folder.join(&part.path);
            }
            self.entries.push(Entry {
                model,
                file: file.to_path_buf(),
            });
        }
        self.files.push(file.to_path_buf());
        Ok(())
    }

    /// A copy in which the entry of this kind and name is that of `other`; as it is where `other` has none.
    #[must_use]
    pub fn with_entry_of(&self, other: &Self, kind: Kind, name: &str) -> Self {
        let mut copy = self.clone();
        if let Ok(entry) = other.find(kind, name) {
            copy.entries
                .retain(|old| (old.model.kind, old.model.name.as_str()) != (kind, name));
            copy.entries.push(entry.clone());
        }
        copy
    }

    /// The models, in the files' order.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.entries.iter().map(|entry| &entry.model)
    }

    /// The models, in the files' order, each with the file that holds its entry.
    pub fn entries(&self) -> impl Iterator<Item = (&Model, &Path)> {
        self.entries.iter().map(|entry| (&entry.model, entry.file.as_path()))
    }

    /// The files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The file that holds the entry of this kind and name.
    pub fn file_of(&self, kind: Kind, name: &str) -> Option<&Path> {
        let found = self.find(kind, name).ok()?;
        Some(&found.file)
    }

    /// The detector called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn detector(&self, name: &str) -> Result<&Model, CatalogueError> {
        Ok(&self.find(Kind::Detector, name)?.model)
    }

    /// The embedder called `name`, complete.
    ///
    /// # Errors
    /// When there is none or its entry lacks something.
    pub fn embedder(&self, name: &str) -> Result<EmbedderModel, CatalogueError> {
        let model = &self.find(Kind::Embedder, name)?.model;
        let lacks = |what| lacks(model, what);
        if let Some(odd) = model
            .outputs
            .values()
            .find(|output| !(1..=MOST_VALUES).contains(&output.values))
        {
            return Err(CatalogueError::Values {
                model: model.name.clone(),
                output: odd.name.clone(),
                values: odd.values,
            });
        }
        Ok(EmbedderModel {
            name: model.name.clone(),
            file: network(model)?,
            input: model.input.clone().ok_or_else(|| lacks("input"))?,
            alignment: model.alignment.clone().ok_or_else(|| lacks("alignment"))?,
            embedding: model
                .outputs
                .get("embedding")
                .cloned()
                .ok_or_else(|| lacks("outputs.embedding"))?,
            features: model.outputs.get("features").cloned(),
            embedding_space: model.embedding_space.clone().ok_or_else(|| lacks("embedding_space"))?,
            thresholds: model.thresholds,
            calibration: model.calibration,
            half_precision: model.may_be_half(),
        })
    }

    /// The head called `name`, complete and fitting its embedder.
    ///
    /// # Errors
    /// When there is none, its entry lacks something, or it and its embedder don't fit.
    pub fn head(&self, name: &str) -> Result<HeadModel, CatalogueError> {
        let Entry { model, file } = self.find(Kind::Head, name)?;
        let lacks = |what| lacks(model, what);
        let wrong = |problem: String| CatalogueError::Head {
            head: name.to_owned(),
            file: file.clone(),
            problem,
        };
        let named = model.embedder.as_ref().ok_or_else(|| lacks("embedder"))?;
        let space = model.embedding_space.as_ref().ok_or_else(|| lacks("embedding_space"))?;
        let reads = model.reads.ok_or_else(|| lacks("reads"))?;
        let rejection = model.rejection.ok_or_else(|| lacks("rejection"))?;
        let network = network(model)?;
        let embedder = self
            .embedder(named)
            .map_err(|error| wrong(format!("it reads the embedder {named:?}: {error}")))?;
        if embedder.embedding_space != *space {
            return Err(wrong(format!(
                "it was trained in the embedding space {space:?}, but its embedder {named} is of {:?}; \
                 train it again on that one",
                embedder.embedding_space
            )));
        }
        let output = match reads {
            Reads::Embedding => Some(&embedder.embedding),
            Reads::Features => embedder.features.as_ref(),
        };
        let values = output.map(|output| output.values).ok_or_else(|| {
            wrong(format!(
                "it reads {:?}, which the embedder {named} does not give",
                reads.name()
            ))
        })?;
        let mut seen = BTreeSet::new();
        let odd = model
            .classes
            .iter()
            .find(|class| class.trim().is_empty() || !seen.insert(class.as_str()));
        if let Some(class) = odd {
            return Err(wrong(format!("the class {class:?} is there twice, or no name")));
        }
        if model.classes.is_empty() {
            return Err(lacks("classes"));
        }
        let shares = [rejection.probability, rejection.false_accept_rate];
        if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
            return Err(wrong("its rejection has a number that is not from 0 to 1".into()));
        }
        Ok(HeadModel {
            name: model.name.clone(),
            file: network,
            embedder: named.clone(),
            reads,
            values,
            classes: model.classes.clone(),
            rejection,
        })
    }

    /// The bytes of a model's file, once its sha256 was found to be the catalogue's.
    ///
    /// # Errors
    /// When the file can't be read or is another one.
    pub fn read_file(&self, file: &ModelFile) -> Result<Vec<u8>, CatalogueError> {
        let path = file.path.clone();
        let bytes = fs::read(&path).map_err(|source| CatalogueError::FileUnreadable {
            path: path.clone(),
            source,
        })?;
        let found = sha256_hex(&bytes);
        if found != file.sha256 {
            return Err(CatalogueError::WrongFile {
                path,
                expected: file.sha256.clone(),
                found,
            });
        }
        Ok(bytes)
    }

    fn find(&self, kind: Kind, name: &str) -> Result<&Entry, CatalogueError> {
        let mut of_kind = self.entries.iter().filter(|entry| entry.model.kind == kind);
        of_kind
            .clone()
            .find(|entry| entry.model.name == name)
            .ok_or_else(|| CatalogueError::NoSuchModel {
                path: self
                    .files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                has: of_kind.by_ref().map(|entry| entry.model.name.clone()).collect(),
                kind: kind.name(),
                name: name.into(),
            })
    }
}

fn lacks(model: &Model, what: &'static str) -> CatalogueError {
    CatalogueError::Incomplete {
        model: model.name.clone(),
        what,
    }
}

/// The only file of an embedder or a head.
fn network(model: &Model) -> Result<ModelFile, CatalogueError> {
    model
        .files
        .get("network")
        .cloned()
        .ok_or_else(|| lacks(model, "files.network"))
}

/// The `*.toml` in `folder`, in the order of their names, without hidden ones.
fn toml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let mut files: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| {
            path.extension().is_some_and(|ending| ending == "toml")
                && path
                    .file_name()
                    .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// The sha256 of `bytes` in lower-case hex, as catalogues write it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
