//! From photos to people in the gallery: each photo is checked, all reasons are gathered, and then everybody is enrolled
//! in one transaction or nobody is. `docs/design/enrolment.md` has the measurements behind the limits.
//!
//! - `check`: which face of a photo is meant, and whether it is good enough
//! - `refusal`: why not, and what else is worth knowing
//! - `negative`: photos of whom somebody is not

mod check;
mod negative;
mod refusal;

use std::path::PathBuf;

pub use check::{MIN_FACE_PX, MIN_SHARPNESS};
use check::{checked_face, embed};
pub use negative::{Negatives, add_negatives};
pub use refusal::{Refusal, Warning};

use crate::admin::Keeper;
use crate::embed::Embedding;
use crate::gallery::{Enrolled, Enrolment, Gallery, Name, NewFace, Person, Who};
use crate::model::Thresholds;
use crate::networks::Networks;
use crate::photo;
use crate::quality::Quality;

/// From this angle on a face is worth a warning: people seldom pass a camera so.
const TURNED_AWAY_DEGREES: f32 = 35.0;
/// Faces that are embedded in one run.
const BATCH: usize = 16;

/// Which face of a photo is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The only one.
    Only,
    /// The most central large one.
    Largest,
    /// The nth from the left, counted from 1.
    FromLeft(usize),
}

impl Which {
    /// As the options `--face N` and `--largest` say.
    pub fn of(face: Option<u32>, largest: bool) -> Self {
        match face {
            Some(number) => Self::FromLeft(number as usize),
            None if largest => Self::Largest,
            None => Self::Only,
        }
    }
}

/// How to enrol.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which face of each photo.
    pub which: Which,
    /// Whether to keep a crop for another model.
    pub keep_crop: bool,
    /// Leave refused photos out instead of enrolling nobody.
    pub skip_bad: bool,
}

/// One person's photos.
#[derive(Debug, Clone)]
pub struct Photos {
    /// Whose.
    pub who: Who,
    /// What the person is.
    pub role: Option<Name>,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// What became of a call.
#[derive(Debug, Default)]
pub struct Report {
    /// Who was enrolled; empty when photos were refused and may not be left out.
    pub enrolled: Vec<PersonReport>,
    /// The photos that were refused, with the reason.
    pub refused: Vec<(PathBuf, Refusal)>,
}

/// What became of one person.
#[derive(Debug)]
pub struct PersonReport {
    /// As the gallery has it.
    pub enrolled: Enrolled,
    /// The photos that were taken, in order.
    pub photos: Vec<PhotoReport>,
}

/// What became of one photo.
#[derive(Debug)]
pub struct PhotoReport {
    /// The file.
    pub file: PathBuf,
    /// How good the face is.
    pub quality: Quality,
    /// Whether the person already had this photo, so that nothing was added.
    pub already: bool,
    /// What is worth knowing.
    pub warnings: Vec<Warning>,
}

/// Enrols everybody in `people`, or nobody when a photo is refused and `rules` don't skip it. `progress` is called after
/// each photo.
///
/// # Errors
/// When the networks or the gallery fail; then nobody was enrolled.
pub fn enrol(
    keeper: &mut Keeper,
    networks: &mut Networks,
    people: &[Photos],
    rules: &Rules,
    progress: &dyn Fn(),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut accepted: Vec<(&Photos, Vec<(PathBuf, NewFace)>)> = Vec::new();
    for photos in people {
        let mut faces = Vec::new();
        for file in &photos.files {
            match checked_face(networks, file, rules)? {
                Ok(face) => faces.push((file.clone(), face)),
                Err(refusal) => report.refused.push((file.clone(), refusal)),
            }
            progress();
        }
        if !faces.is_empty() {
            accepted.push((photos, embed(networks, faces)?));
        }
    }
    if accepted.is_empty() || !(report.refused.is_empty() || rules.skip_bad) {
        return Ok(report);
    }
    let space = networks.embedder.space();
    let enrolments: Vec<Enrolment> = accepted
        .iter()
        .map(|(photos, faces)| Enrolment {
            who: photos.who.clone(),
            role: photos.role.clone(),
            faces: faces.iter().map(|(_, face)| face.clone()).collect(),
        })
        .collect();
    let before = keeper.vectors(space)?;
    let enrolled = keeper.enrol(space, &enrolments)?;
    // Only now is it known who is who; and a warning needn't stop anybody.
    let new = enrolled.iter().zip(&accepted).flat_map(|(enrolled, (_, faces))| {
        let added = faces.iter().zip(&enrolled.already).filter(|(_, already)| !**already);
        added.map(|((_, face), _)| (&enrolled.person, &face.embedding))
    });
    let all: Vec<(&Person, &Embedding)> = before
        .iter()
        .flat_map(|one| one.faces.iter().map(|face| (&one.person, face)))
        .chain(new)
        .collect();
    let thresholds = networks.embedder.model().thresholds;
    for (enrolled, (_, faces)) in enrolled.iter().zip(&accepted) {
        let photos = faces
            .iter()
            .zip(&enrolled.already)
            .map(|((file, face), already)| PhotoReport {
                file: file.clone(),
                quality: face.quality,
                already: *already,
                warnings: if *already {
                    Vec::new()
                } else {
                    warnings(face, &enrolled.person, &all, thresholds)
                },
            })
            .collect();
        report.enrolled.push(PersonReport {
            enrolled: enrolled.clone(),
            photos,
        });
    }
    Ok(report)
}

/// Gives faces that have a kept crop but no vector in the active space one, beside those that they have. Gives how many.
///
/// # Errors
/// When the networks or the gallery fail.
pub fn reembed(gallery: &mut Gallery, networks: &mut Networks) -> anyhow::Result<usize> {
    let space = networks.embedder.space().to_string();
    let mut vectors = Vec::new();
    for batch in gallery.to_reembed(&space)?.chunks(BATCH) {
        let (mut rows, mut crops) = (Vec::new(), Vec::new());
        for kept in batch {
            // A crop that can't be read any more counts as none; the matcher says who is without a vector.
            let Ok(picture) = photo::decode(&kept.crop.jpeg) else {
                continue;
            };
            let face = kept.crop.face_in_crop(&kept.face_in_photo);
            if let Some(aligned) = networks.embedder.alignment().align(&picture, &face) {
                rows.push(kept.face);
                crops.push(aligned);
            }
        }
        vectors.extend(rows.into_iter().zip(networks.embedder.embed(&crops)?));
    }
    if vectors.is_empty() {
        return Ok(0);
    }
    Ok(gallery.add_vectors(&space, &vectors)?)
}

/// `all`: every vector in the gallery, that of `face` itself included.
fn warnings(
    face: &NewFace,
    person: &Person,
    all: &[(&Person, &Embedding)],
    thresholds: Option<Thresholds>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    // Without a measured threshold nothing can be said about likeness.
    if let Some(Thresholds { cosine, .. }) = thresholds {
        let nearest = |is_own: bool| {
            all.iter()
                .filter(|(other, vector)| {
                    (other.uid == person.uid) == is_own && !std::ptr::eq(*vector, &raw const face.embedding)
                })
                .map(|(other, vector)| (vector.cosine(&face.embedding), *other))
                .max_by(|a, b| a.0.total_cmp(&b.0))
        };
        if let Some((_, other)) = nearest(false).filter(|(similarity, _)| *similarity >= cosine) {
            warnings.push(Warning::LooksLike(other.name.clone()));
        }
        if nearest(true).is_some_and(|(similarity, _)| similarity < cosine) {
            warnings.push(Warning::UnlikeOwn);
        }
    }
    if face.quality.yaw_degrees.abs() > TURNED_AWAY_DEGREES {
        warnings.push(Warning::TurnedAway);
    }
    warnings
}
