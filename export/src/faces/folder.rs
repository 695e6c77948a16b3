//! The folder of aligned faces: `faces.json` and a PNG of each face for each [`Cut`].

use std::io;
use std::path::{Path, PathBuf};

use image::RgbImage;
use kith::align::{Alignment, Cut};
use kith::detect::{Face, FaceBox, Landmarks};
use serde::{Deserialize, Serialize};

/// Written last: a folder without it is no folder of aligned faces.
pub(super) const FACES: &str = "faces.json";

/// The version of the format that is written and read.
const VERSION: u32 = 1;

/// What is wrong with a folder of aligned faces.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no `faces.json`.
    #[error("{} is no folder of aligned faces, since it has no {FACES}; make one with: kith-export align PHOTOS {}", .0.display(), .0.display())]
    NoFolder(PathBuf),
    /// A file can't be read.
    #[error("can't read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `faces.json` is not what is written here.
    #[error("{} is damaged: {reason}", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another version's.
    #[error("{} has version {found} of the format, this program reads {VERSION}; run kith-export align again", file.display())]
    Version {
        /// Which.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A crop can't be decoded, or has another size.
    #[error("the crop {} is damaged: {reason}; run kith-export align again", file.display())]
    Crop {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The measures of a shot that [`kith::quality::Quality`] is made of; the detector's probability stands beside them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shot {
    /// Height of the face's box in the photo, in pixels.
    pub size_px: f32,
    /// [`kith::quality::sharpness`], 0 to 1.
    pub sharpness: f32,
    /// How far the face is turned sideways, -90 to 90.
    pub yaw_degrees: f32,
}

/// A face of a photo, with where its crops lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlignedFace {
    /// The folder's name, or the name that the file begins with; empty where nobody said who it is.
    pub person: String,
    /// The photo, below the folder of photos, with `/` between folders.
    pub file: String,
    /// The crop, below each cut's folder.
    pub crop: String,
    /// Of the photo's file, hex.
    pub sha256: String,
    /// Perceptual hash of the photo, hex; see [`super::phash`].
    pub phash: String,
    /// Perceptual hash of the 112x112 crop, hex: equal for one photo cut or framed in two ways.
    pub face_phash: String,
    /// Left, top, right, bottom in the photo, in pixels.
    pub r#box: [f32; 4],
    /// Left eye, right eye, nose, left and right corner of the mouth, in the photo, in pixels.
    pub landmarks: Landmarks,
    /// The detector's, 0 to 1.
    pub probability: f32,
    /// How good the shot is.
    pub quality: Shot,
    /// Faces found in the photo; this is the most prominent of them.
    pub faces_in_photo: usize,
}

impl AlignedFace {
    /// As the detector gave it.
    pub fn face(&self) -> Face {
        let [left, top, right, bottom] = self.r#box;
        Face {
            box_in_frame: FaceBox {
                left,
                top,
                right,
                bottom,
            },
            probability: self.probability,
            landmarks: self.landmarks,
        }
    }
}

/// A photo that no face came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The photo, below the folder of photos.
    pub file: String,
    /// Why, as a sentence.
    pub why: String,
}

/// A folder of aligned faces.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignedFolder {
    /// Where it is.
    pub root: PathBuf,
    /// The name of the folder that the photos came from.
    pub from: String,
    /// In order of their files.
    pub faces: Vec<AlignedFace>,
    /// Photos without a face, in order of their files.
    pub skipped: Vec<Skipped>,
}

/// `faces.json`.
#[derive(Serialize, Deserialize)]
struct Listing {
    version: u32,
    from: String,
    faces: Vec<AlignedFace>,
    skipped: Vec<Skipped>,
}

impl AlignedFolder {
    /// Reads `faces.json` in `root`; the crops are read when they are asked for.
    ///
    /// # Errors
    /// When there is none, or not one that this version understands.
    pub fn read(root: &Path) -> Result<Self, FolderError> {
        let file = root.join(FACES);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FolderError::NoFolder(root.into())),
            Err(source) => return Err(FolderError::Read { file, source }),
        };
        #[derive(Deserialize)]
        struct OfVersion {
            version: u32,
        }
        let damaged = |error: serde_json::Error| FolderError::Damaged {
            file: file.clone(),
            reason: error.to_string(),
        };
        // The version first: another version's fields would only give a riddle.
        let OfVersion { version } = serde_json::from_str(&text).map_err(damaged)?;
        if version != VERSION {
            return Err(FolderError::Version { file, found: version });
        }
        let Listing {
            from, faces, skipped, ..
        } = serde_json::from_str(&text).map_err(damaged)?;
        let outside = |name: &str| {
            let is_plain = |part| matches!(part, std::path::Component::Normal(_));
            name.is_empty() || !Path::new(name).components().all(is_plain)
        };
        if let Some(face) = faces.iter().find(|face| outside(&face.crop)) {
            let reason = format!(
                "the crop {:?} of {:?} is no path below the folder",
                face.crop, face.file
            );
            return Err(FolderError::Damaged { file, reason });
        }
        Ok(Self {
            root: root.to_path_buf(),
            from,
            faces,
            skipped,
        })
    }

    /// Writes `faces.json`; the crops have to be there.
    pub(super) fn write_listing(&self) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(&Listing {
            version: VERSION,
            from: self.from.clone(),
            faces: self.faces.clone(),
            skipped: self.skipped.clone(),
        })?;
        text.push('\n');
        crate::whole_file::write_whole(&self.root.join(FACES), text.as_bytes())
    }

    /// Everybody's names, sorted; without the empty name of those whom nobody named.
    pub fn people(&self) -> Vec<String> {
        let mut people: Vec<String> = self.faces.iter().map(|face| face.person.clone()).collect();
        people.retain(|person| !person.is_empty());
        people.sort();
        people.dedup();
        people
    }

    /// [`Self::people`], at least two.
    ///
    /// # Errors
    /// When there is one person only, or nobody is named.
    pub fn people_to_tell_apart(&self) -> anyhow::Result<Vec<String>> {
        let (people, shown) = (self.people(), self.root.display());
        match people.as_slice() {
            [] => {
                anyhow::bail!("the faces in {shown} have no names; align a folder with a folder of photos per person")
            }
            [only] => {
                anyhow::bail!("all faces in {shown} are of one person, {only}; to tell people apart takes at least two")
            }
            _ => Ok(people),
        }
    }

    /// Where the crop of `face` lies.
    pub fn crop_file(&self, face: &AlignedFace, cut: Cut) -> PathBuf {
        self.root.join(cut.name()).join(&face.crop)
    }

    /// The crop of `face` as it was cut: 112x112 or 160x160.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn cut(&self, face: &AlignedFace, cut: Cut) -> Result<RgbImage, FolderError> {
        let file = self.crop_file(face, cut);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(source) => return Err(FolderError::Read { file, source }),
        };
        let crop = match image::load_from_memory_with_format(&bytes, image::ImageFormat::Png) {
            Ok(crop) => crop.into_rgb8(),
            Err(error) => {
                let reason = error.to_string();
                return Err(FolderError::Crop { file, reason });
            }
        };
        let side_px = cut.side_px();
        if crop.dimensions() != (side_px, side_px) {
            let reason = format!("it has {:?} px instead of {side_px} a side", crop.dimensions());
            return Err(FolderError::Crop { file, reason });
        }
        Ok(crop)
    }

    /// The crop of `face`, finished to the side of `alignment`: what a network takes.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn crop(&self, face: &AlignedFace, alignment: Alignment) -> Result<RgbImage, FolderError> {
        Ok(alignment.finish(&self.cut(face, alignment.cut())?))
    }
}
