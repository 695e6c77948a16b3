//! Deletion is real: a minute after somebody was removed, nothing of them is in a file of the state folder, in a
//! retained topic, or by name in the log, while the daemon goes on and the person goes on passing the camera.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use kith::gallery::{Gallery, Source};
use serde_json::Value;

use crate::broker::{Broker, jsons};
use crate::clip::clip;
use crate::daemon::{Home, door, said};
use crate::given::photos;
use crate::trials::Trials;

const NAME: &str = "Mallory Zebrowski";
const ID: &str = "mallory-zebrowski";
const SPACE: &str = "mobilefacenet-d8ba40c0-five-point-112-v1";
const EVENT: &str = "kith/box/camera/door/event";
const PROMISED: Duration = Duration::from_secs(60);

/// Bytes that must be gone, and what they are.
type Needles = Vec<(&'static str, Vec<u8>)>;

fn ok(home: &Home, args: &[&str]) {
    let output = home.kith().args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", said(&output));
}

/// What the gallery knows of the person, byte by byte.
fn needles(home: &Home) -> Needles {
    let mut gallery = Gallery::open(&home.state()).unwrap();
    let person = gallery.find(ID).unwrap();
    let mut needles: Needles = vec![
        ("name", NAME.into()),
        ("id", ID.into()),
        ("uid", person.uid.to_string().into()),
    ];
    let vectors = gallery.vectors(SPACE).unwrap();
    let own = vectors.iter().find(|one| one.person.id == ID).unwrap();
    assert!(!own.faces.is_empty() && !own.negatives.is_empty());
    for vector in own.faces.iter().chain(&own.negatives) {
        let bytes = vector.as_slice().iter().flat_map(|value| value.to_le_bytes());
        needles.push(("vector", bytes.collect()));
    }
    for face in gallery.faces(ID).unwrap() {
        if let Source::Photo(sha256) = face.source {
            needles.push(("photo's sha256", sha256.to_vec()));
        }
    }
    let mut export = Vec::new();
    gallery.export(&[ID.to_owned()], &mut export).unwrap();
    let line: Value = serde_json::from_slice(export.split(|byte| *byte == b'\n').nth(1).unwrap()).unwrap();
    let crop = line["faces"][0]["crop"]["jpeg_base64"].as_str().unwrap();
    let crop = data_encoding::BASE64.decode(crop.as_bytes()).unwrap();
    needles.push(("pixels", crop[crop.len() / 2..][..64].to_vec()));
    needles
}

/// The same in the forms that messages and logs have.
fn in_text(needles: &Needles) -> Needles {
    needles
        .iter()
        .map(|(what, bytes)| match *what {
            "uid" => (*what, bytes.to_ascii_lowercase()),
            "photo's sha256" => (*what, HEXLOWER.encode(bytes).into_bytes()),
            _ => (*what, bytes.clone()),
        })
        .collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// What is where in the state folder.
fn found_in_files(state: &Path, needles: &Needles) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state).unwrap().flatten() {
        // A journal may go between the list and the look.
        let Ok(bytes) = fs::read(entry.path()) else { continue };
        for (what, needle) in needles {
            if holds(&bytes, needle) {
                found.push(format!("{what} in {}", entry.file_name().to_string_lossy()));
            }
        }
    }
    found
}

/// What is in which retained topic.
fn found_in_topics(broker: &Broker, needles: &Needles) -> Vec<String> {
    let subscriber = broker.subscribe();
    // The broker sends what is retained before anything new, and the daemon always says something new.
    let heard = subscriber.wait("something new", |heard| heard.iter().any(|message| !message.retained));
    let mut found = Vec::new();
    for message in heard.iter().filter(|message| message.retained) {
        for (what, needle) in needles {
            if holds(message.topic.as_bytes(), needle) || holds(&message.payload, needle) {
                found.push(format!("{what} in the topic {}", message.topic));
            }
        }
    }
    found
}

#[test]
fn nothing_of_a_removed_person_is_left() {
    let broker = Broker::start();
    let home = Home::new();
    let looped = format!("{}loop = true\n", door(&clip(&["obama2", "biden"], 3.0)));
    home.configure(
        broker.port,
        "announce_again_s = 0",
        &format!("[retain]\ncrops = true\n[publish]\nfaces = true\n{looped}"),
    );
    let daemon = home.run();
    let photo = |name: &str| photos().join(name).into_os_string().into_string().unwrap();
    Trials::counting("deletion", "deletions", 1, 50).run(|_| {
        ok(
            &home,
            &["enroll", NAME, &photo("obama.jpg"), &photo("obama3.jpg"), "--keep-crop"],
        );
        ok(&home, &["people", "not", ID, &photo("biden.jpg")]);
        let subscriber = broker.subscribe();
        subscriber.wait("a visit from beginning to end", |heard| {
            let events = jsons(heard, EVENT);
            let of = |event_type: &str| {
                events
                    .iter()
                    .any(|e| e["event_type"] == event_type && e["person"]["id"] == ID)
            };
            of("recognized") && of("left")
        });
        let needles = needles(&home);
        let text = in_text(&needles);
        let before = found_in_files(&home.state(), &needles);
        for (what, _) in &needles {
            assert!(
                before.iter().any(|found| found.starts_with(what)),
                "the test would see: {what}"
            );
        }
        assert!(!found_in_topics(&broker, &text).is_empty(), "the test would see topics");

        ok(&home, &["people", "remove", ID, "--yes"]);
        let removed = Instant::now();
        loop {
            let mut left = found_in_files(&home.state(), &needles);
            left.extend(found_in_files(&home.state(), &text));
            left.extend(found_in_topics(&broker, &text));
            if left.is_empty() {
                break;
            }
            if removed.elapsed() > PROMISED {
                return Err(format!("a minute later there is still {}", left.join(", ")));
            }
        }
        // Ids are in the log, and stay there as long as the system keeps it.
        let log = daemon.log();
        match text
            .iter()
            .find(|(what, needle)| !matches!(*what, "id" | "uid") && holds(log.as_bytes(), needle))
        {
            Some((what, _)) => Err(format!("{what} in the log")),
            None => Ok(()),
        }
    });
}
