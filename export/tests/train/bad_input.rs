//! Folders, checkpoints and settings that can't be used: each gives a sentence, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kith_export::nets::Network;
use kith_export::train::about::{About, Data, name_of, usual_preprocessing};
use kith_export::train::course::{Course, State, Validation};
use kith_export::train::net::Net;
use kith_export::weights::{Weights, safetensors};
use serde_json::json;
use tch::Device;

use crate::faces::{Faces, People, THREE};
use crate::running::{folder_of, has_runtime, kith_export, refuses, succeeds};

/// A checkpoint as if a run had written it after `epochs_done` epochs, its weights random and then changed.
pub(crate) fn checkpoint_of(network: Network, path: &Path, epochs_done: usize, change: impl FnOnce(&mut Weights)) {
    let mut weights = Net::at_random(network.graph(), 5, Device::Cpu)
        .unwrap()
        .weights()
        .unwrap();
    change(&mut weights);
    let about = About {
        network: name_of(network),
        preprocessing: usual_preprocessing(network).unwrap(),
        made_by: "fit".to_owned(),
        data: Data {
            from: "patterns".to_owned(),
            sha256: "0".repeat(64),
            photos: 12,
            people: 3,
        },
        started_from: None,
        settings: json!({}),
    };
    let course = Course {
        epochs: 4,
        learning_rate: 1e-4,
        warm_up_epochs: 0,
        weight_decay: 0.0,
        clip: 5.0,
        patience: None,
        seed: 1,
    };
    let best = (
        epochs_done,
        Validation {
            loss: 0.1,
            accuracy: 0.9,
        },
    );
    let state = State {
        about,
        course,
        epochs_done,
        steps: 0,
        best,
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let metadata = [("kith".to_owned(), serde_json::to_string(&state).unwrap())].into();
    fs::write(path, safetensors::write(&weights, &metadata)).unwrap();
}

/// A short course on `faces`.
pub(crate) fn fit(faces: &Faces, run: &str) -> Command {
    let mut command = kith_export([
        "fit",
        "--net",
        "mobilefacenet",
        "--epochs",
        "1",
        "--people",
        "3",
        "--photos",
        "2",
    ]);
    command
        .args(["--rounds", "1", "--device", "cpu", "--threads", "1", "--split"])
        .arg(faces.path("split.json"));
    command.arg(faces.path("faces")).arg("--out").arg(faces.path(run));
    command
}

/// `export` of what `what` names, compared on `faces`.
pub(crate) fn export(faces: &Faces, out: &str, what: &[(&str, &str)]) -> Command {
    let mut command = kith_export(["export", "--name", "patterns", "--faces"]);
    command.arg(faces.path("faces")).arg("--out").arg(faces.path(out));
    for (option, name) in what {
        command.arg(option).arg(faces.path(name));
    }
    command
}

/// Names in a folder; none where there is no folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Cuts the end off a file.
fn cut_off(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
}

/// Every photo in a fold, in turn, whoever is on it.
fn split_by_hand(faces: &Faces, people: People<'_>) {
    let files = people
        .iter()
        .flat_map(|(person, photos)| (0..*photos).map(move |photo| format!("{person}/{photo}.jpg")));
    let folds: serde_json::Map<_, _> = files
        .enumerate()
        .map(|(number, file)| (file, json!(number % 3)))
        .collect();
    let split = json!({"version": 1, "seed": 1, "folds": 3, "from": "patterns", "assignments": folds});
    fs::write(faces.path("split.json"), split.to_string()).unwrap();
}

#[test]
fn one_person_is_nothing_to_tell_apart() {
    let people: People<'_> = &[("ada", 6)];
    let faces = Faces::of(people);
    let words = ["one person", "ada"];
    refuses(
        kith_export(["split", "--out"])
            .arg(faces.path("split.json"))
            .arg(faces.path("faces")),
        &words,
    );
    split_by_hand(&faces, people);
    refuses(&mut fit(&faces, "run"), &words);
    assert!(!faces.path("run").exists());
    for command in ["head", "evaluate"] {
        let mut command = kith_export([command, "--model", "mobilefacenet", "--split"]);
        command
            .arg(faces.path("split.json"))
            .arg(faces.path("faces"))
            .arg("--out")
            .arg(faces.path("out"));
        refuses(&mut command, &words);
        assert!(!faces.path("out").exists());
    }
}

#[test]
fn people_with_one_photo_each_make_no_triplet() {
    let faces = Faces::split(&[("ada", 1), ("bob", 1), ("eve", 1)]);
    refuses(&mut fit(&faces, "run"), &["one photo", "two photos of somebody"]);
    assert!(!faces.path("run").exists());
}

#[test]
fn with_one_person_left_to_learn_from_there_is_no_triplet() {
    let people: People<'_> = &[("ada", 6), ("bob", 1)];
    let faces = Faces::of(people);
    let mut folds: serde_json::Map<_, _> = (0..6)
        .map(|photo| (format!("ada/{photo}.jpg"), json!(photo % 3)))
        .collect();
    folds.insert("bob/0.jpg".to_owned(), json!(0));
    let split = json!({"version": 1, "seed": 1, "folds": 3, "from": "patterns", "assignments": folds});
    fs::write(faces.path("split.json"), split.to_string()).unwrap();
    refuses(&mut fit(&faces, "run"), &["ada", "only"]);
    assert!(!faces.path("run").exists());
}

#[test]
fn somebody_with_one_photo_is_named_and_the_others_are_learned() {
    let faces = Faces::split(&[("ada", 6), ("bob", 6), ("eve", 1)]);
    // Where eve's photo is the one to stop by, nothing of her is learned from; else she is told of.
    for fold in ["0", "1", "2"] {
        let said = succeeds(fit(&faces, "run").args(["--fold", fold]));
        println!("{said}");
        assert!(
            faces
                .path("run")
                .join(format!("fold-{fold}/best.safetensors"))
                .is_file()
        );
    }
}

#[test]
fn photos_that_cannot_be_read_are_skipped_and_told_of() {
    let (true, Some(photos)) = (has_runtime(), folder_of("KITH_PHOTOS")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let person = folder.path().join("photos/barack");
    fs::create_dir_all(&person).unwrap();
    let photo = fs::read(photos.join("obama.jpg")).unwrap();
    fs::write(person.join("whole.jpg"), &photo).unwrap();
    fs::write(person.join("cut-off.jpg"), &photo[..photo.len() / 2]).unwrap();
    fs::write(person.join("empty.jpg"), b"").unwrap();
    fs::write(person.join("text.jpg"), b"this is no picture").unwrap();
    let other = folder.path().join("photos/joe");
    fs::create_dir_all(&other).unwrap();
    fs::copy(photos.join("biden.jpg"), other.join("whole.jpg")).unwrap();
    let out = folder.path().join("faces");
    let align = || {
        let mut command = kith_export(["align"]);
        command.arg(folder.path().join("photos")).arg(&out);
        command
    };
    let said = succeeds(&mut align());
    println!("{said}");
    for file in ["cut-off.jpg", "empty.jpg", "text.jpg"] {
        assert!(said.contains(&format!("skipped barack/{file}: ")), "{file}: {said}");
    }
    assert!(
        said.contains("2 faces of 2 people") && said.contains("3 photos skipped"),
        "{said}"
    );
    assert_eq!(names_in(&out.join("five-point-112/barack")), ["whole.jpg.png"]);

    refuses(&mut align(), &["holds aligned faces already", "--force"]);
    fs::remove_file(person.join("whole.jpg")).unwrap();
    fs::remove_file(other.join("whole.jpg")).unwrap();
    fs::write(other.join("text.jpg"), b"this is no picture").unwrap();
    refuses(align().arg("--force"), &["no photo", "gave a face"]);
    assert_eq!(
        names_in(&out.join("five-point-112/barack")),
        ["whole.jpg.png"],
        "the old faces are lost"
    );
    assert_eq!(names_in(folder.path()), ["faces", "photos"]);
}

#[test]
fn a_damaged_crop_or_listing_is_named() {
    let faces = Faces::split(THREE);
    let crop = faces.path("faces/five-point-112/bob/3.jpg.png");
    fs::write(&crop, b"no picture").unwrap();
    refuses(&mut fit(&faces, "run"), &["bob/3.jpg.png", "damaged"]);
    fs::remove_file(crop).unwrap();
    refuses(&mut fit(&faces, "run"), &["bob/3.jpg.png", "No such file"]);
    cut_off(&faces.path("faces/faces.json"));
    refuses(&mut fit(&faces, "run"), &["faces.json", "damaged"]);
    fs::remove_file(faces.path("faces/faces.json")).unwrap();
    refuses(
        &mut fit(&faces, "run"),
        &["no folder of aligned faces", "kith-export align"],
    );
    assert!(!faces.path("run").exists());
}

#[test]
fn weights_of_another_network_are_refused() {
    let faces = Faces::split(THREE);
    checkpoint_of(Network::Nn4Small2, &faces.path("nn4/best.safetensors"), 1, |_| ());
    let start = |file: &str| {
        let mut command = fit(&faces, "run");
        command.arg("--start").arg(faces.path(file));
        command
    };
    refuses(
        &mut start("nn4/best.safetensors"),
        &["nn4/best.safetensors", "weight file of mobilefacenet"],
    );
    cut_off(&faces.path("nn4/best.safetensors"));
    refuses(&mut start("nn4/best.safetensors"), &["nn4/best.safetensors", "cut off"]);
    fs::write(faces.path("text"), b"these are no weights").unwrap();
    refuses(&mut start("text"), &["text"]);
    refuses(&mut start("not-there"), &["not-there", "No such file"]);
    assert!(!faces.path("run").exists());
}

#[test]
fn a_run_is_neither_written_over_nor_gone_on_with_by_another() {
    let faces = Faces::split(THREE);
    succeeds(&mut fit(&faces, "run"));
    let run = faces.path("run");
    let left = || ["best.safetensors", "last.safetensors", "log.jsonl"].map(|name| fs::read(run.join(name)).unwrap());
    let before = left();
    refuses(&mut fit(&faces, "run"), &["holds a run already", "--resume"]);
    refuses(
        fit(&faces, "run").args(["--resume", "--margin", "0.3"]),
        &["other settings"],
    );
    refuses(
        fit(&faces, "run").args(["--resume", "--seed", "2"]),
        &["other settings"],
    );
    refuses(
        fit(&faces, "run").args(["--resume", "--learning-rate", "0.01"]),
        &["other settings"],
    );
    assert!(left() == before, "the run was changed");
    // Nothing is left to do, which is no error.
    succeeds(fit(&faces, "run").arg("--resume"));
    assert!(left() == before, "the run was changed");
    cut_off(&run.join("last.safetensors"));
    refuses(fit(&faces, "run").arg("--resume"), &["last.safetensors", "cut off"]);
    assert!(
        left()[0] == before[0] && left()[2] == before[2],
        "the best weights or the log were changed"
    );
}

#[test]
fn the_best_weights_of_a_run_without_its_state_are_not_written_over() {
    let faces = Faces::split(THREE);
    let best = faces.path("run/best.safetensors");
    checkpoint_of(Network::MobileFaceNet, &best, 3, |_| ());
    let before = fs::read(&best).unwrap();
    refuses(&mut fit(&faces, "run"), &["best weights", "another folder"]);
    refuses(fit(&faces, "run").arg("--resume"), &["best weights", "another folder"]);
    assert!(fs::read(&best).unwrap() == before);
}

#[test]
fn a_head_goes_with_its_embedder_only() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::split(THREE);
    let mut head = kith_export(["head", "--model", "mobilefacenet", "--split"]);
    head.arg(faces.path("split.json"))
        .arg(faces.path("faces"))
        .arg("--out")
        .arg(faces.path("head"));
    println!("{}", succeeds(&mut head));
    refuses(&mut head, &["holds a head already", "--force"]);
    checkpoint_of(Network::MobileFaceNet, &faces.path("run/best.safetensors"), 1, |_| ());
    refuses(
        &mut export(&faces, "out", &[("--head", "head"), ("--checkpoint", "run")]),
        &["the head was trained on mobilefacenet-", "--checkpoint or --model"],
    );
    refuses(
        &mut export(&faces, "out", &[("--head", "run/best.safetensors")]),
        &["best.safetensors", "no head"],
    );
    refuses(
        &mut export(&faces, "out", &[("--checkpoint", "head/head.safetensors")]),
        &["head.safetensors", "no checkpoint"],
    );
    refuses(
        export(&faces, "out", &[("--head", "head")]).args(["--model", "nobody"]),
        &["nobody"],
    );
    cut_off(&faces.path("head/head.safetensors"));
    refuses(
        &mut export(&faces, "out", &[("--head", "head")]),
        &["head.safetensors", "cut off"],
    );
    cut_off(&faces.path("run/best.safetensors"));
    refuses(
        &mut export(&faces, "out", &[("--checkpoint", "run")]),
        &["best.safetensors", "cut off"],
    );
    assert!(!faces.path("out").exists());
}

#[test]
fn a_network_that_computes_otherwise_in_onnx_runtime_is_not_exported() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(THREE);
    let patterns = |run: &str, change: fn(&mut Weights), words: &[&str]| {
        checkpoint_of(Network::Nn4Small2, &faces.path(run).join("best.safetensors"), 1, change);
        refuses(&mut export(&faces, "out", &[("--checkpoint", run)]), words);
        assert!(!faces.path("out").exists(), "something was written");
    };
    // Subtracting a million and adding it again leaves few digits where it is done in turn, and all where ONNX Runtime
    // has made one constant of both. What is added is the million as the normalisation scales it, with its epsilon.
    let cancels = |weights: &mut Weights| {
        let normalised: Vec<String> = weights
            .keys()
            .filter_map(|name| name.strip_suffix(".running_mean"))
            .map(str::to_owned)
            .collect();
        for name in normalised {
            weights
                .get_mut(&format!("{name}.running_mean"))
                .unwrap()
                .values
                .fill(1e6);
            weights.get_mut(&format!("{name}.bias")).unwrap().values.fill(999_995.0);
        }
    };
    patterns(
        "cancels",
        cancels,
        &["apart in libtorch and ONNX Runtime", "nothing was written"],
    );
    // Finite weights, whose products are not.
    let overflows = |weights: &mut Weights| weights.get_mut("layer1.weight").unwrap().values.fill(1e38);
    patterns("overflows", overflows, &["nothing was written"]);
    let no_number = |weights: &mut Weights| weights.get_mut("layer1.weight").unwrap().values.fill(f32::NAN);
    patterns("no-number", no_number, &["layer1.weight", "not a number"]);
}

#[test]
fn an_interrupted_export_leaves_no_entry_or_a_whole_one() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(THREE);
    checkpoint_of(Network::MobileFaceNet, &faces.path("run/best.safetensors"), 1, |_| ());
    let out = faces.path("out");
    // One is there, so that the folder is not made only at the end.
    fs::create_dir(&out).unwrap();
    let mut command = export(&faces, "out", &[("--checkpoint", "run")]);
    let began = Instant::now();
    succeeds(&mut command);
    let whole = began.elapsed();
    let entry = |out: &PathBuf| fs::read_to_string(out.join("patterns.toml")).ok();
    let finished = entry(&out).unwrap();
    let (mut without, mut written) = (0, 0);
    for share in [
        0.2,
        0.6,
        0.8,
        0.9,
        0.95,
        1.0,
        f64::INFINITY,
        f64::INFINITY,
        f64::INFINITY,
    ] {
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        // Without a share: as soon as it begins to write.
        while child.try_wait().unwrap().is_none()
            && began.elapsed().as_secs_f64() < whole.as_secs_f64() * share
            && (share.is_finite() || names_in(&out).is_empty())
        {
            thread::sleep(Duration::from_micros(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        written += usize::from(!names_in(&out).is_empty());
        match entry(&out) {
            None => without += 1,
            Some(text) => {
                assert_eq!(text, finished);
                assert_eq!(names_in(&out), ["patterns.onnx", "patterns.toml"]);
            }
        }
    }
    assert!(
        without > 4 && written > 1,
        "{without} without an entry, {written} begun: the moments miss the point"
    );
    let _ = fs::remove_file(out.join("patterns.toml"));
    succeeds(&mut command);
    assert_eq!(entry(&out).unwrap(), finished);
    assert_eq!(
        names_in(&out),
        ["patterns.onnx", "patterns.toml"],
        "files of interrupted writing are left"
    );
}
