//! The binary as a binary.

use std::path::Path;
use std::process::{Command, Output};

use crate::packages;

fn kith_export(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kith-export"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names of the files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn models_are_made_as_the_committed_catalogue_says() {
    let Some(packages) = packages::folder() else { return };
    let catalogue = packages::checkout().join("onnx/models.toml");
    let out = tempfile::tempdir().unwrap();
    let arguments = [
        "models",
        "--packages",
        packages.to_str().unwrap(),
        "--catalogue",
        catalogue.to_str().unwrap(),
    ];
    let output = kith_export(&[arguments.as_slice(), &["--out", "made"]].concat(), out.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert_eq!(
        names(&out.path().join("made")),
        [
            "mobilefacenet.onnx",
            "mtcnn-onet.onnx",
            "mtcnn-pnet.onnx",
            "mtcnn-rnet.onnx"
        ]
    );
}

#[test]
fn a_sha256_that_differs_is_an_error_and_update_mends_it() {
    let Some(packages) = packages::folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let committed = std::fs::read_to_string(packages::checkout().join("onnx/models.toml")).unwrap();
    let place = committed.find("sha256 = \"").unwrap() + 10;
    let mut wrong = committed.clone();
    wrong.replace_range(place..place + 64, &"0".repeat(64));
    let catalogue = folder.path().join("models.toml");
    std::fs::write(&catalogue, &wrong).unwrap();
    let arguments = [
        "models",
        "--packages",
        packages.to_str().unwrap(),
        "--out",
        "made",
        "--catalogue",
        "models.toml",
    ];

    let output = kith_export(&arguments, folder.path());
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("mtcnn-pnet.onnx") && said.contains("--update"), "{said}");
    assert_eq!(names(folder.path()), ["models.toml"], "nothing was written");

    let output = kith_export(&[arguments.as_slice(), &["--update"]].concat(), folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        std::fs::read_to_string(&catalogue).unwrap(),
        committed,
        "comments and layout stay"
    );
}

#[test]
fn import_says_which_file_it_can_not_use_and_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.pt"), "not weights").unwrap();
    let check = |weights: &str, net: &str, wanted: &[&str]| {
        let output = kith_export(
            &["import", "--net", net, "--weights", weights, "--out", "x.onnx"],
            folder.path(),
        );
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
        assert_eq!(names(folder.path()), ["broken.pt"]);
    };
    check("broken.pt", "mtcnn-pnet", &["can't use broken.pt", "magic number"]);
    check("broken.pt", "mobilefacenet", &["can't use broken.pt", "TFL3"]);
    check("absent.pt", "mtcnn-rnet", &["can't read absent.pt", "No such file"]);
}

#[test]
fn import_makes_the_network_of_one_file() {
    let Some(packages) = packages::folder() else { return };
    let folder = tempfile::tempdir().unwrap();
    let weights = packages.join("facenet-pytorch/pnet.pt");
    let arguments = [
        "import",
        "--net",
        "mtcnn-pnet",
        "--weights",
        weights.to_str().unwrap(),
        "--out",
        "p.onnx",
    ];
    let output = kith_export(&arguments, folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(std::fs::metadata(folder.path().join("p.onnx")).unwrap().len() > 20_000);
}
