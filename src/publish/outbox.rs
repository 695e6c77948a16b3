//! The outbox: an event exists once its row is committed, and is published only after that. The row goes when the
//! broker has acknowledged the event on `log`. SQLite, on a thread of its own.
//!
//! The outbox is bounded; what falls out of it, or could not be written, is named in a `gap` record on `log`.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::{Connection, params};
use rusqlite_migration::{M, Migrations};
use tokio::sync::mpsc as tokio_mpsc;
use ulid::Ulid;

use super::gap::{REMOVED, bound, forget_others, insert, insert_gap};
use super::record::{self, Kept};
use crate::event::{Event, EventKind, ulid_text};
use crate::heartbeat::{BEAT, Pulse};
use crate::metrics::STAGE_SECONDS;
use crate::state_dir;

/// The database's name in the state folder.
const FILE_NAME: &str = "outbox.sqlite";
/// So many rows are kept, a month of a busy door.
const MAX_ROWS: u64 = 100_000;
/// Messages that may wait for the thread; a sender waits then, since events are not dropped.
const ROOM: usize = 256;
/// Committed in one go at most.
const BATCH: usize = 64;

/// What the outbox is told.
#[derive(Debug)]
pub enum ToOutbox {
    /// Something happened.
    Event(Box<Event>),
    /// The broker has acknowledged this row.
    Acknowledged(i64),
    /// Give the rows after this one.
    Read {
        /// Rows of this number and below are known already.
        after: i64,
        /// At most so many.
        limit: usize,
    },
    /// Put these on record; they are published after that.
    Remember(Vec<Kept>),
    /// The broker has acknowledged that they are gone.
    Forget(Vec<Kept>),
    /// These are all who are enrolled: what names anybody else goes, and nothing of it stays in the file.
    Enrolled(HashSet<Ulid>),
    /// Say when all before this is done.
    Flush,
    /// Close the database when all before this is done.
    Close,
}

/// What the outbox says.
#[derive(Debug)]
pub enum FromOutbox {
    /// The event is committed, and may be published.
    Committed {
        /// The event.
        event: Box<Event>,
        /// As it is published.
        json: String,
    },
    /// Rows, in order, each with its number and its JSON.
    Rows(Vec<(i64, String)>),
    /// These are on record.
    Remembered(Vec<Kept>),
    /// There are rows that no event brought, such as a `gap` record.
    Grew,
    /// All before [`ToOutbox::Flush`] is done, and was said.
    Flushed,
}

/// Why there is no outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file can't be used.
    #[error("can't use the outbox {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite can't use it.
    #[error("can't use the outbox {path}: {source}")]
    Database {
        /// Which file.
        path: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It was made by a newer Kith, or is damaged.
    #[error("can't use the outbox {path}: {source}; was it made by a newer Kith?")]
    Schema {
        /// Which file.
        path: String,
        /// What is wrong.
        source: rusqlite_migration::Error,
    },
}

/// How much is in the outbox. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Depth(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    rows: AtomicU64,
    failed: AtomicU64,
    committed_after: Histogram,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            rows: AtomicU64::default(),
            failed: AtomicU64::default(),
            committed_after: Histogram::new(STAGE_SECONDS),
        }
    }
}

impl Depth {
    /// Rows that the broker has not acknowledged.
    pub fn rows(&self) -> u64 {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// Events that could not be written since the start.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Seconds from the capture of the deciding frame until its event was committed.
    pub fn committed_after_seconds(&self) -> &Histogram {
        &self.0.committed_after
    }
}

/// What is committed together.
#[derive(Default)]
struct Batch {
    events: Vec<(String, Box<Event>)>,
    acknowledged: Vec<i64>,
    /// To be put on record (`true`) or taken off it, in order.
    record: Vec<(bool, Kept)>,
    remembered: Vec<Kept>,
    /// Events that name somebody who was removed, and would say nothing without the name.
    withheld: Vec<String>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.acknowledged.is_empty() && self.record.is_empty() && self.withheld.is_empty()
    }
}

/// The open outbox.
pub struct Outbox {
    database: Connection,
    depth: Depth,
    /// What could not be written, to be named as soon as something can.
    lost: Vec<String>,
    /// Everybody who is enrolled; `None` until it was said.
    enrolled: Option<HashSet<Ulid>>,
    /// Whether rows that name others are still to be taken out.
    forgetting: bool,
    max_rows: u64,
    pulse: Pulse,
}

impl Outbox {
    /// Opens the outbox in the state folder, which exists.
    ///
    /// # Errors
    /// See [`OutboxError`].
    pub fn open(state_dir: &Path) -> Result<Self, OutboxError> {
        let file = state_dir.join(FILE_NAME);
        let path = file.display().to_string();
        state_dir::open_private_file(&file).map_err(|source| OutboxError::File {
            path: path.clone(),
            source,
        })?;
        let failed = |source| OutboxError::Database {
            path: path.clone(),
            source,
        };
        let mut database = Connection::open(&file).map_err(failed)?;
        prepare(&database).map_err(failed)?;
        let schema = Migrations::new(vec![
            M::up(
                // AUTOINCREMENT: a number is never used twice, so an acknowledgement can't hit another event's row.
                "CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at_ms INTEGER NOT NULL, \
             json TEXT NOT NULL) STRICT;",
            ),
            M::up(record::SCHEMA),
        ]);
        schema.to_latest(&mut database).map_err(|source| OutboxError::Schema {
            path: path.clone(),
            source,
        })?;
        let outbox = Self {
            database,
            depth: Depth::default(),
            lost: Vec::new(),
            enrolled: None,
            forgetting: false,
            max_rows: MAX_ROWS,
            pulse: Pulse::default(),
        };
        outbox.count().map_err(failed)?;
        // What an earlier run took out must not stay in the file beside.
        outbox.truncate();
        Ok(outbox)
    }

    /// What was ever retained under our name.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn record(&self) -> rusqlite::Result<Vec<Kept>> {
        record::all(&self.database)
    }

    /// Puts `kept` on record before the thread is started.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn remember(&mut self, kept: &[Kept]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for one in kept {
            record::remember(&transaction, one)?;
        }
        transaction.commit()
    }

    /// How much is in it, from now on.
    pub fn depth(&self) -> Depth {
        self.depth.clone()
    }

    /// The thread's sign of life.
    #[must_use]
    pub fn beating(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// Starts the thread; answers go to `answers`.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start(
        self,
        answers: tokio_mpsc::Sender<FromOutbox>,
    ) -> std::io::Result<(SyncSender<ToOutbox>, thread::JoinHandle<()>)> {
        let (sender, messages) = sync_channel(ROOM);
        let thread = thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(move || self.run(&messages, &answers))?;
        Ok((sender, thread))
    }

    fn run(mut self, messages: &Receiver<ToOutbox>, answers: &tokio_mpsc::Sender<FromOutbox>) {
        loop {
            self.pulse.beat();
            let first = match messages.recv_timeout(BEAT) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    // What could not be written before is tried again.
                    if self.owes() && self.write(&Batch::default()).is_ok() {
                        let _ = answers.blocking_send(FromOutbox::Grew);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = Batch::default();
            let mut read = None;
            let (mut flush, mut close) = (false, false);
            // What waits is committed together: each commit waits for the disk.
            let waiting = std::iter::once(first).chain(std::iter::from_fn(|| messages.try_recv().ok()));
            for message in waiting.take(BATCH) {
                match message {
                    ToOutbox::Event(mut event) => {
                        event.published_at = Timestamp::now();
                        if event.forget_others(self.enrolled.as_ref()) {
                            batch.events.push((json_of(&event), event));
                        } else {
                            batch.withheld.push(ulid_text(event.id));
                        }
                    }
                    ToOutbox::Acknowledged(number) => batch.acknowledged.push(number),
                    ToOutbox::Read { after, limit } => read = Some((after, limit)),
                    ToOutbox::Remember(kept) => {
                        batch.record.extend(kept.iter().map(|one| (true, one.clone())));
                        batch.remembered.extend(kept);
                    }
                    ToOutbox::Forget(kept) => batch.record.extend(kept.into_iter().map(|one| (false, one))),
                    ToOutbox::Enrolled(now) => {
                        let before = self.enrolled.replace(now);
                        let lost_nobody = before
                            .is_some_and(|before| self.enrolled.as_ref().is_some_and(|now| before.is_subset(now)));
                        self.forgetting |= !lost_nobody;
                    }
                    ToOutbox::Flush => flush = true,
                    ToOutbox::Close => close = true,
                }
            }
            let owed = self.owes() || !batch.withheld.is_empty();
            match self.write(&batch) {
                Ok(()) => {
                    if owed {
                        let _ = answers.blocking_send(FromOutbox::Grew);
                    }
                    for (json, event) in batch.events {
                        // A visit has left some seconds after its last frame, by definition.
                        if !matches!(event.kind, EventKind::Left { .. }) {
                            let age = event.captured_at.monotonic.elapsed();
                            self.depth.committed_after_seconds().observe(age.as_secs_f64());
                        }
                        let _ = answers.blocking_send(FromOutbox::Committed { event, json });
                    }
                }
                Err(error) => {
                    let ids: Vec<String> = batch.events.iter().map(|(_, event)| ulid_text(event.id)).collect();
                    tracing::error!(%error, ?ids, "can't write to the outbox; these events are not published");
                    self.depth
                        .0
                        .failed
                        .fetch_add(batch.events.len() as u64, Ordering::Relaxed);
                    self.lost.extend(ids);
                    self.lost.extend(batch.withheld);
                }
            }
            if !batch.remembered.is_empty() {
                // Said even if it failed: a state that may be left behind one day is better than a daemon that a
                // full disk makes mute.
                let _ = answers.blocking_send(FromOutbox::Remembered(batch.remembered));
            }
            if let Some((after, limit)) = read {
                let rows = self.read(after, limit).unwrap_or_else(|error| {
                    tracing::error!(%error, "can't read the outbox");
                    Vec::new()
                });
                let _ = answers.blocking_send(FromOutbox::Rows(rows));
            }
            if flush {
                let _ = answers.blocking_send(FromOutbox::Flushed);
            }
            if close {
                if self.owes()
                    && let Err(error) = self.write(&Batch::default())
                {
                    tracing::error!(%error, ids = ?self.lost, "the outbox can't name these events, which it could not write");
                }
                break;
            }
        }
        self.truncate();
    }

    /// Whether there is something that could not be written before.
    fn owes(&self) -> bool {
        !self.lost.is_empty() || self.forgetting
    }

    /// Writes what is new and forgets what is done, all or nothing.
    fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        if batch.is_empty() && !self.owes() {
            return Ok(());
        }
        let enrolled = self.enrolled.as_ref().filter(|_| self.forgetting);
        let lost = std::mem::take(&mut self.lost);
        let (max_rows, before) = (self.max_rows, self.depth.rows());
        let written = (|| {
            let transaction = self.database.transaction()?;
            let mut rows = before;
            if !lost.is_empty() {
                rows += insert_gap(&transaction, "could not be written", &lost)? as u64;
            }
            for (json, event) in &batch.events {
                rows += insert(&transaction, &ulid_text(event.id), json)? as u64;
            }
            for number in &batch.acknowledged {
                let gone = transaction
                    .prepare_cached("DELETE FROM event WHERE number = ?1")?
                    .execute([number])?;
                rows = rows.saturating_sub(gone as u64);
            }
            for (remember, kept) in &batch.record {
                if *remember {
                    record::remember(&transaction, kept)?;
                } else {
                    record::forget(&transaction, kept)?;
                }
            }
            if !batch.withheld.is_empty() {
                rows += insert_gap(&transaction, REMOVED, &batch.withheld)? as u64;
            }
            if let Some(enrolled) = enrolled {
                rows = forget_others(&transaction, rows, enrolled)?;
            }
            if !batch.events.is_empty() {
                rows = bound(&transaction, rows, max_rows)?;
            }
            transaction.commit()?;
            Ok(rows)
        })();
        match written {
            Ok(rows) => {
                self.depth.0.rows.store(rows, Ordering::Relaxed);
                let takes_off_record = batch.record.iter().any(|(remember, _)| !remember);
                if std::mem::take(&mut self.forgetting) || takes_off_record {
                    self.truncate();
                }
                Ok(())
            }
            Err(error) => {
                self.lost = lost;
                Err(error)
            }
        }
    }

    /// Empties the write-ahead log: what was deleted would stay readable in it.
    fn truncate(&self) {
        let done = self
            .database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::warn!(%error, "can't empty the outbox's write-ahead log");
        }
    }

    fn read(&self, after: i64, limit: usize) -> rusqlite::Result<Vec<(i64, String)>> {
        self.database
            .prepare_cached("SELECT number, json FROM event WHERE number > ?1 ORDER BY number LIMIT ?2")?
            .query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
    }

    fn count(&self) -> rusqlite::Result<()> {
        let rows: i64 = self
            .database
            .query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
        self.depth.0.rows.store(rows.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }
}

fn prepare(database: &Connection) -> rusqlite::Result<()> {
    database.busy_timeout(Duration::from_secs(5))?;
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: what is committed survives a power cut, not only a crash.
    database.pragma_update(None, "synchronous", "FULL")?;
    // Events name people; what is acknowledged is overwritten, not only forgotten.
    database.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))
}

fn json_of(event: &Event) -> String {
    // Serialising plain text and numbers into memory can't fail.
    serde_json::to_string(event).unwrap_or_default()
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
