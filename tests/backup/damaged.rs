//! Backups that are not what they should be: refused, with the reason, and nothing is changed.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, Header};

use crate::house::House;

/// A box with somebody on it, who has to be there afterwards.
fn inhabited() -> House {
    let house = House::furnished();
    house.people([100]);
    house
}

/// Restores `bytes`, and sees that it is refused and that nothing was changed. Gives what was said.
#[track_caller]
fn refused(house: &House, bytes: &[u8], args: &[&str]) -> String {
    house.desk.write("bad.kith", bytes);
    let all = [&["restore", "bad.kith", "--replace"], args].concat();
    let said = house.kith(&all);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("nothing was restored from bad.kith"), "{said:?}");
    assert_eq!(house.ids(), ["person-100"], "{said:?}");
    let names = house.names("state");
    assert!(
        names
            .iter()
            .all(|name| ["daemon.lock", "gallery.sqlite"].contains(&name.as_str())),
        "{names:?}"
    );
    assert_eq!(
        house.names("etc"),
        ["clip.mp4", "kith.toml", "models.d", "mqtt.password"]
    );
    said.err
}

/// A backup of another box.
fn backup(args: &[&str]) -> Vec<u8> {
    let house = House::furnished();
    house.people(1..=2);
    house.kith(&[&["backup", "b.kith"], args].concat()).ok();
    fs::read(house.desk.path("b.kith")).unwrap()
}

/// Numbers below `below`, spread evenly, the first and the last among them.
fn spread(below: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| i * (below - 1) / (count - 1))
}

#[test]
fn no_byte_of_a_plain_backup_can_change() {
    let (house, good) = (inhabited(), backup(&["--plain"]));
    for at in spread(good.len(), 60) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&house, &bad, &[]);
    }
    for length in spread(good.len(), 25) {
        refused(&house, &good[..length], &[]);
    }
    refused(&house, &[good, vec![0; 512]].concat(), &[]);
}

#[test]
fn no_byte_of_an_encrypted_backup_can_change() {
    let (house, good) = (inhabited(), backup(&[]));
    for at in spread(good.len(), 16) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&house, &bad, &[]);
    }
    for length in spread(good.len(), 8) {
        refused(&house, &good[..length], &[]);
    }
    refused(&house, &[good, vec![0]].concat(), &[]);
}

#[test]
fn what_is_no_backup_is_told() {
    let house = inhabited();
    let told = |bytes: &[u8], words: &str| {
        let said = refused(&house, bytes, &[]);
        assert!(said.contains(words), "{said}");
    };
    told(b"", "it is no backup of Kith");
    told(b"Dear diary", "it is no backup of Kith");
    told(
        &fs::read(house.models_d().join("colour.onnx")).unwrap(),
        "it is no backup of Kith",
    );
    told(b"age-encryption.org/v2\n-> scrypt x 17\n", "newer form");
    told(b"age-encryption.org/v1\nnonsense", "first bytes are damaged");
    let good = backup(&[]);
    let text = String::from_utf8_lossy(&good[..200]);
    let stanza = text.lines().nth(1).unwrap();
    let greedy = format!("age-encryption.org/v1\n{}\n", stanza.replace(" 17", " 30"));
    let greedy = [greedy.as_bytes(), &good[22 + stanza.len() + 1..]].concat();
    told(&greedy, "more than 1 GB of memory");
    house.desk.write("other", b"another passphrase\n");
    house.desk.write("bad.kith", &good);
    house
        .kith(&["restore", "bad.kith", "--ask", "--passphrase-file", "other"])
        .refused(1, &["nothing was restored", "that is not its passphrase"]);
    house
        .kith(&["restore", "."])
        .refused(1, &["nothing was restored", "it is no file"]);
    house
        .kith(&["restore", "nowhere"])
        .refused(1, &["nothing was restored", "it can't be opened"]);
    assert_eq!(house.ids(), ["person-100"]);
}

type Files = Vec<(String, Vec<u8>)>;

fn sha256(bytes: &[u8]) -> String {
    kith::model::sha256_hex(bytes)
}

/// The files of a plain backup, the seal left out, and the manifest apart.
fn open(plain: &[u8]) -> (Value, Files) {
    let mut archive = Archive::new(plain);
    let mut files: Files = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (name, bytes)
        })
        .collect();
    files.pop();
    let (_, manifest) = files.remove(0);
    (serde_json::from_slice(&manifest).unwrap(), files)
}

/// A sealed backup, as somebody would make it who wants to harm.
fn sealed(manifest: &Value, files: &Files) -> Vec<u8> {
    let append = |archive: &mut Builder<Vec<u8>>, name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        // As it is: `append_data` would refuse names that lead elsewhere.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    };
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, "manifest.json", &serde_json::to_vec(manifest).unwrap());
    for (name, bytes) in files {
        append(&mut archive, name, bytes);
    }
    let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(archive.get_ref()));
    append(&mut archive, "SHA256", format!("{sum}\n").as_bytes());
    archive.into_inner().unwrap()
}

/// Replaces the content of a file, and what the manifest says of it.
fn put(manifest: &mut Value, files: &mut Files, name: &str, bytes: Vec<u8>) {
    let entry = manifest["files"].as_array_mut().unwrap();
    let entry = entry.iter_mut().find(|file| file["name"] == name).unwrap();
    entry["bytes"] = bytes.len().into();
    entry["sha256"] = sha256(&bytes).into();
    files.iter_mut().find(|(of, _)| of == name).unwrap().1 = bytes;
}

/// A gallery that `change` changed.
fn changed_gallery(files: &Files, change: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fs::write(
        &path,
        &files.iter().find(|(name, _)| name == "gallery.sqlite").unwrap().1,
    )
    .unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(change)
        .unwrap();
    fs::read(&path).unwrap()
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let house = inhabited();
    let plain = backup(&["--plain"]);
    let (manifest, files) = open(&plain);
    // The test makes backups as Kith does, but for the changes.
    house.desk.write("good.kith", &sealed(&manifest, &files));
    house.kith(&["restore", "good.kith", "--check", "--replace"]).ok();

    let told = |change: &dyn Fn(&mut Value, &mut Files), words: &str| {
        let (mut manifest, mut files) = (manifest.clone(), files.clone());
        change(&mut manifest, &mut files);
        let said = refused(&house, &sealed(&manifest, &files), &[]);
        assert!(said.contains(words), "no {words:?} in {said}");
    };
    told(&|manifest, _| manifest["kith_backup"] = json!(2), "format version 2");
    told(&|manifest, _| manifest["hat"] = json!(1), "unknown field `hat`");
    told(
        &|manifest, _| manifest["people"] = json!(3),
        "holds 2 people with 2 faces",
    );
    told(
        &|manifest, _| manifest["files"][2]["sha256"] = json!("00"),
        "another sha256",
    );
    told(
        &|manifest, _| manifest["files"][1]["bytes"] = json!(5),
        "is not where its manifest says",
    );
    told(&|_, files| files.swap(0, 1), "is not where its manifest says");
    told(&|_, files| drop(files.pop()), "is not in it");
    told(
        &|_, files| files.push(("models.d/more.toml".to_owned(), Vec::new())),
        "more than its manifest says",
    );
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "models.d/../../x",
        "models.d/.hidden",
        "other",
        "kith.toml",
    ] {
        told(
            &|manifest, files| {
                manifest["files"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"name": name, "bytes": 1, "sha256": sha256(b"x")}));
                files.push((name.to_owned(), b"x".to_vec()));
            },
            "which can't be in a backup, or twice",
        );
    }
    let gallery = |change: &'static str, words: &str| {
        told(
            &|manifest, files| {
                let bytes = changed_gallery(files, change);
                put(manifest, files, "gallery.sqlite", bytes);
            },
            words,
        );
    };
    gallery("PRAGMA user_version = 99", "schema version 99");
    gallery("PRAGMA application_id = 1", "is not a Kith gallery");
    gallery(
        "PRAGMA foreign_keys = 0; DELETE FROM person WHERE id = 'person-1'",
        "gallery can't be used",
    );
    gallery(
        "CREATE TRIGGER t AFTER INSERT ON person BEGIN DELETE FROM face; END",
        "not those that Kith makes",
    );
    gallery(
        "UPDATE embedding SET vector = zeroblob(12)",
        "a vector of the space made-up is none",
    );
    gallery(
        "UPDATE person SET uid = '!!!!!!!!!!!!!!!!!!!!!!!!!!' WHERE id = 'person-1'",
        "uid",
    );
    told(
        &|manifest, files| put(manifest, files, "gallery.sqlite", b"no database at all".to_vec()),
        "gallery can't be used",
    );
    told(
        &|manifest, files| put(manifest, files, "models.d/colour.onnx", b"another one".to_vec()),
        "another file",
    );
    told(
        &|manifest, files| {
            put(
                manifest,
                files,
                "models.d/colour.toml",
                b"[[model]]\nhat = 1\n".to_vec(),
            );
        },
        "models can't be used",
    );
    told(
        &|manifest, files| put(manifest, files, "kith.toml", b"\xff".to_vec()),
        "no text",
    );
    told(
        &|manifest, files| put(manifest, files, "kith.toml", b"[[[".to_vec()),
        "no TOML",
    );
}

#[test]
fn a_link_or_a_folder_is_no_file_of_a_backup() {
    let house = inhabited();
    let (manifest, files) = open(&backup(&["--plain"]));
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Char,
    ] {
        let mut archive = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        let json = serde_json::to_vec(&manifest).unwrap();
        header.set_size(json.len() as u64);
        archive
            .append_data(&mut header, "manifest.json", json.as_slice())
            .unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_link_name("/etc/passwd").unwrap();
        archive.append_data(&mut header, &files[0].0, &b""[..]).unwrap();
        // Enough after it that the link itself is met, and not the end.
        let mut header = Header::new_gnu();
        header.set_size(8192);
        archive.append_data(&mut header, "more", &[0_u8; 8192][..]).unwrap();
        let said = refused(&house, &archive.into_inner().unwrap(), &[]);
        assert!(said.contains("is not where its manifest says"), "{said}");
    }
}
