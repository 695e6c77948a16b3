//! What the gallery's rows hold, in Rust and in bytes.

use rusqlite::Row;
use serde::Serialize;
use ulid::Ulid;

use super::name::Name;
use crate::detect::{Face, FaceBox, Landmarks};
use crate::embed::Embedding;
use crate::quality::Quality;

/// Somebody who is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Readable, `[a-z0-9_-]+`, unique in this gallery, never changed.
    pub id: String,
    /// The same in every gallery that this person is exported to.
    pub uid: Ulid,
    /// What people read.
    pub name: Name,
    /// Whatever the household calls it: resident, guest, staff.
    pub role: Option<Name>,
}

/// A line of the list of people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PersonSummary {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Number of enrolled faces.
    pub faces: u32,
    /// Number of them with a kept crop.
    pub crops: u32,
    /// The embedding spaces that the faces have vectors in, sorted.
    pub spaces: Vec<String>,
}

impl PersonSummary {
    /// Whether the person has faces, but none with a vector in `space`, so that nobody can be compared with them. Somebody
    /// without faces lacks nothing: only heads know them.
    pub fn lacks(&self, space: &str) -> bool {
        self.faces > 0 && !self.spaces.iter().any(|has| has == space)
    }
}

/// An enrolled face, without its vectors and pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceRecord {
    /// Number of the row; names the face in `kith people show`.
    pub face: i64,
    /// sha256 of the photo file.
    pub source_sha256: [u8; 32],
    /// Size, sharpness and pose at enrolment.
    pub quality: Quality,
    /// Whether a crop was kept.
    pub has_crop: bool,
    /// The spaces that it has a vector in, sorted.
    pub spaces: Vec<String>,
}

/// The face with a margin, cut out of the photo so that another model can embed it.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginCrop {
    /// A JPEG without metadata.
    pub jpeg: Vec<u8>,
    /// x of its left edge in the photo, in pixels of the photo.
    pub left_px: f32,
    /// y of its upper edge.
    pub top_px: f32,
    /// Pixels of the crop for each pixel of the photo.
    pub scale: f32,
}

impl MarginCrop {
    /// Where a face of the photo lies in the crop, in pixels of the crop.
    pub fn face_in_crop(&self, in_photo: &Face) -> Face {
        let place = |[x, y]: [f32; 2]| [(x - self.left_px) * self.scale, (y - self.top_px) * self.scale];
        let FaceBox {
            left,
            top,
            right,
            bottom,
        } = in_photo.box_in_frame;
        let ([left, top], [right, bottom]) = (place([left, top]), place([right, bottom]));
        Face {
            box_in_frame: FaceBox {
                left,
                top,
                right,
                bottom,
            },
            probability: in_photo.probability,
            landmarks: in_photo.landmarks.map(place),
        }
    }
}

/// A face to be enrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFace {
    /// sha256 of the photo file: the same photo isn't enrolled twice for one person.
    pub source_sha256: [u8; 32],
    /// Where it is in the photo.
    pub face: Face,
    /// How good it is.
    pub quality: Quality,
    /// Kept if asked.
    pub crop: Option<MarginCrop>,
    /// Its vector in the active space.
    pub embedding: Embedding,
}

/// Values as little-endian bytes, the form of every vector in the database.
pub(super) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of [`to_bytes`]; bytes that don't make a whole value are dropped (the schema refuses them).
pub(super) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

pub(super) fn box_to_bytes(face: &Face) -> Vec<u8> {
    let FaceBox {
        left,
        top,
        right,
        bottom,
    } = face.box_in_frame;
    to_bytes(&[left, top, right, bottom])
}

pub(super) fn place_to_bytes(crop: &MarginCrop) -> Vec<u8> {
    to_bytes(&[crop.left_px, crop.top_px, crop.scale])
}

/// The exact number of values in a column, or SQLite's error for a value out of range.
fn exactly<const N: usize>(row: &Row<'_>, column: &str) -> rusqlite::Result<[f32; N]> {
    let bytes = row.get_ref(column)?.as_blob()?;
    from_bytes(bytes).try_into().map_err(|values: Vec<f32>| {
        rusqlite::Error::FromSqlConversionFailure(
            values.len(),
            rusqlite::types::Type::Blob,
            format!("{column} has {} values instead of {N}", values.len()).into(),
        )
    })
}

/// Reads the columns `box`, `landmarks`, `probability`.
pub(super) fn face_of(row: &Row<'_>) -> rusqlite::Result<Face> {
    let [left, top, right, bottom] = exactly::<4>(row, "box")?;
    let points = exactly::<10>(row, "landmarks")?;
    let mut landmarks = Landmarks::default();
    for (landmark, point) in landmarks.iter_mut().zip(points.as_chunks::<2>().0) {
        *landmark = *point;
    }
    Ok(Face {
        box_in_frame: FaceBox {
            left,
            top,
            right,
            bottom,
        },
        probability: row.get("probability")?,
        landmarks,
    })
}

/// Reads the columns `crop`, `crop_place`.
pub(super) fn crop_of(row: &Row<'_>) -> rusqlite::Result<Option<MarginCrop>> {
    let Some(jpeg) = row.get::<_, Option<Vec<u8>>>("crop")? else {
        return Ok(None);
    };
    let [left_px, top_px, scale] = exactly::<3>(row, "crop_place")?;
    Ok(Some(MarginCrop {
        jpeg,
        left_px,
        top_px,
        scale,
    }))
}

/// Reads the columns `size_px`, `sharpness`, `yaw_degrees`, `probability`.
pub(super) fn quality_of(row: &Row<'_>) -> rusqlite::Result<Quality> {
    Ok(Quality {
        size_px: row.get("size_px")?,
        sharpness: row.get("sharpness")?,
        yaw_degrees: row.get("yaw_degrees")?,
        probability: row.get("probability")?,
    })
}

/// Reads the columns `id`, `uid`, `name`, `role`.
pub(super) fn person_of(row: &Row<'_>) -> rusqlite::Result<Person> {
    let text = |column: &str| row.get::<_, String>(column);
    let invalid = |column: &'static str, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, format!("{column}: {error}").into())
    };
    let name = |column: &'static str, text: String| Name::parse(&text).map_err(|error| invalid(column, error.into()));
    Ok(Person {
        id: text("id")?,
        uid: text("uid")?
            .parse()
            .map_err(|error: ulid::DecodeError| invalid("uid", error.to_string().into()))?,
        name: name("name", text("name")?)?,
        role: row
            .get::<_, Option<String>>("role")?
            .map(|role| name("role", role))
            .transpose()?,
    })
}
