//! From a person's rows of faces to the entries of an export, and back.

use data_encoding::HEXLOWER_PERMISSIVE;
use rusqlite::{OptionalExtension, Transaction};

use super::lines::FaceEntry;
use crate::detect::FaceBox;
use crate::gallery::bytes;
use crate::gallery::enrol::{Added, FaceRow, add_face, add_vector};
use crate::gallery::error::GalleryError;
use crate::gallery::record::{self, Source};

/// How far from 1 a vector's length may be.
const UNIT_TOLERANCE: f64 = 1e-3;

/// The faces of the person in row `person`, or the negative examples, oldest first.
pub(super) fn face_entries(
    transaction: &Transaction<'_>,
    person: i64,
    is_negative: bool,
) -> Result<Vec<FaceEntry>, GalleryError> {
    let mut statement =
        transaction.prepare_cached("SELECT * FROM face WHERE person = ? AND is_negative = ? ORDER BY face")?;
    let mut rows = statement.query((person, is_negative))?;
    let mut faces = Vec::new();
    while let Some(row) = rows.next()? {
        let face = bytes::face_of(row)?;
        let quality = bytes::quality_of(row)?;
        let FaceBox {
            left,
            top,
            right,
            bottom,
        } = face.box_in_frame;
        let mut statement = transaction.prepare_cached("SELECT space, vector FROM embedding WHERE face = ?")?;
        let vectors = statement.query_map([row.get::<_, i64>("face")?], |row| {
            Ok((row.get(0)?, bytes::from_bytes(row.get_ref(1)?.as_blob()?)))
        })?;
        let (source_sha256, visit) = match record::source_of(row)? {
            Source::Photo(sha256) => (Some(HEXLOWER_PERMISSIVE.encode(&sha256)), None),
            Source::Visit(shot) => (None, Some(shot)),
        };
        faces.push(FaceEntry {
            source_sha256,
            visit,
            box_in_photo: [left, top, right, bottom],
            landmarks: face.landmarks,
            probability: face.probability,
            size_px: quality.size_px,
            sharpness: quality.sharpness,
            yaw_degrees: quality.yaw_degrees,
            crop: record::crop_of(row)?.map(Into::into),
            vectors: vectors.collect::<rusqlite::Result<_>>()?,
        });
    }
    Ok(faces)
}

/// Adds faces or negative examples to the person in row `person`; gives how many were new. `wrong` makes an error of a
/// face's number, counted from 1, and what is wrong with it.
pub(super) fn import_faces(
    transaction: &Transaction<'_>,
    person: i64,
    entries: &[FaceEntry],
    is_negative: bool,
    wrong: &dyn Fn(usize, String) -> GalleryError,
) -> Result<usize, GalleryError> {
    let mut added = 0;
    for (number, entry) in (1..).zip(entries) {
        added += usize::from(import_face(transaction, person, entry, is_negative, &|reason| {
            wrong(number, reason)
        })?);
    }
    Ok(added)
}

/// Whether the face was new.
fn import_face(
    transaction: &Transaction<'_>,
    person: i64,
    entry: &FaceEntry,
    is_negative: bool,
    wrong: &dyn Fn(String) -> GalleryError,
) -> Result<bool, GalleryError> {
    let source = entry.source().map_err(wrong)?;
    let (face, quality) = entry.face().map_err(wrong)?;
    let crop = entry
        .crop
        .as_ref()
        .map(|crop| crop.checked().map_err(wrong))
        .transpose()?;
    let row = FaceRow {
        source,
        face: &face,
        quality: &quality,
        crop: crop.as_ref(),
    };
    let (row, is_new) = match add_face(transaction, person, &row, is_negative)? {
        Added::New(row) => (row, true),
        Added::Already(row, as_negative) if as_negative == is_negative => (row, false),
        // What this gallery holds about a photo stays, as a name does.
        Added::Already(..) => return Ok(false),
    };
    for (space, vector) in &entry.vectors {
        check_vector(transaction, space, vector)?.map_err(wrong)?;
        add_vector(transaction, row, space, vector)?;
    }
    Ok(is_new)
}

/// Unit length, and as many values as every other vector of the space has.
fn check_vector(
    transaction: &Transaction<'_>,
    space: &str,
    vector: &[f32],
) -> Result<Result<(), String>, GalleryError> {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if space.is_empty() || (length - 1.0).abs().is_nan() || (length - 1.0).abs() > UNIT_TOLERANCE {
        return Ok(Err(format!("the vector in {space:?} is not of unit length")));
    }
    let expected: Option<i64> = transaction
        .prepare_cached("SELECT length(vector) / 4 FROM embedding WHERE space = ? LIMIT 1")?
        .query_row([space], |row| row.get(0))
        .optional()?;
    Ok(match expected {
        Some(expected) if usize::try_from(expected) != Ok(vector.len()) => Err(format!(
            "the vector in {space:?} has {} values, the others there have {expected}",
            vector.len()
        )),
        _ => Ok(()),
    })
}
