//! Export and import: one file of JSON lines. The first line names the format and counts what follows, so that a
//! truncated file is noticed; then one line for each person. `docs/reference/gallery.md` describes every key.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::enrol::{add_face, add_person, add_vector};
use super::error::GalleryError;
use super::name::{Name, is_id};
use super::record::{self, MarginCrop, Person};
use super::{Gallery, people};
use crate::detect::{Face, FaceBox, Landmarks};
use crate::photo;
use crate::quality::Quality;

/// The version of the format; a newer one is refused.
const FORMAT_VERSION: u32 = 1;
/// Longest line that is read: a person with some hundred crops.
pub const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;
/// How far from 1 a vector's length may be.
const UNIT_TOLERANCE: f64 = 1e-3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    kith_gallery: u32,
    people: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonLine {
    id: String,
    uid: Ulid,
    name: Name,
    role: Option<Name>,
    faces: Vec<FaceEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaceEntry {
    source_sha256: String,
    #[serde(rename = "box")]
    box_in_photo: [f32; 4],
    landmarks: Landmarks,
    probability: f32,
    size_px: f32,
    sharpness: f32,
    yaw_degrees: f32,
    crop: Option<CropEntry>,
    vectors: BTreeMap<String, Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CropEntry {
    jpeg_base64: String,
    left_px: f32,
    top_px: f32,
    scale: f32,
}

/// What an import did to one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The person as in this gallery.
    #[serde(flatten)]
    pub person: Person,
    /// Whether nobody with this uid was here before.
    pub is_new: bool,
    /// The id in the export; another one than here when it was taken.
    pub exported_id: String,
    /// The name in the export; another one than here when the person was known here by that name.
    pub exported_name: Name,
    /// Faces that were added.
    pub faces_added: usize,
}

impl Gallery {
    /// Writes the people `wanted` (ids or names; empty: everybody) with vectors of all spaces and kept crops. Gives how
    /// many people were written.
    ///
    /// # Errors
    /// When one of them isn't there, the database fails or `out` can't be written.
    pub fn export(&mut self, wanted: &[String], out: &mut dyn Write) -> Result<usize, GalleryError> {
        // One transaction, so that the file is of one moment.
        let transaction = self.connection.transaction()?;
        let keys: Vec<i64> = if wanted.is_empty() {
            let mut statement = transaction.prepare("SELECT person FROM person ORDER BY id")?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?
        } else {
            let mut keys = Vec::new();
            for wanted in wanted {
                let (key, _) = people::find(&transaction, wanted)?;
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            keys
        };
        write_line(
            out,
            &HeaderLine {
                kith_gallery: FORMAT_VERSION,
                people: keys.len(),
            },
        )?;
        for key in &keys {
            write_line(out, &person_line(&transaction, *key)?)?;
        }
        Ok(keys.len())
    }

    /// Adds what an export holds, all or nothing: people by uid, their faces by the photo's sha256, their vectors by
    /// space. Names and roles of people who are here already stay. Everything is checked before it is believed.
    ///
    /// # Errors
    /// [`GalleryError::Import`] with the line and what is wrong there; or when reading or the database fails.
    pub fn import(&mut self, export: &mut dyn BufRead) -> Result<Vec<Imported>, GalleryError> {
        let transaction = self.begin()?;
        let mut line = 1;
        let wrong = |line, reason: String| GalleryError::Import { line, reason };
        let header = read_line(export, line)?.ok_or_else(|| wrong(line, "the file is empty".into()))?;
        let version: serde_json::Value = serde_json::from_slice(&header)
            .map_err(|_| wrong(line, "this is not an export of `kith people export`".into()))?;
        match version.get("kith_gallery").and_then(serde_json::Value::as_u64) {
            None => return Err(wrong(line, "this is not an export of `kith people export`".into())),
            Some(version) if version != u64::from(FORMAT_VERSION) => {
                let reason =
                    format!("it has format version {version}, this Kith knows {FORMAT_VERSION}; use a newer Kith");
                return Err(wrong(line, reason));
            }
            Some(_) => {}
        }
        let header: HeaderLine = serde_json::from_value(version).map_err(|error| wrong(line, error.to_string()))?;
        let mut imported: Vec<Imported> = Vec::new();
        loop {
            line += 1;
            let Some(text) = read_line(export, line)? else { break };
            let entry: PersonLine = serde_json::from_slice(&text).map_err(|error| wrong(line, error.to_string()))?;
            if imported.iter().any(|earlier| earlier.person.uid == entry.uid) {
                return Err(wrong(line, format!("the uid {} was on an earlier line", entry.uid)));
            }
            imported.push(import_person(&transaction, entry, line)?);
        }
        if imported.len() != header.people {
            let reason = format!(
                "the file is cut off: it holds {} of {} people",
                imported.len(),
                header.people
            );
            return Err(wrong(line, reason));
        }
        transaction.commit()?;
        Ok(imported)
    }
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> Result<(), GalleryError> {
    serde_json::to_writer(&mut *out, line).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// The next line without its end; `None` at the end of the file.
fn read_line(export: &mut dyn BufRead, line: usize) -> Result<Option<Vec<u8>>, GalleryError> {
    let mut bytes = Vec::new();
    export.take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes)?;
    if bytes.len() as u64 > MAX_LINE_BYTES {
        let reason = format!("it is longer than {} MB", MAX_LINE_BYTES / 1024 / 1024);
        return Err(GalleryError::Import { line, reason });
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn person_line(transaction: &Transaction<'_>, key: i64) -> Result<PersonLine, GalleryError> {
    let Person { id, uid, name, role } =
        transaction.query_row("SELECT * FROM person WHERE person = ?", [key], record::person_of)?;
    let mut statement = transaction.prepare_cached("SELECT * FROM face WHERE person = ? ORDER BY face")?;
    let mut rows = statement.query([key])?;
    let mut faces = Vec::new();
    while let Some(row) = rows.next()? {
        let face = record::face_of(row)?;
        let quality = record::quality_of(row)?;
        let FaceBox {
            left,
            top,
            right,
            bottom,
        } = face.box_in_frame;
        let mut statement = transaction.prepare_cached("SELECT space, vector FROM embedding WHERE face = ?")?;
        let vectors = statement.query_map([row.get::<_, i64>("face")?], |row| {
            Ok((row.get(0)?, record::from_bytes(row.get_ref(1)?.as_blob()?)))
        })?;
        faces.push(FaceEntry {
            source_sha256: HEXLOWER_PERMISSIVE.encode(&row.get::<_, [u8; 32]>("source_sha256")?),
            box_in_photo: [left, top, right, bottom],
            landmarks: face.landmarks,
            probability: face.probability,
            size_px: quality.size_px,
            sharpness: quality.sharpness,
            yaw_degrees: quality.yaw_degrees,
            crop: record::crop_of(row)?.map(|crop| CropEntry {
                jpeg_base64: BASE64.encode(&crop.jpeg),
                left_px: crop.left_px,
                top_px: crop.top_px,
                scale: crop.scale,
            }),
            vectors: vectors.collect::<rusqlite::Result<_>>()?,
        });
    }
    Ok(PersonLine {
        id,
        uid,
        name,
        role,
        faces,
    })
}

fn import_person(transaction: &Transaction<'_>, entry: PersonLine, line: usize) -> Result<Imported, GalleryError> {
    let wrong = |reason: String| GalleryError::Import { line, reason };
    if !is_id(&entry.id) {
        return Err(wrong(format!("{:?} is no id ([a-z0-9_-]+, at most 64)", entry.id)));
    }
    let existing = transaction
        .query_row("SELECT * FROM person WHERE uid = ?", [entry.uid.to_string()], |row| {
            Ok((row.get::<_, i64>("person")?, record::person_of(row)?))
        })
        .optional()?;
    let is_new = existing.is_none();
    let (key, person) = match existing {
        Some(existing) => existing,
        None => add_person(transaction, &entry.id, &entry.name, entry.uid, entry.role.as_ref())?,
    };
    let mut faces_added = 0;
    for (number, face) in (1..).zip(&entry.faces) {
        let wrong = |reason: String| wrong(format!("{}, face {number}: {reason}", entry.id));
        faces_added += usize::from(import_face(transaction, key, face, &wrong)?);
    }
    Ok(Imported {
        person,
        is_new,
        exported_id: entry.id,
        exported_name: entry.name,
        faces_added,
    })
}

/// Whether the face was new.
fn import_face(
    transaction: &Transaction<'_>,
    person: i64,
    entry: &FaceEntry,
    wrong: &dyn Fn(String) -> GalleryError,
) -> Result<bool, GalleryError> {
    let source_sha256: [u8; 32] = HEXLOWER_PERMISSIVE
        .decode(entry.source_sha256.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| wrong("source_sha256 is not 64 hex digits".into()))?;
    let [left, top, right, bottom] = entry.box_in_photo;
    let numbers = [entry.probability, entry.size_px, entry.sharpness, entry.yaw_degrees];
    let all = numbers
        .iter()
        .chain(&entry.box_in_photo)
        .chain(entry.landmarks.as_flattened());
    if !all.into_iter().all(|number| number.is_finite()) || left >= right || top >= bottom {
        return Err(wrong("box, landmarks or quality are no such thing".into()));
    }
    if entry.vectors.is_empty() {
        return Err(wrong("it has no vector".into()));
    }
    let crop = entry
        .crop
        .as_ref()
        .map(|crop| checked_crop(crop).map_err(wrong))
        .transpose()?;
    let face = Face {
        box_in_frame: FaceBox {
            left,
            top,
            right,
            bottom,
        },
        probability: entry.probability,
        landmarks: entry.landmarks,
    };
    let quality = Quality {
        size_px: entry.size_px,
        sharpness: entry.sharpness,
        yaw_degrees: entry.yaw_degrees,
        probability: entry.probability,
    };
    let added = add_face(transaction, person, &source_sha256, &face, &quality, crop.as_ref())?;
    let row = match added {
        Some(row) => row,
        None => transaction.query_row(
            "SELECT face FROM face WHERE person = ? AND source_sha256 = ?",
            params![person, source_sha256],
            |row| row.get(0),
        )?,
    };
    for (space, vector) in &entry.vectors {
        check_vector(transaction, space, vector).and_then(|checked| checked.map_err(wrong))?;
        add_vector(transaction, row, space, vector)?;
    }
    Ok(added.is_some())
}

fn checked_crop(entry: &CropEntry) -> Result<MarginCrop, String> {
    let jpeg = BASE64
        .decode(entry.jpeg_base64.as_bytes())
        .map_err(|error| format!("jpeg_base64: {error}"))?;
    photo::decode(&jpeg).map_err(|error| format!("the crop can't be read: {error}"))?;
    let CropEntry {
        left_px, top_px, scale, ..
    } = *entry;
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::tests::named;
    use super::*;

    fn jpeg() -> Vec<u8> {
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg)
            .encode_image(&image::RgbImage::new(8, 8))
            .unwrap();
        jpeg
    }

    fn gallery_of_two(folder: &tempfile::TempDir) -> Gallery {
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let mut alice = named("Alice", &[1, 2]);
        alice.faces[1].crop = Some(MarginCrop {
            jpeg: jpeg(),
            left_px: 1.5,
            top_px: 2.5,
            scale: 0.25,
        });
        gallery.enrol("space", &[alice, named("Юлия", &[3])]).unwrap();
        gallery
    }

    fn export(gallery: &mut Gallery) -> String {
        let mut out = Vec::new();
        gallery.export(&[], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn import(gallery: &mut Gallery, export: &str) -> Result<Vec<Imported>, GalleryError> {
        gallery.import(&mut Cursor::new(export))
    }

    #[test]
    fn an_export_comes_back_the_same_in_another_gallery() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = export(&mut gallery_of_two(&here));
        let mut other = Gallery::open(there.path()).unwrap();
        let imported = import(&mut other, &first).unwrap();
        assert!(
            imported
                .iter()
                .all(|one| one.is_new && one.exported_id == one.person.id)
        );
        assert_eq!(export(&mut other), first);
        // A second time it adds nothing.
        let again = import(&mut other, &first).unwrap();
        assert!(again.iter().all(|one| !one.is_new && one.faces_added == 0));
        assert_eq!(export(&mut other), first);
        other.check().unwrap();
    }

    #[test]
    fn a_taken_id_gets_a_suffix_and_a_known_person_keeps_the_name() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut ours = gallery_of_two(&here);
        let mut theirs = Gallery::open(there.path()).unwrap();
        theirs.enrol("space", &[named("Alice", &[9])]).unwrap();
        let imported = import(&mut theirs, &export(&mut ours)).unwrap();
        assert_eq!(
            (imported[0].person.id.as_str(), imported[0].exported_id.as_str()),
            ("alice-2", "alice")
        );

        theirs.rename("alice-2", &Name::parse("Alicia").unwrap()).unwrap();
        ours.enrol("space", &[named("Alice", &[4])]).unwrap();
        let imported = import(&mut theirs, &export(&mut ours)).unwrap();
        assert_eq!(
            (imported[0].person.name.as_str(), imported[0].faces_added),
            ("Alicia", 1)
        );
        assert_eq!(theirs.people().unwrap().len(), 3);
    }

    #[test]
    fn what_does_not_hold_is_refused_with_its_line_and_nothing_is_imported() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let good = export(&mut gallery_of_two(&here));
        let mut other = Gallery::open(there.path()).unwrap();
        let second_line = good.lines().nth(1).unwrap();
        let cases: Vec<(String, usize, &str)> = vec![
            (String::new(), 1, "empty"),
            ("hello".into(), 1, "not an export"),
            (
                good.replacen("\"kith_gallery\":1", "\"kith_gallery\":2", 1),
                1,
                "format version 2",
            ),
            (
                good.lines().take(2).collect::<Vec<_>>().join("\n"),
                3,
                "cut off: it holds 1 of 2",
            ),
            (good[..good.len() - 40].to_string(), 3, ""),
            (good.replace("\"id\":\"alice\"", "\"id\":\"a/b#\""), 2, "is no id"),
            (
                good.replace("\"name\":\"Alice\"", "\"name\":\"A\\u001b\""),
                2,
                "control character",
            ),
            (good.replace(&"01".repeat(32), "01"), 2, "64 hex digits"),
            (good.replacen("\"box\":[10.0", "\"box\":[1000.0", 1), 2, "face 1: box"),
            (good.replacen("\"space\":[", "\"space\":[5.0,", 1), 2, "unit length"),
            (
                good.replacen("\"space\":[", "\"space\":[0.0,", 1),
                2,
                "values, the others there have",
            ),
            (good.replacen("jpeg_base64\":\"", "jpeg_base64\":\"AAAA", 1), 2, "crop"),
            (
                format!("{}{second_line}\n", good.replacen("\"people\":2", "\"people\":3", 1)),
                4,
                "earlier line",
            ),
            (good.replacen("\"role\"", "\"rôle\"", 1), 2, "unknown field"),
        ];
        for (export, expected_line, expected) in cases {
            match import(&mut other, &export).unwrap_err() {
                GalleryError::Import { line, reason } => {
                    assert_eq!(line, expected_line, "{reason}");
                    assert!(reason.contains(expected), "{reason:?} lacks {expected:?}");
                }
                error => panic!("{error}"),
            }
            assert!(other.people().unwrap().is_empty());
        }
    }

    proptest! {
        #[test]
        fn damaged_exports_never_panic_and_never_half_import(place in 0_usize..10_000, byte in any::<u8>()) {
            let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut bytes = export(&mut gallery_of_two(&here)).into_bytes();
            let place = place % bytes.len();
            bytes[place] = byte;
            let mut other = Gallery::open(there.path()).unwrap();
            let people = match other.import(&mut bytes.as_slice()) { Ok(_) => 2, Err(_) => 0 };
            prop_assert_eq!(other.people().unwrap().len(), people);
        }
    }
}
