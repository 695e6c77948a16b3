//! The binary as a binary.

use std::path::Path;
use std::process::{Command, Output};

use kith_export::onnx::proto;
use prost::Message as _;

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
fn import_makes_nn4_small2_of_openface_weights_and_of_no_others() {
    let Some(file) = packages::data_file("reference/nn4-small2/openface-random.pth") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("openface.pth"), &file).unwrap();
    std::fs::write(folder.path().join("cut.pth"), &file[..file.len() - 1]).unwrap();
    let import = |net: &str, weights: &str| {
        let arguments = ["import", "--net", net, "--weights", weights, "--out", "made.onnx"];
        kith_export(&arguments, folder.path())
    };
    let said = stderr(&import("nn4-small2", "cut.pth"));
    assert!(
        said.contains("can't use cut.pth") && said.contains("it ends in the middle of storage"),
        "{said}"
    );
    let said = stderr(&import("mtcnn-pnet", "openface.pth"));
    assert!(said.contains("is this a weight file of mtcnn-pnet?"), "{said}");
    if let Some(packages) = packages::folder() {
        let pnet = packages.join("facenet-pytorch/pnet.pt");
        let said = stderr(&import("nn4-small2", pnet.to_str().unwrap()));
        assert!(
            said.contains("pnet.pt") && said.contains("is this a weight file of nn4-small2?"),
            "{said}"
        );
    }
    assert_eq!(names(folder.path()), ["cut.pth", "openface.pth"], "nothing was written");

    let output = import("nn4-small2", "openface.pth");
    assert!(output.status.success(), "{}", stderr(&output));
    let model = proto::Model::decode(std::fs::read(folder.path().join("made.onnx")).unwrap().as_slice()).unwrap();
    let property = |key: &str| {
        let entry = model.metadata_props.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.as_str())
    };
    assert_eq!(property("source"), Some("openface.pth"));
    assert_eq!((property("mean"), property("channels")), (Some("0"), Some("rgb")));
    assert_eq!(property("scale").unwrap().parse(), Ok(1.0_f64 / 255.0));
    assert_eq!(property("alignment"), None, "whoever aligns the faces has to say how");
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

#[test]
fn there_is_a_manual_page_for_each_command_and_a_completion_script() {
    let folder = tempfile::tempdir().unwrap();
    let output = kith_export(&["man", "pages"], folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let pages = names(&folder.path().join("pages"));
    for page in ["kith-export.1", "kith-export-import.1", "kith-export-models.1"] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
    }
    let output = kith_export(&["completions", "bash"], folder.path());
    let script = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(script.contains("--packages"), "{script}");
}
