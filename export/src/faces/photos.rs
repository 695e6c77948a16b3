//! Which photos there are, and whose.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kith::commands::photos::photos_in;

use super::Skipped;

/// Where the names of people come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// A folder per person; where there are none, nobody is named.
    Folders,
    /// All photos lie in one folder, and `NAME_0001.jpg` is a photo of `NAME`.
    FileNames,
}

/// A photo to align.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Where it is.
    pub path: PathBuf,
    /// Below the folder of photos, with `/` between folders.
    pub file: String,
    /// Whose; empty where nobody said.
    pub person: String,
}

/// The photos of a folder, with what can't be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoSet {
    /// The folder's name.
    pub from: String,
    /// In order of their files.
    pub photos: Vec<Photo>,
    /// Named photos whose place or name says nobody's name.
    pub skipped: Vec<Skipped>,
    /// Folders of people without a photo.
    pub empty: Vec<String>,
}

impl PhotoSet {
    /// Looks for photos in `folder`. Hidden files and folders are left out.
    ///
    /// # Errors
    /// When there is no such folder, no photo in it, or one person only: nothing can be learned from that.
    pub fn find(folder: &Path, labels: Labels) -> anyhow::Result<Self> {
        let shown = folder.display();
        let folders = folders_in(folder).with_context(|| format!("can't read the folder of photos {shown}"))?;
        let found = photos_in(folder);
        if found.is_empty() {
            bail!("there are no photos in {shown} (names that end in .jpg, .png, .webp, .gif, .bmp, .tif)");
        }
        let is_labelled = labels == Labels::FileNames || found.iter().any(|photo| photo.parent() != Some(folder));
        let mut set = Self {
            from: name_of(folder),
            photos: Vec::new(),
            skipped: Vec::new(),
            empty: Vec::new(),
        };
        for path in found {
            let below = path.strip_prefix(folder).unwrap_or(&path);
            let file = below.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
            let person = if below.to_str().is_none() {
                Err("its name is not Unicode; rename it")
            } else if is_labelled {
                person_of(&file, labels)
            } else {
                Ok("")
            };
            match person {
                Ok(person) => set.photos.push(Photo {
                    person: person.to_string(),
                    path,
                    file,
                }),
                Err(why) => set.skipped.push(Skipped { file, why: why.into() }),
            }
        }
        if is_labelled {
            set.check_people(folder, &folders, labels)?;
        }
        Ok(set)
    }

    fn check_people(&mut self, folder: &Path, folders: &[PathBuf], labels: Labels) -> anyhow::Result<()> {
        let shown = folder.display();
        let mut people: Vec<&str> = self.photos.iter().map(|photo| photo.person.as_str()).collect();
        people.sort_unstable();
        people.dedup();
        match (people.as_slice(), labels) {
            ([], Labels::FileNames) => bail!("no photo in {shown} has a name like NAME_0001.jpg"),
            ([], Labels::Folders) => bail!("no photo in {shown} lies in a folder that has a person's name"),
            ([only], _) => {
                let inner = folder.join(only);
                let hint = match folders_in(&inner) {
                    Ok(inside) if !inside.is_empty() && labels == Labels::Folders => {
                        format!(" Are {}'s folders the people? Then name that one.", inner.display())
                    }
                    _ => String::new(),
                };
                bail!(
                    "all photos in {shown} are of one person, {only}; to tell people apart takes at least two.{hint}"
                );
            }
            _ => {}
        }
        if labels == Labels::Folders {
            let names = folders.iter().map(|path| name_of(path));
            self.empty = names
                .filter(|name| people.binary_search(&name.as_str()).is_err())
                .collect();
        }
        Ok(())
    }
}

fn person_of(file: &str, labels: Labels) -> Result<&str, &'static str> {
    match labels {
        Labels::Folders => file
            .split_once('/')
            .map(|(person, _)| person)
            .ok_or("it lies beside the people's folders, so nobody knows who it is; move it into one of them"),
        Labels::FileNames => {
            let name = file.rsplit('/').next().unwrap_or(file);
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            stem.rsplit_once('_')
                .filter(|(person, number)| {
                    !person.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                })
                .map(|(person, _)| person)
                .ok_or("its name is not like NAME_0001.jpg, so nobody knows who it is")
        }
    }
}

/// The folders in `folder` that are not hidden, sorted.
fn folders_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !name_of(&path).starts_with('.') {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn name_of(path: &Path) -> String {
    let real = path.canonicalize();
    let path = real.as_deref().unwrap_or(path);
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(files: &[&str], labels: Labels) -> anyhow::Result<PhotoSet> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        PhotoSet::find(folder.path(), labels)
    }

    fn people(set: &PhotoSet) -> Vec<(&str, &str)> {
        set.photos
            .iter()
            .map(|photo| (photo.person.as_str(), photo.file.as_str()))
            .collect()
    }

    #[test]
    fn a_folder_is_a_person() {
        let set = find(
            &["ada/1.jpg", "ada/more/2.png", "bob/1.jpg", "eve/notes.txt", "stray.jpg"],
            Labels::Folders,
        );
        let set = set.unwrap();
        assert_eq!(
            people(&set),
            [("ada", "ada/1.jpg"), ("ada", "ada/more/2.png"), ("bob", "bob/1.jpg")]
        );
        assert_eq!(set.skipped.len(), 1);
        assert_eq!(set.skipped[0].file, "stray.jpg");
        assert_eq!(set.empty, ["eve"]);
    }

    #[test]
    fn a_flat_folder_names_nobody_unless_its_files_do() {
        let files = ["Ada_B_0001.jpg", "Ada_B_0002.jpg", "Eve_0001.jpg", "IMG.jpg"];
        let set = find(&files, Labels::Folders).unwrap();
        assert!(set.photos.len() == 4 && set.photos.iter().all(|photo| photo.person.is_empty()));
        let set = find(&files, Labels::FileNames).unwrap();
        let named = [("Ada_B", files[0]), ("Ada_B", files[1]), ("Eve", files[2])];
        assert_eq!(people(&set), named);
        assert_eq!(set.skipped[0].file, "IMG.jpg");
    }

    #[test]
    fn what_can_not_be_learned_from_is_refused_with_a_reason() {
        for (files, labels, says) in [
            (&["ada/1.jpg", "ada/2.jpg"][..], Labels::Folders, "one person, ada"),
            (
                &["images/ada/1.jpg", "images/bob/2.jpg"],
                Labels::Folders,
                "images's folders the people?",
            ),
            (&["ada/notes.txt"], Labels::Folders, "there are no photos"),
            (&["1.jpg"], Labels::FileNames, "NAME_0001.jpg"),
        ] {
            let error = format!("{:#}", find(files, labels).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
        let missing = PhotoSet::find(Path::new("no-such-folder"), Labels::Folders).unwrap_err();
        assert!(format!("{missing:#}").contains("no-such-folder"));
    }
}
