//! The file that says who is to be seen in which clip, and when.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// What a truth file says about one clip.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipTruth {
    /// Photos to enrol, by the person's id. Paths count from the folder above the truth file's.
    pub enrolled_from: BTreeMap<String, PathBuf>,
    /// Every stay of an enrolled person in view.
    pub visits: Vec<ExpectedVisit>,
    /// Whether anybody else shows a face that is large enough to be looked for; such a visit has to end as unknown.
    pub others: bool,
}

/// One stay of one enrolled person in view.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedVisit {
    /// The person's id.
    pub person: String,
    /// Begin, in seconds from the clip's first frame.
    pub from_s: f64,
    /// End, in seconds from the clip's first frame.
    pub to_s: f64,
    /// About the height of the face, in pixels.
    pub face_px: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TruthFile {
    #[serde(rename = "about", default)]
    _about: String,
    clips: BTreeMap<String, ClipTruth>,
}

/// A truth file.
#[derive(Debug)]
pub struct Truth {
    file: PathBuf,
    clips: BTreeMap<String, ClipTruth>,
}

impl ClipTruth {
    /// Of a clip that shows nobody but strangers: whoever is named is named wrongly.
    pub fn strangers() -> Self {
        Self {
            enrolled_from: BTreeMap::new(),
            visits: Vec::new(),
            others: true,
        }
    }
}

impl Truth {
    /// Reads a truth file.
    ///
    /// # Errors
    /// When it can't be read, has another form, or a visit that ends before it begins or is of somebody who is not
    /// enrolled.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        let read: TruthFile =
            serde_json::from_str(&text).with_context(|| format!("{} is no truth file", file.display()))?;
        for (clip, truth) in &read.clips {
            for visit in &truth.visits {
                let person = &visit.person;
                if !truth.enrolled_from.contains_key(person) {
                    bail!(
                        "{}: {clip} has a visit of {person}, who is not in its enrolled_from",
                        file.display()
                    );
                }
                let in_order = visit.from_s >= 0.0 && visit.from_s < visit.to_s;
                if !in_order {
                    bail!(
                        "{}: {clip} has a visit of {person} from {} s to {} s",
                        file.display(),
                        visit.from_s,
                        visit.to_s
                    );
                }
            }
        }
        Ok(Self {
            file: file.to_path_buf(),
            clips: read.clips,
        })
    }

    /// What it says about `clip`, found by the file's name.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn of(&self, clip: &Path) -> anyhow::Result<&ClipTruth> {
        let name = clip.file_name().map(|name| name.to_string_lossy().into_owned());
        name.and_then(|name| self.clips.get(&name)).with_context(|| {
            let known: Vec<&str> = self.clips.keys().map(String::as_str).collect();
            format!(
                "{} says nothing about {}; it knows {}",
                self.file.display(),
                clip.display(),
                known.join(", ")
            )
        })
    }

    /// The photos of everybody who is enrolled for `clip` or, with `everybody`, for any clip; by id.
    pub fn photos(&self, clip: &ClipTruth, everybody: bool) -> BTreeMap<String, PathBuf> {
        let above = self.file.parent().map_or(Path::new(".."), |folder| folder);
        let above = above.join("..");
        let mut photos = BTreeMap::new();
        let others = self.clips.values().filter(|_| everybody);
        for one in others.chain([clip]) {
            let listed = one.enrolled_from.iter();
            photos.extend(listed.map(|(id, photo)| (id.clone(), above.join(photo))));
        }
        photos
    }
}
