//! Putting a backup back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::given::photos;
use crate::house::House;

fn sample(name: &str) -> String {
    photos().join(name).into_os_string().into_string().unwrap()
}

/// Hands the file over to another box.
fn hand_over(from: &House, to: &House, name: &str) {
    fs::copy(from.desk.path(name), to.desk.path(name)).unwrap();
}

/// Everything that a box has, by path, but for what SQLite keeps beside an open database.
fn everything(house: &House) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.file_name().is_none_or(|name| name != "daemon.lock") {
                all.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(&house.state(), &mut all);
    walk(&house.desk.path("etc"), &mut all);
    all.sort();
    all
}

#[test]
fn another_box_knows_the_same_people() {
    let (here, there) = (House::furnished(), House::new());
    let (obama, biden) = (sample("obama2.jpg"), sample("biden.jpg"));
    here.kith(&["enroll", "Barack", &obama, "--role", "guest"]).ok();
    here.kith(&["enroll", "Joe", &biden]).ok();
    here.kith(&["people", "ignore", "joe"]).ok();
    here.desk.write("state/node-id", b"hall\n");
    here.kith(&["backup", "b.kith"]).ok();
    hand_over(&here, &there, "b.kith");
    fs::create_dir(there.desk.path("etc")).unwrap();

    let checked = there.kith(&["restore", "b.kith", "--check"]).ok();
    assert!(
        checked.out.contains("2 people with 2 faces") && checked.out.contains("nothing was changed"),
        "{checked:?}"
    );
    let checked = checked.tells(&["put back by hand", "etc/mqtt.password", "mqtt.password_file"]);
    assert!(checked.out.contains("etc/kith.toml is new"), "{checked:?}");
    assert!(everything(&there).is_empty());

    let said = there.kith(&["restore", "b.kith", "--json"]).ok();
    let line = said.json().remove(0);
    assert_eq!((&line["restored"], &line["plan"]["people"]), (&true.into(), &2.into()));
    assert_eq!(line["plan"]["enrol_again"], Value::Array(Vec::new()));
    for (photo, name) in [("obama.jpg", "Barack ("), ("biden.jpg", "Joe (")] {
        let said = there.kith(&["identify", &sample(photo)]).ok();
        assert!(said.out.contains(name), "{said:?}");
    }
    let list = |house: &House| house.kith(&["people", "--json"]).ok().json();
    assert_eq!(list(&there), list(&here));
    for name in [
        "etc/kith.toml",
        "state/node-id",
        "etc/models.d/colour.toml",
        "etc/models.d/colour.onnx",
    ] {
        let read = |house: &House| fs::read(house.desk.path(name)).unwrap();
        assert_eq!(read(&there), read(&here), "{name}");
    }
    let mode = |name: &str| fs::metadata(there.desk.path(name)).unwrap().mode() & 0o777;
    assert_eq!(
        (mode("state"), mode("state/gallery.sqlite"), mode("state/node-id")),
        (0o700, 0o600, 0o600)
    );
    assert!(mode("etc/kith.toml") & 0o007 == 0, "{:o}", mode("etc/kith.toml"));
    there.kith(&["embed", "--embedder", "colour", "--largest", &obama]).ok();

    // Again, it finds everything in its place.
    let before = everything(&there);
    let said = there.kith(&["restore", "b.kith"]).ok();
    assert!(
        !said.out.contains("is replaced") && !said.out.contains("before-restore"),
        "{said:?}"
    );
    assert_eq!(everything(&there).len(), before.len());
}

#[test]
fn what_is_replaced_is_kept_and_people_who_would_be_gone_are_named() {
    let house = House::furnished();
    house.people(1..=2);
    house.kith(&["backup", "b.kith"]).ok();
    house.people([3]);
    let config = house.desk.write("etc/kith.toml", b"# Another one.\n");
    let entry = house.models_d().join("colour.toml");
    let changed = format!("{}# Changed.\n", fs::read_to_string(&entry).unwrap());
    fs::write(&entry, &changed).unwrap();
    let before = everything(&house);
    house.kith(&["restore", "b.kith"]).refused(
        1,
        &["nothing was restored", "person-3", "--replace", "kith people export"],
    );
    let said = house
        .kith(&["restore", "b.kith", "--check"])
        .refused(1, &["person-3", "--replace"]);
    assert!(
        said.out.contains("kith.toml is replaced") && said.out.contains("colour.toml is replaced"),
        "{said:?}"
    );
    assert_eq!(everything(&house), before);

    let said = house.kith(&["restore", "b.kith", "--replace", "--json"]).ok();
    let set_aside: Vec<PathBuf> = said.json()[0]["set_aside"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| PathBuf::from(file.as_str().unwrap()))
        .collect();
    assert_eq!(set_aside.len(), 3, "{set_aside:?}");
    assert_eq!(house.ids(), ["person-1", "person-2"]);
    assert!(fs::read_to_string(&config).unwrap().starts_with("# Our house."));
    let of = |start: &str| {
        let mut found = set_aside
            .iter()
            .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(start));
        found.next().unwrap()
    };
    assert_eq!(fs::read(of("kith.toml.before-restore-")).unwrap(), b"# Another one.\n");
    assert_eq!(fs::read_to_string(of("colour.toml.before-restore-")).unwrap(), changed);
    // The gallery of before is a gallery, and it goes when somebody is removed.
    let old = House::new();
    let gallery = of("gallery.before-restore-");
    assert_eq!(fs::metadata(gallery).unwrap().mode() & 0o777, 0o600);
    fs::create_dir(old.state()).unwrap();
    fs::copy(gallery, old.state().join("gallery.sqlite")).unwrap();
    assert_eq!(old.ids(), ["person-1", "person-2", "person-3"]);
    house.kith(&["people", "remove", "person-1", "--yes"]).ok();
    assert!(!gallery.exists());
}

#[test]
fn only_the_people_or_a_configuration_with_mistakes() {
    let (here, there) = (House::furnished(), House::furnished());
    here.people([1]);
    let good = fs::read_to_string(here.desk.path("etc/kith.toml")).unwrap();
    here.desk.write("etc/kith.toml", good.replace("node", "nod").as_bytes());
    here.kith(&["backup", "b.kith"]).ok();
    hand_over(&here, &there, "b.kith");
    there
        .kith(&["restore", "b.kith"])
        .refused(1, &["its configuration has mistakes", "--people-only"])
        .tells(&["nod: there is no such key", "`node`"]);
    let etc = |house: &House| fs::read(house.desk.path("etc/kith.toml")).unwrap();
    let before = etc(&there);
    there.kith(&["restore", "b.kith", "--people-only"]).ok();
    assert_eq!((there.ids(), etc(&there)), (vec!["person-1".to_owned()], before));
}

#[test]
fn models_that_do_not_go_together_are_refused() {
    let (here, there) = (House::furnished(), House::furnished());
    here.people([1]);
    here.kith(&["backup", "b.kith"]).ok();
    hand_over(&here, &there, "b.kith");
    let twin = there.models_d().join("twin.toml");
    fs::rename(there.models_d().join("colour.toml"), &twin).unwrap();
    let before = everything(&there);
    there
        .kith(&["restore", "b.kith"])
        .refused(1, &["don't go together", "colour", "twin.toml"]);
    assert_eq!(everything(&there), before);
    fs::remove_file(twin).unwrap();
    there.kith(&["restore", "b.kith"]).ok();
}

#[test]
fn visits_come_back_where_there_are_none() {
    let (here, there) = (House::furnished(), House::furnished());
    here.people([1]);
    let uid = here.gallery().find("person-1").unwrap().uid;
    let visit = |house: &House, track: &str, person: &str| {
        drop(kith::sightings::Sightings::open(&house.state()).unwrap());
        let database = rusqlite::Connection::open(house.state().join("sightings.sqlite")).unwrap();
        let row = "INSERT INTO visit (track, camera, person, from_ms, to_ms, is_open, confidence, shots, zones, events)
                   VALUES (?, 'door', ?, 1, 2, 0, 0.9, 3, '[]', '[]')";
        database.execute(row, [track, person]).unwrap();
    };
    visit(&here, "01ARZ3NDEKTSV4RRFFQ69G5FA1", &uid.to_string());
    here.kith(&["backup", "without.kith"]).ok();
    let said = here.kith(&["backup", "with.kith", "--with-visits"]).ok();
    assert!(said.out.contains("the visits"), "{said:?}");
    for name in ["with.kith", "without.kith"] {
        hand_over(&here, &there, name);
    }
    let visits = || {
        there.kith(&["sightings", "--json"]).ok().json()[0]
            .as_array()
            .unwrap()
            .len()
    };
    there.kith(&["restore", "without.kith"]).ok();
    assert!(!there.state().join("sightings.sqlite").exists());
    there.kith(&["restore", "with.kith"]).ok();
    assert_eq!(visits(), 1);
    visit(&there, "01ARZ3NDEKTSV4RRFFQ69G5FA2", &uid.to_string());
    let said = there.kith(&["restore", "with.kith"]).ok();
    assert!(said.out.contains("visits stay as they are"), "{said:?}");
    assert_eq!(visits(), 2);
}

#[test]
fn a_plain_backup_needs_no_passphrase() {
    let (here, there) = (House::furnished(), House::furnished());
    here.people([1]);
    here.kith(&["backup", "--plain", "b.tar"]).ok();
    hand_over(&here, &there, "b.tar");
    there.kith(&["restore", "--ask", "b.tar"]).ok();
    assert_eq!(there.ids(), ["person-1"]);
}

#[test]
fn a_check_leaves_the_folder_of_a_restore_that_goes_on() {
    let house = House::furnished();
    house.people([1]);
    house.kith(&["backup", "b.kith"]).ok();
    let of_another = house.state().join(".restore-another");
    fs::create_dir(&of_another).unwrap();
    house.kith(&["restore", "b.kith", "--check"]).ok();
    assert!(of_another.exists());
    // This one has the lock, so the other was killed.
    house.kith(&["restore", "b.kith"]).ok();
    assert!(!of_another.exists());
}

#[test]
fn who_was_removed_since_comes_back_only_by_wish() {
    let (house, new) = (House::furnished(), House::furnished());
    house.people(1..=3);
    house.kith(&["backup", "b.kith"]).ok();
    let uid = house.gallery().find("person-2").unwrap().uid.to_string();
    house.kith(&["people", "remove", "person-2", "person-3", "--yes"]).ok();
    let said = house.kith(&["restore", "b.kith", "--check"]).ok();
    said.tells(&[
        "left out: 2 people in this backup who were removed here since",
        "--bring-back",
    ]);
    let said = house.kith(&["restore", "b.kith", "--json"]).ok();
    assert_eq!(said.json()[0]["plan"]["removed_since"], 2);
    assert_eq!(house.ids(), ["person-1"]);
    for (path, bytes) in everything(&house) {
        for needle in [uid.as_bytes(), b"Person 2"] {
            assert!(
                !bytes.windows(needle.len()).any(|window| window == needle),
                "{}",
                path.display()
            );
        }
    }
    // The gallery remembers it, also after a restore, and so does a backup of it.
    house.kith(&["backup", "later.kith"]).ok();
    hand_over(&house, &new, "later.kith");
    hand_over(&house, &new, "b.kith");
    new.kith(&["restore", "later.kith"]).ok();
    new.kith(&["restore", "b.kith"]).ok().tells(&["left out: 2 people"]);
    assert_eq!(new.ids(), ["person-1"]);

    let said = house.kith(&["restore", "b.kith", "--bring-back"]).ok();
    said.tells(&["back again: 2 people"]);
    assert_eq!(house.ids(), ["person-1", "person-2", "person-3"]);
    let said = house.kith(&["restore", "b.kith"]).ok();
    assert!(!said.err.contains("removed here since"), "{said:?}");
}

#[test]
fn files_belong_to_whom_the_state_folder_belongs() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let (here, there) = (House::furnished(), House::new());
    here.people([1]);
    here.desk.write("state/node-id", b"hall\n");
    here.kith(&["backup", "b.kith"]).ok();
    hand_over(&here, &there, "b.kith");
    fs::create_dir(there.state()).unwrap();
    std::os::unix::fs::chown(there.state(), Some(1234), Some(1234)).unwrap();
    for _ in 0..2 {
        there.kith(&["restore", "b.kith", "--replace"]).ok();
        for name in there.names("state") {
            let about = fs::metadata(there.state().join(&name)).unwrap();
            assert_eq!((about.uid(), about.gid()), (1234, 1234), "{name}");
        }
        there.people([2]);
    }
}
