//! Photos named on the command line: files and folders, decoded ahead of the networks.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use image::RgbImage;
use serde::{Serialize, Serializer};

use super::terminal::complain;
use crate::detect::{Face, Landmarks};
use crate::photo::{self, PhotoError};

/// As many decoded photos wait for the networks at most.
const AHEAD: usize = 3;

/// File name endings that a folder is searched for.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// The photos that `named` stands for: files as they are, folders searched through, in order of their names. What does
/// not exist, can't be read or is a folder without photos stays in the list, and is refused when it comes to be read:
/// one mistake does not keep the other photos from being looked at.
pub fn collect(named: &[PathBuf]) -> Vec<PathBuf> {
    let mut photos = Vec::new();
    for path in named {
        let before = photos.len();
        if path.is_dir() {
            photos.extend(photos_in(path));
        }
        if photos.len() == before {
            photos.push(path.clone());
        }
    }
    photos
}

/// The photos in `folder` and the folders in it, in order of their names; hidden ones are left out (macOS puts a hidden
/// file that is no picture beside each picture). A folder in it that can't be read stands for itself, as in [`collect`].
pub fn photos_in(folder: &Path) -> Vec<PathBuf> {
    let mut photos = Vec::new();
    search(folder, &mut Vec::new(), &mut photos);
    photos
}

/// `above`: the folders on the way here, without links, so that a link to one of them ends the search.
fn search(folder: &Path, above: &mut Vec<PathBuf>, photos: &mut Vec<PathBuf>) {
    let read = || -> io::Result<(PathBuf, Vec<PathBuf>)> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        Ok((folder.canonicalize()?, entries.collect::<io::Result<_>>()?))
    };
    let Ok((real, mut entries)) = read() else {
        photos.push(folder.to_path_buf());
        return;
    };
    if above.contains(&real) {
        return;
    }
    above.push(real);
    entries.sort();
    for entry in entries {
        let is_hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_photo = || {
            let ending = entry.extension()?.to_str()?.to_ascii_lowercase();
            ENDINGS.contains(&ending.as_str()).then_some(())
        };
        if is_hidden {
            continue;
        }
        if entry.is_dir() {
            search(&entry, above, photos);
        } else if is_photo().is_some() {
            photos.push(entry);
        }
    }
    above.pop();
}

/// Decodes `paths` on a thread of its own and hands them to `each` in order, so that decoding and networks overlap.
///
/// # Errors
/// The first that `each` returns.
pub fn decode_ahead(
    paths: &[PathBuf],
    mut each: impl FnMut(&Path, Result<RgbImage, PhotoError>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            for path in paths {
                // Nobody listens any more once `each` has failed.
                if sender.send((path, photo::read(path))).is_err() {
                    break;
                }
            }
        });
        receiver.into_iter().try_for_each(|(path, decoded)| each(path, decoded))
    })
}

/// A face in `--json` output.
#[derive(Debug, Serialize)]
pub struct FaceLine {
    /// Left, top, right, bottom in pixels, to a thousandth.
    pub r#box: [f64; 4],
    /// The detector's, 0 to 1.
    pub probability: f64,
    /// `[x, y]` in pixels, to a thousandth.
    pub landmarks: [[f64; 2]; 5],
}

impl From<&Face> for FaceLine {
    fn from(face: &Face) -> Self {
        let round = |value: f32, per_unit: f64| (f64::from(value) * per_unit).round() / per_unit;
        let b = face.box_in_frame;
        let landmarks: &Landmarks = &face.landmarks;
        Self {
            r#box: [b.left, b.top, b.right, b.bottom].map(|value| round(value, 1e3)),
            probability: round(face.probability, 1e6),
            landmarks: landmarks.map(|point| point.map(|value| round(value, 1e3))),
        }
    }
}

/// A photo in `--json` output: one object a line.
#[derive(Debug, Serialize)]
pub struct PhotoLine<'a, F> {
    /// As it was named, or found in a folder; bytes that are not UTF-8 become `\u{FFFD}`.
    #[serde(serialize_with = "lossy")]
    pub image: &'a Path,
    /// Upright, in pixels.
    pub width: u32,
    /// Upright, in pixels.
    pub height: u32,
    /// Most probable first.
    pub faces: Vec<F>,
}

/// A photo that could not be read, in `--json` output.
#[derive(Debug, Serialize)]
pub struct FailedPhotoLine<'a> {
    /// As it was named, or found in a folder; bytes that are not UTF-8 become `\u{FFFD}`.
    #[serde(serialize_with = "lossy")]
    pub image: &'a Path,
    /// Why.
    pub error: String,
}

/// JSON knows Unicode only, a file system any bytes; one odd name must not end the list.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Writes one line of `--json` output.
///
/// # Errors
/// When the output can't be written.
pub fn write_json(out: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(writeln!(out)?)
}

/// Says on standard error that a photo could not be read and, for `--json`, in its place among the lines.
///
/// # Errors
/// When the output can't be written.
pub fn tell_failed(out: &mut impl Write, image: &Path, error: &PhotoError, is_json: bool) -> anyhow::Result<()> {
    complain(format_args!("kith: {}: {error}", image.display()));
    if is_json {
        let error = error.to_string();
        write_json(out, &FailedPhotoLine { image, error })?;
    }
    Ok(())
}
