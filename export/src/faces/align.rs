//! Photos through the detector, and their faces cut out in every way that a network may want.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Context, bail};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder as _, RgbImage};
use kith::align::Cut;
use kith::detect::{Detector, Face, detect_in_photo, most_prominent};
use kith::photo::{self, PhotoError};
use kith::quality::Quality;
use sha2::{Digest as _, Sha256};

use super::folder::FACES;
use super::phash::{Phash, Phasher, hex};
use super::{AlignedFace, AlignedFolder, Photo, PhotoSet, Shot, Skipped};

/// As many decoded photos wait for the networks at most.
const AHEAD: usize = 8;

/// What the detector believes less is chosen only where there is nothing better, as in enrolment.
const SURE: f32 = 0.9;

/// What became of a photo, for a progress bar.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Its face was cut out.
    Aligned(&'a AlignedFace),
    /// It was left out.
    Skipped(&'a Skipped),
}

/// How to align.
pub struct Aligner<'a> {
    /// Finds the faces.
    pub detector: &'a mut dyn Detector,
    /// Smallest face that is looked for, in pixels.
    pub min_face_px: u32,
    /// Take the place of an older folder of aligned faces.
    pub replace: bool,
}

/// Aligns all `photos` into the new folder `out`: the most prominent face of each, in every [`Cut`], and `faces.json`.
/// All is made in a hidden folder beside it, which takes its name at the end: whatever happens, `out` is whole or it
/// is what it was before.
///
/// # Errors
/// When `out` is there already (and not an older one to replace), the disk is full, or the networks fail. A photo that
/// can't be used is no error, but among the skipped ones.
pub fn align(
    photos: &PhotoSet,
    out: &Path,
    aligner: Aligner<'_>,
    mut told: impl FnMut(Outcome<'_>),
) -> anyhow::Result<AlignedFolder> {
    let shown = out.display();
    refuse_existing(out, aligner.replace)?;
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).with_context(|| format!("can't make the folder {}", parent.display()))?;
    let making = tempfile::Builder::new()
        .prefix(".kith-align-")
        .tempdir_in(parent)
        .with_context(|| format!("can't make a folder in {}", parent.display()))?;
    let mut folder = AlignedFolder {
        root: making.path().to_path_buf(),
        from: photos.from.clone(),
        faces: Vec::with_capacity(photos.photos.len()),
        skipped: photos.skipped.clone(),
    };
    let (detector, min_face_px, hasher) = (aligner.detector, aligner.min_face_px, Phasher::default());
    decode_ahead(&photos.photos, |photo, opened| {
        let aligned = match opened {
            Ok(opened) => cut_out(&opened, photo, detector, min_face_px, &hasher)?,
            Err(error) => Err(error.to_string()),
        };
        match aligned {
            Ok((face, crops)) => {
                for (cut, crop) in crops {
                    write_png(&folder.crop_file(&face, cut), &crop)?;
                }
                told(Outcome::Aligned(&face));
                folder.faces.push(face);
            }
            Err(why) => {
                let file = photo.file.clone();
                folder.skipped.push(Skipped { file, why });
                folder
                    .skipped
                    .last()
                    .map(Outcome::Skipped)
                    .into_iter()
                    .for_each(&mut told);
            }
        }
        Ok(())
    })?;
    if folder.faces.is_empty() {
        let first = folder
            .skipped
            .first()
            .map(|skipped| format!("; {}: {}", skipped.file, skipped.why));
        bail!("no photo of {} gave a face{}", photos.from, first.unwrap_or_default());
    }
    folder.skipped.sort_by(|a, b| a.file.cmp(&b.file));
    folder.write_listing()?;
    // Private while it was made; like any other folder from now on.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(making.path(), fs::Permissions::from_mode(0o755))?;
    }
    let old = aligner.replace.then(|| tempfile::tempdir_in(parent)).transpose()?;
    if let Some(old) = old.as_ref().filter(|_| out.exists()) {
        fs::rename(out, old.path().join("old")).with_context(|| format!("can't move the old {shown} away"))?;
    }
    if let Err(error) = fs::rename(making.path(), out) {
        if let Some(old) = old.as_ref().filter(|_| !out.exists()) {
            // Nothing is lost: the old one goes back to its place, if it can.
            let _ = fs::rename(old.path().join("old"), out);
        }
        return Err(error).with_context(|| format!("can't name the finished folder {shown}"));
    }
    // It has another name now, so there is nothing left to clean up.
    let _ = making.keep();
    folder.root = out.to_path_buf();
    Ok(folder)
}

fn refuse_existing(out: &Path, replace: bool) -> anyhow::Result<()> {
    let shown = out.display();
    let is_empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !out.exists() || is_empty() {
        return Ok(());
    }
    if !out.join(FACES).is_file() {
        bail!("{shown} is there already and holds something else than aligned faces; name another folder");
    }
    if !replace {
        bail!("{shown} holds aligned faces already; name another folder, or replace it with --force");
    }
    Ok(())
}

/// A photo, read.
struct Opened {
    picture: RgbImage,
    sha256: String,
    phash: Phash,
}

/// Reads, hashes and decodes on a thread of its own, so that this and the networks overlap.
fn decode_ahead(
    photos: &[Photo],
    mut each: impl FnMut(&Photo, Result<Opened, PhotoError>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            let hasher = Phasher::default();
            let open = |path: &PathBuf| {
                let bytes = photo::read_bytes(path)?;
                let picture = photo::decode(&bytes)?;
                let (sha256, phash) = (hex(&Sha256::digest(&bytes)), hasher.hash(&picture));
                Ok(Opened { picture, sha256, phash })
            };
            for photo in photos {
                // Nobody listens any more once `each` has failed.
                if sender.send((photo, open(&photo.path))).is_err() {
                    break;
                }
            }
        });
        receiver.into_iter().try_for_each(|(photo, opened)| each(photo, opened))
    })
}

/// A face with its crops, or why there is none.
type CutOut = Result<(AlignedFace, Vec<(Cut, RgbImage)>), String>;

fn cut_out(
    Opened { picture, sha256, phash }: &Opened,
    photo: &Photo,
    detector: &mut dyn Detector,
    min_face_px: u32,
    hasher: &Phasher,
) -> anyhow::Result<CutOut> {
    let found = detect_in_photo(detector, picture, min_face_px)
        .with_context(|| format!("while looking for faces in {}", photo.path.display()))?;
    let sure: Vec<Face> = found.iter().filter(|face| face.probability >= SURE).copied().collect();
    let candidates = if sure.is_empty() { &found } else { &sure };
    let Some(face) = most_prominent(candidates, picture.width(), picture.height()) else {
        return Ok(Err(format!("no face of {min_face_px} px or more was found")));
    };
    let mut crops = Vec::with_capacity(Cut::ALL.len());
    for cut in Cut::ALL {
        match cut.cut(picture, &face) {
            Some(crop) => crops.push((cut, crop)),
            None => return Ok(Err("its face can't be aligned".into())),
        }
    }
    let Some((_, upright)) = crops.iter().find(|(cut, _)| *cut == Cut::FivePoint112) else {
        bail!("no upright crop was made of {}", photo.path.display());
    };
    let quality = Quality::of(upright, &face);
    let b = face.box_in_frame;
    let aligned = AlignedFace {
        person: photo.person.clone(),
        file: photo.file.clone(),
        crop: format!("{}.png", photo.file),
        sha256: sha256.clone(),
        phash: phash.hex(),
        face_phash: hasher.hash(upright).hex(),
        r#box: [b.left, b.top, b.right, b.bottom],
        landmarks: face.landmarks,
        probability: face.probability,
        quality: Shot {
            size_px: quality.size_px,
            sharpness: quality.sharpness,
            yaw_degrees: quality.yaw_degrees,
        },
        faces_in_photo: candidates.len(),
    };
    Ok(Ok((aligned, crops)))
}

fn write_png(file: &Path, crop: &RgbImage) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut out = BufWriter::new(fs::File::create(file)?);
        PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive).write_image(
            crop,
            crop.width(),
            crop.height(),
            image::ExtendedColorType::Rgb8,
        )?;
        Ok(out.flush()?)
    };
    write().with_context(|| format!("can't write {}", file.display()))
}

#[cfg(test)]
#[path = "align_tests.rs"]
mod tests;
