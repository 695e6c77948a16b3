//! Counted trials of a promise. In an ordinary test run there are few; with `KITH_SOAK=1` (`cargo xtask soak` sets it)
//! there is the full count, which goes on where an interrupted run of the same commit stopped, and is written down
//! after every trial in `target/soak/PROMISE.json` or `target/soak/PROMISE.COUNT.json`.
//!
//! ```ignore
//! Trials::new("availability", 1, 50).run(|trial| { …; Ok(()) });
//! ```

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// So many failures are told in words; all are counted.
const TOLD: usize = 5;

/// What is written down, and read by `cargo xtask soak`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    promise: String,
    /// What is counted, such as `kills`.
    count: String,
    /// How many there are to be.
    full: u64,
    /// How many there were.
    trials: u64,
    failures: u64,
    /// The first failures, in words.
    told: Vec<String>,
    /// The time that the trials took.
    seconds: f64,
    /// `-dirty` when the tree differed from it.
    commit: String,
    cores: usize,
    /// Whether the daemon was a release build.
    release: bool,
    /// RFC 3339, of the last trial.
    at: String,
}

/// How this run goes about it.
struct Way {
    /// Where to write down; `None` in an ordinary test run.
    folder: Option<PathBuf>,
    commit: String,
    /// The full count is not reached when this is over (`KITH_SOAK_SECONDS`).
    limit: Option<Duration>,
}

impl Way {
    fn of_this_run() -> Self {
        if env::var_os("KITH_SOAK").is_none_or(|soak| soak != "1") {
            return Self {
                folder: None,
                commit: String::new(),
                limit: None,
            };
        }
        let seconds = env::var("KITH_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
        let folder = env::var_os("KITH_SOAK_FOLDER").map(PathBuf::from);
        Self {
            folder: Some(folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak"))),
            commit: commit(),
            limit: seconds.map(Duration::from_secs),
        }
    }
}

/// Trials of one promise that are all alike.
pub(crate) struct Trials {
    way: Way,
    file: Option<PathBuf>,
    wanted: u64,
    record: Record,
    began: Instant,
}

impl Trials {
    /// `short` trials in an ordinary test run, `full` in `cargo xtask soak`.
    pub(crate) fn new(promise: &str, short: u64, full: u64) -> Self {
        Self::counting(promise, "trials", short, full)
    }

    /// As [`Self::new`], for a promise with several kinds of trials: `count` says what is counted here, in letters and
    /// dashes, such as `network-cuts`.
    pub(crate) fn counting(promise: &str, count: &str, short: u64, full: u64) -> Self {
        Self::on(Way::of_this_run(), promise, count, short, full)
    }

    fn on(way: Way, promise: &str, count: &str, short: u64, full: u64) -> Self {
        let fresh = Record {
            promise: promise.to_owned(),
            count: count.to_owned(),
            full,
            trials: 0,
            failures: 0,
            told: Vec::new(),
            seconds: 0.0,
            commit: way.commit.clone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            release: !cfg!(debug_assertions),
            at: String::new(),
        };
        let file = way.folder.as_ref().map(|folder| {
            fs::create_dir_all(folder).unwrap();
            let name = if count == "trials" {
                promise.to_owned()
            } else {
                format!("{promise}.{count}")
            };
            folder.join(format!("{name}.json"))
        });
        let before = file.as_ref().and_then(|file| fs::read(file).ok());
        let before: Option<Record> = before.and_then(|json| serde_json::from_slice(&json).ok());
        // Another commit's trials say nothing about this one.
        let goes_on = |before: &Record| {
            before.commit == fresh.commit
                && before.full == fresh.full
                && before.release == fresh.release
                && before.trials < before.full
        };
        let record = before.filter(goes_on).unwrap_or(fresh);
        if record.trials > 0 {
            eprintln!("{promise}: goes on after {} of {full} {count}", record.trials);
        }
        Self {
            wanted: if file.is_some() { full } else { short },
            file,
            way,
            record,
            began: Instant::now(),
        }
    }

    /// How many trials there are still to be in this run. For a promise whose trials are frames or events of one long
    /// run, together with [`Self::done`].
    pub(crate) fn left(&self) -> u64 {
        if self.way.limit.is_some_and(|limit| self.began.elapsed() >= limit) {
            return 0;
        }
        self.wanted.saturating_sub(self.record.trials)
    }

    /// Notes that `trials` were done in `took`, with these failures among them.
    pub(crate) fn done(&mut self, trials: u64, took: Duration, failures: Vec<String>) {
        let record = &mut self.record;
        record.trials += trials;
        record.seconds += took.as_secs_f64();
        record.at = jiff::Timestamp::now().to_string();
        for failure in failures {
            eprintln!("{}: {} {}: {failure}", record.promise, record.count, record.trials);
            record.failures += 1;
            if record.told.len() < TOLD {
                record.told.push(failure);
            }
        }
        if let Some(file) = &self.file {
            // Renamed when whole: a run may be killed at any time, and the next one reads this.
            let new = file.with_extension("new");
            fs::write(&new, serde_json::to_vec_pretty(&self.record).unwrap()).unwrap();
            fs::rename(&new, file).unwrap();
        }
    }

    /// Fails the test if a trial failed.
    pub(crate) fn finish(self) {
        let Record {
            promise,
            count,
            trials,
            full,
            failures,
            told,
            ..
        } = &self.record;
        if self.file.is_some() && trials < full {
            eprintln!("{promise}: not reached: {trials} of {full} {count}");
        }
        assert!(
            *failures == 0,
            "{promise}: {failures} of {trials} {count} failed: {told:#?}"
        );
    }

    /// Does one trial after the other; each gets its number, from 0. A trial that panics has failed, and the others go
    /// on; in an ordinary test run the first failure ends it.
    pub(crate) fn run(mut self, mut trial: impl FnMut(u64) -> Result<(), String>) {
        while self.left() > 0 {
            let began = Instant::now();
            let number = self.record.trials;
            let outcome = if self.file.is_some() {
                catch_unwind(AssertUnwindSafe(|| trial(number))).unwrap_or_else(|panic| Err(said(&*panic)))
            } else {
                trial(number)
            };
            let failed = outcome.is_err();
            self.done(1, began.elapsed(), outcome.err().into_iter().collect());
            if failed && self.file.is_none() {
                break;
            }
        }
        self.finish();
    }
}

fn said(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    // The log of a daemon may hang on it; its first lines say what was expected.
    let first: Vec<&str> = text.unwrap_or("it panicked").lines().take(3).collect();
    first.join(" ")
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    // The page of results itself changes while promises are tested one after the other.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"]);
    if changed.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    }
}

fn soaking(folder: &Path, commit: &str) -> Way {
    Way {
        folder: Some(folder.to_path_buf()),
        commit: commit.to_owned(),
        limit: None,
    }
}

fn written(folder: &Path, name: &str) -> Record {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn a_soak_counts_failures_and_panics_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let trials = Trials::on(soaking(folder.path(), "c1"), "made-up", "kills", 2, 7);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        trials.run(|trial| match trial {
            2 => Err("the second".to_owned()),
            4 => panic!("fell over\nwith\nmany\nlines"),
            _ => Ok(()),
        });
    }));
    assert!(failed.is_err());
    let record = written(folder.path(), "made-up.kills.json");
    assert_eq!((record.trials, record.failures, record.full), (7, 2, 7));
    assert_eq!(record.told, ["the second", "fell over with many"]);
}

#[test]
fn an_interrupted_soak_goes_on_unless_the_commit_changed() {
    let folder = tempfile::tempdir().unwrap();
    let start = |commit: &str| Trials::on(soaking(folder.path(), commit), "made-up", "trials", 2, 5);
    let mut first = start("c1");
    first.done(3, Duration::from_secs(6), Vec::new());
    drop(first);
    let second = start("c1");
    assert_eq!(second.left(), 2);
    let mut seen = Vec::new();
    second.run(|trial| {
        seen.push(trial);
        Ok(())
    });
    assert_eq!(seen, [3, 4]);
    let record = written(folder.path(), "made-up.json");
    assert!(record.trials == 5 && record.seconds >= 6.0, "{record:?}");
    assert_eq!(start("c1").left(), 5, "what is complete begins anew");
    start("c1").done(2, Duration::ZERO, Vec::new());
    assert_eq!(start("c1").left(), 3);
    assert_eq!(start("c2").left(), 5);
}

#[test]
fn time_that_is_over_ends_a_soak_and_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way {
        limit: Some(Duration::ZERO),
        ..soaking(folder.path(), "c1")
    };
    Trials::on(way, "made-up", "trials", 1, 9).run(|_| panic!("there is no time"));
}

#[test]
fn an_ordinary_run_is_short_and_ends_at_the_first_failure() {
    let way = || Way {
        folder: None,
        commit: String::new(),
        limit: None,
    };
    let mut count = 0;
    Trials::on(way(), "made-up", "trials", 2, 1000).run(|_| {
        count += 1;
        Ok(())
    });
    assert_eq!(count, 2);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        Trials::on(way(), "made-up", "trials", 5, 1000).run(|_| {
            count += 1;
            Err("no".to_owned())
        });
    }));
    assert!(failed.is_err() && count == 3, "{count}");
}
