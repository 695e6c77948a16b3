//! Making a backup.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use crate::given::head::deliver_as;
use crate::given::onnx::mean_colour;
use crate::house::{COLOUR, House};

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// What tar says about the file, without Kith.
fn tar(house: &House, args: &[&str]) -> String {
    let output = Command::new("tar")
        .args(args)
        .current_dir(house.desk.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_plain_backup_is_a_tar_archive_of_what_cannot_be_installed_again() {
    let house = House::furnished();
    house.people(1..=3);
    house.desk.write("state/node-id", b"hall\n");
    house.desk.write("elsewhere.onnx", b"not in models.d");
    let elsewhere = "files.network = { path = \"../../elsewhere.onnx\", sha256 = \"00\" }\n";
    let entry = fs::read_to_string(house.models_d().join("colour.toml")).unwrap();
    let other: String = entry
        .lines()
        .map(|line| {
            if line.starts_with("files.network") {
                elsewhere.trim()
            } else {
                line
            }
        })
        .map(|line| format!("{}\n", line.replace("name = \"colour\"", "name = \"other\"")))
        .collect();
    house.desk.write("etc/models.d/other.toml", other.as_bytes());

    let said = house.kith(&["backup", "--plain", "b.tar"]).ok();
    assert!(
        said.out
            .contains("3 people with 3 faces, the configuration, the node's name"),
        "{said:?}"
    );
    assert!(
        said.out.contains("2 catalogue files of your own") && said.out.contains("NOT encrypted"),
        "{said:?}"
    );
    let said = said.tells(&["warning", "not encrypted", "the passwords in its addresses"]);
    let said = said.tells(&["not in it", "etc/mqtt.password", "mqtt.password_file"]);
    said.tells(&["not in it", "elsewhere.onnx", "models.d/other.toml"]);
    assert_eq!(fs::metadata(house.desk.path("b.tar")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        tar(&house, &["tf", "b.tar"]).lines().collect::<Vec<_>>(),
        [
            "manifest.json",
            "kith.toml",
            "node-id",
            "gallery.sqlite",
            "models.d/colour.toml",
            "models.d/other.toml",
            "models.d/colour.onnx",
            "SHA256"
        ]
    );
    let bytes = fs::read(house.desk.path("b.tar")).unwrap();
    assert!(!holds(&bytes, b"hunter2hunter2"), "a password file is in the backup");
    let manifest: Value = serde_json::from_str(&tar(&house, &["xOf", "b.tar", "manifest.json"])).unwrap();
    assert_eq!((&manifest["kith_backup"], &manifest["people"]), (&1.into(), &3.into()));
    let sums: String = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            format!(
                "{}  {}\n",
                file["sha256"].as_str().unwrap(),
                file["name"].as_str().unwrap()
            )
        })
        .collect();
    house.desk.write("out/sums", sums.as_bytes());
    tar(&house, &["xf", "b.tar", "-C", "out"]);
    let checked = Command::new("sha256sum")
        .args(["--check", "sums"])
        .current_dir(house.desk.path("out"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // Nothing is left where it worked.
    assert_eq!(house.names("state"), ["gallery.sqlite", "node-id"]);
}

#[test]
fn an_encrypted_backup_shows_nothing_and_replaces_nothing() {
    let house = House::furnished();
    house.people([1]);
    let said = house.kith(&["backup", "--json", "b.kith"]).ok();
    let line = said.json().remove(0);
    assert_eq!((&line["encrypted"], &line["people"]), (&true.into(), &1.into()));
    let bytes = fs::read(house.desk.path("b.kith")).unwrap();
    assert_eq!(line["bytes"], bytes.len());
    assert!(bytes.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    for needle in [
        &b"Person 1"[..],
        b"SQLite format",
        b"models.d",
        b"made-up",
        b"kith.toml",
    ] {
        assert!(!holds(&bytes, needle));
    }
    assert_eq!(fs::metadata(house.desk.path("b.kith")).unwrap().mode() & 0o777, 0o600);
    house
        .kith(&["backup", "b.kith"])
        .refused(1, &["b.kith exists already", "--force"]);
    assert_eq!(fs::read(house.desk.path("b.kith")).unwrap(), bytes);
    house.kith(&["backup", "b.kith", "--force"]).ok();
    assert_ne!(fs::read(house.desk.path("b.kith")).unwrap(), bytes);
}

#[test]
fn what_can_not_be_backed_up_is_told() {
    let house = House::new();
    house
        .kith(&["backup", "b.kith"])
        .refused(1, &["there is no gallery in", "--state"]);
    house.people([1]);
    house.kith(&["backup", "."]).refused(1, &["is a folder"]);
    house
        .kith(&["backup", "nowhere/b.kith"])
        .refused(1, &["can't write nowhere/b.kith"]);
    house
        .kith(&["backup", "b.kith", "--config", "nowhere.toml"])
        .refused(1, &["can't read nowhere.toml"]);
    deliver_as(&house.models_d(), "colour", "embedder", &mean_colour(96), COLOUR);
    fs::write(house.models_d().join("colour.onnx"), "another one").unwrap();
    house
        .kith(&["backup", "b.kith"])
        .refused(1, &["colour.onnx is not the model that", "colour.toml"]);
    fs::remove_file(house.models_d().join("colour.onnx")).unwrap();
    house
        .kith(&["backup", "b.kith"])
        .refused(1, &["can't read", "colour.onnx"]);
    assert!(!house.desk.path("b.kith").exists());
    assert_eq!(house.names("state"), ["gallery.sqlite"]);
}

#[test]
fn a_full_disk_leaves_the_old_backup() {
    let house = House::furnished();
    house.people(1..=50);
    house.kith(&["backup", "b.kith"]).ok();
    let before = fs::read(house.desk.path("b.kith")).unwrap();
    let names = house.names("");
    let blocks_1024 = before.len() / 1024;
    for share in [1, 2, 4, 7] {
        // Ignored, the signal becomes the error that a full disk would be.
        let script = format!("trap '' XFSZ; ulimit -f {}; \"$@\"", blocks_1024 * share / 8);
        let said = house.shell(&script, &["backup", "b.kith", "--force"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.err.contains("the disk can't take more") || said.err.contains("File too large"),
            "{said:?}"
        );
        assert_eq!(fs::read(house.desk.path("b.kith")).unwrap(), before);
        assert_eq!(house.names(""), names);
        let left = house.names("state");
        assert!(!left.iter().any(|name| name.starts_with("gallery.backup-")), "{left:?}");
    }
}

/// A model of 300 MB in a process that may have as much address space as the key takes, and little more.
#[test]
fn memory_does_not_grow_with_the_backup() {
    let house = House::furnished();
    house.people([1]);
    let network = house.models_d().join("colour.onnx");
    let file = fs::File::create(&network).unwrap();
    file.set_len(300 * 1024 * 1024).unwrap();
    drop(file);
    let sum = Command::new("sha256sum").arg(&network).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let entry = fs::read_to_string(house.models_d().join("colour.toml")).unwrap();
    let (before, rest) = entry.split_once("sha256 = \"").unwrap();
    let entry = format!("{before}sha256 = \"{}{}", &sum[..64], &rest[64..]);
    fs::write(house.models_d().join("colour.toml"), entry).unwrap();
    let said = house.shell("ulimit -v 300000; \"$@\"", &["backup", "b.kith"]).ok();
    assert!(
        fs::metadata(house.desk.path("b.kith")).unwrap().len() > 300 * 1024 * 1024,
        "{said:?}"
    );
}
