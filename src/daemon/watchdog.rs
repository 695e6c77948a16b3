//! Watches over the workers, on a thread that depends on none of them. While all of them beat, the supervisor's watchdog
//! is fed. When one has been silent for too long, feeding stops, what can be sent is sent, and the process ends: a
//! daemon that says `online` and sees nobody is worse than one that is started again.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::watch;

use super::supervisor;
use crate::heartbeat::{Heartbeats, Silent};
use crate::publish::Farewell;

/// The exit code when a worker hangs.
const HUNG: i32 = 70;
/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);
/// A look that comes so much too late means that the whole process stood still.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// How often the supervisor gets a new status line, if there is one.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How long the last messages may take when a worker hangs.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long the process may take to end once it was told to: a library's own clean-up may hang as well.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// The running watch.
pub(super) struct Watchdog {
    ready: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

/// What it watches, and what it needs for the end.
pub(super) struct Watch {
    /// Who beats.
    pub(super) heartbeats: Heartbeats,
    /// Who is silent for longer hangs.
    pub(super) silence: Duration,
    /// The publisher's end.
    pub(super) farewell: watch::Sender<Farewell>,
    /// A line about what goes on.
    pub(super) status: Box<dyn Fn() -> String + Send>,
}

impl Watchdog {
    /// Starts the thread. Until [`Self::ready`] it says that the daemon starts.
    pub(super) fn start(watch: Watch) -> std::io::Result<Self> {
        let (ready, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_ready, is_over) = (Arc::clone(&ready), Arc::clone(&over));
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch.run(&is_ready, &is_over))?;
        Ok(Self { ready, over, thread })
    }

    /// The daemon works.
    pub(super) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
        supervisor::ready();
    }

    /// The daemon has ended in order.
    pub(super) fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

impl Watch {
    fn run(self, ready: &AtomicBool, over: &AtomicBool) {
        // Twice as often as it has to be, as systemd asks for.
        let feed_every = supervisor::watchdog_period().map(|period| period / 2);
        let look = feed_every.map_or(LOOK, |every| every.min(LOOK));
        let (mut fed, mut told) = (None::<Instant>, None::<Instant>);
        let mut said = String::new();
        let mut looked = Instant::now();
        while !over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now.saturating_duration_since(looked) > look + STOOD_STILL {
                tracing::warn!(
                    for_s = now.saturating_duration_since(looked).as_secs(),
                    "the whole process stood still"
                );
                self.heartbeats.excuse(now);
            }
            looked = now;
            let silent = self.heartbeats.silent(now, self.silence);
            if !silent.is_empty() {
                self.hung(&silent);
            }
            if feed_every.is_some_and(|every| fed.is_none_or(|fed| now.saturating_duration_since(fed) >= every)) {
                fed = Some(now);
                supervisor::alive();
            }
            if told.is_none_or(|told| now.saturating_duration_since(told) >= STATUS_EVERY) {
                told = Some(now);
                if ready.load(Ordering::Relaxed) {
                    let status = (self.status)();
                    if status != said {
                        supervisor::status(&status);
                        said = status;
                    }
                } else {
                    supervisor::starting("opening the networks");
                }
            }
            thread::park_timeout(look);
        }
    }

    fn hung(&self, silent: &[Silent]) -> ! {
        for one in silent {
            tracing::error!(
                worker = one.worker,
                silent_s = one.since.as_secs(),
                "a worker hangs; the daemon ends, so that it is started again"
            );
        }
        let names: Vec<&str> = silent.iter().map(|one| one.worker.as_str()).collect();
        supervisor::stopping(&format!("hangs: {}", names.join(", ")));
        // Also when nothing else works any more.
        let killed = thread::Builder::new().name("last-breath".to_owned()).spawn(|| {
            let until = Instant::now() + LAST_BREATH;
            while Instant::now() < until {
                thread::park_timeout(LAST_BREATH);
            }
            let _ = kill_process(getpid(), Signal::KILL);
        });
        let until = Instant::now() + LAST_WORDS;
        let _ = self.farewell.send(Farewell::Until(until));
        // Its goodbye takes a moment longer. Without a thread that kills us there is no waiting.
        while killed.is_ok() && !self.farewell.is_closed() && Instant::now() < until + LAST_WORDS {
            thread::park_timeout(Duration::from_millis(20));
        }
        process::exit(HUNG)
    }
}
