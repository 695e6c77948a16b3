//! The list of photos that somebody looked at and found wrong: kept beside the folder, so that figures can be given with
//! and without them and nothing is quietly dropped.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};

use super::{AlignedFace, AlignedFolder};

/// A text file with a line for each photo: `PERSON/photo.jpg  # reason`. Empty lines and lines that begin with `#` are
/// for the reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disputed {
    reasons: BTreeMap<String, String>,
}

impl Disputed {
    /// Reads a list.
    ///
    /// # Errors
    /// When it can't be read, or a line gives no reason.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text =
            std::fs::read_to_string(file).with_context(|| format!("can't read the list of disputed photos {shown}"))?;
        Self::parse(&text).with_context(|| format!("the list of disputed photos {shown}"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reasons = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (photo, reason) = line.split_once(" #").unwrap_or((line, ""));
            let (photo, reason) = (photo.trim(), reason.trim());
            ensure!(
                !reason.is_empty(),
                "line {number} gives no reason; write it as: {photo}  # why"
            );
            ensure!(
                reasons.insert(photo.to_string(), reason.to_string()).is_none(),
                "line {number} names {photo} a second time"
            );
        }
        Ok(Self { reasons })
    }

    /// Refuses a list that names photos which `folder` has not, whether with a face or skipped: it is most likely
    /// another folder's, and figures "without the disputed photos" would be figures with them.
    ///
    /// # Errors
    /// With the first name that is not there.
    pub fn check(&self, folder: &AlignedFolder) -> anyhow::Result<()> {
        let faces = folder.faces.iter().map(|face| &face.file);
        let known: std::collections::HashSet<&String> = faces
            .chain(folder.skipped.iter().map(|skipped| &skipped.file))
            .collect();
        for photo in self.reasons.keys() {
            ensure!(
                known.contains(photo),
                "the disputed photo {photo} is not in {}; is the list of another folder?",
                folder.root.display()
            );
        }
        Ok(())
    }

    /// Whether the photo is on the list.
    pub fn contains(&self, file: &str) -> bool {
        self.reasons.contains_key(file)
    }

    /// Photos on the list.
    pub fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The photos and the reasons, in order of the photos.
    pub fn reasons(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reasons
            .iter()
            .map(|(photo, reason)| (photo.as_str(), reason.as_str()))
    }

    /// Takes the photos of the list out of `faces`, and says how many there were.
    pub fn remove_from(&self, faces: &mut Vec<AlignedFace>) -> usize {
        let before = faces.len();
        faces.retain(|face| !self.contains(&face.file));
        before - faces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_photo_and_a_reason() {
        let text = "# looked at by hand\n\nbob/1.jpg  # is Eve\n  bob/no 2#.jpg # from behind # really\n";
        let list = Disputed::parse(text).unwrap();
        let wanted = [("bob/1.jpg", "is Eve"), ("bob/no 2#.jpg", "from behind # really")];
        assert_eq!(list.reasons().collect::<Vec<_>>(), wanted);
        for (text, says) in [
            ("bob/1.jpg", "line 1 gives no reason"),
            ("bob/1.jpg #", "no reason"),
            ("a # x\na # y", "line 2 names a a second time"),
        ] {
            let error = Disputed::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
