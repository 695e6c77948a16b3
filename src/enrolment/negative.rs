//! Photos of somebody who is taken for another: "this is not Alice".

use std::path::PathBuf;

use super::check::{checked_face, embed};
use super::{Refusal, Rules};
use crate::admin::Keeper;
use crate::gallery::{NewFace, Person};
use crate::networks::Networks;

/// What became of negative examples.
#[derive(Debug)]
pub struct Negatives {
    /// Who is not on them.
    pub person: Person,
    /// The photos that were taken, each with whether it was there already; empty when photos were refused.
    pub photos: Vec<(PathBuf, bool)>,
    /// The photos that were refused, with the reason.
    pub refused: Vec<(PathBuf, Refusal)>,
}

/// Marks the faces on `files` as not those of the person `wanted` (id or name): all of them, or none when one is
/// refused.
///
/// # Errors
/// When there is no such person, a face is enrolled as theirs, or the networks or the gallery fail; then none was taken.
pub fn add_negatives(
    keeper: &mut Keeper,
    networks: &mut Networks,
    wanted: &str,
    files: &[PathBuf],
    rules: &Rules,
) -> anyhow::Result<Negatives> {
    // Before the networks look at anything, which takes its time.
    let person = keeper.find(wanted)?;
    let (mut faces, mut refused) = (Vec::new(), Vec::new());
    for file in files {
        match checked_face(networks, file, rules)? {
            Ok(face) => faces.push((file.clone(), face)),
            Err(refusal) => refused.push((file.clone(), refusal)),
        }
    }
    if faces.is_empty() || !(refused.is_empty() || rules.skip_bad) {
        return Ok(Negatives {
            person,
            photos: Vec::new(),
            refused,
        });
    }
    let (files, faces): (Vec<PathBuf>, Vec<NewFace>) = embed(networks, faces)?.into_iter().unzip();
    let (person, already) = keeper.add_negatives(&person.id, networks.embedder.space(), &faces)?;
    Ok(Negatives {
        person,
        photos: files.into_iter().zip(already).collect(),
        refused,
    })
}
