//! From photos to people in the gallery: each photo is checked, all reasons are gathered, and then everybody is enrolled
//! in one transaction or nobody is. `docs/design/enrolment.md` has the measurements behind the limits.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use sha2::{Digest, Sha256};

use crate::detect::{Face, FaceBox, detect_in_photo, most_prominent};
use crate::embed::Embedding;
use crate::gallery::{Enrolled, Enrolment, Gallery, MarginCrop, Name, NewFace, Person, Who};
use crate::model::Thresholds;
use crate::networks::Networks;
use crate::photo::{self, PhotoError};
use crate::quality::Quality;

/// Least height of a face to be enrolled, in pixels.
pub const MIN_FACE_PX: f32 = 50.0;
/// Least [`crate::quality::sharpness`] of a face to be enrolled.
pub const MIN_SHARPNESS: f32 = 0.35;
/// From this angle on a face is worth a warning: people seldom pass a camera so.
const TURNED_AWAY_DEGREES: f32 = 35.0;
/// The detector looks for smaller faces than are enrolled, to say "too small" rather than "no face".
const SEARCH_FACE_PX: u32 = 20;
/// What the detector believes less is no face here: an eager false alarm would otherwise ask "which of the two?".
const MIN_PROBABILITY: f32 = 0.9;
/// A face with less than this share of the largest one's height is in the background, and no question.
const BACKGROUND_SHARE: f32 = 1.0 / 3.0;
/// A kept crop reaches beyond the face's box by this share of the box's longer side, on each side.
const CROP_MARGIN: f32 = 0.5;
/// A kept crop is shrunk to this: twice the largest input of a known embedder, margin included.
const MAX_CROP_SIDE_PX: u32 = 448;
/// Loss at this quality moves an embedding by far less than another photo does.
const CROP_JPEG_QUALITY: u8 = 95;
/// Faces that are embedded in one run.
const BATCH: usize = 16;

/// Which face of a photo is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The only one.
    Only,
    /// The most central large one.
    Largest,
    /// The nth from the left, counted from 1.
    FromLeft(usize),
}

/// How to enrol.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which face of each photo.
    pub which: Which,
    /// Whether to keep a crop for another model.
    pub keep_crop: bool,
    /// Leave refused photos out instead of enrolling nobody.
    pub skip_bad: bool,
}

/// One person's photos.
#[derive(Debug, Clone)]
pub struct Photos {
    /// Whose.
    pub who: Who,
    /// What the person is.
    pub role: Option<Name>,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// Why a photo was refused, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The photo can't be read.
    #[error("{0}")]
    Photo(#[from] PhotoError),
    /// There is no face.
    #[error("no face was found; use a photo that shows the whole face from the front")]
    NoFace,
    /// There is more than one face.
    #[error(
        "{} faces were found, from left to right {}; say which with --face N, or --largest",
        .0.len(), Sizes(.0)
    )]
    Several(Vec<Face>),
    /// There are fewer faces than the number asked for.
    #[error("there is no face number {asked}, only {found}")]
    NoSuchFace {
        /// `--face`.
        asked: usize,
        /// Faces found.
        found: usize,
    },
    /// The face has too few pixels.
    #[error("the face is too small: {height_px:.0} px high, at least {MIN_FACE_PX:.0} are needed; come closer")]
    TooSmall {
        /// Of its box.
        height_px: f32,
    },
    /// The face lacks detail.
    #[error(
        "the face is too blurred: sharpness {sharpness:.2}, at least {MIN_SHARPNESS:.2} is needed; \
         use a photo in focus, without motion, not enlarged"
    )]
    TooBlurred {
        /// See [`crate::quality::sharpness`].
        sharpness: f32,
    },
    /// The landmarks don't make a face.
    #[error("the face can't be aligned; use another photo")]
    NotAlignable,
}

/// The heights of faces, for a sentence.
struct Sizes<'a>(&'a [Face]);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, face) in (1..).zip(self.0) {
            let separator = if number == 1 { "" } else { ", " };
            write!(f, "{separator}{number}: {:.0} px high", face.box_in_frame.height())?;
        }
        Ok(())
    }
}

/// What is worth knowing about a face that was enrolled all the same.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// It looks like somebody else in the gallery.
    LooksLike(Name),
    /// It does not look like the person's other photos.
    UnlikeOwn,
    /// It is turned far to the side.
    TurnedAway,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLike(name) => {
                write!(
                    f,
                    "this face looks like {name}, who is another person in the gallery; is it the right photo?"
                )
            }
            Self::UnlikeOwn => {
                f.write_str("this face does not look like the person's other photos; is it the right one?")
            }
            Self::TurnedAway => f.write_str("this face is turned far to the side; add one that looks at the camera"),
        }
    }
}

/// What became of a call.
#[derive(Debug, Default)]
pub struct Report {
    /// Who was enrolled; empty when photos were refused and may not be left out.
    pub enrolled: Vec<PersonReport>,
    /// The photos that were refused, with the reason.
    pub refused: Vec<(PathBuf, Refusal)>,
}

/// What became of one person.
#[derive(Debug)]
pub struct PersonReport {
    /// As the gallery has it.
    pub enrolled: Enrolled,
    /// The photos that were taken, in order.
    pub photos: Vec<PhotoReport>,
}

/// What became of one photo.
#[derive(Debug)]
pub struct PhotoReport {
    /// The file.
    pub file: PathBuf,
    /// How good the face is.
    pub quality: Quality,
    /// Whether the person already had this photo, so that nothing was added.
    pub already: bool,
    /// What is worth knowing.
    pub warnings: Vec<Warning>,
}

/// Enrols everybody in `people`, or nobody when a photo is refused and `rules` don't skip it. `progress` is called after
/// each photo.
///
/// # Errors
/// When the networks or the gallery fail; then nobody was enrolled.
pub fn enrol(
    gallery: &mut Gallery,
    networks: &mut Networks,
    people: &[Photos],
    rules: &Rules,
    progress: &dyn Fn(),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut accepted: Vec<(&Photos, Vec<(PathBuf, NewFace)>)> = Vec::new();
    for photos in people {
        let mut faces = Vec::new();
        for file in &photos.files {
            match checked_face(networks, file, rules)? {
                Ok(face) => faces.push((file.clone(), face)),
                Err(refusal) => report.refused.push((file.clone(), refusal)),
            }
            progress();
        }
        if !faces.is_empty() {
            accepted.push((photos, embed(networks, faces)?));
        }
    }
    if accepted.is_empty() || !(report.refused.is_empty() || rules.skip_bad) {
        return Ok(report);
    }
    let space = networks.embedder.space();
    let enrolments: Vec<Enrolment> = accepted
        .iter()
        .map(|(photos, faces)| Enrolment {
            who: photos.who.clone(),
            role: photos.role.clone(),
            faces: faces.iter().map(|(_, face)| face.clone()).collect(),
        })
        .collect();
    let before = gallery.vectors(space)?;
    let enrolled = gallery.enrol(space, &enrolments)?;
    // Only now is it known who is who; and a warning needn't stop anybody.
    let new = enrolled.iter().zip(&accepted).flat_map(|(enrolled, (_, faces))| {
        let added = faces.iter().zip(&enrolled.already).filter(|(_, already)| !**already);
        added.map(|((_, face), _)| (&enrolled.person, &face.embedding))
    });
    let all: Vec<(&Person, &Embedding)> = before
        .iter()
        .flat_map(|one| one.faces.iter().map(|face| (&one.person, face)))
        .chain(new)
        .collect();
    let thresholds = networks.embedder.model().thresholds;
    for (enrolled, (_, faces)) in enrolled.iter().zip(&accepted) {
        let photos = faces
            .iter()
            .zip(&enrolled.already)
            .map(|((file, face), already)| PhotoReport {
                file: file.clone(),
                quality: face.quality,
                already: *already,
                warnings: if *already {
                    Vec::new()
                } else {
                    warnings(face, &enrolled.person, &all, thresholds)
                },
            })
            .collect();
        report.enrolled.push(PersonReport {
            enrolled: enrolled.clone(),
            photos,
        });
    }
    Ok(report)
}

/// Gives faces that have a kept crop but no vector in the active space one, beside those that they have. Gives how many.
///
/// # Errors
/// When the networks or the gallery fail.
pub fn reembed(gallery: &mut Gallery, networks: &mut Networks) -> anyhow::Result<usize> {
    let space = networks.embedder.space().to_string();
    let mut vectors = Vec::new();
    for batch in gallery.to_reembed(&space)?.chunks(BATCH) {
        let (mut rows, mut crops) = (Vec::new(), Vec::new());
        for kept in batch {
            // A crop that can't be read any more counts as none; the matcher says who is without a vector.
            let Ok(picture) = photo::decode(&kept.crop.jpeg) else {
                continue;
            };
            let face = kept.crop.face_in_crop(&kept.face_in_photo);
            if let Some(aligned) = networks.embedder.alignment().align(&picture, &face) {
                rows.push(kept.face);
                crops.push(aligned);
            }
        }
        vectors.extend(rows.into_iter().zip(networks.embedder.embed(&crops)?));
    }
    if vectors.is_empty() {
        return Ok(0);
    }
    Ok(gallery.add_vectors(&space, &vectors)?)
}

/// A face that passed every check, with its aligned crop.
struct Checked {
    source_sha256: [u8; 32],
    face: Face,
    quality: Quality,
    crop: Option<MarginCrop>,
    aligned: RgbImage,
}

fn checked_face(networks: &mut Networks, file: &Path, rules: &Rules) -> anyhow::Result<Result<Checked, Refusal>> {
    let (source_sha256, picture) = match read(file) {
        Ok(read) => read,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut faces = detect_in_photo(networks.detector.as_mut(), &picture, SEARCH_FACE_PX)?;
    faces.retain(|face| face.probability >= MIN_PROBABILITY);
    Ok(choose(faces, rules.which, picture.dimensions()).and_then(|face| {
        let height_px = face.box_in_frame.height();
        if height_px < MIN_FACE_PX {
            return Err(Refusal::TooSmall { height_px });
        }
        let alignment = networks.embedder.alignment();
        let (quality, aligned) = Quality::with_aligned(&picture, &face, alignment).ok_or(Refusal::NotAlignable)?;
        if quality.sharpness < MIN_SHARPNESS {
            return Err(Refusal::TooBlurred {
                sharpness: quality.sharpness,
            });
        }
        let crop = if rules.keep_crop {
            Some(margin_crop(&picture, &face.box_in_frame)?)
        } else {
            None
        };
        Ok(Checked {
            source_sha256,
            face,
            quality,
            crop,
            aligned,
        })
    }))
}

fn read(file: &Path) -> Result<([u8; 32], RgbImage), PhotoError> {
    let bytes = photo::read_bytes(file)?;
    let picture = photo::decode(&bytes)?;
    Ok((Sha256::digest(&bytes).into(), picture))
}

/// The face that is meant. Faces too small to be enrolled count only where there is no larger one.
fn choose(mut faces: Vec<Face>, which: Which, (width, height): (u32, u32)) -> Result<Face, Refusal> {
    let tallest = faces.iter().map(|face| face.box_in_frame.height()).fold(0.0, f32::max);
    faces.retain(|face| face.box_in_frame.height() >= tallest.min(MIN_FACE_PX));
    faces.sort_by(|a, b| a.box_in_frame.left.total_cmp(&b.box_in_frame.left));
    let found = faces.len();
    match which {
        _ if faces.is_empty() => Err(Refusal::NoFace),
        Which::FromLeft(asked) => asked
            .checked_sub(1)
            .and_then(|index| faces.get(index))
            .copied()
            .ok_or(Refusal::NoSuchFace { asked, found }),
        Which::Largest => most_prominent(&faces, width, height).ok_or(Refusal::NoFace),
        Which::Only => {
            let is_near = |face: &&Face| face.box_in_frame.height() >= BACKGROUND_SHARE * tallest;
            let mut near = faces.iter().filter(is_near);
            match (near.next(), near.next()) {
                (Some(face), None) => Ok(*face),
                _ => Err(Refusal::Several(faces)),
            }
        }
    }
}

fn margin_crop(picture: &RgbImage, face: &FaceBox) -> Result<MarginCrop, Refusal> {
    let margin = CROP_MARGIN * face.width().max(face.height());
    let (width, height) = picture.dimensions();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "pixels of a picture of at most 4096 px, clamped to it"
    )]
    let inside = |value: f32, side: u32| value.round().clamp(0.0, side as f32) as u32;
    let (left, top) = (inside(face.left - margin, width), inside(face.top - margin, height));
    let (right, bottom) = (inside(face.right + margin, width), inside(face.bottom + margin, height));
    let mut crop = imageops::crop_imm(
        picture,
        left,
        top,
        right.saturating_sub(left),
        bottom.saturating_sub(top),
    )
    .to_image();
    let mut scale = 1.0;
    let longest = crop.width().max(crop.height());
    if longest > MAX_CROP_SIDE_PX {
        scale = f64::from(MAX_CROP_SIDE_PX) / f64::from(longest);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "smaller than before"
        )]
        let shrunk = |side: u32| (f64::from(side) * scale).round().max(1.0) as u32;
        crop = imageops::resize(&crop, shrunk(crop.width()), shrunk(crop.height()), FilterType::Triangle);
    }
    let mut jpeg = Vec::new();
    // Encoding to memory fails for an empty picture only, which a face outside of its photo would make.
    JpegEncoder::new_with_quality(&mut jpeg, CROP_JPEG_QUALITY)
        .encode_image(&crop)
        .map_err(|_| Refusal::NotAlignable)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "pixels and a share"
    )]
    Ok(MarginCrop {
        jpeg,
        left_px: left as f32,
        top_px: top as f32,
        scale: scale as f32,
    })
}

fn embed(networks: &mut Networks, faces: Vec<(PathBuf, Checked)>) -> anyhow::Result<Vec<(PathBuf, NewFace)>> {
    let mut embedded = Vec::with_capacity(faces.len());
    let mut faces = faces.into_iter().peekable();
    while faces.peek().is_some() {
        let (batch, crops): (Vec<_>, Vec<_>) = faces
            .by_ref()
            .take(BATCH)
            .map(
                |(
                    file,
                    Checked {
                        source_sha256,
                        face,
                        quality,
                        crop,
                        aligned,
                    },
                )| { ((file, source_sha256, face, quality, crop), aligned) },
            )
            .unzip();
        let vectors = networks.embedder.embed(&crops)?;
        embedded.extend(batch.into_iter().zip(vectors).map(
            |((file, source_sha256, face, quality, crop), embedding)| {
                (
                    file,
                    NewFace {
                        source_sha256,
                        face,
                        quality,
                        crop,
                        embedding,
                    },
                )
            },
        ));
    }
    Ok(embedded)
}

/// `all`: every vector in the gallery, that of `face` itself included.
fn warnings(
    face: &NewFace,
    person: &Person,
    all: &[(&Person, &Embedding)],
    thresholds: Option<Thresholds>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    // Without a measured threshold nothing can be said about likeness.
    if let Some(Thresholds { cosine, .. }) = thresholds {
        let nearest = |is_own: bool| {
            all.iter()
                .filter(|(other, vector)| {
                    (other.uid == person.uid) == is_own && !std::ptr::eq(*vector, &raw const face.embedding)
                })
                .map(|(other, vector)| (vector.cosine(&face.embedding), *other))
                .max_by(|a, b| a.0.total_cmp(&b.0))
        };
        if let Some((_, other)) = nearest(false).filter(|(similarity, _)| *similarity >= cosine) {
            warnings.push(Warning::LooksLike(other.name.clone()));
        }
        if nearest(true).is_some_and(|(similarity, _)| similarity < cosine) {
            warnings.push(Warning::UnlikeOwn);
        }
    }
    if face.quality.yaw_degrees.abs() > TURNED_AWAY_DEGREES {
        warnings.push(Warning::TurnedAway);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(left: f32, height: f32) -> Face {
        let box_in_frame = FaceBox {
            left,
            top: 100.0,
            right: left + 0.8 * height,
            bottom: 100.0 + height,
        };
        Face {
            box_in_frame,
            probability: 1.0,
            landmarks: [[0.0; 2]; 5],
        }
    }

    fn choose_of(faces: &[Face], which: Which) -> Result<Face, Refusal> {
        choose(faces.to_vec(), which, (1000, 800))
    }

    #[test]
    fn people_in_the_background_are_no_question() {
        let (main, small, tiny) = (face(400.0, 200.0), face(10.0, 60.0), face(900.0, 22.0));
        assert_eq!(choose_of(&[small, main, tiny], Which::Only).unwrap(), main);
        let near = face(10.0, 80.0);
        assert!(matches!(choose_of(&[near, main], Which::Only), Err(Refusal::Several(faces)) if faces == [near, main]));
        // Alone, a small face is chosen, and refused later with its size.
        assert_eq!(choose_of(&[tiny], Which::Only).unwrap(), tiny);
    }

    #[test]
    fn faces_are_numbered_from_the_left() {
        let (left, right) = (face(10.0, 60.0), face(500.0, 200.0));
        assert_eq!(choose_of(&[right, left], Which::FromLeft(1)).unwrap(), left);
        assert_eq!(choose_of(&[right, left], Which::FromLeft(2)).unwrap(), right);
        for asked in [0, 3] {
            let refusal = choose_of(&[right, left], Which::FromLeft(asked)).unwrap_err();
            assert!(matches!(refusal, Refusal::NoSuchFace { found: 2, .. }), "{refusal}");
        }
        assert!(matches!(choose_of(&[], Which::Largest), Err(Refusal::NoFace)));
    }

    #[test]
    fn a_kept_crop_knows_where_it_lies() {
        // A dot at a place of the photo must be found at that place of the crop, shrunk or not, at the edge or not.
        for (left, height) in [(300.0, 100.0), (300.0, 500.0), (-20.0, 120.0)] {
            let face = face(left, height);
            let [x, y] = face.box_in_frame.centre();
            let picture = RgbImage::from_fn(1200, 900, |px, py| {
                let near = (px as f32 + 0.5 - x).hypot(py as f32 + 0.5 - y) < height / 15.0;
                image::Rgb(if near { [255; 3] } else { [0; 3] })
            });
            let crop = margin_crop(&picture, &face.box_in_frame).unwrap();
            let pixels = photo::decode(&crop.jpeg).unwrap();
            assert!(pixels.width().max(pixels.height()) <= MAX_CROP_SIDE_PX);
            let (mut sum, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
            for (px, py, pixel) in pixels.enumerate_pixels().filter(|(.., pixel)| pixel[0] > 100) {
                let weight = f32::from(pixel[0]);
                sum += weight;
                sum_x += weight * (px as f32 + 0.5);
                sum_y += weight * (py as f32 + 0.5);
            }
            let in_photo = Face {
                landmarks: [[x, y]; 5],
                ..face
            };
            let in_crop = crop.face_in_crop(&in_photo);
            let [found_x, found_y] = in_crop.landmarks[0];
            let [box_x, box_y] = in_crop.box_in_frame.centre();
            assert!((box_x - found_x).abs() < 1e-2 && (box_y - found_y).abs() < 1e-2);
            assert!(
                (sum_x / sum - found_x).abs() < 0.5 && (sum_y / sum - found_y).abs() < 0.5,
                "{left} {height}"
            );
        }
    }
}
