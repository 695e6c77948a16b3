//! Enrolment is atomic and durable: commands killed at any moment, disks that fill up, files that may not grow.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kith::gallery::Gallery;

use crate::given::enrolment::enrolment;
use crate::trials::Trials;

const PEOPLE: u16 = 400;

/// An export of [`PEOPLE`] made-up people: large enough that importing it takes a while.
fn export(folder: &Path) -> PathBuf {
    let mut gallery = Gallery::open(&folder.join("source")).unwrap();
    let enrolments: Vec<_> = (0..PEOPLE).map(enrolment).collect();
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
    Trials::counting("enrolment", "kills", 20, 1_000).run(|kill| {
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
        // From the first moment to a little after the time that an undisturbed run takes, in no order.
        let share = (kill * 13 % 20 + 1) as f64 / 20.0 + (kill / 20 % 50) as f64 / 1_000.0;
        let was_acknowledged = acknowledged.recv_timeout(whole.mul_f64(share * 1.2)).unwrap_or(false);
        child.kill().unwrap();
        child.wait().unwrap();
        listener.join().unwrap();
        let found = people(&state);
        if was_acknowledged && found != after {
            return Err(format!(
                "kill {kill}: {after} people were acknowledged, {found} are there"
            ));
        }
        if found != before && found != after {
            return Err(format!("kill {kill}: {found} people of {before} or {after}"));
        }
        Ok(())
    });
}

/// What the disk refuses.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// A file may not grow beyond so many blocks of 512 bytes: writing fails.
    Growth(u64),
    /// The file system has so many KiB, and no more.
    Space(u64),
}

/// Whether this user may mount a small file system for a child.
fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Runs `kith people import EXPORT` over the state folder `state` where `refusal` holds.
fn import_refused(export: &Path, state: &Path, refusal: Refusal) -> Output {
    let script = match refusal {
        // Ignored, the signal becomes the error that a failing disk would be.
        Refusal::Growth(blocks) => format!("trap '' XFSZ; ulimit -f {blocks}; KITH_STATE=$2 exec $0 people import $1"),
        // What was there moves to the small disk, and what is there afterwards back. It is mounted for the child only.
        Refusal::Space(kib) => format!(
            "disk=$2.disk && mkdir -p $disk && mount -t tmpfs -o size={kib}k,mode=700 tmpfs $disk && \
             cp -p $2/* $disk/ || exit 99; KITH_STATE=$disk $0 people import $1; said=$?; \
             rm -f $2/* && cp -p $disk/* $2/ || exit 98; exit $said"
        ),
    };
    let mut command = match refusal {
        Refusal::Growth(_) => Command::new("sh"),
        Refusal::Space(_) => {
            let mut command = Command::new("unshare");
            command.args(["-rm", "sh"]);
            command
        }
    };
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_kith")])
        .arg(export)
        .arg(state)
        .output()
        .unwrap()
}

#[test]
fn a_disk_that_takes_no_more_changes_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let export = export(folder.path());
    let state = folder.path().join("state");
    let before = |state: &Path| {
        let _ = fs::remove_dir_all(state);
        // Somebody who was acknowledged before, and may not be lost.
        let mut gallery = Gallery::open(state).unwrap();
        gallery.enrol("space", &[enrolment(PEOPLE)]).unwrap();
    };
    let mounts = may_mount();
    if !mounts {
        println!("no small file system can be mounted here, so files that may not grow stand for full disks");
    }
    let (mut failures, mut successes) = (0, 0);
    let all = usize::from(PEOPLE) + 1;
    Trials::counting("enrolment", "full-disks", 14, 50).run(|trial| {
        before(&state);
        // From hardly anything to more than is needed: about 700 KiB, twice over with the log.
        let kib = 60.0 * 1.6_f64.powf((trial * 5 % 14) as f64 + trial as f64 / 100.0);
        let refusal = if mounts && trial % 2 == 0 {
            Refusal::Space(kib as u64)
        } else {
            Refusal::Growth(2 * kib as u64)
        };
        let said = import_refused(&export, &state, refusal);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let found = people(&state);
        match said.status.code() {
            Some(0) if found == all => successes += 1,
            Some(1) if found == 1 && text.contains("the disk can't take more") => failures += 1,
            code => return Err(format!("{refusal:?}: exit code {code:?}, {found} people: {text}")),
        }
        Ok(())
    });
    // A soak that goes on where another one stopped may have few trials left.
    if failures + successes >= 14 {
        assert!(
            failures >= 4 && successes >= 2,
            "{failures} failures, {successes} successes: the limits miss the point"
        );
    }
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
