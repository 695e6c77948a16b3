//! The outbox: an event exists once its row is committed, and is published only after that. The row goes when the
//! broker has acknowledged the event on `log`. SQLite, on a thread of its own.
//!
//! The outbox is bounded; what falls out of it, or could not be written, is named in a `gap` record on `log`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rusqlite_migration::{M, Migrations};
use serde_json::json;
use tokio::sync::mpsc as tokio_mpsc;
use ulid::Ulid;

use crate::event::{Event, time_text, ulid_text};
use crate::heartbeat::{BEAT, Pulse};
use crate::state_dir;

/// The database's name in the state folder.
const FILE_NAME: &str = "outbox.sqlite";
/// So many rows are kept, a month of a busy door.
const MAX_ROWS: u64 = 100_000;
/// And for so long.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Messages that may wait for the thread; a sender waits then, since events are not dropped.
const ROOM: usize = 256;
/// So many ids are named in one `gap` record, about 15 KiB.
const IDS_IN_A_GAP: usize = 500;
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
pub struct Depth(Arc<(AtomicU64, AtomicU64)>);

impl Depth {
    /// Rows that the broker has not acknowledged.
    pub fn rows(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Events that could not be written since the start.
    pub fn failed(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// The open outbox.
pub struct Outbox {
    database: Connection,
    depth: Depth,
    /// What could not be written, to be named as soon as something can.
    lost: Vec<String>,
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
        let schema = Migrations::new(vec![M::up(
            // AUTOINCREMENT: a number is never used twice, so an acknowledgement can't hit another event's row.
            "CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at_ms INTEGER NOT NULL, \
             json TEXT NOT NULL) STRICT;",
        )]);
        schema.to_latest(&mut database).map_err(|source| OutboxError::Schema {
            path: path.clone(),
            source,
        })?;
        let outbox = Self {
            database,
            depth: Depth::default(),
            lost: Vec::new(),
            max_rows: MAX_ROWS,
            pulse: Pulse::default(),
        };
        outbox.count().map_err(failed)?;
        Ok(outbox)
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
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut events = Vec::new();
            let mut acknowledged = Vec::new();
            let mut read = None;
            let (mut flush, mut close) = (false, false);
            // What waits is committed together: each commit waits for the disk.
            let waiting = std::iter::once(first).chain(std::iter::from_fn(|| messages.try_recv().ok()));
            for message in waiting.take(BATCH) {
                match message {
                    ToOutbox::Event(mut event) => {
                        event.published_at = Timestamp::now();
                        events.push((json_of(&event), event));
                    }
                    ToOutbox::Acknowledged(number) => acknowledged.push(number),
                    ToOutbox::Read { after, limit } => read = Some((after, limit)),
                    ToOutbox::Flush => flush = true,
                    ToOutbox::Close => close = true,
                }
            }
            let ids: Vec<String> = events.iter().map(|(_, event)| ulid_text(event.id)).collect();
            match self.write(&events, &acknowledged) {
                Ok(()) => {
                    for (json, event) in events {
                        let _ = answers.blocking_send(FromOutbox::Committed { event, json });
                    }
                }
                Err(error) => {
                    tracing::error!(%error, events = ids.len(), "can't write to the outbox; these events are not published");
                    self.depth.0.1.fetch_add(ids.len() as u64, Ordering::Relaxed);
                    self.lost.extend(ids);
                }
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
                return;
            }
        }
    }

    /// Writes events and forgets what was acknowledged, all or nothing.
    fn write(&mut self, events: &[(String, Box<Event>)], acknowledged: &[i64]) -> rusqlite::Result<()> {
        if events.is_empty() && acknowledged.is_empty() {
            return Ok(());
        }
        let lost = std::mem::take(&mut self.lost);
        let max_rows = self.max_rows;
        let written = (|| {
            let transaction = self.database.transaction()?;
            if !lost.is_empty() {
                insert_gap(&transaction, "could not be written", &lost)?;
            }
            for (json, event) in events {
                insert(&transaction, &ulid_text(event.id), json)?;
            }
            for number in acknowledged {
                transaction
                    .prepare_cached("DELETE FROM event WHERE number = ?1")?
                    .execute([number])?;
            }
            if !events.is_empty() {
                bound(&transaction, max_rows)?;
            }
            transaction.commit()
        })();
        if written.is_err() {
            self.lost = lost;
        } else {
            self.count()?;
        }
        written
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
        self.depth.0.0.store(rows.unsigned_abs(), Ordering::Relaxed);
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

fn insert(transaction: &Transaction<'_>, id: &str, json: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO event (id, at_ms, json) VALUES (?1, ?2, ?3)")?
        .execute(params![id, Timestamp::now().as_millisecond(), json])?;
    Ok(())
}

/// Names events that will never come.
fn insert_gap(transaction: &Transaction<'_>, reason: &str, ids: &[String]) -> rusqlite::Result<()> {
    for ids in ids.chunks(IDS_IN_A_GAP) {
        let id = ulid_text(Ulid::generate());
        let now = time_text(Timestamp::now());
        let json = json!({"v": 1, "id": id, "event_type": "gap", "published_at": now, "reason": reason, "ids": ids});
        insert(transaction, &id, &json.to_string())?;
    }
    Ok(())
}

/// Takes out the oldest rows beyond the bounds and names them in `gap` records; a gap record that is itself taken out
/// hands its ids on.
fn bound(transaction: &Transaction<'_>, max_rows: u64) -> rusqlite::Result<()> {
    let oldest_ms = Timestamp::now().as_millisecond() - i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX);
    // A tenth at once, so that a full outbox does not write a gap for each event.
    let beyond: Option<i64> = transaction
        .query_row(
            "SELECT number FROM event ORDER BY number DESC LIMIT 1 OFFSET ?1",
            [i64::try_from(max_rows).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )
        .optional()?;
    let last = match beyond {
        Some(number) => number.saturating_add(i64::try_from(max_rows / 10).unwrap_or(0)),
        None => transaction.query_row(
            "SELECT coalesce(max(number), 0) FROM event WHERE at_ms < ?1",
            [oldest_ms],
            |row| row.get(0),
        )?,
    };
    if last == 0 {
        return Ok(());
    }
    let mut ids: Vec<String> = Vec::new();
    let mut statement = transaction.prepare("SELECT id, json FROM event WHERE number <= ?1 ORDER BY number")?;
    let rows = statement.query_map([last], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows {
        let (id, json) = row?;
        let gap = serde_json::from_str::<serde_json::Value>(&json)
            .ok()
            .filter(|value| value["event_type"] == "gap");
        match gap.as_ref().and_then(|value| value["ids"].as_array()) {
            Some(named) => ids.extend(named.iter().filter_map(|id| id.as_str()).map(str::to_owned)),
            None => ids.push(id),
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    transaction.execute("DELETE FROM event WHERE number <= ?1", [last])?;
    tracing::error!(events = ids.len(), "the outbox is full; its oldest events are given up");
    insert_gap(transaction, "the outbox was full", &ids)
}

fn json_of(event: &Event) -> String {
    // Serialising plain text and numbers into memory can't fail.
    serde_json::to_string(event).unwrap_or_default()
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
