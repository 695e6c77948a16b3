//! A camera that makes many events: a folder of small pictures, each of which stands alone and gets a verdict.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::given::photos;

/// Makes a folder of `count` pictures of one face below `within`.
pub(crate) fn pictures(within: &Path, count: u64) -> PathBuf {
    let folder = within.join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let photo = image::open(photos().join("obama2.jpg")).unwrap().to_rgb8();
    // Head and shoulders, so small that a frame costs milliseconds.
    let side = photo.width().min(photo.height());
    let head = image::imageops::crop_imm(&photo, (photo.width() - side) / 2, 0, side, side).to_image();
    let small = image::imageops::thumbnail(&head, 240, 240);
    for number in 0..count {
        small.save(folder.join(format!("{number:06}.png"))).unwrap();
    }
    folder
}

/// The configuration of a camera that shows `folder`; each picture makes a verdict.
pub(crate) fn camera(folder: &Path, pictures_per_second: f64, looped: bool) -> String {
    let mut text = String::from("[verdict]\nmin_shots = 1\n");
    write!(
        text,
        "[[camera]]\nid = \"crowd\"\nurl = \"dir:{}\"\nloop = {looped}\nframes_per_second = {pictures_per_second:?}\n",
        folder.display()
    )
    .unwrap();
    text
}
