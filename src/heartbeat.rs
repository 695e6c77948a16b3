//! Signs of life: every worker's loop beats, and who has been silent for too long has hung. systemd's watchdog is fed,
//! and the process goes on, only while nobody has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a worker that has nothing to do beats; those that wait for messages wait no longer than this.
pub const BEAT: Duration = Duration::from_secs(1);

/// All workers that beat. Clones share them.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    began: Instant,
    workers: Arc<Mutex<Vec<Arc<Worker>>>>,
}

#[derive(Debug)]
struct Worker {
    name: String,
    began: Instant,
    /// Milliseconds after `began`.
    last_ms: AtomicU64,
    /// What it may take beyond everybody's limit; 0 but for long work that is planned.
    patience_ms: AtomicU64,
}

/// A worker that has been silent for longer than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Which one: `engine`, `watch-CAMERA`, `read-CAMERA`, `outbox`, `desk`, `gallery`, `sightings`.
    pub worker: String,
    /// For how long.
    pub since: Duration,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            workers: Arc::default(),
        }
    }
}

impl Heartbeats {
    /// A worker begins; it counts until the pulse and its clones are dropped.
    pub fn pulse(&self, worker: impl Into<String>) -> Pulse {
        let worker = Arc::new(Worker {
            name: worker.into(),
            began: self.began,
            last_ms: AtomicU64::new(milliseconds(self.began.elapsed())),
            patience_ms: AtomicU64::new(0),
        });
        self.lock().push(Arc::clone(&worker));
        Pulse(Some(Arc::new(Counted {
            worker,
            all: self.clone(),
        })))
    }

    /// Who has been silent for longer than `limit` (and than was planned) at `now`, the longest first.
    pub fn silent(&self, now: Instant, limit: Duration) -> Vec<Silent> {
        let now_ms = milliseconds(now.saturating_duration_since(self.began));
        let over = |worker: &Arc<Worker>| {
            let since_ms = now_ms.saturating_sub(worker.last_ms.load(Ordering::Relaxed));
            let may_ms = milliseconds(limit).max(worker.patience_ms.load(Ordering::Relaxed));
            (since_ms > may_ms).then(|| Silent {
                worker: worker.name.clone(),
                since: Duration::from_millis(since_ms),
            })
        };
        let mut silent: Vec<Silent> = self.lock().iter().filter_map(over).collect();
        silent.sort_by_key(|one| std::cmp::Reverse(one.since));
        silent
    }

    /// Counts everybody's silence from `now`: the whole process stood still (a suspended machine, a debugger), which
    /// says nothing about a worker.
    pub fn excuse(&self, now: Instant) {
        let now_ms = milliseconds(now.saturating_duration_since(self.began));
        for worker in self.lock().iter() {
            worker.last_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// The names of all workers, in the order that they began.
    pub fn workers(&self) -> Vec<String> {
        self.lock().iter().map(|worker| worker.name.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's sign of life. The default one counts nowhere, for commands and tests.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Option<Arc<Counted>>);

#[derive(Debug)]
struct Counted {
    worker: Arc<Worker>,
    all: Heartbeats,
}

impl Pulse {
    /// The worker is alive.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        let Some(counted) = &self.0 else { return };
        let worker = &counted.worker;
        let now_ms = milliseconds(now.saturating_duration_since(worker.began));
        worker.last_ms.store(now_ms, Ordering::Relaxed);
        #[cfg(feature = "fault")]
        crate::fault::freeze(&worker.name);
    }

    /// Long work is planned: until [`Self::hurry`] the worker may be silent for so long where the limit is lower.
    pub fn patience(&self, patience: Duration) {
        self.allow(milliseconds(patience));
    }

    /// The planned work is done: what holds for everybody holds again.
    pub fn hurry(&self) {
        self.allow(0);
    }

    fn allow(&self, patience_ms: u64) {
        self.beat();
        if let Some(counted) = &self.0 {
            counted.worker.patience_ms.store(patience_ms, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.lock().retain(|worker| !Arc::ptr_eq(worker, &self.worker));
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn names(heartbeats: &Heartbeats, now: Instant) -> Vec<String> {
        let silent = heartbeats.silent(now, LIMIT);
        silent.into_iter().map(|one| one.worker).collect()
    }

    fn after(heartbeats: &Heartbeats, seconds: u64) -> Instant {
        heartbeats.began + Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_silent_for_too_long_is_named_the_longest_first() {
        let all = Heartbeats::default();
        let (engine, outbox) = (all.pulse("engine"), all.pulse("outbox"));
        engine.beat_at(after(&all, 20));
        outbox.beat_at(after(&all, 10));
        assert_eq!(all.silent(after(&all, 69), LIMIT), []);
        assert_eq!(names(&all, after(&all, 71)), ["outbox"]);
        assert_eq!(names(&all, after(&all, 90)), ["outbox", "engine"]);
        assert_eq!(all.silent(after(&all, 90), LIMIT)[0].since, Duration::from_secs(80));
        outbox.beat_at(after(&all, 90));
        assert_eq!(names(&all, after(&all, 91)), ["engine"]);
    }

    #[test]
    fn a_worker_that_ended_is_not_missed() {
        let all = Heartbeats::default();
        let reader = all.pulse("read-door");
        let clone = reader.clone();
        drop(reader);
        assert_eq!(all.workers(), ["read-door"]);
        assert_eq!(names(&all, after(&all, 100)), ["read-door"]);
        drop(clone);
        assert_eq!(names(&all, after(&all, 100)), [""; 0]);
        assert!(all.workers().is_empty());
    }

    #[test]
    fn planned_work_may_take_longer() {
        let all = Heartbeats::default();
        let engine = all.pulse("engine");
        engine.patience(Duration::from_secs(900));
        assert_eq!(names(&all, after(&all, 800)), [""; 0]);
        assert_eq!(names(&all, after(&all, 1000)), ["engine"]);
        engine.hurry();
        assert_eq!(names(&all, after(&all, 100)), ["engine"]);
    }

    #[test]
    fn a_process_that_stood_still_accuses_nobody() {
        let all = Heartbeats::default();
        let _engine = all.pulse("engine");
        all.excuse(after(&all, 500));
        assert_eq!(names(&all, after(&all, 550)), [""; 0]);
        assert_eq!(names(&all, after(&all, 561)), ["engine"]);
    }
}
