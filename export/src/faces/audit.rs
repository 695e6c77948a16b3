//! Which photos may be of somebody else than their folder says, and which are there twice. It only points at them: a
//! person looks, and writes the list of disputed photos.

use std::collections::BTreeMap;

use serde::Serialize;

use super::AlignedFace;
use super::doubles::{Double, Likeness, doubles, groups};

/// Nearest neighbours that have a say.
const NEIGHBOURS: usize = 5;
/// From this cosine on, two embeddings are of one photo, or of two taken in one moment.
pub const SAME_SHOT_COSINE: f32 = 0.98;

/// A photo that is more like somebody else, or like nobody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// Its index among the faces.
    #[serde(skip)]
    pub face: usize,
    /// The photo.
    pub file: String,
    /// Cosine to the centre of the person's other photos; none where there is no other.
    pub own_cosine: Option<f32>,
    /// The person whose centre is nearest, of the others.
    pub nearest_person: String,
    /// Cosine to that centre.
    pub nearest_cosine: f32,
    /// People of the nearest photos, nearest first.
    pub neighbours: Vec<String>,
    /// What speaks against it.
    pub why: Why,
}

/// What speaks against a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Another person's centre is nearer than the own one.
    NearerAnotherCentre,
    /// Most of the nearest photos are of one other person.
    AmongAnother,
    /// It is less like its own person than two photos of one person are as a rule.
    UnlikeOwn,
}

/// Two photos that are one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoublePhotos {
    /// Their indices among the faces.
    #[serde(skip)]
    pub faces: [usize; 2],
    /// The photos.
    pub files: [String; 2],
    /// Whether they are in two people's folders: one of the labels is wrong.
    pub is_across_people: bool,
    /// Why they count as one, for the reader.
    pub why: String,
    /// Of their embeddings.
    pub cosine: f32,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// The worst first: by what speaks against them, then by how much nearer the other person is.
    pub suspects: Vec<Suspect>,
    /// Across people first, then in order of the photos.
    pub doubles: Vec<DoublePhotos>,
}

/// Looks through `faces`, the nth of which has the nth of `embeddings` (unit length). Doubles of a photo have no say
/// about it: two copies of a wrong photo would vouch for each other. `threshold_cosine`: what two photos of one person
/// have as a rule.
pub fn audit(faces: &[AlignedFace], embeddings: &[Vec<f32>], threshold_cosine: f32) -> Audit {
    let hashed = doubles(faces);
    let group_of = groups(faces.len(), &hashed);
    let all: Vec<Shot<'_>> = faces
        .iter()
        .zip(embeddings)
        .zip(&group_of)
        .map(|((face, embedding), group)| Shot {
            face,
            embedding,
            group: *group,
        })
        .collect();
    let mut suspects: Vec<Suspect> = all
        .iter()
        .enumerate()
        .filter_map(|(index, shot)| suspect(index, shot, &all, threshold_cosine))
        .collect();
    let lead = |suspect: &Suspect| suspect.nearest_cosine - suspect.own_cosine.unwrap_or(0.0);
    suspects.sort_by(|a, b| a.why.cmp(&b.why).then(lead(b).total_cmp(&lead(a))));
    Audit {
        suspects,
        doubles: double_photos(&all, &hashed),
    }
}

struct Shot<'a> {
    face: &'a AlignedFace,
    embedding: &'a [f32],
    group: usize,
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn suspect(index: usize, shot: &Shot<'_>, all: &[Shot<'_>], threshold_cosine: f32) -> Option<Suspect> {
    let mut centres: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let mut near: Vec<(f32, &str)> = Vec::with_capacity(all.len());
    for other in all.iter().filter(|other| other.group != shot.group) {
        let person = other.face.person.as_str();
        let centre = centres.entry(person).or_insert_with(|| vec![0.0; shot.embedding.len()]);
        for (sum, value) in centre.iter_mut().zip(other.embedding) {
            *sum += value;
        }
        near.push((cosine(shot.embedding, other.embedding), person));
    }
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.truncate(NEIGHBOURS);
    let own = shot.face.person.as_str();
    let to_centre = |centre: &Vec<f32>| {
        let length = cosine(centre, centre).sqrt();
        cosine(shot.embedding, centre) / length.max(f32::MIN_POSITIVE)
    };
    let own_cosine = centres.get(own).map(to_centre);
    let (nearest_cosine, nearest_person) = centres
        .iter()
        .filter(|(person, _)| **person != own)
        .map(|(person, centre)| (to_centre(centre), *person))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    near.iter()
        .for_each(|(_, person)| *votes.entry(person).or_insert(0) += 1);
    let is_outvoted = votes
        .iter()
        .any(|(person, votes)| *person != own && 2 * votes > near.len());
    let why = match own_cosine {
        // Nobody else's photo says what this person looks like; only a strong likeness speaks against it.
        None if nearest_cosine >= threshold_cosine => Why::NearerAnotherCentre,
        None => return None,
        Some(own) if nearest_cosine > own => Why::NearerAnotherCentre,
        Some(_) if is_outvoted => Why::AmongAnother,
        Some(own) if own < threshold_cosine => Why::UnlikeOwn,
        Some(_) => return None,
    };
    Some(Suspect {
        face: index,
        file: shot.face.file.clone(),
        own_cosine,
        nearest_person: nearest_person.to_string(),
        nearest_cosine,
        neighbours: near.iter().map(|(_, person)| (*person).to_string()).collect(),
        why,
    })
}

fn double_photos(all: &[Shot<'_>], hashed: &[Double]) -> Vec<DoublePhotos> {
    let mut whys: BTreeMap<[usize; 2], String> = hashed
        .iter()
        .map(|double| {
            let why = match double.likeness {
                Likeness::SameFile => "the files are equal".to_string(),
                Likeness::Photo(bits) => format!("the photos look alike, {bits} of 256 bits differ"),
                Likeness::Face(bits) => format!("the faces look alike, {bits} of 256 bits differ"),
            };
            (double.faces, why)
        })
        .collect();
    for (b, second) in all.iter().enumerate() {
        for (a, first) in all.iter().enumerate().take(b) {
            if cosine(first.embedding, second.embedding) > SAME_SHOT_COSINE {
                whys.entry([a, b])
                    .or_insert_with(|| "the embeddings are nearly equal".into());
            }
        }
    }
    let mut found: Vec<DoublePhotos> = whys
        .into_iter()
        .filter_map(|(faces, why)| {
            let (first, second) = (all.get(faces[0])?, all.get(faces[1])?);
            Some(DoublePhotos {
                faces,
                files: [first, second].map(|shot| shot.face.file.clone()),
                is_across_people: first.face.person != second.face.person,
                why,
                cosine: cosine(first.embedding, second.embedding),
            })
        })
        .collect();
    found.sort_by_key(|double| !double.is_across_people);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::Shot as Quality;

    fn face(person: &str, number: usize, sha256: &str) -> AlignedFace {
        let file = format!("{person}/{number}.jpg");
        AlignedFace {
            person: person.into(),
            crop: format!("{file}.png"),
            sha256: sha256.into(),
            // No hashes: only equal files are doubles here.
            phash: String::new(),
            face_phash: String::new(),
            file,
            r#box: [0.0; 4],
            landmarks: [[0.0; 2]; 5],
            probability: 1.0,
            quality: Quality {
                size_px: 100.0,
                sharpness: 0.6,
                yaw_degrees: 0.0,
            },
            faces_in_photo: 1,
        }
    }

    /// `degrees` from the first axis.
    fn towards(degrees: f32) -> Vec<f32> {
        vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
    }

    #[test]
    fn a_photo_in_the_wrong_folder_stands_out_even_if_it_is_there_twice() {
        let ada = [0.0, 4.0, 8.0, 12.0, 88.0, 88.0];
        let bob = [80.0, 84.0, 92.0, 96.0, 140.0];
        let of = |person: &'static str, degrees: &[f32]| -> Vec<(AlignedFace, Vec<f32>)> {
            let numbered = degrees.iter().enumerate();
            let face = |(number, degrees): (usize, &f32)| {
                // The 88 degrees are one file.
                let sha256 = if *degrees == 88.0 {
                    "twice".into()
                } else {
                    format!("{person}{number}")
                };
                (face(person, number, &sha256), towards(*degrees))
            };
            numbered.map(face).collect()
        };
        let (faces, embeddings): (Vec<_>, Vec<_>) = [of("ada", &ada), of("bob", &bob)].concat().into_iter().unzip();
        let found = audit(&faces, &embeddings, 0.7);
        let suspects: Vec<_> = found.suspects.iter().map(|s| (s.file.as_str(), s.why)).collect();
        assert_eq!(
            suspects,
            [
                ("ada/4.jpg", Why::NearerAnotherCentre),
                ("ada/5.jpg", Why::NearerAnotherCentre),
                ("bob/4.jpg", Why::UnlikeOwn),
            ]
        );
        assert_eq!(found.suspects[0].nearest_person, "bob");
        assert!(
            found
                .doubles
                .iter()
                .any(|double| double.files == ["ada/4.jpg", "ada/5.jpg"]
                    && double.why == "the files are equal"
                    && !double.is_across_people)
        );
        // Two degrees are a cosine of 0.9994: equal embeddings across people come first.
        assert!(found.doubles[0].is_across_people);
    }
}
