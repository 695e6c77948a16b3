//! Room on the disk, and whether the databases hold together.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use super::{Context, Finding, Subject};

/// With less than this, the next enrolment or a busy hour of the outbox may not fit.
const LITTLE_MB: u64 = 512;
/// With less than this, nothing can be relied on.
const TOO_LITTLE_MB: u64 = 32;
/// How long somebody else's write is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The file system that lives in memory.
const TMPFS: i64 = 0x0102_1994;

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut findings = vec![space(&context.state)];
    for (name, mend) in DATABASES {
        let file = context.state.join(name);
        if file.try_exists().unwrap_or(false) {
            findings.push(database(&file, name, mend));
        }
    }
    findings
}

/// The databases of the state folder, and what to do about a damaged one.
const DATABASES: [(&str, &str); 3] = [
    (
        "gallery.sqlite",
        "stop Kith and bring the last backup back: `kith restore FILE`; without one move gallery.sqlite* away and enrol \
         people again",
    ),
    (
        "sightings.sqlite",
        "stop Kith and move sightings.sqlite* away; past visits are lost, who is enrolled is not",
    ),
    (
        "outbox.sqlite",
        "stop Kith and move outbox.sqlite* away; events that no broker has taken yet are lost",
    ),
];

fn space(state: &Path) -> Finding {
    // Before the first start there is no folder; it will be made on the disk of the nearest one above it.
    let Some(folder) = state.ancestors().find(|folder| folder.is_dir()) else {
        return Finding::not_checked(Subject::Disk, "", format!("{} is nowhere", state.display()));
    };
    let place = folder.display();
    let (space, system) = match (statvfs(folder), statfs(folder)) {
        (Ok(space), Ok(system)) => (space, system),
        (Err(error), _) | (_, Err(error)) => {
            return Finding::not_checked(Subject::Disk, "", format!("{place}: {error}"));
        }
    };
    let megabytes = space.f_bavail.saturating_mul(space.f_frsize) / 1_000_000;
    let seen = format!("{megabytes} MB free in {place}");
    if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Finding::failed(
            Subject::Disk,
            "",
            format!("{place} can't be written to: it is mounted read-only"),
            format!(
                "look for disk errors (`dmesg`), then `mount -o remount,rw {place}`, or set `state` to a folder elsewhere"
            ),
        );
    }
    let mend =
        format!("free space on that disk (`du -xh {place} | sort -h | tail`), or set `state` to a folder elsewhere");
    if space.f_files > 0 && space.f_favail < 100 {
        return Finding::failed(Subject::Disk, "", format!("{place} can't take more files"), mend);
    }
    match megabytes {
        0..TOO_LITTLE_MB => Finding::failed(Subject::Disk, "", seen, mend),
        TOO_LITTLE_MB..LITTLE_MB => Finding::warning(Subject::Disk, "", seen, mend),
        _ if system.f_type == TMPFS => Finding::warning(
            Subject::Disk,
            "",
            format!("{seen}, which is in memory: a restart of the machine forgets everybody"),
            "set `state` to a folder on a disk, or mount a volume there",
        ),
        _ => Finding::ok(Subject::Disk, "", seen),
    }
}

fn database(file: &Path, name: &'static str, mend: &str) -> Finding {
    let kilobytes = fs::metadata(file).map_or(0, |metadata| metadata.len() / 1000);
    match sound(file) {
        Ok(verdict) if verdict == "ok" => Finding::ok(Subject::Disk, name, format!("{kilobytes} kB, sound")),
        Ok(verdict) => Finding::failed(Subject::Disk, name, format!("damaged: {verdict}"), mend),
        Err(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Finding::failed(Subject::Disk, name, format!("damaged: {error}"), mend)
            }
            _ => Finding::not_checked(Subject::Disk, name, format!("can't be read: {error}")),
        },
    }
}

/// SQLite's verdict on `file`, which is only read.
fn sound(file: &Path) -> rusqlite::Result<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
}
