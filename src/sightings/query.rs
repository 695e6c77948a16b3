//! Asking for visits.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row};
use ulid::Ulid;

use super::Sightings;
use super::error::SightingsError;
use super::group::{Looks, SAME_VISITOR_COSINE, group};
use super::record::{Stranger, StrangerShot, Visit, short_id};
use crate::embed::Embedding;
use crate::gallery::bytes;

/// Whose visits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    #[default]
    Any,
    /// Those of the person of this uid.
    Person(Ulid),
    /// Those of nobody who is enrolled.
    Unknown,
}

/// Which visits; the default are all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Those that lasted until this time or longer.
    pub since: Option<Timestamp>,
    /// Those that began before this time.
    pub until: Option<Timestamp>,
    /// Whose.
    pub whose: Whose,
    /// Those of the camera of this id.
    pub camera: Option<String>,
    /// At most so many, the latest.
    pub limit: Option<usize>,
}

impl Query {
    /// The condition on `visit v`, and its parameters.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut conditions = vec!["TRUE"];
        let mut parameters = Vec::new();
        if let Some(since) = self.since {
            conditions.push("v.to_ms >= ?");
            parameters.push(since.as_millisecond().into());
        }
        if let Some(until) = self.until {
            conditions.push("v.from_ms < ?");
            parameters.push(until.as_millisecond().into());
        }
        match self.whose {
            Whose::Any => {}
            Whose::Person(uid) => {
                conditions.push("v.person = ?");
                parameters.push(uid.to_string().into());
            }
            Whose::Unknown => conditions.push("v.person IS NULL"),
        }
        if let Some(camera) = &self.camera {
            conditions.push("v.camera = ?");
            parameters.push(camera.clone().into());
        }
        (conditions.join(" AND "), parameters)
    }
}

/// The columns that [`visit_of`] reads.
const COLUMNS: &str = "v.*, EXISTS (SELECT 1 FROM shot s WHERE s.visit = v.visit) AS has_looks,
    EXISTS (SELECT 1 FROM crop c WHERE c.visit = v.visit) AS has_crop";

impl Sightings {
    /// The visits that `query` finds, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn visits(&self, query: &Query) -> Result<Vec<Visit>, SightingsError> {
        let (condition, mut parameters) = query.condition();
        let limit = query.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        parameters.push(limit.into());
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM visit v WHERE {condition} ORDER BY v.from_ms DESC, v.visit DESC LIMIT ?"
        ))?;
        let visits = statement.query_map(rusqlite::params_from_iter(parameters), visit_of)?;
        Ok(visits.collect::<rusqlite::Result<_>>()?)
    }

    /// The unknown visitors whose looks are kept, each with their visits; who was there last comes first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn strangers(&self) -> Result<Vec<Stranger>, SightingsError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM visit v WHERE v.person IS NULL AND EXISTS (SELECT 1 FROM shot s WHERE s.visit = v.visit)
             ORDER BY v.from_ms, v.visit"
        ))?;
        let all = statement
            .query_map([], visit_of)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let (mut visits, mut looks) = (Vec::new(), Vec::new());
        for visit in all {
            let (space, shots) = self.shots(visit.track)?;
            let weighed = shots
                .iter()
                .map(|shot| (shot.quality.score().max(LEAST_WEIGHT), &shot.embedding));
            // Vectors that cancel each other out are of nobody; that takes damage.
            if let Some(look) = Looks::of(&space, weighed) {
                visits.push(visit);
                looks.push(look);
            }
        }
        let groups = group(&looks, SAME_VISITOR_COSINE);
        let strangers = groups.into_iter().map(|numbers| {
            let visits: Vec<Visit> = numbers
                .iter()
                .filter_map(|number| visits.get(*number).cloned())
                .collect();
            let id = visits.first().map(|first| short_id(first.track)).unwrap_or_default();
            Stranger { id, visits }
        });
        let mut strangers: Vec<Stranger> = strangers.collect();
        strangers.sort_by_key(|stranger| std::cmp::Reverse(stranger.visits.last().map(|last| last.from)));
        Ok(strangers)
    }

    /// The unknown visitor one of whose visits has the id `wanted`: a track, or its end of at least four letters.
    ///
    /// # Errors
    /// When there is none or several, or the database fails.
    pub fn stranger(&self, wanted: &str) -> Result<Stranger, SightingsError> {
        let ending = wanted.trim().to_ascii_uppercase();
        let no_such = || SightingsError::NoSuchStranger(wanted.to_owned());
        if ending.len() < LEAST_ID_CHARS {
            return Err(no_such());
        }
        let is_meant = |visit: &Visit| visit.track.to_string().ends_with(&ending);
        let mut meant = self
            .strangers()?
            .into_iter()
            .filter(|stranger| stranger.visits.iter().any(is_meant));
        match (meant.next(), meant.next()) {
            (Some(stranger), None) => Ok(stranger),
            (None, _) => Err(no_such()),
            (Some(_), Some(_)) => Err(SightingsError::Ambiguous(wanted.to_owned())),
        }
    }

    /// The shots that are kept of a visit, the best first, and their space; none for a visit that has none.
    ///
    /// # Errors
    /// When the database fails.
    pub fn shots(&self, track: Ulid) -> Result<(String, Vec<StrangerShot>), SightingsError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT s.* FROM shot s JOIN visit v USING (visit) WHERE v.track = ? ORDER BY s.shot")?;
        let mut rows = statement.query([track.to_string()])?;
        let (mut space, mut shots) = (String::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let is_of: String = row.get("space")?;
            let vector = bytes::from_bytes(row.get_ref("vector")?.as_blob().map_err(rusqlite::Error::from)?);
            // Shots of one visit are of one space, unless the model was changed and the clock set back.
            if (shots.is_empty() || is_of == space)
                && let Some(embedding) = Embedding::from_raw(&vector)
            {
                shots.push(StrangerShot {
                    captured_at: time_of(row, "captured_at_ms")?,
                    face: bytes::face_of(row)?,
                    quality: bytes::quality_of(row)?,
                    embedding,
                });
                space = is_of;
            }
        }
        Ok((space, shots))
    }

    /// The picture that is kept of a visit, as JPEG.
    ///
    /// # Errors
    /// When the database fails.
    pub fn crop(&self, track: Ulid) -> Result<Option<Vec<u8>>, SightingsError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT c.jpeg FROM crop c JOIN visit v USING (visit) WHERE v.track = ?")?;
        Ok(statement.query_row([track.to_string()], |row| row.get(0)).optional()?)
    }
}

/// Even the poorest shot that was kept has a weight.
const LEAST_WEIGHT: f32 = 0.01;
/// Shorter endings of ids are typing mistakes.
const LEAST_ID_CHARS: usize = 4;

fn visit_of(row: &Row<'_>) -> rusqlite::Result<Visit> {
    let ulid = |text: String| text.parse::<Ulid>().map_err(|error| not_of_form(error.to_string()));
    let strings = |column: &str| {
        let json: String = row.get(column)?;
        serde_json::from_str::<Vec<String>>(&json).map_err(|error| not_of_form(error.to_string()))
    };
    Ok(Visit {
        track: ulid(row.get("track")?)?,
        camera: row.get("camera")?,
        person: row.get::<_, Option<String>>("person")?.map(ulid).transpose()?,
        similar_to: row.get::<_, Option<String>>("similar_to")?.map(ulid).transpose()?,
        from: time_of(row, "from_ms")?,
        to: time_of(row, "to_ms")?,
        is_open: row.get("is_open")?,
        confidence: row.get("confidence")?,
        shots: row.get("shots")?,
        zones: strings("zones")?,
        events: strings("events")?
            .into_iter()
            .map(ulid)
            .collect::<rusqlite::Result<_>>()?,
        has_looks: row.get("has_looks")?,
        has_crop: row.get("has_crop")?,
    })
}

fn time_of(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| not_of_form(error.to_string()))
}

fn not_of_form(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, problem.into())
}
