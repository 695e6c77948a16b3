//! Folders of aligned faces that show nobody: a pattern for each person, a little different in each photo.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::running::{kith_export, succeeds};

/// Whose faces, and how many of each; an empty name is nobody's.
pub(crate) type People<'a> = &'a [(&'a str, usize)];

/// Three people with six photos each.
pub(crate) const THREE: People<'static> = &[("ada", 6), ("bob", 6), ("eve", 6)];

/// A folder with aligned faces and their split.
pub(crate) struct Faces {
    pub(crate) folder: tempfile::TempDir,
}

impl Faces {
    /// Writes the folder.
    pub(crate) fn of(people: People<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("faces"), people);
        Self { folder }
    }

    /// Writes the folder and splits it into three folds.
    pub(crate) fn split(people: People<'_>) -> Self {
        let faces = Self::of(people);
        succeeds(
            kith_export(["split", "--folds", "3", "--out"])
                .arg(faces.path("split.json"))
                .arg(faces.path("faces")),
        );
        faces
    }

    /// A path in the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn write(root: &Path, people: People<'_>) {
    let mut faces: Vec<Value> = Vec::new();
    for (number, (person, photos)) in people.iter().enumerate() {
        for photo in 0..*photos {
            let mut random = StdRng::seed_from_u64((number * 1000 + photo) as u64);
            let file = [*person, &format!("{photo}.jpg")]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("/");
            for (cut, side) in [("five-point-112", 112), ("box-160", 160)] {
                let path = root.join(cut).join(format!("{file}.png"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                pattern(number, side, &mut random).save(path).unwrap();
            }
            // 64 digits that have nothing to do with any other photo's.
            let mut digits = || {
                (0..8)
                    .map(|_| format!("{:08x}", random.random::<u32>()))
                    .collect::<String>()
            };
            faces.push(json!({
                "person": person, "file": file, "crop": format!("{file}.png"),
                "sha256": digits(), "phash": digits(), "face_phash": digits(),
                "box": [10.0, 10.0, 90.0, 100.0],
                "landmarks": [[30.0, 40.0], [70.0, 40.0], [50.0, 60.0], [35.0, 80.0], [65.0, 80.0]],
                "probability": 0.999, "quality": {"size_px": 90.0, "sharpness": 0.5, "yaw_degrees": 1.0},
                "faces_in_photo": 1,
            }));
        }
    }
    let listing = json!({"version": 1, "from": "patterns", "faces": faces, "skipped": []});
    fs::write(root.join("faces.json"), listing.to_string()).unwrap();
}

fn pattern(person: usize, side: u32, random: &mut StdRng) -> RgbImage {
    let mut of_person = StdRng::seed_from_u64(person as u64);
    let waves: Vec<[f32; 3]> = (0..3)
        .map(|_| [0.02, 0.02, 1.0].map(|scale| scale + of_person.random::<f32>() * 0.2))
        .collect();
    let shift: f32 = random.random::<f32>() * 6.0;
    RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (
            x as f32 * 112.0 / side as f32 + shift,
            y as f32 * 112.0 / side as f32 - shift,
        );
        Rgb(std::array::from_fn(|channel| {
            let [across, down, phase] = waves[channel];
            (128.0 + 80.0 * (x * across + y * down + phase * 6.0).sin() + 30.0 * random.random::<f32>()) as u8
        }))
    })
}
