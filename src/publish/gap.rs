//! Events that will never come: what falls out of the bounded outbox, could not be written, or tells of somebody who
//! was removed. Their ids are named in a `gap` record on `log`.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::event::{time_text, ulid_text};

/// Rows are kept for so long.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Why events are missing that named somebody.
pub(super) const REMOVED: &str = "somebody in them was removed";
/// So many ids are named in one `gap` record, about 15 KiB.
const IDS_IN_A_GAP: usize = 500;

/// Adds a row; returns by how many the table grew.
pub(super) fn insert(transaction: &Transaction<'_>, id: &str, json: &str) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("INSERT INTO event (id, at_ms, json) VALUES (?1, ?2, ?3)")?
        .execute(params![id, Timestamp::now().as_millisecond(), json])
}

/// Names events that will never come; returns how many rows it took.
pub(super) fn insert_gap(transaction: &Transaction<'_>, reason: &str, ids: &[String]) -> rusqlite::Result<usize> {
    let mut rows = 0;
    for ids in ids.chunks(IDS_IN_A_GAP) {
        let id = ulid_text(Ulid::generate());
        let now = time_text(Timestamp::now());
        let json = json!({"v": 1, "id": id, "event_type": "gap", "published_at": now, "reason": reason, "ids": ids});
        rows += insert(transaction, &id, &json.to_string())?;
    }
    Ok(rows)
}

/// Takes out the oldest of `rows` rows beyond the bounds and names them; returns how many rows there are then.
pub(super) fn bound(transaction: &Transaction<'_>, rows: u64, max_rows: u64) -> rusqlite::Result<u64> {
    let oldest: Option<(i64, i64)> = transaction
        .prepare_cached("SELECT number, at_ms FROM event ORDER BY number LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, at_ms)) = oldest else { return Ok(rows) };
    let oldest_ms = Timestamp::now().as_millisecond() - i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX);
    let last: Option<i64> = if rows > max_rows {
        // A tenth at once, so that a full outbox does not write a gap for each event.
        let beyond = i64::try_from(rows - max_rows + max_rows / 10).unwrap_or(i64::MAX);
        transaction
            .query_row(
                "SELECT number FROM event ORDER BY number LIMIT 1 OFFSET ?1",
                [beyond - 1],
                |row| row.get(0),
            )
            .optional()?
    } else if at_ms < oldest_ms {
        // Rows are in the order of time, but for a clock that was set; then the first young one ends it.
        transaction
            .query_row(
                "SELECT number FROM event WHERE at_ms >= ?1 ORDER BY number LIMIT 1",
                [oldest_ms],
                |row| row.get::<_, i64>(0),
            )
            .optional()?
            .map_or(Some(i64::MAX), |young| Some(young - 1))
    } else {
        None
    };
    let Some(last) = last.filter(|last| *last >= first) else {
        return Ok(rows);
    };
    let mut statement = transaction.prepare("SELECT id, json FROM event WHERE number <= ?1 ORDER BY number")?;
    let ids = named_in(statement.query_map([last], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    let taken = transaction.execute("DELETE FROM event WHERE number <= ?1", [last])?;
    tracing::error!(events = ids.len(), "the outbox is full; its oldest events are given up");
    let added = insert_gap(transaction, "the outbox was full", &ids)?;
    Ok(rows + added as u64 - taken as u64)
}

/// Takes out every event that names somebody who is not among `enrolled`; returns how many rows there are then.
pub(super) fn forget_others(
    transaction: &Transaction<'_>,
    rows: u64,
    enrolled: &HashSet<Ulid>,
) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare("SELECT number, id, json FROM event ORDER BY number")?;
    let mut all = statement.query([])?;
    let mut found: Vec<(i64, String)> = Vec::new();
    while let Some(row) = all.next()? {
        let json: String = row.get(2)?;
        if names_others(&json, enrolled) {
            found.push((row.get(0)?, row.get(1)?));
        }
    }
    if found.is_empty() {
        return Ok(rows);
    }
    let mut ids = Vec::new();
    let taken = found.len() as u64;
    for (number, id) in found {
        transaction
            .prepare_cached("DELETE FROM event WHERE number = ?1")?
            .execute([number])?;
        ids.push(id);
    }
    let added = insert_gap(transaction, REMOVED, &ids)?;
    Ok(rows + added as u64 - taken)
}

/// Whether an event's JSON names somebody who is not among `enrolled`.
fn names_others(json: &str, enrolled: &HashSet<Ulid>) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(json) else {
        return false;
    };
    ["person", "similar_to", "was"].into_iter().any(|key| {
        let uid = event[key]["uid"].as_str().and_then(|uid| Ulid::from_string(uid).ok());
        uid.is_some_and(|uid| !enrolled.contains(&uid))
    })
}

/// The ids of the rows' events; a gap record that is itself taken out hands its ids on.
fn named_in(rows: impl Iterator<Item = rusqlite::Result<(String, String)>>) -> rusqlite::Result<Vec<String>> {
    let mut ids = Vec::new();
    for row in rows {
        let (id, json) = row?;
        let gap = serde_json::from_str::<Value>(&json)
            .ok()
            .filter(|value| value["event_type"] == "gap");
        match gap.as_ref().and_then(|value| value["ids"].as_array()) {
            Some(named) => ids.extend(named.iter().filter_map(|id| id.as_str()).map(str::to_owned)),
            None => ids.push(id),
        }
    }
    Ok(ids)
}
