//! Photos that are there more than once: the same file, or the same picture saved, cut or coloured in another way.

use std::borrow::Borrow;
use std::collections::HashMap;

use super::{AlignedFace, Phash};

/// Most bits of 256 in which the hashes of two forms of one photo differ. Measured: of the 1.2 million pairs of photos
/// in LFW's development view, where no photo is there twice, none comes below 52 (photo) or 52 (face), while pairs in
/// a folder from an image search are spread from 4 to 48 and then thin out.
pub const NEAR: u32 = 48;

/// Why two photos count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// The files are equal.
    SameFile,
    /// The photos look alike: bits that differ.
    Photo(u32),
    /// The faces' crops look alike, so one photo was framed in two ways: bits that differ.
    Face(u32),
}

/// Two faces of one photo, as indices, the smaller first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Double {
    /// The faces.
    pub faces: [usize; 2],
    /// Why.
    pub likeness: Likeness,
}

/// All pairs of doubles, within a person and across people.
pub fn doubles<F: Borrow<AlignedFace>>(faces: &[F]) -> Vec<Double> {
    let faces: Vec<&AlignedFace> = faces.iter().map(Borrow::borrow).collect();
    let hashes: Vec<(Option<Phash>, Option<Phash>)> = faces
        .iter()
        .map(|face| (Phash::parse(&face.phash), Phash::parse(&face.face_phash)))
        .collect();
    let near = |a: Option<Phash>, b: Option<Phash>| a.zip(b).map(|(a, b)| a.distance(&b)).filter(|bits| *bits <= NEAR);
    let mut found = Vec::new();
    for (b, (face_b, hash_b)) in faces.iter().zip(&hashes).enumerate() {
        for (a, (face_a, hash_a)) in faces.iter().zip(&hashes).enumerate().take(b) {
            let likeness = if face_a.sha256 == face_b.sha256 {
                Some(Likeness::SameFile)
            } else if let Some(bits) = near(hash_a.0, hash_b.0) {
                Some(Likeness::Photo(bits))
            } else {
                near(hash_a.1, hash_b.1).map(Likeness::Face)
            };
            found.extend(likeness.map(|likeness| Double {
                faces: [a, b],
                likeness,
            }));
        }
    }
    found
}

/// The faces in groups, each of all that hang together by doubles: the nth answer is the number of the nth face's group,
/// counted from 0 in the order of their first faces.
pub fn groups(faces: usize, doubles: &[Double]) -> Vec<usize> {
    // Union-find: each face points towards its group's first face.
    let mut towards: Vec<usize> = (0..faces).collect();
    for double in doubles {
        let [a, b] = double.faces.map(|face| root(&mut towards, face));
        let (first, second) = (a.min(b), a.max(b));
        if let Some(second) = towards.get_mut(second) {
            *second = first;
        }
    }
    let mut numbers = HashMap::new();
    (0..faces)
        .map(|face| {
            let next = numbers.len();
            *numbers.entry(root(&mut towards, face)).or_insert(next)
        })
        .collect()
}

fn root(towards: &mut [usize], mut face: usize) -> usize {
    while let Some(&next) = towards.get(face).filter(|next| **next != face) {
        // Halve the way for those who come after.
        let skipped = towards.get(next).copied().unwrap_or(next);
        if let Some(step) = towards.get_mut(face) {
            *step = skipped;
        }
        face = next;
    }
    face
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_together_is_one_group() {
        let double = |a, b| Double {
            faces: [a, b],
            likeness: Likeness::SameFile,
        };
        assert_eq!(
            groups(6, &[double(4, 5), double(1, 4), double(0, 2)]),
            [0, 1, 0, 2, 1, 1]
        );
        assert_eq!(groups(3, &[]), [0, 1, 2]);
    }
}
