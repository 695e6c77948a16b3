//! Enrolment is atomic and durable: commands killed at any moment, and disks that fill up. The soak runs count higher.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kith::detect::{Face, FaceBox};
use kith::embed::Embedding;
use kith::gallery::{Enrolment, Gallery, Name, NewFace, Source, Who};
use kith::quality::Quality;

const PEOPLE: u16 = 400;
const KILLS: u32 = 20;

/// An export of [`PEOPLE`] made-up people: large enough that importing it takes a while.
fn export(folder: &Path) -> std::path::PathBuf {
    let mut gallery = Gallery::open(&folder.join("source")).unwrap();
    let enrolments: Vec<_> = (0..PEOPLE)
        .map(|number| {
            let raw: Vec<f32> = (0..192_u16)
                .map(|i| f32::from(number.wrapping_mul(31).wrapping_add(i * i) % 211) - 105.0)
                .collect();
            let mut source_sha256 = [0; 32];
            source_sha256[..2].copy_from_slice(&number.to_le_bytes());
            let face = Face {
                box_in_frame: FaceBox {
                    left: 0.0,
                    top: 0.0,
                    right: 100.0,
                    bottom: 130.0,
                },
                probability: 1.0,
                landmarks: [[1.0, 2.0]; 5],
            };
            let quality = Quality {
                size_px: 130.0,
                sharpness: 0.6,
                yaw_degrees: 0.0,
                probability: 1.0,
            };
            let embedding = Embedding::from_raw(&raw).unwrap();
            let face = NewFace {
                source: Source::Photo(source_sha256),
                face,
                quality,
                crop: None,
                embedding,
            };
            Enrolment {
                who: Who::New(Name::parse(&format!("Person {number}")).unwrap()),
                role: None,
                faces: vec![face],
            }
        })
        .collect();
    gallery.enrol("space", &enrolments).unwrap();
    let path = folder.join("export.jsonl");
    gallery.export(&[], &mut File::create(&path).unwrap()).unwrap();
    path
}

/// Number of people, once the database was found whole.
fn people(state: &Path) -> usize {
    let gallery = Gallery::open(state).unwrap();
    gallery.check().unwrap();
    let people = gallery.people().unwrap();
    assert!(
        people.iter().all(|one| one.faces == 1 && one.spaces == ["space"]),
        "half a person"
    );
    people.len()
}

fn kith(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.env("KITH_STATE", state).stdin(Stdio::null());
    command
}

#[test]
fn a_killed_command_changed_everything_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let export = export(folder.path());
    let state = folder.path().join("state");
    let all = usize::from(PEOPLE);
    let import = |state: &Path| {
        let mut command = kith(state);
        command.args(["people", "import"]).arg(&export);
        command
    };
    let remove = |state: &Path| {
        let mut command = kith(state);
        command
            .args(["people", "remove", "--yes"])
            .args((0..PEOPLE).map(|number| format!("person-{number}")));
        command
    };
    let started = Instant::now();
    assert!(import(&folder.path().join("timed")).output().unwrap().status.success());
    let whole = started.elapsed();
    for kill in 0..KILLS {
        let before = people(&state);
        let (mut command, after) = if before == 0 {
            (import(&state), all)
        } else {
            (remove(&state), 0)
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, acknowledged) = channel();
        let out = child.stdout.take().unwrap();
        let listener = std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(!line.is_empty());
        });
        // From the first moment to a little after the time that an undisturbed run takes.
        let moment = whole.mul_f64(f64::from(kill + 1) * 1.2 / f64::from(KILLS));
        let was_acknowledged = acknowledged.recv_timeout(moment).unwrap_or(false);
        child.kill().unwrap();
        child.wait().unwrap();
        listener.join().unwrap();
        let found = people(&state);
        if was_acknowledged {
            assert_eq!(found, after, "kill {kill}: it was acknowledged");
        } else {
            assert!(
                found == before || found == after,
                "kill {kill}: {found} of {before} or {after}"
            );
        }
    }
}

#[test]
fn a_full_disk_changes_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let export = export(folder.path());
    let state = folder.path().join("state");
    assert_eq!(people(&state), 0);
    let (mut failures, mut successes) = (0, 0);
    // No file may grow beyond this many blocks of 512 bytes: from hardly anything to more than is needed.
    for limit in [1, 8, 40, 65, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800] {
        // Ignored, the signal becomes the error that a full disk would be.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
        let said = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_kith"), "people", "import"])
            .arg(&export)
            .env("KITH_STATE", &state)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        if said.status.success() {
            successes += 1;
            assert_eq!(people(&state), usize::from(PEOPLE));
            fs::remove_dir_all(&state).unwrap();
        } else {
            failures += 1;
            assert_eq!(said.status.code(), Some(1), "{limit}: {text}");
            assert!(text.contains("the disk can't take more"), "{limit}: {text}");
            assert_eq!(people(&state), 0, "{limit}");
        }
    }
    assert!(
        failures >= 4 && successes >= 1,
        "{failures} failures, {successes} successes: the limits miss the point"
    );
}

#[test]
fn a_second_writer_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let export = export(folder.path());
    let state = folder.path().join("state");
    let mut children: Vec<_> = (0..3)
        .map(|_| {
            kith(&state)
                .args(["people", "import"])
                .arg(&export)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    for child in &mut children {
        assert!(child.wait().unwrap().success());
        assert!(Instant::now() < deadline);
    }
    assert_eq!(people(&state), usize::from(PEOPLE));
}
