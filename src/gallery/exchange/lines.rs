//! What the lines of an export hold.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::detect::{Face, FaceBox, Landmarks};
use crate::gallery::name::Name;
use crate::gallery::record::{MarginCrop, Source, VisitShot};
use crate::photo;
use crate::quality::Quality;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    pub(super) kith_gallery: u32,
    pub(super) people: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonLine {
    pub(super) id: String,
    pub(super) uid: Ulid,
    pub(super) name: Name,
    pub(super) role: Option<Name>,
    #[serde(default)]
    pub(super) ignored: bool,
    pub(super) threshold_cosine: Option<f32>,
    pub(super) threshold_probability: Option<f64>,
    pub(super) faces: Vec<FaceEntry>,
    #[serde(default)]
    pub(super) negatives: Vec<FaceEntry>,
}

impl PersonLine {
    /// What is wrong with the thresholds, if anything.
    pub(super) fn check_thresholds(&self) -> Result<(), String> {
        let given = [self.threshold_cosine.map(f64::from), self.threshold_probability];
        let is_one = |value: f64| value > 0.0 && value <= 1.0;
        match given.into_iter().flatten().find(|value| !is_one(*value)) {
            None => Ok(()),
            Some(value) => Err(format!("{}: {value} is no threshold (above 0, at most 1)", self.id)),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaceEntry {
    /// Of a face from a photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_sha256: Option<String>,
    /// Of a face from a visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) visit: Option<VisitShot>,
    #[serde(rename = "box")]
    pub(super) box_in_photo: [f32; 4],
    pub(super) landmarks: Landmarks,
    pub(super) probability: f32,
    pub(super) size_px: f32,
    pub(super) sharpness: f32,
    pub(super) yaw_degrees: f32,
    pub(super) crop: Option<CropEntry>,
    pub(super) vectors: BTreeMap<String, Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CropEntry {
    jpeg_base64: String,
    left_px: f32,
    top_px: f32,
    scale: f32,
}

impl FaceEntry {
    /// Where the face is from, or what is wrong.
    pub(super) fn source(&self) -> Result<Source, String> {
        match (&self.source_sha256, self.visit) {
            (Some(text), None) => HEXLOWER_PERMISSIVE
                .decode(text.as_bytes())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(Source::Photo)
                .ok_or_else(|| "source_sha256 is not 64 hex digits".into()),
            (None, Some(shot)) => Ok(Source::Visit(shot)),
            _ => Err("it needs one of source_sha256 and visit".into()),
        }
    }

    /// The face and its quality, or what is wrong.
    pub(super) fn face(&self) -> Result<(Face, Quality), String> {
        let [left, top, right, bottom] = self.box_in_photo;
        let numbers = [self.probability, self.size_px, self.sharpness, self.yaw_degrees];
        let all = numbers
            .iter()
            .chain(&self.box_in_photo)
            .chain(self.landmarks.as_flattened());
        if !all.into_iter().all(|number| number.is_finite()) || left >= right || top >= bottom {
            return Err("box, landmarks or quality are no such thing".into());
        }
        if self.vectors.is_empty() {
            return Err("it has no vector".into());
        }
        let face = Face {
            box_in_frame: FaceBox {
                left,
                top,
                right,
                bottom,
            },
            probability: self.probability,
            landmarks: self.landmarks,
        };
        let quality = Quality {
            size_px: self.size_px,
            sharpness: self.sharpness,
            yaw_degrees: self.yaw_degrees,
            probability: self.probability,
        };
        Ok((face, quality))
    }
}

impl From<MarginCrop> for CropEntry {
    fn from(crop: MarginCrop) -> Self {
        Self {
            jpeg_base64: BASE64.encode(&crop.jpeg),
            left_px: crop.left_px,
            top_px: crop.top_px,
            scale: crop.scale,
        }
    }
}

impl CropEntry {
    /// The crop, or what is wrong.
    pub(super) fn checked(&self) -> Result<MarginCrop, String> {
        let jpeg = BASE64
            .decode(self.jpeg_base64.as_bytes())
            .map_err(|error| format!("jpeg_base64: {error}"))?;
        photo::decode(&jpeg).map_err(|error| format!("the crop can't be read: {error}"))?;
        let Self {
            left_px, top_px, scale, ..
        } = *self;
        if !(left_px.is_finite() && top_px.is_finite() && scale.is_finite() && scale > 0.0) {
            return Err("the crop's place is no such thing".into());
        }
        Ok(MarginCrop {
            jpeg,
            left_px,
            top_px,
            scale,
        })
    }
}
