//! Export and import: one file of JSON lines. The first line names the format and counts what follows, so that a
//! truncated file is noticed; then one line for each person. `docs/reference/gallery.md` describes every key.
//!
//! - `lines`: what a line holds, and what of it is believed
//! - `faces`: from rows to lines and back

mod faces;
mod lines;

use std::io::{BufRead, Read, Write};

use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

use super::enrol::add_person;
use super::error::GalleryError;
use super::name::{Name, is_id};
use super::record::{self, Person};
use super::{Gallery, people};
use faces::{face_entries, import_faces};
use lines::{HeaderLine, PersonLine};

/// The version of the format that is written; a newer one is refused. Version 1 had no marks and no visits.
const FORMAT_VERSION: u32 = 2;
/// The oldest version that is read.
const OLDEST_VERSION: u32 = 1;
/// Longest line that is read: a person with some hundred crops.
pub const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// What an import did to one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Negative examples that were added.
    pub negatives_added: usize,
}

impl Gallery {
    /// Writes the people `wanted` (ids or names; empty: everybody) with marks, vectors of all spaces and kept crops.
    /// Gives how many people were written.
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

    /// Adds what an export holds, all or nothing: people by uid, their faces by the photo's sha256 or the visit, their
    /// vectors by space. Names, roles and marks of people who are here already stay. Everything is checked before it is
    /// believed.
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
            Some(version) if !(u64::from(OLDEST_VERSION)..=u64::from(FORMAT_VERSION)).contains(&version) => {
                let reason = format!(
                    "it has format version {version}, this Kith knows {OLDEST_VERSION} to {FORMAT_VERSION}; use a newer Kith"
                );
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
    let Person {
        id,
        uid,
        name,
        role,
        ignored,
        threshold_cosine,
        threshold_probability,
    } = transaction.query_row("SELECT * FROM person WHERE person = ?", [key], record::person_of)?;
    Ok(PersonLine {
        id,
        uid,
        name,
        role,
        ignored,
        threshold_cosine,
        threshold_probability,
        faces: face_entries(transaction, key, false)?,
        negatives: face_entries(transaction, key, true)?,
    })
}

fn import_person(transaction: &Transaction<'_>, entry: PersonLine, line: usize) -> Result<Imported, GalleryError> {
    let wrong = |reason: String| GalleryError::Import { line, reason };
    if !is_id(&entry.id) {
        return Err(wrong(format!("{:?} is no id ([a-z0-9_-]+, at most 64)", entry.id)));
    }
    entry.check_thresholds().map_err(wrong)?;
    let existing = transaction
        .query_row("SELECT * FROM person WHERE uid = ?", [entry.uid.to_string()], |row| {
            Ok((row.get::<_, i64>("person")?, record::person_of(row)?))
        })
        .optional()?;
    let is_new = existing.is_none();
    let (key, person) = match existing {
        Some(existing) => existing,
        None => add_marked(transaction, &entry)?,
    };
    let faces_added = import_faces(transaction, key, &entry.faces, false, &|number, reason| {
        wrong(format!("{}, face {number}: {reason}", entry.id))
    })?;
    let negatives_added = import_faces(transaction, key, &entry.negatives, true, &|number, reason| {
        wrong(format!("{}, negative {number}: {reason}", entry.id))
    })?;
    Ok(Imported {
        person,
        is_new,
        exported_id: entry.id,
        exported_name: entry.name,
        faces_added,
        negatives_added,
    })
}

/// Adds a person with the marks of the export.
fn add_marked(transaction: &Transaction<'_>, entry: &PersonLine) -> Result<(i64, Person), GalleryError> {
    let (key, mut person) = add_person(transaction, &entry.id, &entry.name, entry.uid, entry.role.as_ref())?;
    person.ignored = entry.ignored;
    person.threshold_cosine = entry.threshold_cosine;
    person.threshold_probability = entry.threshold_probability;
    transaction.execute(
        "UPDATE person SET ignored = ?, threshold_cosine = ?, threshold_probability = ? WHERE person = ?",
        rusqlite::params![
            person.ignored,
            person.threshold_cosine,
            person.threshold_probability,
            key
        ],
    )?;
    Ok((key, person))
}

#[cfg(test)]
mod tests;
