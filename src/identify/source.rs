//! What names faces: the enrolled photos or a trained head, as the configuration or the command line says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{GalleryMatcher, Head, Identifier};
use crate::gallery::{Gallery, GalleryError, Person, Removed};
use crate::model::{Calibration, EmbedderModel, Thresholds};
use crate::networks;
use crate::runtime::{Runtime, RuntimeSettings};

/// What turns an embedding into a person: `identify.by`, `--by`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IdentifyBy {
    /// The enrolled photos.
    #[default]
    Gallery,
    /// The trained head of this name.
    Head(String),
}

impl IdentifyBy {
    /// What would be valid, in words.
    pub const VALID: &str = "\"gallery\" or \"head:NAME\"";
}

impl FromStr for IdentifyBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "gallery" => Ok(Self::Gallery),
            Some(("head", name)) if !name.trim().is_empty() => Ok(Self::Head(name.to_owned())),
            _ => Err(format!("{text:?} is not {}", Self::VALID)),
        }
    }
}

impl fmt::Display for IdentifyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gallery => f.write_str("gallery"),
            Self::Head(name) => write!(f, "head:{name}"),
        }
    }
}

/// What identifiers are made from, a new one after each change of the gallery.
pub enum IdentifierSource {
    /// The enrolled photos' vectors.
    Gallery {
        /// Of which embedding space.
        space: String,
        /// When a match is a match.
        thresholds: Thresholds,
        /// What a similarity means.
        calibration: Calibration,
    },
    /// A trained head.
    Head(Head),
}

impl IdentifierSource {
    /// Looks up what `by` needs in the catalogue, and opens a head. `settings` are told which embedder is to be opened.
    ///
    /// # Errors
    /// When the catalogue lacks something, another embedder than the head's was asked for, or the head can't be opened.
    pub fn open(by: &IdentifyBy, settings: &mut RuntimeSettings) -> anyhow::Result<Self> {
        let catalogue = networks::catalogue(settings)?;
        match by {
            IdentifyBy::Gallery => {
                let name = settings.embedder.as_deref().unwrap_or(networks::EMBEDDER);
                Self::gallery(&catalogue.embedder(name)?)
            }
            IdentifyBy::Head(name) => {
                let model = catalogue.head(name)?;
                match &settings.embedder {
                    Some(asked) if *asked != model.embedder => anyhow::bail!(
                        "the head {name} was trained on the embedder {}, but {asked} was asked for",
                        model.embedder
                    ),
                    _ => settings.embedder = Some(model.embedder.clone()),
                }
                Ok(Self::Head(Head::open(&catalogue, model, &Runtime::load(settings)?)?))
            }
        }
    }

    fn gallery(embedder: &EmbedderModel) -> anyhow::Result<Self> {
        let (Some(thresholds), Some(calibration)) = (embedder.thresholds, embedder.calibration) else {
            anyhow::bail!(
                "the catalogue has no measured threshold and calibration for the embedder {}, so nobody could be \
                 recognised by the gallery; measure them with `kith calibrate --embedder {}`, or identify by a head (`kith heads`)",
                embedder.name,
                embedder.name
            );
        };
        Ok(Self::Gallery {
            space: embedder.embedding_space.clone(),
            thresholds,
            calibration,
        })
    }

    /// Gives the classes of a head that are not mapped yet their people; nothing to do for the gallery. Says who was
    /// made.
    ///
    /// # Errors
    /// When a class is the name of several people, or the database fails.
    pub fn prepare(&self, gallery: &mut Gallery) -> Result<Vec<Person>, GalleryError> {
        let Self::Head(head) = self else { return Ok(Vec::new()) };
        let model = head.model();
        let mapped = gallery.map_classes(&model.name, &model.classes, Removed::Stay)?;
        Ok(mapped
            .into_iter()
            .filter(|one| one.is_new)
            .filter_map(|one| one.person)
            .collect())
    }

    /// The embedding space that faces have to be of; `None` for a head, which compares with none.
    pub fn space(&self) -> Option<&str> {
        match self {
            Self::Gallery { space, .. } => Some(space),
            Self::Head(_) => None,
        }
    }

    /// As [`Self::identifier`], but whoever has faces of another embedder only is left out and named: what one person
    /// lacks must not keep a running daemon from taking over that another one is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn identifier_of_those_it_can(
        &self,
        gallery: &Gallery,
    ) -> Result<(Arc<dyn Identifier>, Vec<String>), GalleryError> {
        match (self.identifier(Some(gallery)), self) {
            (
                Err(GalleryError::OtherSpace { ids, .. }),
                Self::Gallery {
                    space,
                    thresholds,
                    calibration,
                },
            ) => {
                let matcher = GalleryMatcher::new(gallery.vectors(space)?, *thresholds, *calibration);
                Ok((Arc::new(matcher), ids))
            }
            (identifier, _) => Ok((identifier?, Vec::new())),
        }
    }

    /// An identifier over the people in `gallery`; `None` where nobody made one yet.
    ///
    /// # Errors
    /// When the gallery was made with another embedder, or its database fails.
    pub fn identifier(&self, gallery: Option<&Gallery>) -> Result<Arc<dyn Identifier>, GalleryError> {
        Ok(match self {
            Self::Gallery {
                space,
                thresholds,
                calibration,
            } => Arc::new(match gallery {
                Some(gallery) => gallery.matcher(space, *thresholds, *calibration)?,
                None => GalleryMatcher::new(Vec::new(), *thresholds, *calibration),
            }),
            Self::Head(head) => {
                let classes = gallery.map(|gallery| gallery.class_people(&head.model().name));
                Arc::new(head.identifier(classes.transpose()?.unwrap_or_default()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CALIBRATION, THRESHOLDS};
    use super::*;
    use crate::gallery::tests::named;

    #[test]
    fn whoever_has_faces_of_another_embedder_only_is_left_out_and_keeps_nobody_from_being_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.enrol("ours", &[named("Alice", &[1])]).unwrap();
        gallery.enrol("another", &[named("Bob", &[2])]).unwrap();
        let source = IdentifierSource::Gallery {
            space: "ours".to_owned(),
            thresholds: THRESHOLDS,
            calibration: CALIBRATION,
        };
        assert!(source.identifier(Some(&gallery)).is_err());
        let (identifier, left_out) = source.identifier_of_those_it_can(&gallery).unwrap();
        assert_eq!((identifier.people(), left_out), (1, vec!["bob".to_owned()]));
    }
}
