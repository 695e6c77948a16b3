//! What the gallery's rows hold, in Rust and in bytes.

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::bytes;
use super::name::Name;
use crate::detect::{Face, FaceBox};
use crate::embed::Embedding;
use crate::quality::Quality;

/// Somebody who is enrolled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Readable, `[a-z0-9_-]+`, unique in this gallery, never changed.
    pub id: String,
    /// The same in every gallery that this person is exported to.
    pub uid: Ulid,
    /// What people read.
    pub name: Name,
    /// Whatever the household calls it: resident, guest, staff.
    pub role: Option<Name>,
    /// Whether nobody is to be told of this person: recognised, but without events and entities, and not unknown.
    pub ignored: bool,
    /// From which cosine similarity on a face is this person's by the gallery, above 0 and at most 1; wins over the
    /// camera's and the model's. `None`: as for everybody.
    pub threshold_cosine: Option<f32>,
    /// From which probability on a face is this person's by a trained head, above 0 and at most 1. `None`: as for
    /// everybody.
    pub threshold_probability: Option<f64>,
}

impl Person {
    /// Somebody without role and marks.
    pub fn new(id: impl Into<String>, uid: Ulid, name: Name) -> Self {
        Self {
            id: id.into(),
            uid,
            name,
            role: None,
            ignored: false,
            threshold_cosine: None,
            threshold_probability: None,
        }
    }
}

/// A line of the list of people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonSummary {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Number of enrolled faces.
    pub faces: u32,
    /// Number of faces that are not this person's; see [`Vectors::negatives`](super::Vectors::negatives).
    pub negatives: u32,
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

/// Where a face is from. The same source isn't enrolled twice for one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A photo file; its sha256.
    Photo([u8; 32]),
    /// A shot of a visitor who was unknown then.
    Visit(VisitShot),
}

/// A shot of a visit: all that is left of the picture is when and on which track it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitShot {
    /// The track, which is the visit's id in sightings and events.
    pub track: Ulid,
    /// Milliseconds since 1970.
    pub captured_at_ms: i64,
}

impl Source {
    /// The columns `source_sha256`, `visit`, `captured_at_ms`.
    pub(super) fn columns(&self) -> (Option<[u8; 32]>, Option<String>, Option<i64>) {
        match self {
            Self::Photo(sha256) => (Some(*sha256), None, None),
            Self::Visit(shot) => (None, Some(shot.track.to_string()), Some(shot.captured_at_ms)),
        }
    }
}

/// An enrolled face, without its vectors and pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaceRecord {
    /// Number of the row; names the face in `kith people show`.
    pub face: i64,
    /// Where it is from.
    pub source: Source,
    /// Whether it is the face of somebody who is taken for the person, and is not.
    pub is_negative: bool,
    /// Size, sharpness and pose at enrolment.
    pub quality: Quality,
    /// Whether a crop was kept.
    pub has_crop: bool,
    /// The spaces that it has a vector in, sorted.
    pub spaces: Vec<String>,
}

/// The face with a margin, cut out of the photo so that another model can embed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarginCrop {
    /// A JPEG without metadata.
    #[serde(with = "base64")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFace {
    /// Where it is from.
    pub source: Source,
    /// Where it is in the photo, or was in the frame, in pixels.
    pub face: Face,
    /// How good it is.
    pub quality: Quality,
    /// Kept if asked.
    pub crop: Option<MarginCrop>,
    /// Its vector in the active space.
    pub embedding: Embedding,
}

/// Bytes as they are sent to a running daemon.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

pub(super) fn place_to_bytes(crop: &MarginCrop) -> Vec<u8> {
    bytes::to_bytes(&[crop.left_px, crop.top_px, crop.scale])
}

/// Reads the columns `crop`, `crop_place`.
pub(super) fn crop_of(row: &Row<'_>) -> rusqlite::Result<Option<MarginCrop>> {
    let Some(jpeg) = row.get::<_, Option<Vec<u8>>>("crop")? else {
        return Ok(None);
    };
    let [left_px, top_px, scale] = bytes::exactly::<3>(row, "crop_place")?;
    Ok(Some(MarginCrop {
        jpeg,
        left_px,
        top_px,
        scale,
    }))
}

/// Reads the columns `source_sha256`, `visit`, `captured_at_ms`.
pub(super) fn source_of(row: &Row<'_>) -> rusqlite::Result<Source> {
    let Some(visit) = row.get::<_, Option<String>>("visit")? else {
        return Ok(Source::Photo(row.get("source_sha256")?));
    };
    Ok(Source::Visit(VisitShot {
        track: ulid_of(&visit, "visit")?,
        captured_at_ms: row.get("captured_at_ms")?,
    }))
}

fn ulid_of(text: &str, column: &str) -> rusqlite::Result<Ulid> {
    text.parse()
        .map_err(|error: ulid::DecodeError| not_of_form(column, &error.to_string()))
}

fn not_of_form(column: &str, problem: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, format!("{column}: {problem}").into())
}

/// The columns that [`person_of`] reads, of a table `person` called `p`.
pub(super) const PERSON_COLUMNS: &str =
    "p.person, p.id, p.uid, p.name, p.role, p.ignored, p.threshold_cosine, p.threshold_probability";

/// Reads [`PERSON_COLUMNS`].
pub(super) fn person_of(row: &Row<'_>) -> rusqlite::Result<Person> {
    let name = |column: &'static str, text: String| {
        Name::parse(&text).map_err(|error| not_of_form(column, &error.to_string()))
    };
    Ok(Person {
        id: row.get("id")?,
        uid: ulid_of(&row.get::<_, String>("uid")?, "uid")?,
        name: name("name", row.get("name")?)?,
        role: row
            .get::<_, Option<String>>("role")?
            .map(|role| name("role", role))
            .transpose()?,
        ignored: row.get("ignored")?,
        threshold_cosine: row.get("threshold_cosine")?,
        threshold_probability: row.get("threshold_probability")?,
    })
}
