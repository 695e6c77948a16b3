//! Remembering visits and forgetting them.

use std::io::Cursor;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use ulid::Ulid;

use super::Sightings;
use super::error::SightingsError;
use super::query::Query;
use super::record::{StrangerNow, VisitNow};
use crate::gallery::bytes;

/// So many shots of an unknown visitor are kept, the best: more say little that is new.
const MOST_SHOTS: usize = 5;
/// Quality of kept pictures.
const JPEG_QUALITY: u8 = 85;

/// How long visits are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Visits, after their end; zero: none is remembered.
    pub sightings: Duration,
    /// What unknown visitors looked like, after the visit's end; zero: it is not kept.
    pub unknown: Duration,
    /// Whether pictures of unknown visitors are kept at all, as long as their looks.
    pub crops: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            sightings: Duration::from_secs(30 * 24 * 3600),
            unknown: Duration::from_secs(48 * 3600),
            crops: false,
        }
    }
}

/// What was forgotten, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Visits.
    pub visits: usize,
    /// Visits of which only the looks were forgotten.
    pub looks: usize,
}

impl Sightings {
    /// Writes down how visits stand, all in one transaction.
    ///
    /// # Errors
    /// When the database fails; then nothing was written.
    pub fn remember(&mut self, visits: &[VisitNow]) -> Result<(), SightingsError> {
        let transaction = self.begin()?;
        for visit in visits {
            remember(&transaction, visit)?;
        }
        Ok(transaction.commit()?)
    }

    /// Closes the visits that a daemon left open when it was killed; each ended when it was seen last, as far as is known.
    /// Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn close_open(&mut self) -> Result<usize, SightingsError> {
        Ok(self
            .connection
            .execute("UPDATE visit SET is_open = 0 WHERE is_open", [])?)
    }

    /// Forgets what is older than `retention` allows at `now`. Visits that last are kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune(&mut self, retention: &Retention, now: Timestamp) -> Result<Forgotten, SightingsError> {
        let before = |age: Duration| {
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.as_millisecond().saturating_sub(age_ms)
        };
        let transaction = self.begin()?;
        let visits = transaction.execute(
            "DELETE FROM visit WHERE NOT is_open AND to_ms < ?",
            [before(retention.sightings)],
        )?;
        let old_unknown = before(retention.unknown);
        let looks: i64 = transaction.query_row(
            "SELECT count(DISTINCT s.visit) FROM shot s JOIN visit v USING (visit) WHERE NOT v.is_open AND v.to_ms < ?",
            [old_unknown],
            |row| row.get(0),
        )?;
        transaction.execute(
            "DELETE FROM shot WHERE visit IN (SELECT visit FROM visit WHERE NOT is_open AND to_ms < ?)",
            [old_unknown],
        )?;
        let crops = transaction.execute(
            "DELETE FROM crop WHERE NOT ? OR visit IN (SELECT visit FROM visit WHERE NOT is_open AND to_ms < ?)",
            params![retention.crops, old_unknown],
        )?;
        transaction.commit()?;
        let looks = usize::try_from(looks).unwrap_or_default();
        if visits + looks + crops > 0 {
            self.empty_log()?;
        }
        Ok(Forgotten { visits, looks })
    }

    /// Forgets the visits of everybody who is not in `people` (uids), and that anybody was like them. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_people(&mut self, people: &[Ulid]) -> Result<usize, SightingsError> {
        let uids: Vec<String> = people.iter().map(Ulid::to_string).collect();
        let uids = serde_json::Value::from(uids).to_string();
        let transaction = self.begin()?;
        let visits = transaction.execute(
            // Nothing, not even NULL, is in an empty list.
            "DELETE FROM visit WHERE person IS NOT NULL AND person NOT IN (SELECT value FROM json_each(?))",
            [&uids],
        )?;
        let likenesses = transaction.execute(
            "UPDATE visit SET similar_to = NULL WHERE similar_to NOT IN (SELECT value FROM json_each(?))",
            [&uids],
        )?;
        transaction.commit()?;
        if visits + likenesses > 0 {
            self.empty_log()?;
        }
        Ok(visits)
    }

    /// Forgets the visits that `query` finds, its limit aside. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&mut self, query: &Query) -> Result<usize, SightingsError> {
        let (condition, parameters) = query.condition();
        let statement = format!("DELETE FROM visit AS v WHERE {condition}");
        let visits = self
            .connection
            .execute(&statement, rusqlite::params_from_iter(parameters))?;
        if visits > 0 {
            self.empty_log()?;
        }
        Ok(visits)
    }

    /// Forgets what the visits `tracks` looked like and that they were; all of them in one transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_visits(&mut self, tracks: &[Ulid]) -> Result<usize, SightingsError> {
        let transaction = self.begin()?;
        let mut visits = 0;
        for track in tracks {
            visits += transaction.execute("DELETE FROM visit WHERE track = ?", [track.to_string()])?;
        }
        transaction.commit()?;
        if visits > 0 {
            self.empty_log()?;
        }
        Ok(visits)
    }

    /// Says that the visits `tracks` were those of the person `uid`: somebody gave an unknown visitor a name. What they
    /// looked like is forgotten here; the gallery has it now.
    pub(super) fn name_visits(&mut self, tracks: &[Ulid], uid: Ulid) -> Result<(), SightingsError> {
        let transaction = self.begin()?;
        for track in tracks {
            let visit: Option<i64> = transaction
                .query_row(
                    "UPDATE visit SET person = ?, similar_to = NULL, confidence = NULL WHERE track = ? RETURNING visit",
                    params![uid.to_string(), track.to_string()],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(visit) = visit {
                forget_looks(&transaction, visit)?;
            }
        }
        transaction.commit()?;
        self.empty_log()
    }

    /// A transaction that holds the write lock from its start.
    fn begin(&mut self) -> Result<Transaction<'_>, SightingsError> {
        Ok(self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Moves what the write-ahead log holds into the database and empties the log, in which old versions of pages would
    /// otherwise survive a deletion.
    fn empty_log(&self) -> Result<(), SightingsError> {
        let is_busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if is_busy == 0 {
            Ok(())
        } else {
            Err(SightingsError::NotForgotten)
        }
    }
}

fn remember(transaction: &Transaction<'_>, now: &VisitNow) -> Result<(), SightingsError> {
    let (from_ms, to_ms) = (now.from.as_millisecond(), now.to.as_millisecond());
    let zones: Vec<&str> = now.zones.iter().map(|zone| &**zone).collect();
    // A name that a person gave stays until the daemon knows better than "nobody".
    let visit: i64 = transaction
        .prepare_cached(
            "INSERT INTO visit (track, camera, person, similar_to, from_ms, to_ms, is_open, confidence, shots, zones, events)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, json_array())
             ON CONFLICT (track) DO UPDATE SET
                 person = CASE WHEN confidence IS NULL THEN coalesce(excluded.person, person) ELSE excluded.person END,
                 similar_to = CASE WHEN confidence IS NULL THEN NULL ELSE excluded.similar_to END,
                 confidence = CASE WHEN confidence IS NULL AND excluded.person IS NULL THEN NULL
                                   ELSE excluded.confidence END,
                 from_ms = min(from_ms, excluded.from_ms),
                 to_ms = max(to_ms, excluded.to_ms),
                 is_open = is_open AND excluded.is_open,
                 shots = excluded.shots,
                 zones = (SELECT json_group_array(DISTINCT value)
                            FROM (SELECT value FROM json_each(zones) UNION ALL SELECT value FROM json_each(excluded.zones)))
             RETURNING visit",
        )?
        .query_row(
            params![
                now.track.to_string(),
                &*now.camera,
                now.person.map(|uid| uid.to_string()),
                now.similar_to.map(|uid| uid.to_string()),
                from_ms,
                // The wall clock may have been set back meanwhile.
                to_ms.max(from_ms),
                !now.ended,
                now.confidence.clamp(0.0, 1.0),
                i64::try_from(now.shots).unwrap_or(i64::MAX),
                serde_json::Value::from(zones).to_string(),
            ],
            |row| row.get(0),
        )?;
    if let Some(event) = now.event {
        transaction
            .prepare_cached(
                "UPDATE visit SET events = json_insert(events, '$[#]', ?2)
                 WHERE visit = ?1 AND NOT EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?2)",
            )?
            .execute(params![visit, event.to_string()])?;
    }
    let is_unknown: bool =
        transaction.query_row("SELECT person IS NULL FROM visit WHERE visit = ?", [visit], |row| {
            row.get(0)
        })?;
    match &now.looks {
        Some(looks) if is_unknown => remember_looks(transaction, visit, looks),
        None if is_unknown => Ok(()),
        _ => Ok(forget_looks(transaction, visit)?),
    }
}

fn remember_looks(transaction: &Transaction<'_>, visit: i64, looks: &StrangerNow) -> Result<(), SightingsError> {
    let mut best: Vec<_> = looks.shots.iter().collect();
    best.sort_by(|a, b| b.quality.score().total_cmp(&a.quality.score()));
    best.truncate(MOST_SHOTS);
    transaction.execute("DELETE FROM shot WHERE visit = ?", [visit])?;
    for shot in best {
        transaction
            .prepare_cached(
                "INSERT INTO shot (visit, captured_at_ms, box, landmarks, probability, size_px, sharpness, yaw_degrees,
                                   space, vector)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                visit,
                shot.captured_at.as_millisecond(),
                bytes::box_to_bytes(&shot.face),
                bytes::to_bytes(shot.face.landmarks.as_flattened()),
                shot.face.probability,
                shot.quality.size_px,
                shot.quality.sharpness,
                shot.quality.yaw_degrees,
                &*looks.space,
                bytes::to_bytes(shot.embedding.as_slice()),
            ])?;
    }
    let Some(crop) = &looks.crop else { return Ok(()) };
    let mut jpeg = Cursor::new(Vec::new());
    if let Err(error) = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&**crop) {
        tracing::warn!(%error, "can't make a picture of an unknown visitor");
        return Ok(());
    }
    transaction.execute(
        "INSERT INTO crop (visit, jpeg) VALUES (?, ?) ON CONFLICT (visit) DO UPDATE SET jpeg = excluded.jpeg",
        params![visit, jpeg.into_inner()],
    )?;
    Ok(())
}

fn forget_looks(transaction: &Transaction<'_>, visit: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM shot WHERE visit = ?", [visit])?;
    transaction.execute("DELETE FROM crop WHERE visit = ?", [visit])?;
    Ok(())
}
