//! `kith enroll`, `people` and `identify` as a person runs them, with the real networks and the sample photos.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod given;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Instant;

use image::{Rgb, RgbImage, imageops};
use kith::gallery::Gallery;
use serde_json::Value;
use tempfile::TempDir;

/// A state directory and a folder to work in.
struct House {
    folder: TempDir,
    models: Option<PathBuf>,
}

/// What a command said.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl House {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            models: None,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kith<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
        command
            .args(args)
            .args(["--provider", "cpu"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.env("KITH_STATE", self.state());
        if let Some(models) = &self.models {
            command.env("KITH_MODELS", models);
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            out: text(stdout),
            err: text(stderr),
            code: status.code(),
        }
    }

    fn people(&self) -> Vec<String> {
        if !Gallery::exists(&self.state()) {
            return Vec::new();
        }
        let gallery = Gallery::open(&self.state()).unwrap();
        gallery.check().unwrap();
        gallery
            .people()
            .unwrap()
            .into_iter()
            .map(|one| format!("{} {}", one.person.id, one.faces))
            .collect()
    }
}

impl Said {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "\nout: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn refused(self) -> Self {
        assert_eq!(self.code, Some(1), "\nout: {}\nerr: {}", self.out, self.err);
        self
    }

    /// The line of `err` that has `start` has `reason`, too.
    #[track_caller]
    fn tells(&self, start: &str, reason: &str) {
        let line = self.err.lines().find(|line| line.contains(start));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "no {reason:?} for {start} in:\n{}",
            self.err
        );
    }

    fn json(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn sample(name: &str) -> String {
    given::photos().join(name).into_os_string().into_string().unwrap()
}

#[test]
fn enrolled_people_are_recognised_and_strangers_are_not() {
    let house = House::new();
    let [obama, obama2, obama3, biden] = ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"].map(sample);
    let nobody = house.kith(["identify", &obama]).ok();
    assert!(nobody.err.contains("nobody is enrolled"), "{}", nobody.err);
    assert_eq!(nobody.out, format!("{obama}: unknown\n"));
    assert!(!house.state().exists(), "looking makes no gallery");

    let enrolled = house.kith(["enroll", "Barack Obama", &obama2, "--role", "guest"]).ok();
    assert_eq!(enrolled.out, "Barack Obama (barack-obama): enrolled from 1 photo\n");
    assert_eq!(fs::metadata(house.state()).unwrap().mode() & 0o777, 0o700);
    let again = house.kith(["enroll", "barack-obama", &obama2, &obama3]).ok();
    assert_eq!(
        again.out,
        "Barack Obama (barack-obama): 1 photo added, 1 there already\n"
    );
    let wrong = house.kith(["enroll", "Joe", &obama]).ok();
    wrong.tells("obama.jpg", "looks like Barack Obama");
    house.kith(["people", "remove", "joe", "--yes"]).ok();
    assert_eq!(house.people(), ["barack-obama 2"]);

    let said = house.kith(["identify", "--json", &obama, &biden, "nowhere.jpg"]);
    assert!(
        said.err.contains("nowhere.jpg"),
        "a photo that isn't there is an error before anything starts"
    );
    fs::write(house.path("broken.jpg"), "no picture").unwrap();
    let said = house
        .kith(["identify", "--json", &obama, "broken.jpg", &biden])
        .refused();
    let lines = said.json();
    assert_eq!(
        lines
            .iter()
            .map(|line| line["image"].as_str().unwrap())
            .collect::<Vec<_>>(),
        [&obama, "broken.jpg", &biden]
    );
    let known = &lines[0]["faces"][0];
    assert_eq!(
        known["person"],
        serde_json::json!({"id": "barack-obama", "name": "Barack Obama"})
    );
    assert!(
        known["confidence"].as_f64().unwrap() > 0.9 && known["similar_to"].is_null(),
        "{known}"
    );
    assert!(known["landmarks"].as_array().unwrap().len() == 5 && known["box"].as_array().unwrap().len() == 4);
    let stranger = &lines[2]["faces"][0];
    assert_eq!(
        (&stranger["person"], stranger["similar_to"]["id"].as_str()),
        (&Value::Null, Some("barack-obama"))
    );

    let said = house.kith(["identify", &obama, &biden, "--draw", "drawn/"]).ok();
    let lines: Vec<_> = said.out.lines().collect();
    assert!(
        lines[0].starts_with(&format!("{obama}: Barack Obama (")),
        "{}",
        said.out
    );
    let stranger = lines[1]
        .strip_prefix(&format!("{biden}: unknown, most like Barack Obama ("))
        .unwrap();
    let percent: u32 = stranger.strip_suffix(" %)").unwrap().parse().unwrap();
    assert!(percent < 50, "{percent}");
    let (drawn, photo) = (
        image::open(house.path("drawn/obama.jpg")).unwrap(),
        image::open(&obama).unwrap(),
    );
    assert_eq!((drawn.width(), drawn.height()), (photo.width(), photo.height()));
    let green = drawn
        .to_rgb8()
        .pixels()
        .filter(|p| p[1] > 200 && p[0] < 140 && p[2] < 210)
        .count();
    assert!(green > 500, "a box was drawn: {green} pixels of its colour");
    let over = house
        .kith(["identify", "drawn/obama.jpg", "--draw", "drawn/obama.jpg"])
        .refused();
    assert!(over.err.contains("is the photo itself"), "{}", over.err);
}

#[test]
fn refusals_are_told_all_at_once_and_nobody_is_enrolled() {
    let house = House::new();
    let save = |name: &str, picture: &RgbImage| picture.save(house.path(name)).unwrap();
    let obama = image::open(sample("obama2.jpg")).unwrap().to_rgb8();
    let biden = image::open(sample("biden.jpg")).unwrap().to_rgb8();
    let height = obama.height().min(biden.height());
    let mut both = RgbImage::new(obama.width() + biden.width(), height);
    imageops::replace(&mut both, &obama, 0, 0);
    imageops::replace(&mut both, &biden, i64::from(obama.width()), 0);
    save("both.png", &both);
    save(
        "nobody.png",
        &RgbImage::from_fn(300, 200, |x, y| Rgb([x as u8, y as u8, 90])),
    );
    save(
        "small.png",
        &imageops::thumbnail(&obama, obama.width() / 14, obama.height() / 14),
    );
    save("blurred.png", &imageops::fast_blur(&obama, 18.0));
    let bytes = fs::read(sample("obama.jpg")).unwrap();
    fs::write(house.path("truncated.jpg"), &bytes[..bytes.len() * 2 / 3]).unwrap();
    fs::write(house.path("empty.jpg"), "").unwrap();
    fs::copy(sample("obama3.jpg"), house.path("good.jpg")).unwrap();

    let said = house.kith(["enroll", "Obama", "."]).refused();
    assert!(said.err.contains("nobody was enrolled, because 6 of 7"), "{}", said.err);
    said.tells("both.png", "2 faces were found");
    said.tells("nobody.png", "no face was found");
    said.tells("small.png", "too small");
    said.tells("blurred.png", "too blurred");
    said.tells("truncated.jpg", "damaged or cut off");
    said.tells("empty.jpg", "empty");
    assert!(!said.err.contains("good.jpg"), "{}", said.err);
    assert!(house.people().is_empty());

    let said = house.kith(["enroll", "Obama", ".", "--skip-bad"]).ok();
    assert_eq!(said.out, "Obama (obama): enrolled from 1 photo\n");
    house
        .kith(["enroll", "Biden", "both.png", "--face", "3"])
        .refused()
        .tells("both.png", "no face number 3, only 2");
    let right = house.kith(["enroll", "Biden", "both.png", "--face", "2"]).ok();
    assert!(!right.err.contains("looks like"), "{}", right.err);
    house.kith(["enroll", "Obama", "both.png", "--face", "1"]).ok();
    let said = house.kith(["identify", "both.png"]).ok();
    assert!(
        said.out.contains("Obama (") && said.out.contains("Biden ("),
        "{}",
        said.out
    );
    house.kith(["enroll", "Anybody", "both.png", "--largest"]).ok();
}

#[test]
fn a_folder_of_folders_is_one_call() {
    let house = House::new();
    for (person, photo) in [("Barack", "obama.jpg"), ("Barack", "obama2.jpg"), ("Юлия", "biden.jpg")] {
        fs::create_dir_all(house.path("family").join(person)).unwrap();
        fs::copy(sample(photo), house.path("family").join(person).join(photo)).unwrap();
    }
    fs::create_dir(house.path("family/Empty")).unwrap();
    let said = house.kith(["enroll", "--from", "family"]).refused();
    said.tells("Empty", "there are no photos");
    assert!(house.people().is_empty());
    fs::remove_dir(house.path("family/Empty")).unwrap();
    house.kith(["enroll", "family"]).ok();
    assert_eq!(house.people(), ["barack 2", "iuliia 1"]);
    let shown = house.kith(["people", "show", "Юлия", "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(
        (shown["id"].as_str(), shown["name"].as_str()),
        (Some("iuliia"), Some("Юлия"))
    );
    assert_eq!(shown["faces"].as_array().unwrap().len(), 1);
}

#[test]
fn people_move_between_houses_and_leave_for_good() {
    let (here, there) = (House::new(), House::new());
    here.kith(["enroll", "Obama", &sample("obama2.jpg"), "--keep-crop"])
        .ok();
    here.kith(["people", "rename", "obama", "Mr. President"]).ok();
    let export = there.path("people.jsonl").into_os_string().into_string().unwrap();
    here.kith(["people", "export", &export]).ok();
    assert_eq!(fs::metadata(&export).unwrap().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(&export).unwrap();
    assert!(
        here.kith(["people", "export", &export])
            .refused()
            .err
            .contains("--force")
    );

    there.kith(["people", "import", &export]).ok();
    let found = there.kith(["identify", &sample("obama.jpg")]).ok();
    assert!(found.out.contains("Mr. President ("), "{}", found.out);
    let uid = |house: &House| {
        let list: Value = serde_json::from_str(&house.kith(["people", "--json"]).ok().out).unwrap();
        list[0]["uid"].as_str().unwrap().to_string()
    };
    assert_eq!(uid(&here), uid(&there));

    assert!(
        here.kith(["people", "remove", "obama"])
            .refused()
            .err
            .contains("needs --yes")
    );
    assert_eq!(here.people(), ["obama 1"]);
    // The name and sixty-four bytes out of the middle of the crop.
    let line: Value = serde_json::from_str(kept.lines().nth(1).unwrap()).unwrap();
    let crop = line["faces"][0]["crop"]["jpeg_base64"].as_str().unwrap();
    let crop = data_encoding::BASE64.decode(crop.as_bytes()).unwrap();
    let needles = [
        b"Mr. President".to_vec(),
        uid(&here).into_bytes(),
        crop[crop.len() / 2..][..64].to_vec(),
    ];
    let holds = |needle: &[u8]| {
        let files = fs::read_dir(here.state()).unwrap().flatten();
        files.into_iter().any(|file| {
            fs::read(file.path())
                .unwrap()
                .windows(needle.len())
                .any(|window| window == needle)
        })
    };
    assert!(needles.iter().all(|needle| holds(needle)), "the test would see them");
    here.kith(["people", "remove", "Mr. President", "--yes"]).ok();
    assert!(!needles.iter().any(|needle| holds(needle)));
    assert!(here.people().is_empty());
}

#[test]
fn a_new_model_takes_kept_crops_and_names_who_has_none() {
    let mut house = House::new();
    house
        .kith(["enroll", "Obama", &sample("obama2.jpg"), "--keep-crop"])
        .ok();
    house.models = Some(another_space(&house.path("models")));
    let said = house.kith(["identify", &sample("obama.jpg")]).ok();
    assert!(
        said.err.contains("1 enrolled faces were embedded again"),
        "{}",
        said.err
    );
    assert!(said.out.contains("Obama ("), "{}", said.out);
    let said = house.kith(["identify", &sample("biden.jpg")]).ok();
    assert!(
        said.err.is_empty() && said.out.contains("unknown, most like Obama"),
        "{}{}",
        said.err,
        said.out
    );

    house.models = None;
    house.kith(["enroll", "Joe", &sample("biden.jpg")]).ok();
    house.models = Some(house.path("models"));
    let said = house.kith(["identify", &sample("obama.jpg")]).refused();
    assert!(
        said.err.contains("joe has no vector") && said.err.contains("kith enroll ID PHOTO"),
        "{}",
        said.err
    );
    house.kith(["enroll", "joe", &sample("biden.jpg")]).ok();
}

#[test]
fn a_killed_enrolment_is_whole_or_not_there() {
    let house = House::new();
    let photos = ["obama.jpg", "obama2.jpg", "obama3.jpg"].map(sample);
    let enroll = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
        command
            .args(["enroll", name])
            .args(&photos)
            .args(["--keep-crop", "--provider", "cpu"]);
        command
            .env("KITH_STATE", house.state())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let started = Instant::now();
    assert!(enroll("Number 0").wait().unwrap().success());
    let whole = started.elapsed();
    for kill in 1..=6 {
        let name = format!("Number {kill}");
        let mut child = enroll(&name);
        let mut out = child.stdout.take().unwrap();
        let (sender, acknowledged) = channel();
        let listener = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = out.read_to_string(&mut said);
            let _ = sender.send(said.contains("enrolled from 3 photos"));
        });
        // Most of a run loads networks; the writing is at its end.
        let moment = whole.mul_f64(0.75 + 0.07 * f64::from(kill));
        let was_acknowledged = acknowledged.recv_timeout(moment).unwrap_or(false);
        child.kill().unwrap();
        child.wait().unwrap();
        listener.join().unwrap();
        let people = house.people();
        let is_whole = people.contains(&format!("number-{kill} 3"));
        assert!(is_whole || !was_acknowledged, "kill {kill}: {name} was acknowledged");
        assert!(
            is_whole || !people.iter().any(|one| one.starts_with(&format!("number-{kill} "))),
            "{people:?}"
        );
    }
}

/// A folder of models whose embedder has another `embedding_space`.
fn another_space(folder: &Path) -> PathBuf {
    let models = kith::paths::models_dir(None);
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(&models).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "onnx") {
            symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let catalogue = fs::read_to_string(models.join("models.toml")).unwrap();
    let changed = catalogue.replace("embedding_space = \"", "embedding_space = \"next-");
    assert_ne!(changed, catalogue);
    fs::write(folder.join("models.toml"), changed).unwrap();
    folder.to_path_buf()
}
