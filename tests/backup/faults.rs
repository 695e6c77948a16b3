//! Killed at any moment, disks that take no more, a daemon at work, another embedder.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use kith::gallery::Gallery;

use crate::PATIENCE;
use crate::broker::Broker;
use crate::clip::clip;
use crate::daemon::{Home, door};
use crate::given::enrolment::enrolment;
use crate::given::head::deliver_as;
use crate::given::onnx::mean_colour;
use crate::given::photos;
use crate::house::{COLOUR, House};

/// So many people make a gallery that takes a while to write.
const PEOPLE: u16 = 400;

/// A box with Person 1000 on it and a plain backup of [`PEOPLE`] others.
fn with_backup() -> House {
    let house = House::furnished();
    house.people(0..PEOPLE);
    house.kith(&["backup", "--plain", "b.kith"]).ok();
    fs::remove_dir_all(house.state()).unwrap();
    house.people([1000]);
    house
}

fn start(house: &House, args: &[&str]) -> Command {
    let mut command = house.desk.command(env!("CARGO_BIN_EXE_kith"));
    command
        .args(house.arguments(args))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_killed_restore_leaves_the_old_or_the_new_gallery_and_can_be_repeated() {
    let house = with_backup();
    let restore = ["restore", "b.kith", "--replace"];
    let started = Instant::now();
    assert!(start(&house, &restore).status().unwrap().success());
    let whole = started.elapsed();
    let (mut old, mut new) = (0, 0);
    for kill in 0..24 {
        fs::remove_dir_all(house.state()).unwrap();
        house.people([1000]);
        let config = house.desk.write("etc/kith.toml", b"# Of before.\n");
        let mut child = start(&house, &restore).spawn().unwrap();
        let moment = started.elapsed() + whole.mul_f64(f64::from(kill) / 20.0);
        while started.elapsed() < moment {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        match house.ids().len() {
            1 => old += 1,
            400 => new += 1,
            people => panic!("kill {kill}: {people} people"),
        }
        let text = fs::read_to_string(&config).unwrap();
        assert!(
            text.starts_with("# Of before.") || text.starts_with("# Our house."),
            "{text}"
        );
        // What is left of it goes when the same is done again, and the people of before are kept.
        house.kith(&restore).ok();
        assert_eq!(house.ids().len(), 400);
        assert!(fs::read_to_string(&config).unwrap().starts_with("# Our house."));
        let names = house.names("state");
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with(".restore-") || name.starts_with("gallery.backup-")),
            "{names:?}"
        );
        let kept = names.iter().filter(|name| name.starts_with("gallery.before-restore-"));
        assert_eq!(kept.count(), 1, "kill {kill}: {names:?}");
    }
    assert!(old > 0, "{old} old, {new} new");
    println!("{old} old, {new} new");
}

#[test]
fn a_killed_backup_leaves_the_old_one_and_no_copy() {
    let house = House::furnished();
    house.people(0..PEOPLE);
    house.kith(&["backup", "--plain", "b.kith"]).ok();
    let before = fs::read(house.desk.path("b.kith")).unwrap();
    let backup = ["backup", "--plain", "b.kith", "--force"];
    let started = Instant::now();
    assert!(start(&house, &backup).status().unwrap().success());
    let whole = started.elapsed();
    for kill in 0..16 {
        fs::write(house.desk.path("b.kith"), &before).unwrap();
        let mut child = start(&house, &backup).spawn().unwrap();
        let moment = started.elapsed() + whole.mul_f64(f64::from(kill) / 16.0);
        while started.elapsed() < moment {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(house.ids().len(), usize::from(PEOPLE));
        house.kith(&["restore", "b.kith", "--check"]).ok();
    }
    // A copy of the gallery that was left goes with the next backup, or when somebody is removed.
    let left = house.state().join("gallery.backup-abc.sqlite");
    fs::write(&left, "faces").unwrap();
    fs::write(house.state().join("gallery.backup-abc.sqlite-journal"), "faces").unwrap();
    house.kith(&backup).ok();
    assert_eq!(house.names("state"), ["gallery.sqlite"]);
    fs::write(&left, "faces").unwrap();
    fs::create_dir(house.state().join(".restore-abc")).unwrap();
    house.kith(&["people", "remove", "person-7", "--yes"]).ok();
    assert_eq!(house.names("state"), ["gallery.sqlite"]);
}

#[test]
fn a_full_disk_changes_nothing() {
    let house = with_backup();
    let blocks_1024 = fs::metadata(house.desk.path("b.kith")).unwrap().len() / 1024;
    let (mut failures, mut successes) = (0, 0);
    for share in 0..14 {
        fs::remove_dir_all(house.state()).unwrap();
        house.people([1000]);
        let names = house.names("etc");
        let script = format!("trap '' XFSZ; ulimit -f {}; \"$@\"", blocks_1024 * share / 10);
        let said = house.shell(&script, &["restore", "b.kith", "--replace"]);
        match (said.code, house.ids().len()) {
            (Some(0), 400) => successes += 1,
            (Some(1), 1) => {
                failures += 1;
                assert_eq!(house.names("etc"), names);
                let kept = house.names("state");
                assert!(
                    kept.iter()
                        .all(|name| ["daemon.lock", "gallery.sqlite"].contains(&name.as_str())),
                    "{kept:?}"
                );
            }
            (_, people) => panic!("{people} people: {said:?}"),
        }
    }
    assert!(
        failures >= 4 && successes >= 1,
        "{failures} failures, {successes} successes"
    );
}

/// Backups made while a daemon enrols: each has everybody of some moment, whole.
#[test]
fn a_daemon_goes_on_enrolling_and_restoring_waits_for_it_to_stop() {
    let broker = Broker::start();
    let home = Home::new();
    let looped = format!("{}loop = true\n", door(&clip(&["biden"], 3.0)));
    home.configure(broker.port, "", &looped);
    drop(Gallery::open(&home.state()).unwrap());
    let exports = tempfile::tempdir().unwrap();
    // Three people in each, who come together.
    let export = |number: u16| {
        let folder = exports.path().join(number.to_string());
        let mut gallery = Gallery::open(&folder).unwrap();
        let three: Vec<_> = (0..3).map(|i| enrolment(number * 3 + i)).collect();
        gallery.enrol("made-up", &three).unwrap();
        let file = exports.path().join(format!("{number}.jsonl"));
        gallery.export(&[], &mut fs::File::create(&file).unwrap()).unwrap();
        file
    };
    let exports: Vec<_> = (0..40).map(export).collect();
    let daemon = home.run();
    daemon.wait_for_log("listens for requests");
    let backups = tempfile::tempdir().unwrap();
    let mut sizes = BTreeSet::new();
    std::thread::scope(|scope| {
        let enrolling = scope.spawn(|| {
            for export in &exports {
                let done = home.kith().args(["people", "import"]).arg(export).output().unwrap();
                assert!(done.status.success(), "{done:?}");
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while !enrolling.is_finished() {
            assert!(Instant::now() < deadline);
            let file = backups.path().join("b.kith");
            let done = home
                .kith()
                .args(["backup", "--plain", "--force", "--config"])
                .arg(home.path().join("kith.toml"))
                .arg(&file)
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
            let unpacked = tempfile::tempdir().unwrap();
            let tar = Command::new("tar")
                .arg("xf")
                .arg(&file)
                .arg("-C")
                .arg(unpacked.path())
                .status();
            assert!(tar.unwrap().success());
            let gallery = Gallery::open(unpacked.path()).unwrap();
            gallery.check().unwrap();
            let people = gallery.people().unwrap();
            assert!(
                people.len().is_multiple_of(3) && people.iter().all(|one| one.faces == 1),
                "{people:?}"
            );
            sizes.insert(people.len());
        }
    });
    assert!(sizes.len() > 2, "the backups missed the enrolments: {sizes:?}");

    let restore = || {
        let mut command = home.kith();
        command
            .args(["restore", "--replace", "--config"])
            .arg(home.path().join("kith.toml"))
            .arg(backups.path().join("b.kith"));
        command
    };
    let said = restore().output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && text.contains("systemctl stop kith"), "{text}");
    assert!(restore().arg("--check").status().unwrap().success());
    drop(daemon);
    assert!(restore().status().unwrap().success());
}

#[test]
fn another_embedder_embeds_kept_faces_and_names_who_has_none() {
    let (here, there) = (House::new(), House::new());
    let sample = |name: &str| photos().join(name).into_os_string().into_string().unwrap();
    here.kith(&["enroll", "Barack", &sample("obama2.jpg"), "--keep-crop"])
        .ok();
    here.kith(&["enroll", "Joe", &sample("biden.jpg")]).ok();
    here.kith(&["backup", "b.kith"]).ok();
    fs::copy(here.desk.path("b.kith"), there.desk.path("b.kith")).unwrap();
    let measured = "thresholds = { cosine = 0.9, margin_cosine = 0.0 }\n\
        calibration = { lr_intercept = -8.0, lr_slope = 22.0, same_mean = 0.9, same_sd = 0.1, \
        different_mean = 0.1, different_sd = 0.1, prior_known = 0.5, cosine_range = [-0.5, 1.0] }\n";
    let entry = format!("{COLOUR}{measured}");
    deliver_as(&there.models_d(), "colour", "embedder", &mean_colour(96), &entry);
    let config = "[mqtt]\nurl = \"mqtt://127.0.0.1\"\n[identify]\nembedder = \"colour\"\n\
                  [[camera]]\nid = \"door\"\nurl = \"rtsp://127.0.0.1/x\"\n";
    there.desk.write("etc/kith.toml", config.as_bytes());

    let said = there.kith(&["restore", "b.kith", "--check"]).ok();
    assert!(said.out.contains("1 kept faces will be embedded again"), "{said:?}");
    let said = there.kith(&["restore", "b.kith"]).ok();
    assert!(said.out.contains("1 kept faces were embedded again"), "{said:?}");
    said.tells(&["knows no face of joe", "kith enroll"]);
    let gallery = there.gallery();
    let vectors = gallery.vectors("colour").unwrap();
    let faces: Vec<_> = vectors
        .iter()
        .map(|one| (one.person.id.as_str(), one.faces.len()))
        .collect();
    assert_eq!(faces, [("barack", 1), ("joe", 0)]);
    // The others are known as before.
    drop(gallery);
    let said = there
        .kith(&["identify", "--embedder", "mobilefacenet", &sample("obama.jpg")])
        .ok();
    assert!(said.out.contains("Barack ("), "{said:?}");
    there.kith(&["people", "remove", "joe", "--yes"]).ok();
    there
        .kith(&["identify", "--embedder", "colour", &sample("obama2.jpg")])
        .ok();
}
