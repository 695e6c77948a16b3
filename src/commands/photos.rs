//! Photos named on the command line: files and folders, decoded ahead of the networks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Context;
use image::RgbImage;
use serde::Serialize;

use crate::detect::{Face, Landmarks};
use crate::photo::{self, PhotoError};

/// As many decoded photos wait for the networks at most.
const AHEAD: usize = 3;

/// File name endings that a folder is searched for.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// The photos that `named` stands for: files as they are, folders searched through, in order of their names.
///
/// # Errors
/// When something does not exist or a folder can't be read.
pub fn collect(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    for path in named {
        let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
        if metadata.is_dir() {
            search(path, &mut photos)?;
        } else {
            photos.push(path.clone());
        }
    }
    Ok(photos)
}

fn search(folder: &Path, photos: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let read = || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    let mut entries = read().with_context(|| format!("can't read the folder {}", folder.display()))?;
    entries.sort();
    for entry in entries {
        let is_photo = || {
            let ending = entry.extension()?.to_str()?.to_ascii_lowercase();
            ENDINGS.contains(&ending.as_str()).then_some(())
        };
        if entry.is_dir() {
            search(&entry, photos)?;
        } else if is_photo().is_some() {
            photos.push(entry);
        }
    }
    Ok(())
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
    /// As it was named, or found in a folder.
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
    /// As it was named, or found in a folder.
    pub image: &'a Path,
    /// Why.
    pub error: String,
}
