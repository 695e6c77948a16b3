//! Which face of a photo is meant, and whether it is good enough.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::{BATCH, Rules, Which};
use crate::detect::{Face, FaceBox, detect_in_photo, most_prominent};
use crate::gallery::{MarginCrop, NewFace, Source};
use crate::networks::Networks;
use crate::photo::{self, PhotoError};
use crate::quality::Quality;

/// Least height of a face to be enrolled, in pixels.
pub const MIN_FACE_PX: f32 = 50.0;
/// Least [`crate::quality::sharpness`] of a face to be enrolled.
pub const MIN_SHARPNESS: f32 = 0.35;
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

/// A face that passed every check, with its aligned crop.
pub(super) struct Checked {
    source_sha256: [u8; 32],
    face: Face,
    quality: Quality,
    crop: Option<MarginCrop>,
    aligned: RgbImage,
}

/// The face of a photo that is meant, if it is good enough.
pub(super) fn checked_face(
    networks: &mut Networks,
    file: &Path,
    rules: &Rules,
) -> anyhow::Result<Result<Checked, Refusal>> {
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

/// Embeds what was checked.
pub(super) fn embed(
    networks: &mut Networks,
    faces: Vec<(PathBuf, Checked)>,
) -> anyhow::Result<Vec<(PathBuf, NewFace)>> {
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
                        source: Source::Photo(source_sha256),
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
