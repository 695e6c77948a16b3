//! A disk that fills up ends a command with a sentence, and what was whole before is whole after.

use std::fs;
use std::path::Path;

use kith_export::nets::Network;
use kith_export::weights::{check_fit, safetensors};

use crate::bad_input::{checkpoint_of, export, fit, names_in};
use crate::faces::{Faces, THREE};
use crate::running::{folder_of, has_runtime, kith_export, on_a_full_disk, refuses, succeeds};

/// The error that the limit gives.
const FULL: &str = "File too large";

/// A checkpoint of `MobileFaceNet` has about 4 MiB, a state three times as much.
const ROOM_FOR_NOTHING: u32 = 1024;
const ROOM_FOR_WEIGHTS: u32 = 12 * 1024;

fn assert_readable(best: &Path) {
    let weights = safetensors::read(&fs::read(best).unwrap()).unwrap().weights;
    check_fit(&Network::MobileFaceNet.graph(), &weights).unwrap();
}

#[test]
fn fit_on_a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let faces = Faces::split(THREE);
    let run = faces.path("run");
    refuses(
        &mut on_a_full_disk(&fit(&faces, "run"), ROOM_FOR_NOTHING),
        &["best.safetensors", FULL],
    );
    assert_eq!(names_in(&run), [""; 0]);
    let mut resumed = fit(&faces, "run");
    resumed.arg("--resume");
    refuses(
        &mut on_a_full_disk(&resumed, ROOM_FOR_WEIGHTS),
        &["last.safetensors", FULL],
    );
    assert_readable(&run.join("best.safetensors"));
    assert_eq!(names_in(&run), ["best.safetensors", "log.jsonl"]);
    succeeds(&mut resumed);
    succeeds(&mut fit(&faces, "through"));
    for name in ["best.safetensors", "last.safetensors"] {
        assert!(
            fs::read(run.join(name)).unwrap() == fs::read(faces.path("through").join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn align_on_a_full_disk_leaves_nothing_and_the_old_faces() {
    let (true, Some(photos)) = (has_runtime(), folder_of("KITH_PHOTOS")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let person = folder.path().join("photos/barack");
    fs::create_dir_all(&person).unwrap();
    fs::copy(photos.join("obama.jpg"), person.join("1.jpg")).unwrap();
    let other = folder.path().join("photos/joe");
    fs::create_dir_all(&other).unwrap();
    fs::copy(photos.join("biden.jpg"), other.join("1.jpg")).unwrap();
    let out = folder.path().join("faces");
    let mut align = kith_export(["align"]);
    align.arg(folder.path().join("photos")).arg(&out);
    refuses(&mut on_a_full_disk(&align, 16), &["1.jpg.png", FULL]);
    assert_eq!(names_in(folder.path()), ["photos"]);
    succeeds(&mut align);
    let before = fs::read(out.join("faces.json")).unwrap();
    align.arg("--force");
    refuses(&mut on_a_full_disk(&align, 16), &["1.jpg.png", FULL]);
    assert_eq!(names_in(folder.path()), ["faces", "photos"]);
    assert!(fs::read(out.join("faces.json")).unwrap() == before);
}

#[test]
fn export_on_a_full_disk_leaves_nothing_and_the_old_models() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(THREE);
    checkpoint_of(Network::MobileFaceNet, &faces.path("run/best.safetensors"), 1, |_| ());
    checkpoint_of(
        Network::MobileFaceNet,
        &faces.path("other/best.safetensors"),
        1,
        |weights| {
            weights
                .values_mut()
                .for_each(|tensor| tensor.values.iter_mut().for_each(|value| *value *= 1.5));
        },
    );
    let first = export(&faces, "out", &[("--checkpoint", "run")]);
    refuses(&mut on_a_full_disk(&first, ROOM_FOR_NOTHING), &["patterns.onnx", FULL]);
    assert_eq!(names_in(&faces.path("out")), [""; 0]);
    succeeds(&mut export(&faces, "out", &[("--checkpoint", "run")]));
    let left = || ["patterns.onnx", "patterns.toml"].map(|name| fs::read(faces.path("out").join(name)).unwrap());
    let before = left();
    let mut second = export(&faces, "out", &[("--checkpoint", "other")]);
    refuses(&mut second, &["patterns.toml", "--force"]);
    second.arg("--force");
    refuses(&mut on_a_full_disk(&second, ROOM_FOR_NOTHING), &["patterns.onnx", FULL]);
    assert!(left() == before, "the old models are lost");
    assert_eq!(names_in(&faces.path("out")), ["patterns.onnx", "patterns.toml"]);
    succeeds(&mut second);
    assert!(left()[0] != before[0]);
}
