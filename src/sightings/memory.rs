//! The daemon's thread that owns the visits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ulid::Ulid;

use super::{Retention, Sightings, SightingsError, VisitNow};
use crate::event::ulid_text;
use crate::heartbeat::{BEAT, Pulse};

/// Words that may wait for the thread. A camera's worker never waits for the disk: what finds no room is dropped and
/// counted. A visit is told about three times, so that a dropped word usually costs only detail.
const ROOM: usize = 256;
/// Committed in one go at most.
const BATCH: usize = 64;
/// How often what is old is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What the memory is told.
#[derive(Debug)]
pub enum ToSightings {
    /// How a visit stands.
    Visit(Box<VisitNow>),
    /// The visit of this track is of somebody of whom nothing is to be told.
    Ignore(Ulid),
    /// Who is in the gallery now, by uid: visits of everybody else who had a name are forgotten.
    People(Vec<Ulid>),
    /// Close the database when all before this is done.
    Close,
}

/// What was kept and what was not, since the start. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Kept {
    /// Words about visits that were written down.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Words that found no room.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Words that could not be written.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }
}

/// The way to the thread; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Memory {
    sender: SyncSender<ToSightings>,
    kept: Kept,
}

impl Memory {
    /// Tells how a visit stands. Never waits.
    pub fn visit(&self, visit: VisitNow) {
        self.tell(ToSightings::Visit(Box::new(visit)));
    }

    /// Says that the visit of this track is of somebody of whom nothing is to be told. Never waits.
    pub fn ignore(&self, track: Ulid) {
        self.tell(ToSightings::Ignore(track));
    }

    /// Says who is in the gallery now. Waits for room: a removed person must be forgotten.
    pub fn people(&self, uids: Vec<Ulid>) {
        // The thread ends after everybody who tells it something, or is gone because there is no disk for it.
        let _ = self.sender.send(ToSightings::People(uids));
    }

    /// Closes the database when all before this is done.
    pub fn close(&self) {
        let _ = self.sender.send(ToSightings::Close);
    }

    /// What was kept and what was not.
    pub fn kept(&self) -> Kept {
        self.kept.clone()
    }

    fn tell(&self, word: ToSightings) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(word) {
            let before = self.kept.0.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_power_of_two() || before == 0 {
                tracing::warn!(
                    dropped = before + 1,
                    "the memory of visits can't keep up; a word about a visit is dropped"
                );
            }
        }
    }
}

impl Sightings {
    /// Opens the database in `state_dir` and starts the thread that owns it: visits that a killed daemon left open are
    /// closed, and what is older than `retention` allows is forgotten, now and every hour.
    ///
    /// # Errors
    /// When the database can't be used, or the system can't start a thread.
    pub fn start(
        state_dir: &Path,
        retention: Retention,
        pulse: Pulse,
    ) -> Result<(Memory, thread::JoinHandle<()>), SightingsError> {
        let mut sightings = Self::open(state_dir)?;
        let left_open = sightings.close_open()?;
        if left_open > 0 {
            tracing::info!(
                visits = left_open,
                "visits that were going on when Kith ended are closed"
            );
        }
        let (sender, words) = sync_channel(ROOM);
        let kept = Kept::default();
        let memory = Memory {
            sender,
            kept: kept.clone(),
        };
        let path = sightings.path.clone();
        let thread = thread::Builder::new()
            .name("sightings".to_owned())
            .spawn(move || {
                let mut keeper = Keeper {
                    sightings,
                    retention,
                    kept,
                    people: None,
                    prune_at: Instant::now(),
                    pulse,
                };
                keeper.run(&words);
            })
            .map_err(|source| SightingsError::Unusable { path, source })?;
        Ok((memory, thread))
    }
}

struct Keeper {
    sightings: Sightings,
    retention: Retention,
    kept: Kept,
    /// Who is in the gallery, as far as was told: a word about somebody else came too late.
    people: Option<Vec<Ulid>>,
    prune_at: Instant,
    pulse: Pulse,
}

impl Keeper {
    fn run(&mut self, words: &Receiver<ToSightings>) {
        loop {
            self.pulse.beat();
            self.prune();
            let until_prune = self.prune_at.saturating_duration_since(Instant::now());
            let first = match words.recv_timeout(until_prune.min(BEAT)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // What waits is committed together: each commit waits for the disk.
            let waiting = std::iter::once(first).chain(std::iter::from_fn(|| words.try_recv().ok()));
            let mut visits = Vec::new();
            let mut close = false;
            for word in waiting.take(BATCH) {
                match word {
                    ToSightings::Visit(visit) => visits.push(*visit),
                    // In order: a visit that is told about before it is ignored must not come back.
                    ToSightings::Ignore(track) => {
                        self.remember(&mut visits);
                        let forgotten = self.sightings.forget_visits(&[track]);
                        self.note("forget an ignored person's visit", forgotten);
                    }
                    ToSightings::People(uids) => {
                        self.remember(&mut visits);
                        let forgotten = self.sightings.keep_people(&uids);
                        if let Some(forgotten @ 1..) = self.note("forget the visits of removed people", forgotten) {
                            tracing::info!(visits = forgotten, "the visits of removed people are forgotten");
                        }
                        self.people = Some(uids);
                    }
                    ToSightings::Close => close = true,
                }
            }
            self.remember(&mut visits);
            if close {
                break;
            }
        }
    }

    fn remember(&mut self, visits: &mut Vec<VisitNow>) {
        for visit in visits.iter_mut() {
            // A worker may not have heard yet that somebody was removed.
            let is_gone = |uid: Ulid| self.people.as_ref().is_some_and(|people| !people.contains(&uid));
            visit.similar_to = visit.similar_to.filter(|uid| !is_gone(*uid));
            if self.retention.unknown.is_zero() {
                visit.looks = None;
            } else if let Some(looks) = &mut visit.looks
                && !self.retention.crops
            {
                looks.crop = None;
            }
        }
        visits.retain(|visit| {
            let is_gone = |uid: Ulid| self.people.as_ref().is_some_and(|people| !people.contains(&uid));
            !self.retention.sightings.is_zero() && !visit.person.is_some_and(is_gone)
        });
        if visits.is_empty() {
            return;
        }
        let tracks: Vec<String> = visits.iter().map(|visit| ulid_text(visit.track)).collect();
        let written = self.sightings.remember(visits);
        let count = visits.len() as u64;
        visits.clear();
        match self.note("remember visits", written) {
            Some(()) => {
                self.kept.0.written.fetch_add(count, Ordering::Relaxed);
            }
            None => {
                self.kept.0.failed.fetch_add(count, Ordering::Relaxed);
                tracing::debug!(?tracks, "not remembered");
            }
        }
    }

    fn prune(&mut self) {
        let now = Instant::now();
        if now < self.prune_at {
            return;
        }
        self.prune_at = now + PRUNE_EVERY;
        let forgotten = self.sightings.prune(&self.retention, Timestamp::now());
        if let Some(forgotten) = self.note("forget what is old", forgotten)
            && forgotten.visits + forgotten.looks > 0
        {
            tracing::info!(
                visits = forgotten.visits,
                looks = forgotten.looks,
                "visits and looks that are older than wanted are forgotten"
            );
        }
    }

    /// One bad write is one bad write: it is told, and the thread goes on.
    fn note<T>(&self, what: &str, outcome: Result<T, SightingsError>) -> Option<T> {
        outcome
            .inspect_err(|error| tracing::error!(%error, "can't {what}"))
            .ok()
    }
}
