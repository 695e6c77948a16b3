//! Folds: which photos are held out together. Made before any augmentation, kept in a file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::doubles::{doubles, groups};
use super::{AlignedFace, AlignedFolder};

/// The version of the format that is written and read.
const VERSION: u32 = 1;

/// Each photo's fold. Doubles (see [`super::NEAR`]) are in one fold, also across people; each person is spread over
/// the folds as evenly as that allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    version: u32,
    /// Of the random order.
    pub seed: u64,
    /// How many folds there are, at least 2; they are counted from 0.
    pub folds: usize,
    /// The name of the folder that the photos came from.
    pub from: String,
    assignments: BTreeMap<String, usize>,
}

/// What a split can't make good: who has too few photos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TooFew {
    /// People with one photo: where it is held out, nothing is left to know them by.
    pub one_photo: Vec<String>,
    /// People with several photos, which are all one: as above.
    pub one_group: Vec<String>,
    /// People with fewer photos than there are folds, so that some folds don't ask for them.
    pub fewer_than_folds: Vec<String>,
}

/// The photos of one group of doubles.
struct Group<'a> {
    /// In order.
    files: Vec<&'a str>,
    /// Photos of each person.
    of_people: BTreeMap<&'a str, usize>,
}

impl Split {
    /// Splits the photos of `folder`. The same photos, folds and seed give the same split, in whatever order they come.
    ///
    /// # Errors
    /// When nobody is named, there is one person only, or there are more folds than different photos.
    pub fn new(folder: &AlignedFolder, folds: usize, seed: u64) -> anyhow::Result<Self> {
        let shown = folder.root.display();
        ensure!(folds >= 2, "a split takes at least 2 folds");
        folder.people_to_tell_apart()?;
        let mut faces: Vec<&AlignedFace> = folder.faces.iter().collect();
        faces.sort_by(|a, b| a.file.cmp(&b.file));
        let mut groups = grouped(&faces);
        ensure!(
            groups.len() >= folds,
            "{shown} has {} different photos, too few for {folds} folds",
            groups.len()
        );
        let mut random = StdRng::seed_from_u64(seed);
        groups.shuffle(&mut random);
        // Large groups first: the small ones then level out what they left uneven.
        groups.sort_by_key(|group| std::cmp::Reverse(group.files.len()));
        let mut order: Vec<usize> = (0..folds).collect();
        let mut totals = vec![0; folds];
        let mut of_people: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut assignments = BTreeMap::new();
        for group in &groups {
            // Among equals chance decides, or the first folds would get more.
            order.shuffle(&mut random);
            let there = |fold: usize| -> usize {
                let each = group.of_people.iter();
                each.map(|(person, photos)| {
                    photos * of_people.get(person).and_then(|folds| folds.get(fold)).unwrap_or(&0)
                })
                .sum()
            };
            let emptiest = order
                .iter()
                .copied()
                .min_by_key(|fold| (there(*fold), totals.get(*fold).copied()));
            let Some(fold) = emptiest else { continue };
            for (person, photos) in &group.of_people {
                let counts = of_people.entry(person).or_insert_with(|| vec![0; folds]);
                counts.iter_mut().skip(fold).take(1).for_each(|count| *count += photos);
            }
            totals
                .iter_mut()
                .skip(fold)
                .take(1)
                .for_each(|total| *total += group.files.len());
            assignments.extend(group.files.iter().map(|file| ((*file).to_string(), fold)));
        }
        Ok(Self {
            version: VERSION,
            seed,
            folds,
            from: folder.from.clone(),
            assignments,
        })
    }

    /// Reads a split file.
    ///
    /// # Errors
    /// When it can't be read, or is not one that this version understands.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("can't read the split {shown}; kith-export split makes one"))?;
        let split: Self = serde_json::from_str(&text).with_context(|| format!("{shown} is no split file"))?;
        ensure!(
            split.version == VERSION,
            "the split {shown} has version {} of the format, this program reads {VERSION}; make it again",
            split.version
        );
        ensure!(
            split.folds >= 2,
            "the split {shown} is damaged: it has {} folds",
            split.folds
        );
        if let Some((photo, fold)) = split.assignments.iter().find(|(_, fold)| **fold >= split.folds) {
            bail!(
                "the split {shown} is damaged: {photo} is in fold {fold} of {}",
                split.folds
            );
        }
        Ok(split)
    }

    /// Writes a split file.
    ///
    /// # Errors
    /// When it can't be written; then an older one is as it was.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        crate::whole_file::write_whole(file, text.as_bytes())
    }

    /// Refuses a split that was made of other photos: one without a fold would be in training and in testing, or in
    /// neither.
    ///
    /// # Errors
    /// With the first photo that does not fit, or the first pair of doubles in two folds.
    pub fn check(&self, folder: &AlignedFolder) -> anyhow::Result<()> {
        let shown = folder.root.display();
        let again = "make the split again with kith-export split";
        for face in &folder.faces {
            ensure!(
                self.assignments.contains_key(&face.file),
                "{} in {shown} has no fold; {again}",
                face.file
            );
        }
        let there: std::collections::HashSet<&String> = folder.faces.iter().map(|face| &face.file).collect();
        if let Some(gone) = self.assignments.keys().find(|file| !there.contains(file)) {
            bail!("{gone} has a fold, but is not in {shown}; {again}");
        }
        for double in doubles(&folder.faces) {
            let [a, b] = double
                .faces
                .map(|face| folder.faces.get(face).map_or("", |face| face.file.as_str()));
            ensure!(
                self.fold_of(a) == self.fold_of(b),
                "{a} and {b} look like one photo, but are in two folds; {again}"
            );
        }
        Ok(())
    }

    /// The fold of a photo, counted from 0.
    pub fn fold_of(&self, file: &str) -> Option<usize> {
        self.assignments.get(file).copied()
    }

    /// Who has too few photos in `folder` for what folds are for.
    pub fn too_few(&self, folder: &AlignedFolder) -> TooFew {
        let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
        let mut of_people: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for group in grouped(&faces) {
            for (person, photos) in group.of_people {
                let counts = of_people.entry(person).or_default();
                counts.0 += 1;
                counts.1 += photos;
            }
        }
        let mut few = TooFew::default();
        for (person, (groups, photos)) in of_people {
            let list = match (groups, photos) {
                (_, 1) => &mut few.one_photo,
                (1, _) => &mut few.one_group,
                (groups, _) if groups < self.folds => &mut few.fewer_than_folds,
                _ => continue,
            };
            list.push(person.to_string());
        }
        few
    }
}

/// The photos in groups of doubles, in order of their first files.
fn grouped<'a>(faces: &[&'a AlignedFace]) -> Vec<Group<'a>> {
    let mut grouped: Vec<Group<'a>> = Vec::new();
    for (face, number) in faces.iter().zip(groups(faces.len(), &doubles(faces))) {
        if number == grouped.len() {
            grouped.push(Group {
                files: Vec::new(),
                of_people: BTreeMap::new(),
            });
        }
        if let Some(group) = grouped.get_mut(number) {
            group.files.push(&face.file);
            *group.of_people.entry(&face.person).or_insert(0) += 1;
        }
    }
    grouped
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
