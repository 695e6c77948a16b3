//! The record of what was ever retained under our name: every topic and, within Home Assistant's discovery, every
//! component. A topic is on record before it is published, and leaves it when the broker has acknowledged that it is
//! cleared. So a change of people, cameras, node id or base topic leaves nothing behind, whenever we were killed.

use rusqlite::{Connection, Transaction, params};

/// One entry of the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// A retained topic.
    Topic(String),
    /// A part of a device that Home Assistant was told of.
    Component(Component),
}

/// A part of a device that Home Assistant was told of: an entity or a trigger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component {
    /// The device's discovery topic.
    pub topic: String,
    /// Its key within the device, which is its `unique_id` too.
    pub id: String,
    /// Such as `binary_sensor`.
    pub platform: String,
    /// Whether Home Assistant was told that it is gone; that is repeated at its next birth, and then forgotten.
    pub leaving: bool,
}

/// The second step of the outbox's schema.
pub(super) const SCHEMA: &str = "CREATE TABLE retained (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID; \
     CREATE TABLE component (topic TEXT NOT NULL, id TEXT NOT NULL, platform TEXT NOT NULL, \
     leaving INTEGER NOT NULL, PRIMARY KEY (topic, id)) STRICT, WITHOUT ROWID;";

pub(super) fn all(database: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut kept: Vec<Kept> = database
        .prepare("SELECT topic FROM retained")?
        .query_map([], |row| row.get(0).map(Kept::Topic))?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = database.prepare("SELECT topic, id, platform, leaving FROM component")?;
    let components = statement.query_map([], |row| {
        Ok(Kept::Component(Component {
            topic: row.get(0)?,
            id: row.get(1)?,
            platform: row.get(2)?,
            leaving: row.get(3)?,
        }))
    })?;
    for component in components {
        kept.push(component?);
    }
    Ok(kept)
}

/// Puts `kept` on record, over what is there.
pub(super) fn remember(transaction: &Transaction<'_>, kept: &Kept) -> rusqlite::Result<()> {
    match kept {
        Kept::Topic(topic) => transaction
            .prepare_cached("INSERT OR IGNORE INTO retained (topic) VALUES (?1)")?
            .execute([topic])?,
        Kept::Component(one) => transaction
            .prepare_cached("INSERT OR REPLACE INTO component (topic, id, platform, leaving) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![one.topic, one.id, one.platform, one.leaving])?,
    };
    Ok(())
}

pub(super) fn forget(transaction: &Transaction<'_>, kept: &Kept) -> rusqlite::Result<()> {
    match kept {
        Kept::Topic(topic) => transaction
            .prepare_cached("DELETE FROM retained WHERE topic = ?1")?
            .execute([topic])?,
        Kept::Component(one) => transaction
            .prepare_cached("DELETE FROM component WHERE topic = ?1 AND id = ?2")?
            .execute([&one.topic, &one.id])?,
    };
    Ok(())
}
