//! A killed and resumed course is the course that was not killed, to the last byte.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faces::{Faces, THREE};
use crate::running::{has_runtime, kith_export, pause, succeeds};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run leaves behind; of its log, what does not tell of the clock.
#[derive(PartialEq)]
struct Left {
    best: Vec<u8>,
    last: Vec<u8>,
    log: Vec<Value>,
}

impl Left {
    fn of(run: &Path) -> Self {
        let lines = |text: String| {
            let line = |line: &str| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                for clock in ["seconds", "faces_per_second", "waited"] {
                    assert!(
                        line.as_object_mut().unwrap().remove(clock).is_some(),
                        "no {clock} in {line}"
                    );
                }
                line
            };
            text.lines().map(line).collect()
        };
        Self {
            best: fs::read(run.join("best.safetensors")).unwrap(),
            last: fs::read(run.join("last.safetensors")).unwrap(),
            log: lines(fs::read_to_string(run.join("log.jsonl")).unwrap()),
        }
    }

    #[track_caller]
    fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(self.log, other.log, "{what}: the log");
        assert_eq!(about(&self.last), about(&other.last), "{what}: the state");
        assert!(self.last == other.last, "{what}: last.safetensors differs");
        assert_eq!(about(&self.best), about(&other.best), "{what}: the best one's state");
        assert!(self.best == other.best, "{what}: best.safetensors differs");
    }
}

/// What a checkpoint says about itself, for telling what differs.
fn about(checkpoint: &[u8]) -> String {
    let length = u64::from_le_bytes(*checkpoint.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&checkpoint[8..8 + length]).unwrap();
    header["__metadata__"]["kith"].as_str().unwrap().to_owned()
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// When this share of the time has passed that it takes undisturbed.
    After(f64),
    /// When the line of an epoch has come into the log, and then this share. The state is written right after the line;
    /// later is in the next epoch.
    Line(usize, f64),
    /// When a file that is being written has appeared beside the finished ones after the line of an epoch.
    Writing(usize),
}

impl Moment {
    fn wait(self, child: &mut Child, run: &Path, whole: Duration) {
        let began = Instant::now();
        let mut until = |reached: &dyn Fn() -> bool| {
            while !reached() && child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
                pause(Duration::from_micros(200));
            }
        };
        let lines = || fs::read_to_string(run.join("log.jsonl")).map_or(0, |log| log.matches('\n').count());
        match self {
            Self::After(share) => pause(whole.mul_f64(share)),
            Self::Line(epoch, share) => {
                until(&|| lines() >= epoch);
                pause(whole.mul_f64(share));
            }
            Self::Writing(epoch) => {
                until(&|| lines() >= epoch);
                until(&|| unfinished(run) > 0);
            }
        }
    }
}

/// Files in a run's folder that are neither checkpoints nor the log.
fn unfinished(run: &Path) -> usize {
    let names = fs::read_dir(run)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    names
        .filter(|name| {
            !["best.safetensors", "last.safetensors", "log.jsonl"]
                .iter()
                .any(|known| name == known)
        })
        .count()
}

/// Starts the command, kills it at each moment in turn, resumes it each time, and lets it end at last.
#[track_caller]
fn killed_at(command: &dyn Fn(&Path) -> Command, run: &Path, whole: Duration, moments: &[Moment]) -> Left {
    let mut killed = 0;
    for moment in moments {
        let mut command = command(run);
        command.arg("--resume");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        moment.wait(&mut child, run, whole);
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        let lines = fs::read_to_string(run.join("log.jsonl"))
            .unwrap_or_default()
            .lines()
            .count();
        println!(
            "{moment:?}: {ended}, {lines} lines, {} unfinished files",
            unfinished(run)
        );
        killed += usize::from(ended.signal() == Some(9));
    }
    assert!(
        killed == moments.len(),
        "it was over before it was killed: {killed} of {} kills",
        moments.len()
    );
    succeeds(command(run).arg("--resume"));
    assert_eq!(unfinished(run), 0, "files of interrupted writing are left");
    Left::of(run)
}

#[track_caller]
fn check(command: &dyn Fn(&Path) -> Command, folder: &Path, moments: &[&[Moment]]) {
    let through = folder.join("through");
    let began = Instant::now();
    succeeds(&mut command(&through));
    let whole = began.elapsed();
    let through = Left::of(&through);
    let again = folder.join("again");
    succeeds(&mut command(&again));
    through.assert_same(&Left::of(&again), "the same seed once more");
    let other = folder.join("other");
    succeeds(command(&other).args(["--seed", "2"]));
    assert!(
        Left::of(&other).last != through.last,
        "another seed gives the same weights"
    );
    for (number, moments) in moments.iter().enumerate() {
        let resumed = killed_at(command, &folder.join(format!("killed-{number}")), whole, moments);
        through.assert_same(&resumed, &format!("{moments:?}"));
    }
}

#[test]
fn fit_goes_on_after_a_kill_as_if_there_had_been_none() {
    let faces = Faces::split(THREE);
    let fit = |run: &Path| {
        let mut command = kith_export([
            "fit",
            "--net",
            "mobilefacenet",
            "--epochs",
            "4",
            "--people",
            "3",
            "--photos",
            "2",
        ]);
        command
            .args([
                "--learning-rate",
                "0.00037",
                "--rounds",
                "1",
                "--device",
                "cpu",
                "--threads",
                "1",
                "--split",
            ])
            .arg(faces.path("split.json"));
        command.arg(faces.path("faces")).arg("--out").arg(run);
        command
    };
    check(
        &fit,
        faces.folder.path(),
        &[
            &[Moment::Line(1, 0.0), Moment::Line(2, 0.005), Moment::Line(3, 0.02)],
            &[
                Moment::Writing(1),
                Moment::Writing(2),
                Moment::Writing(2),
                Moment::Writing(3),
            ],
            &[
                Moment::After(0.02),
                Moment::After(0.3),
                Moment::Line(1, 0.08),
                Moment::Line(2, 0.08),
            ],
        ],
    );
}

#[test]
fn distil_goes_on_after_a_kill_as_if_there_had_been_none() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(&[("", 40)]);
    let distil = |run: &Path| {
        let mut command = kith_export([
            "distil",
            "--student",
            "mobilefacenet",
            "--epochs",
            "2",
            "--batch",
            "8",
            "--hold-out",
            "0.2",
        ]);
        command
            .args(["--device", "cpu", "--threads", "1", "--out"])
            .arg(run)
            .arg(faces.path("faces"));
        command
    };
    check(
        &distil,
        faces.folder.path(),
        &[&[Moment::Line(1, 0.0), Moment::Writing(1), Moment::Line(1, 0.05)]],
    );
}
