//! `cargo xtask soak`: one promise, with its full counts, and the page of all results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::checkout::{self, Checkout};
use crate::setup::Setup;
use crate::{progress, test};

/// Test a promise with its full counts, for hours if need be, and write docs/reference/reliability.md
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The promise; --list names them
    #[arg(value_name = "PROMISE", required_unless_present_any = ["list", "page"])]
    promise: Option<String>,
    /// Name the promises and what was reached
    #[arg(long)]
    list: bool,
    /// Only write the page anew from the results that there are
    #[arg(long)]
    page: bool,
    /// Stop after so many minutes; the next call goes on
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
}

/// A promise, as it is named in tests/promises, and what it says.
struct Promise {
    name: &'static str,
    says: &'static str,
    /// What is counted, and how many there are to be.
    counts: &'static [(&'static str, u64)],
}

/// The order of the page.
const PROMISES: &[Promise] = &[
    Promise {
        name: "events",
        says: "Every event is accounted for: acknowledged by the broker, in the outbox, or named in a `gap` record, \
               whatever is killed.",
        counts: &[
            ("events", 20_000),
            ("broker-stops", 50),
            ("daemon-kills", 50),
            ("clean-stops", 50),
        ],
    },
    Promise {
        name: "fresh",
        says: "Fresh or nothing: no event comes late, none is retained, and all are in the log.",
        counts: &[("recognitions", 100)],
    },
    Promise {
        name: "availability",
        says: "Availability is true: `offline` within one and a half keep-alives and the up to six seconds more that \
               Mosquitto takes to look, and discovery, states and `online` within five seconds of a reconnect.",
        counts: &[("kills", 50), ("network-cuts", 20)],
    },
    Promise {
        name: "enrolment",
        says: "Enrolment is atomic and durable: nobody is half there, and nobody who was acknowledged is lost.",
        counts: &[("kills", 1_000), ("full-disks", 50)],
    },
    Promise {
        name: "hang",
        says: "A hang is noticed: a worker that is silent too long ends the process, which says which one it was, and \
               the supervisor starts it again.",
        counts: &[
            ("read-door", 20),
            ("watch-door", 20),
            ("engine", 20),
            ("outbox", 20),
            ("desk", 20),
            ("gallery", 20),
            ("sightings", 20),
            ("main", 20),
        ],
    },
    Promise {
        name: "gpu",
        says: "A lost GPU is noticed: when every run fails (a mock), the daemon says `offline` and ends, and the \
               supervisor starts it again, or the CPU takes over, which is announced (the card is made up, too).",
        counts: &[("run-errors", 20), ("fallbacks", 20)],
    },
    Promise {
        name: "streams",
        says: "A bad stream harms itself only: noticed within 20 s, back within 30 s, and the other cameras keep 95 % \
               of their frames.",
        counts: &[
            ("stalls", 50),
            ("resolution-changes", 50),
            ("truncated", 50),
            ("wild-times", 50),
            ("decoder-kills", 100),
        ],
    },
    Promise {
        name: "memory",
        says: "Memory is flat: within 5 % after the warm-up; descriptors and threads don't grow.",
        counts: &[("frames", 100_000), ("frames-without-networks", 2_600_000)],
    },
    Promise {
        name: "deletion",
        says: "Deletion is real: a minute later the bytes of a removed person are in no database page, log, cache or \
               retained topic.",
        counts: &[("deletions", 50)],
    },
];

/// As `tests/promises/trials.rs` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    promise: String,
    count: String,
    full: u64,
    trials: u64,
    failures: u64,
    told: Vec<String>,
    seconds: f64,
    commit: String,
    cores: usize,
    release: bool,
    at: String,
}

/// Where results are kept, in the repository.
const RESULTS: &str = "docs/reference/reliability";
/// The page that is made of them.
const PAGE: &str = "docs/reference/reliability.md";

/// Runs `cargo xtask soak`. Exit code 1 when a trial failed.
///
/// # Errors
/// When there is no such promise, or something can't be set up.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    if args.list {
        let records = records(&checkout.path(RESULTS))?;
        for promise in PROMISES {
            println!("{}", promise.name);
            for line in lines(promise, &records) {
                println!("    {}: {}", line.count, line.reached());
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut well = true;
    if let Some(name) = &args.promise {
        let Some(promise) = PROMISES.iter().find(|promise| promise.name == name) else {
            let names: Vec<&str> = PROMISES.iter().map(|promise| promise.name).collect();
            bail!("there is no promise {name:?}; there are {}", names.join(", "));
        };
        well = soak(promise, args.minutes, checkout)?;
    }
    let records = records(&checkout.path(RESULTS))?;
    let page = checkout.path(PAGE);
    fs::write(&page, page_of(&records)).with_context(|| format!("can't write {}", page.display()))?;
    progress::headline(PAGE);
    if let Some(promise) = PROMISES
        .iter()
        .find(|promise| args.promise.as_deref() == Some(promise.name))
    {
        for line in lines(promise, &records) {
            eprintln!("    {}: {}", line.count, line.reached());
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests of one promise; returns whether they passed. Results go to the repository either way.
fn soak(promise: &Promise, minutes: Option<u64>, checkout: &Checkout) -> Result<bool> {
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    test::set_up(checkout, &setup)?;
    progress::headline(promise.name);
    let mut nextest = test::nextest(checkout, &setup)?;
    let fresh = checkout.path("target/soak");
    test::in_test_environment(&mut nextest, checkout)?
        .env("KITH_SOAK", "1")
        .env("KITH_SOAK_FOLDER", &fresh);
    if let Some(minutes) = minutes {
        nextest.env("KITH_SOAK_SECONDS", (minutes * 60).to_string());
    }
    nextest.args(["run", "--release", "--package", "kith", "--test", "promises"]);
    if ["hang", "gpu", "memory"].contains(&promise.name) {
        nextest.args(test::FAULT_FEATURE);
    }
    // One test after the other: they measure times.
    nextest.args(["--profile", "soak", "--test-threads", "1", "--no-capture"]);
    nextest.arg(format!("{}::", promise.name));
    let outcome = checkout::run(&mut nextest);
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    let kept = checkout.path(RESULTS);
    fs::create_dir_all(&kept).with_context(|| format!("can't make {}", kept.display()))?;
    let mut found = false;
    for (file, record) in files(&fresh)? {
        if record.promise != promise.name {
            continue;
        }
        found = true;
        let name = file.file_name().context("a record has a name")?;
        fs::copy(&file, kept.join(name)).with_context(|| format!("can't copy {}", file.display()))?;
    }
    if !found && outcome.is_ok() {
        bail!(
            "no test of the promise {} wrote a result; is there tests/promises/{}.rs?",
            promise.name,
            promise.name
        );
    }
    Ok(outcome.is_ok())
}

fn files(folder: &Path) -> Result<Vec<(PathBuf, Record)>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("can't read {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let json = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
            let record = serde_json::from_slice(&json)
                .with_context(|| format!("{} is not a result of a soak; remove it", path.display()))?;
            found.push((path, record));
        }
    }
    Ok(found)
}

/// By promise and count.
fn records(folder: &Path) -> Result<BTreeMap<(String, String), Record>> {
    let key = |record: Record| ((record.promise.clone(), record.count.clone()), record);
    Ok(files(folder)?.into_iter().map(|(_, record)| key(record)).collect())
}

/// A row of the page.
struct Line<'r> {
    count: String,
    full: Option<u64>,
    record: Option<&'r Record>,
}

impl Line<'_> {
    fn reached(&self) -> String {
        let full = self.full.map_or_else(|| "?".to_owned(), grouped);
        let Some(record) = self.record else {
            return format!("not reached: 0 of {full}");
        };
        let of = if record.trials < record.full {
            format!("not reached: {} of {full}", grouped(record.trials))
        } else {
            grouped(record.trials)
        };
        format!("{of}, {} failed", grouped(record.failures))
    }
}

/// What a promise is to count and what it counted, the counts of its table first.
fn lines<'r>(promise: &Promise, records: &'r BTreeMap<(String, String), Record>) -> Vec<Line<'r>> {
    let mut lines: Vec<Line<'r>> = Vec::new();
    for (count, full) in promise.counts {
        let record = records.get(&(promise.name.to_owned(), (*count).to_owned()));
        lines.push(Line {
            count: (*count).to_owned(),
            full: Some(record.map_or(*full, |record| record.full)),
            record,
        });
    }
    for ((name, count), record) in records {
        if name == promise.name && !promise.counts.iter().any(|(known, _)| known == count) {
            lines.push(Line {
                count: count.clone(),
                full: Some(record.full),
                record: Some(record),
            });
        }
    }
    if lines.is_empty() {
        lines.push(Line {
            count: "trials".to_owned(),
            full: None,
            record: None,
        });
    }
    lines
}

fn page_of(records: &BTreeMap<(String, String), Record>) -> String {
    let mut page = String::from(
        "# Reliability\n\n\
         What Kith promises, and how often it was tried. Each promise has a test with faults in `tests/promises/`: a \
         short one in every test run, and the full counts of this page with `cargo xtask soak PROMISE`, which writes \
         the page from the results in `reliability/`. Don't edit it.\n\n\
         No failure in n trials does not mean that there is none: it only bounds the rate below 3/n (with a \
         confidence of 95 %). A count that was not reached is named as such.\n",
    );
    for promise in PROMISES {
        // Writing to a String can't fail.
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| counted | trials | failures | failure rate | took | commit | on |\n| --- | --- | --- | --- | --- | --- | --- |\n",
            promise.name, promise.says
        );
        for line in lines(promise, records) {
            let count = line.count.replace('-', " ");
            let full = line.full.map_or_else(String::new, grouped);
            let Some(record) = line.record else {
                let _ = writeln!(page, "| {count} | **not reached: 0 of {full}** | | | | | |");
                continue;
            };
            let trials = if record.trials < record.full {
                format!("**not reached: {} of {full}**", grouped(record.trials))
            } else {
                grouped(record.trials)
            };
            let _ = writeln!(
                page,
                "| {count} | {trials} | {} | {} | {} | `{}` | {} cores, {} build, {} |",
                grouped(record.failures),
                rate(record),
                progress::seconds(Duration::from_secs_f64(record.seconds.max(0.0))),
                record.commit,
                record.cores,
                if record.release { "release" } else { "debug" },
                record.at.get(..10).unwrap_or_default(),
            );
        }
        for record in records.values().filter(|record| record.promise == promise.name) {
            for told in &record.told {
                let _ = writeln!(page, "\nFailed ({}): {}", record.count, told.replace(['|', '<'], " "));
            }
        }
    }
    page
}

/// What the trials say about the rate of failures.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are far below 2^52")]
fn rate(record: &Record) -> String {
    match (record.trials, record.failures) {
        (0, _) => "unknown".to_owned(),
        (trials, 0) => format!("below {}", percent(3.0 / trials as f64)),
        (trials, failures) => percent(failures as f64 / trials as f64),
    }
}

fn percent(rate: f64) -> String {
    let percent = (rate * 100.0).min(100.0);
    if percent >= 1.0 {
        format!("{percent:.0} %")
    } else {
        // Two digits that say something.
        let decimals = if percent > 0.0 {
            1.0 - percent.log10().floor()
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let decimals = decimals as usize;
        format!("{percent:.decimals$} %")
    }
}

/// 2,600,000
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(promise: &str, count: &str, trials: u64, failures: u64) -> ((String, String), Record) {
        let record = Record {
            promise: promise.to_owned(),
            count: count.to_owned(),
            full: 50,
            trials,
            failures,
            told: vec!["it | broke".to_owned(); usize::from(failures > 0)],
            seconds: 75.0,
            commit: "0123456789ab".to_owned(),
            cores: 2,
            release: true,
            at: "2026-11-24T16:00:00Z".to_owned(),
        };
        ((promise.to_owned(), count.to_owned()), record)
    }

    #[test]
    fn the_page_says_what_was_not_reached_and_what_no_failure_means() {
        let page = page_of(&BTreeMap::from([
            record("availability", "kills", 50, 0),
            record("availability", "network-cuts", 7, 1),
        ]));
        assert!(
            page.contains(
                "| kills | 50 | 0 | below 6 % | 1 min 15 s | `0123456789ab` | 2 cores, release build, 2026-11-24 |"
            ),
            "{page}"
        );
        assert!(
            page.contains("| network cuts | **not reached: 7 of 50** | 1 | 14 % |"),
            "{page}"
        );
        assert!(page.contains("Failed (network-cuts): it   broke"), "{page}");
        assert!(
            page.contains("| frames without networks | **not reached: 0 of 2,600,000** |"),
            "{page}"
        );
    }

    /// The committed page is the one that the committed results make.
    #[test]
    fn the_page_fits_the_results() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
        assert!(
            page == page_of(&records(&root.join(RESULTS)).unwrap()),
            "{PAGE} differs from its results; `cargo xtask soak --page` writes it"
        );
    }

    #[test]
    fn every_module_of_promises_is_named_here_and_the_other_way_round() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/promises");
        let main = fs::read_to_string(folder.join("main.rs")).unwrap();
        let modules = main
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for module in modules {
            let is_harness = [
                "broker", "clip", "crowd", "daemon", "given", "proxy", "recorder", "rtsp", "trials",
            ]
            .contains(&module)
                || !folder.join(format!("{module}.rs")).exists() && !folder.join(module).exists();
            assert!(
                is_harness || PROMISES.iter().any(|promise| promise.name == module),
                "tests/promises/{module} is no promise that xtask knows; add it to PROMISES"
            );
        }
    }
}
