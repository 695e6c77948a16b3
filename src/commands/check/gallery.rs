//! Who is enrolled, and whether they can be recognised by what is configured.

use super::{Context, Finding, Subject};
use crate::config::Settings;
use crate::gallery::{Gallery, GalleryError};
use crate::identify::IdentifyBy;
use crate::networks;

pub(super) fn check(settings: &Settings, context: &Context) -> Vec<Finding> {
    let state = context.state.display();
    let gallery = match context.state.join(crate::gallery::FILE_NAME).try_exists() {
        Ok(false) => {
            return vec![Finding::ok(
                Subject::Gallery,
                "",
                format!("nobody is enrolled yet in {state}; `kith enroll NAME PHOTO…` does"),
            )];
        }
        Err(error) => return vec![unreadable(context, &error.to_string())],
        Ok(true) => Gallery::look_at(&context.state),
    };
    match gallery.and_then(|gallery| people(settings, context, gallery.as_ref())) {
        Ok(findings) => findings,
        Err(error) => vec![failed(context, &error)],
    }
}

fn people(settings: &Settings, context: &Context, gallery: Option<&Gallery>) -> Result<Vec<Finding>, GalleryError> {
    let Some(gallery) = gallery else {
        let seen =
            "an earlier version of Kith wrote it; the next start of this one brings it up to date, after a backup";
        return Ok(vec![Finding::not_checked(Subject::Gallery, "", seen)]);
    };
    gallery.check()?;
    let people = gallery.people()?;
    let all = format!("{} people in {}", people.len(), context.state.display());
    let mut findings = Vec::new();
    match &settings.identify_by {
        IdentifyBy::Head(name) => {
            let mut removed = Vec::new();
            for (class, person) in gallery.class_people(name)? {
                if person.is_none() {
                    removed.push(class);
                }
            }
            findings.push(Finding::ok(Subject::Gallery, "", all));
            if !removed.is_empty() {
                let seen = format!("the head {name} names nobody for {} of its classes", removed.len());
                let mend = "train the head again, without who was removed";
                findings.push(Finding::warning(Subject::Gallery, "head", seen, mend).about_people(removed));
            }
        }
        IdentifyBy::Gallery => {
            let embedder = settings.runtime.embedder.as_deref().unwrap_or(networks::EMBEDDER);
            // A catalogue that can't be read is a finding of the models.
            let space = networks::catalogue(&settings.runtime)
                .and_then(|catalogue| catalogue.embedder(embedder))
                .map(|embedder| embedder.embedding_space);
            let Ok(space) = space else {
                return Ok(vec![Finding::ok(Subject::Gallery, "", all)]);
            };
            let lacking: Vec<String> = people
                .iter()
                .filter(|one| one.lacks(&space))
                .map(|one| one.person.id.clone())
                .collect();
            findings.push(Finding::ok(Subject::Gallery, "", format!("{all}, space {space}")));
            if !lacking.is_empty() {
                let seen = format!("{} people have no vector in the space {space}", lacking.len());
                let mend = "enrol new photos of them: `kith enroll ID PHOTO…`";
                findings.push(Finding::failed(Subject::Gallery, "vectors", seen, mend).about_people(lacking));
            }
        }
    }
    Ok(findings)
}

fn failed(context: &Context, error: &GalleryError) -> Finding {
    let mend = match error {
        GalleryError::Damaged(_) => {
            "stop Kith and bring the last backup back: `kith restore FILE`; without one move gallery.sqlite* away and \
             enrol people again"
        }
        GalleryError::Foreign { .. } => "move the file away, or name another folder with `state` or --state",
        GalleryError::NewerSchema { .. } => "use the Kith that wrote it, or a newer one",
        GalleryError::Busy => "try again when the other command has ended",
        _ => return unreadable(context, &error.to_string()),
    };
    Finding::failed(Subject::Gallery, "", error.to_string(), mend)
}

fn unreadable(context: &Context, why: &str) -> Finding {
    let state = context.state.display();
    Finding::failed(
        Subject::Gallery,
        "",
        format!("can't read the gallery in {state}: {why}"),
        format!(
            "`sudo kith check --config {}`; see the lines about permissions",
            context.file.display()
        ),
    )
}
