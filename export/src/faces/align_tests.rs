//! The folder is whole or not there, whatever the photos and whatever happens.

use std::time::Duration;

use kith::align::Alignment;
use kith::detect::{DetectError, FaceBox};

use super::*;
use crate::faces::{FolderError, Labels};

/// Sees a face in the middle of every picture that is not black, and fails at the nth picture.
struct Middle {
    fails_at: usize,
}

impl Detector for Middle {
    fn detect(&mut self, picture: &RgbImage, _: u32) -> Result<Vec<Face>, DetectError> {
        if self.fails_at == 1 {
            return Err(DetectError::Output {
                network: "pnet",
                output: "boxes",
            });
        }
        self.fails_at = self.fails_at.saturating_sub(1);
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let at = |x: f32, y: f32| [x * width, y * height];
        let face = Face {
            box_in_frame: FaceBox {
                left: 0.3 * width,
                top: 0.3 * height,
                right: 0.7 * width,
                bottom: 0.7 * height,
            },
            probability: 0.99,
            landmarks: [at(0.4, 0.4), at(0.6, 0.4), at(0.5, 0.5), at(0.42, 0.6), at(0.58, 0.6)],
        };
        let is_black = picture.as_raw().iter().all(|value| *value == 0);
        Ok(if is_black { Vec::new() } else { vec![face] })
    }

    fn take_session_time(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// Photos of ada (two, and one that is none) and bob (one, and one without a face).
fn photos(place: &Path) -> PhotoSet {
    for (file, level) in [
        ("ada/1.png", 90),
        ("ada/2.png", 120),
        ("bob/1.png", 200),
        ("bob/dark.png", 0),
    ] {
        let path = place.join("photos").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(200, 160, |x, _| {
            image::Rgb([level, level, (x % 200) as u8 * u8::from(level > 0)])
        })
        .save(path)
        .unwrap();
    }
    fs::write(place.join("photos/ada/broken.jpg"), b"\xff\xd8\xff\xe0 and no more").unwrap();
    PhotoSet::find(&place.join("photos"), Labels::Folders).unwrap()
}

fn run(photos: &PhotoSet, out: &Path, fails_at: usize, replace: bool) -> anyhow::Result<AlignedFolder> {
    let detector = &mut Middle { fails_at };
    let aligner = Aligner {
        detector,
        min_face_px: 20,
        replace,
    };
    align(photos, out, aligner, |_| ())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_folder_is_read_as_it_was_written() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("new/faces");
    let written = run(&photos(place.path()), &out, 0, false).unwrap();
    let read = AlignedFolder::read(&out).unwrap();
    assert_eq!(read, written);
    assert_eq!(
        (read.from.as_str(), read.people()),
        ("photos", vec!["ada".to_string(), "bob".into()])
    );
    let files: Vec<&str> = read.faces.iter().map(|face| face.file.as_str()).collect();
    assert_eq!(files, ["ada/1.png", "ada/2.png", "bob/1.png"]);
    let skipped: Vec<&str> = read.skipped.iter().map(|skipped| skipped.file.as_str()).collect();
    assert_eq!(skipped, ["ada/broken.jpg", "bob/dark.png"]);
    assert!(read.skipped[1].why.contains("no face of 20 px"), "{:?}", read.skipped);
    let face = &read.faces[0];
    let photo = photo::read(&place.path().join("photos/ada/1.png")).unwrap();
    for alignment in Alignment::ALL {
        // From the photo or from the kept crop, a network is given the same.
        assert_eq!(
            read.crop(face, alignment).unwrap(),
            alignment.align(&photo, &face.face()).unwrap()
        );
    }
    // Nothing of the making is left beside it.
    assert_eq!(names_in(&place.path().join("new")), ["faces"]);

    fs::write(read.crop_file(face, Cut::Box160), b"not a PNG").unwrap();
    let error = read.crop(face, Alignment::Box96).unwrap_err();
    assert!(matches!(error, FolderError::Crop { .. }), "{error}");
    assert!(error.to_string().contains("1.png.png is damaged"), "{error}");
}

#[test]
fn what_fails_leaves_what_was_there() {
    let place = tempfile::tempdir().unwrap();
    let (photos, out) = (photos(place.path()), place.path().join("faces"));
    run(&photos, &out, 3, false).unwrap_err();
    assert_eq!(names_in(place.path()), ["photos"]);

    let first = run(&photos, &out, 0, false).unwrap();
    let error = run(&photos, &out, 0, false).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    run(&photos, &out, 2, true).unwrap_err();
    assert_eq!(AlignedFolder::read(&out).unwrap(), first);
    fs::remove_file(place.path().join("photos/bob/1.png")).unwrap();
    fs::write(
        place.path().join("photos/bob/1.png"),
        fs::read(place.path().join("photos/ada/1.png")).unwrap(),
    )
    .unwrap();
    let second = run(&photos, &out, 0, true).unwrap();
    assert_ne!(second, first);
    assert_eq!(AlignedFolder::read(&out).unwrap(), second);
    assert_eq!(names_in(place.path()), ["faces", "photos"]);

    // Never over something else.
    let other = place.path().join("photos");
    let error = run(&photos, &other, 0, true).unwrap_err().to_string();
    assert!(error.contains("something else than aligned faces"), "{error}");
}

#[test]
fn a_folder_that_is_none_is_said_to_be_none() {
    let place = tempfile::tempdir().unwrap();
    let error = |text: Option<&str>| {
        text.into_iter()
            .for_each(|text| fs::write(place.path().join(FACES), text).unwrap());
        AlignedFolder::read(place.path()).unwrap_err().to_string()
    };
    assert!(error(None).contains("is no folder of aligned faces"));
    assert!(error(Some("{")).contains("is damaged"));
    assert!(error(Some(r#"{"version":7,"people":3}"#)).contains("version 7"));
}
