//! The daemon's process, and what it and its decoders take of the machine, from `/proc`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

/// How long the daemon may take to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// What was taken while it was watched.
#[derive(Debug, Serialize)]
pub(crate) struct Use {
    /// Share of one core, in percent.
    daemon_cpu_percent: f64,
    ffmpeg_cpu_percent: f64,
    /// Largest resident memory since the start (`VmHWM`), models included; MB of 10^6 bytes.
    daemon_peak_mb: f64,
    /// The same, of all decoders together.
    ffmpeg_peak_mb: f64,
}

/// Processor time since the start, in seconds.
pub(crate) struct Cpu {
    daemon_s: f64,
    ffmpeg_s: f64,
}

/// A running daemon; told to stop when dropped.
pub(crate) struct Process(Child, Arc<Mutex<HashSet<(String, String)>>>);

impl Process {
    /// Starts `kith run`.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(config: &Path, state: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(kith()?)
            .args(["run", "--config"])
            .arg(config)
            .arg("--state")
            .arg(state)
            .env("RUST_LOG", "kith=debug")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start kith")?;
        let log = child.stderr.take().context("it has no log")?;
        let decided = Arc::new(Mutex::new(HashSet::new()));
        let note = Arc::clone(&decided);
        thread::Builder::new().name("log".into()).spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(event) = by_a_shot(&line) {
                    note.lock().unwrap_or_else(PoisonError::into_inner).insert(event);
                } else if line.contains(" WARN ") || line.contains(" ERROR ") {
                    eprintln!("{line}");
                }
            }
        })?;
        Ok(Self(child, decided))
    }

    /// Lets it run for `time`.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) fn watch(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while let Some(rest) = until
            .checked_duration_since(Instant::now())
            .filter(|rest| !rest.is_zero())
        {
            std::thread::park_timeout(rest.min(Duration::from_millis(500)));
            ensure!(matches!(self.0.try_wait(), Ok(None)), "the daemon ended early");
        }
        Ok(())
    }

    /// Track and type of each event that a shot decided; others were decided by time: a deadline, or the end of a track.
    pub(crate) fn decided_by_a_shot(&self) -> HashSet<(String, String)> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Processor time so far.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut ffmpeg_s = 0.0;
        for child in self.children()? {
            ffmpeg_s += cpu_s(child)?;
        }
        Ok(Cpu {
            daemon_s: cpu_s(self.0.id())?,
            ffmpeg_s,
        })
    }

    /// What was taken since `before`, `passed` ago.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub(crate) fn used(&self, before: &Cpu, passed: Duration) -> anyhow::Result<Use> {
        let now = self.cpu()?;
        let percent = |from: f64, to: f64| tenths((to - from) / passed.as_secs_f64() * 100.0);
        let mut ffmpeg_peak_mb = 0.0;
        for child in self.children()? {
            ffmpeg_peak_mb += peak_mb(child)?;
        }
        Ok(Use {
            daemon_cpu_percent: percent(before.daemon_s, now.daemon_s),
            ffmpeg_cpu_percent: percent(before.ffmpeg_s, now.ffmpeg_s),
            daemon_peak_mb: tenths(peak_mb(self.0.id())?),
            ffmpeg_peak_mb: tenths(ffmpeg_peak_mb),
        })
    }

    fn children(&self) -> anyhow::Result<Vec<u32>> {
        let id = self.0.id();
        let mut children = Vec::new();
        for thread in fs::read_dir(format!("/proc/{id}/task")).context("the daemon is gone")? {
            // A thread that ended meanwhile has no children any more.
            let Ok(text) = fs::read_to_string(thread?.path().join("children")) else {
                continue;
            };
            children.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        Ok(children)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = i32::try_from(self.0.id())
            .ok()
            .and_then(Pid::from_raw)
            .is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = Instant::now() + FAREWELL;
        while asked && Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Track and type of the event that a line of the log tells of, if a shot decided it: such lines stand in the span `shot`.
fn by_a_shot(line: &str) -> Option<(String, String)> {
    let (_, said) = line.split_once(":shot: ")?;
    let event_type = said.split(' ').next()?;
    let (_, track) = said.split_once("track=\"")?;
    Some((track.split('"').next()?.to_owned(), event_type.to_owned()))
}

/// The `kith` that was built beside this program.
///
/// # Errors
/// When there is none.
pub(crate) fn kith() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let kith = here
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("kith"))
        .context("no folder above")?;
    ensure!(
        kith.exists(),
        "there is no {}; `cargo xtask bench --house` builds it",
        kith.display()
    );
    Ok(kith)
}

/// `PATH` with the folder where Debian keeps daemons, which an ordinary user's lacks.
pub(crate) fn path_with_sbin() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    path
}

/// User and system time of a process, in seconds; fields 14 and 15 of `/proc/PID/stat` (proc_pid_stat(5)).
fn cpu_s(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in brackets may hold spaces; what follows it begins with field 3.
    let (_, rest) = stat.rsplit_once(')').with_context(|| format!("no name in {path}"))?;
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn peak_mb(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib: f64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("no VmHWM in {path}"))?;
    Ok(kib * 1.024 / 1000.0)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
