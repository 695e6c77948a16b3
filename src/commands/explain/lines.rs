//! The explanation as JSON.

use serde::Serialize;

use crate::commands::photos::FaceLine;
use crate::config::CameraSettings;
use crate::event::{two_decimals_down, ulid_text};
use crate::explanation::{Explained, Named, Reason, Spoken, explain};
use crate::identify::Identification;
use crate::playback::{Outcome, Playback, Seen};
use crate::verdict::Judgement;

#[derive(Serialize)]
struct ExplanationLine<'a> {
    file: &'a str,
    duration_s: f64,
    frames: u64,
    frames_without_movement: u64,
    min_face_px: u32,
    min_shots: usize,
    visits: Vec<VisitEntry>,
    /// Faces that no visit was made of.
    not_followed: Vec<SeenEntry>,
}

#[derive(Serialize)]
struct VisitEntry {
    track: String,
    from_s: f64,
    to_s: f64,
    person: Option<Named>,
    similar_to: Option<Named>,
    confidence: Option<f64>,
    /// Whether only the preliminary word was said.
    preliminary: bool,
    said: Vec<SaidEntry>,
    reasons: Vec<ReasonEntry>,
    faces: Vec<SeenEntry>,
}

#[derive(Serialize)]
struct SaidEntry {
    at_s: f64,
    /// `preliminary`, `voted` or `corrected`.
    kind: &'static str,
    person: Option<Named>,
    confidence: f64,
    shots: usize,
}

#[derive(Serialize)]
struct ReasonEntry {
    #[serde(flatten)]
    reason: Reason,
    text: String,
    advice: Option<String>,
}

#[derive(Serialize)]
struct SeenEntry {
    frame: u64,
    at_s: f64,
    #[serde(flatten)]
    face: FaceLine,
    /// Whether it was embedded.
    embedded: bool,
    quality: Option<QualityEntry>,
    /// Whom the shot names by itself.
    person: Option<Named>,
    nearest: Vec<NearEntry>,
    reason: Option<ReasonEntry>,
}

#[derive(Serialize)]
struct QualityEntry {
    score: f64,
    height_px: f64,
    sharpness: f64,
    yaw_degrees: f64,
}

#[derive(Serialize)]
struct NearEntry {
    person: Named,
    similarity: f64,
    ruled_out_by: Option<f64>,
}

/// One line.
pub(super) fn json(
    file: &str,
    played: &Playback,
    min_shots: usize,
    camera: &CameraSettings,
) -> serde_json::Result<String> {
    serde_json::to_string(&ExplanationLine {
        file,
        duration_s: thousandths(played.duration_s),
        frames: played.frames,
        frames_without_movement: played.still,
        min_face_px: camera.min_face_px,
        min_shots,
        visits: explain(played, min_shots).into_iter().map(visit).collect(),
        not_followed: played.unwatched.iter().map(seen).collect(),
    })
}

fn visit(explained: Explained<'_>) -> VisitEntry {
    let visit = explained.visit;
    let (person, similar_to, confidence, preliminary) = match &explained.answer {
        Spoken::Nothing => (None, None, None, false),
        Spoken::Name {
            person,
            confidence,
            preliminary,
        } => (Some(person.into()), None, Some(*confidence), *preliminary),
        Spoken::Unknown {
            similar_to,
            confidence,
            preliminary,
        } => (
            None,
            similar_to.as_ref().map(Named::from),
            Some(*confidence),
            *preliminary,
        ),
    };
    VisitEntry {
        track: ulid_text(visit.track),
        from_s: thousandths(visit.first_s),
        to_s: thousandths(visit.last_s),
        person,
        similar_to,
        confidence: confidence.map(two_decimals_down),
        preliminary,
        said: visit
            .said
            .iter()
            .map(|spoken| SaidEntry {
                at_s: thousandths(spoken.at_s),
                kind: match spoken.judgement {
                    Judgement::Preliminary(_) => "preliminary",
                    Judgement::Voted(_) => "voted",
                    Judgement::Corrected(_) => "corrected",
                },
                person: spoken.judgement.verdict().person.as_ref().map(Named::from),
                confidence: two_decimals_down(spoken.judgement.verdict().confidence),
                shots: spoken.judgement.verdict().shots,
            })
            .collect(),
        reasons: explained.reasons.into_iter().map(reason).collect(),
        faces: visit.faces.iter().map(seen).collect(),
    }
}

fn reason(reason: Reason) -> ReasonEntry {
    ReasonEntry {
        text: reason.to_string(),
        advice: reason.advice(),
        reason,
    }
}

fn seen(seen: &Seen) -> SeenEntry {
    let (quality, said) = match &seen.outcome {
        Outcome::Shot { quality, said } => (Some(quality), said.as_deref()),
        _ => (None, None),
    };
    let why = Reason::of_face(&seen.outcome, seen.face.box_in_frame.height());
    SeenEntry {
        frame: seen.frame,
        at_s: thousandths(seen.at_s),
        face: FaceLine::from(&seen.face),
        embedded: quality.is_some(),
        quality: quality.map(|quality| QualityEntry {
            score: thousandths(f64::from(quality.score())),
            height_px: thousandths(f64::from(quality.size_px)),
            sharpness: thousandths(f64::from(quality.sharpness)),
            yaw_degrees: thousandths(f64::from(quality.yaw_degrees)),
        }),
        person: said.and_then(|said| said.answer.person()).map(Named::from),
        nearest: said.map(nearest).unwrap_or_default(),
        reason: why.map(reason),
    }
}

fn nearest(said: &Identification) -> Vec<NearEntry> {
    let entry = |similarity: f32| thousandths(f64::from(similarity));
    said.ranked
        .iter()
        .map(|one| NearEntry {
            person: (&one.person).into(),
            similarity: entry(one.similarity),
            ruled_out_by: one.ruled_out_by.map(entry),
        })
        .collect()
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
