//! `kith sightings` and `kith unknown` as a person runs them, over visits that are made up.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kith::detect::{Face, FaceBox};
use kith::embed::Embedding;
use kith::gallery::Gallery;
use kith::quality::Quality;
use kith::sightings::{Sightings, StrangerNow, StrangerShot, VisitNow, short_id};
use serde_json::Value;
use ulid::Ulid;

struct House(tempfile::TempDir);

struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl House {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn kith(&self, args: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_kith"))
            .args(args)
            .env("KITH_STATE", self.state())
            .env("TZ", "UTC")
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Said {
        let said = self.kith(args);
        assert_eq!(said.code, Some(0), "\nout: {}\nerr: {}", said.out, said.err);
        said
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args).out).unwrap()
    }

    fn remember(&self, visits: &[VisitNow]) {
        Sightings::open(&self.state()).unwrap().remember(visits).unwrap();
    }
}

/// Somebody at the door, `minutes` ago; who they look like is in `looks`, any number.
fn visit(minutes: i64, looks: u8) -> VisitNow {
    let from = Timestamp::now() - SignedDuration::from_mins(minutes);
    let raw: Vec<f32> = (0..64_u8)
        .map(|i| f32::from(looks.wrapping_mul(91).wrapping_add(i.wrapping_mul(i)) % 101) - 50.0)
        .collect();
    let shot = StrangerShot {
        captured_at: from,
        face: Face {
            box_in_frame: FaceBox {
                left: 0.0,
                top: 0.0,
                right: 100.0,
                bottom: 130.0,
            },
            probability: 1.0,
            landmarks: [[1.0, 2.0]; 5],
        },
        quality: Quality {
            size_px: 130.0,
            sharpness: 0.6,
            yaw_degrees: 0.0,
            probability: 1.0,
        },
        embedding: Embedding::from_raw(&raw).unwrap(),
    };
    VisitNow {
        track: Ulid::generate(),
        camera: "door".into(),
        person: None,
        similar_to: None,
        from,
        to: from + SignedDuration::from_secs(20),
        ended: true,
        confidence: 0.876,
        shots: 4,
        zones: vec!["porch".into()],
        event: None,
        looks: Some(StrangerNow {
            space: "space".into(),
            shots: vec![shot],
            crop: None,
        }),
    }
}

#[test]
fn an_unknown_visitor_gets_a_name_and_so_do_all_visits() {
    let house = House::new();
    assert!(house.ok(&["unknown"]).out.starts_with("no unknown visitor"));
    assert!(house.ok(&["sightings"]).out.starts_with("no such visit"));
    assert_eq!(house.json(&["unknown", "--json"]), serde_json::json!([]));
    assert!(!house.state().exists(), "looking makes nothing");

    let mut visits = [visit(300, 1), visit(200, 2), visit(100, 1)];
    visits[2].looks.as_mut().unwrap().crop = Some(Arc::new(image::RgbImage::new(64, 80)));
    house.remember(&visits);
    let id = short_id(visits[0].track);
    let lines: Vec<String> = house.ok(&["unknown", "list"]).out.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&id) && lines[0].contains("(2 visits, first "),
        "{}",
        lines[0]
    );
    assert!(lines[0].ends_with("picture kept)"), "{}", lines[0]);
    let json = house.json(&["unknown", "--json"]);
    assert_eq!(
        (&json[0]["id"], json[0]["visits"].as_array().unwrap().len()),
        (&Value::from(id.clone()), 2)
    );
    assert_eq!(house.ok(&["unknown", "show", &id]).out.lines().count(), 2);

    house.ok(&["unknown", "show", &id, "--out", "face.jpg"]);
    let picture = house.0.path().join("face.jpg");
    assert_eq!(image::open(&picture).unwrap().width(), 64);
    assert_eq!(fs::metadata(&picture).unwrap().permissions().mode() & 0o777, 0o600);
    let again = house.kith(&["unknown", "show", &id, "--out", "face.jpg"]);
    assert!(again.code == Some(1) && again.err.contains("--force"), "{}", again.err);
    let none = house.kith(&["unknown", "show", &short_id(visits[1].track), "--out", "no.jpg"]);
    assert!(
        none.code == Some(1) && none.err.contains("retain.crops"),
        "{}",
        none.err
    );

    let said = house.ok(&[
        "unknown",
        "name",
        &short_id(visits[2].track),
        "Aunt May",
        "--role",
        "guest",
    ]);
    assert_eq!(said.out, "Aunt May (aunt-may): enrolled with 2 faces from 2 visits\n");
    let visits_of = house.json(&["sightings", "--person", "aunt-may", "--json"]);
    let rows = visits_of.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(
            (&row["person"]["name"], &row["confidence"]),
            (&Value::from("Aunt May"), &Value::Null)
        );
        assert_eq!(
            (&row["camera"], &row["zones"]),
            (&Value::from("door"), &serde_json::json!(["porch"]))
        );
    }
    let text = house.ok(&["sightings"]).out;
    assert_eq!(text.matches("door  Aunt May, in porch").count(), 2, "{text}");
    assert_eq!(text.matches("door  unknown (87 %), in porch").count(), 1, "{text}");
    let shown = house.ok(&["people", "show", "aunt-may"]).out;
    assert_eq!(shown.matches("visit 0").count(), 2, "{shown}");
    let gone = house.kith(&["unknown", "name", &id, "Somebody"]);
    assert!(
        gone.code == Some(1) && gone.err.contains("kith unknown list"),
        "{}",
        gone.err
    );

    // What came from a visit goes on to another house.
    house.ok(&["people", "export", "out.jsonl"]);
    let other = House::new();
    let export = house.0.path().join("out.jsonl");
    let imported = other.ok(&["people", "import", export.to_str().unwrap()]).out;
    assert_eq!(imported, "Aunt May (aunt-may): imported with 2 faces\n");
    assert!(other.ok(&["people", "show", "aunt-may"]).out.contains("visit 0"));
}

#[test]
fn who_is_removed_is_in_no_visit_and_no_byte() {
    let house = House::new();
    let first = visit(30, 1);
    house.remember(&[first.clone(), visit(20, 2)]);
    house.ok(&["unknown", "name", &short_id(first.track), "Mallory"]);
    let uid = Gallery::open(&house.state()).unwrap().find("mallory").unwrap().uid;
    let mut like = visit(10, 3);
    like.similar_to = Some(uid);
    house.remember(&[like]);
    assert!(house.ok(&["sightings"]).out.contains("most like Mallory"));
    let looks = first.looks.as_ref().unwrap().shots[0].embedding.as_slice();
    let vector: Vec<u8> = looks.iter().flat_map(|value| value.to_le_bytes()).collect();
    let needles = [
        uid.to_string().into_bytes(),
        b"Mallory".to_vec(),
        b"mallory".to_vec(),
        vector,
    ];
    let holds = |needle: &[u8]| {
        fs::read_dir(house.state()).unwrap().flatten().any(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(needles.iter().all(|needle| holds(needle)), "the test would see them");
    house.ok(&["people", "remove", "mallory", "--yes"]);
    for needle in &needles {
        assert!(!holds(needle), "{needle:?} is still there");
    }
    let left = house.json(&["sightings", "--json"]);
    let people: Vec<&Value> = left.as_array().unwrap().iter().map(|row| &row["person"]).collect();
    assert_eq!(people, [&Value::Null, &Value::Null]);
    assert_eq!(left[0]["similar_to"], Value::Null);
}

#[test]
fn visits_are_forgotten_as_asked() {
    let house = House::new();
    house.remember(&[visit(3000, 1), visit(200, 2), visit(100, 3), visit(50, 4)]);
    for args in [
        &["sightings", "forget"][..],
        &["sightings", "forget", "--all", "--unknown"],
    ] {
        let said = house.kith(args);
        assert!(
            said.code == Some(1) && said.err.contains("nothing was forgotten"),
            "{}",
            said.err
        );
    }
    assert_eq!(
        house.ok(&["sightings", "forget", "--until", "1 day"]).out,
        "1 visit forgotten\n"
    );
    assert_eq!(
        house
            .json(&["sightings", "--since", "2h", "--json"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        house
            .json(&["sightings", "--limit", "1", "--json"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        house.json(&["sightings", "--camera", "hall", "--json"]),
        serde_json::json!([])
    );
    assert_eq!(
        house
            .ok(&[
                "unknown",
                "forget",
                house.json(&["unknown", "--json"])[0]["id"].as_str().unwrap()
            ])
            .out,
        "1 visit forgotten\n"
    );
    assert_eq!(house.ok(&["unknown", "forget", "--all"]).out, "2 visits forgotten\n");
    assert!(house.ok(&["sightings"]).out.starts_with("no such visit"));
    let nobody = house.kith(&["sightings", "--person", "nobody"]);
    assert!(
        nobody.code == Some(1) && nobody.err.contains("kith people"),
        "{}",
        nobody.err
    );
    let when = house.kith(&["sightings", "--since", "yesterday"]);
    assert!(when.code == Some(2) && when.err.contains("2026-11-24"), "{}", when.err);
}
