//! Faces and vectors as the bytes and columns of a row, in the gallery and among the visits of unknown people.

use rusqlite::Row;

use crate::detect::{Face, FaceBox, Landmarks};
use crate::quality::Quality;

/// Values as little-endian bytes, the form of every vector in the database.
pub(crate) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of [`to_bytes`]; bytes that don't make a whole value are dropped (the schema refuses them).
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

pub(crate) fn box_to_bytes(face: &Face) -> Vec<u8> {
    let FaceBox {
        left,
        top,
        right,
        bottom,
    } = face.box_in_frame;
    to_bytes(&[left, top, right, bottom])
}

/// The exact number of values in a column, or SQLite's error for a value out of range.
pub(super) fn exactly<const N: usize>(row: &Row<'_>, column: &str) -> rusqlite::Result<[f32; N]> {
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
pub(crate) fn face_of(row: &Row<'_>) -> rusqlite::Result<Face> {
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

/// Reads the columns `size_px`, `sharpness`, `yaw_degrees`, `probability`.
pub(crate) fn quality_of(row: &Row<'_>) -> rusqlite::Result<Quality> {
    Ok(Quality {
        size_px: row.get("size_px")?,
        sharpness: row.get("sharpness")?,
        yaw_degrees: row.get("yaw_degrees")?,
        probability: row.get("probability")?,
    })
}
