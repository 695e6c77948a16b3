//! Giving an unknown visitor a name: the best shots become faces in the gallery, and all visits get the name.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Query, Sightings, SightingsError, Stranger, StrangerShot, Whose};
use crate::enrolment::{MIN_FACE_PX, MIN_SHARPNESS};
use crate::gallery::{Enrolment, Gallery, Name, NewFace, Person, Source, VisitShot, Who};

/// So many shots of a visitor are enrolled, the best: as many as good photos of one person.
const MOST_FACES: usize = 5;

/// A visitor who got a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Who it is.
    pub person: Person,
    /// Whether the person is new in the gallery.
    pub is_new: bool,
    /// Faces that were enrolled.
    pub faces: usize,
    /// Of these, how many are poorer than photos may be that are enrolled; only where there were no better ones.
    pub poor_faces: usize,
    /// Visits that have the name now.
    pub visits: usize,
}

/// Enrols the unknown visitor `wanted` (the id of one of the visits, see [`Sightings::stranger`]) and gives all their
/// visits the name. The gallery comes first: ended in between, the visitor is enrolled, and doing it again names the
/// visits.
///
/// # Errors
/// When there is no such visitor, the name is several people's, or a database fails.
pub fn name_stranger(
    gallery: &mut Gallery,
    sightings: &mut Sightings,
    wanted: &str,
    who: Who,
    role: Option<Name>,
) -> Result<Newcomer, SightingsError> {
    let stranger = sightings.stranger(wanted)?;
    name(gallery, sightings, &stranger, who, role)
}

/// As [`name_stranger`], for whoever was unknown on `camera` last, at most `within` ago.
///
/// # Errors
/// As for [`name_stranger`], and when there was nobody.
pub fn name_last_unknown(
    gallery: &mut Gallery,
    sightings: &mut Sightings,
    camera: &str,
    within: Duration,
    who: Who,
    role: Option<Name>,
) -> Result<Newcomer, SightingsError> {
    let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    let since_ms = Timestamp::now().as_millisecond().saturating_sub(within_ms);
    let query = Query {
        since: Timestamp::from_millisecond(since_ms).ok(),
        whose: Whose::Unknown,
        camera: Some(camera.to_owned()),
        ..Query::default()
    };
    let visits = sightings.visits(&query)?;
    let last = visits
        .into_iter()
        .filter(|visit| visit.has_looks)
        .max_by_key(|visit| visit.to);
    let last = last.ok_or_else(|| SightingsError::NobodyUnknown {
        camera: camera.to_owned(),
        minutes: within.as_secs().div_ceil(60),
    })?;
    name_stranger(gallery, sightings, &last.track.to_string(), who, role)
}

fn name(
    gallery: &mut Gallery,
    sightings: &mut Sightings,
    stranger: &Stranger,
    who: Who,
    role: Option<Name>,
) -> Result<Newcomer, SightingsError> {
    let mut shots = Vec::new();
    let mut space = String::new();
    for visit in &stranger.visits {
        let (of, of_visit) = sightings.shots(visit.track)?;
        space = of;
        shots.extend(of_visit.into_iter().map(|shot| (visit.track, shot)));
    }
    // The good ones first, the best of each kind before the others.
    shots.sort_by(|(_, a), (_, b)| {
        let rank = |shot: &StrangerShot| (is_good(shot), shot.quality.score());
        let ((a_good, a_score), (b_good, b_score)) = (rank(a), rank(b));
        b_good.cmp(&a_good).then(b_score.total_cmp(&a_score))
    });
    let has_good = shots.first().is_some_and(|(_, shot)| is_good(shot));
    shots.retain(|(_, shot)| !has_good || is_good(shot));
    shots.truncate(MOST_FACES);
    let faces: Vec<NewFace> = shots
        .into_iter()
        .map(|(track, shot)| NewFace {
            source: Source::Visit(VisitShot {
                track,
                captured_at_ms: shot.captured_at.as_millisecond(),
            }),
            face: shot.face,
            quality: shot.quality,
            crop: None,
            embedding: shot.embedding,
        })
        .collect();
    let poor_faces = if has_good { 0 } else { faces.len() };
    let enrolled = gallery.enrol(&space, &[Enrolment { who, role, faces }])?;
    let Some(enrolled) = enrolled.into_iter().next() else {
        return Err(SightingsError::NoSuchStranger(stranger.id.clone()));
    };
    let tracks: Vec<_> = stranger.visits.iter().map(|visit| visit.track).collect();
    sightings.name_visits(&tracks, enrolled.person.uid)?;
    Ok(Newcomer {
        person: enrolled.person,
        is_new: enrolled.is_new,
        faces: enrolled.added,
        poor_faces,
        visits: tracks.len(),
    })
}

/// Whether a photo of this quality would be enrolled.
fn is_good(shot: &StrangerShot) -> bool {
    shot.quality.size_px >= MIN_FACE_PX && shot.quality.sharpness >= MIN_SHARPNESS
}
