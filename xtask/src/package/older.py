"""Makes a gallery look as Kith 0.0.1 left it, in schema version 1, and prints the version that it had. Given: the
database. Tables of later versions go, columns of later versions too, so a new version needs nothing here."""

import sqlite3
import sys

gallery = sqlite3.connect(sys.argv[1], isolation_level=None)
(version,) = gallery.execute("PRAGMA user_version").fetchone()
assert version > 1
tables = [name for (name,) in gallery.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
gallery.execute("PRAGMA foreign_keys = OFF")
for table in tables:
    if table not in ("person", "face", "embedding") and not table.startswith("sqlite_"):
        gallery.execute(f"DROP TABLE {table}")
gallery.executescript(
    """
    PRAGMA journal_mode = DELETE;
    PRAGMA foreign_keys = OFF;
    BEGIN;
    CREATE TABLE old_person (
        person INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE CHECK (id <> '' AND id NOT GLOB '*[^a-z0-9_-]*'),
        uid TEXT NOT NULL UNIQUE CHECK (length(uid) = 26),
        name TEXT NOT NULL CHECK (name <> ''),
        role TEXT CHECK (role <> '')
    ) STRICT;
    INSERT INTO old_person SELECT person, id, uid, name, role FROM person;
    CREATE TABLE old_face (
        face INTEGER PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
        source_sha256 BLOB NOT NULL CHECK (length(source_sha256) = 32),
        box BLOB NOT NULL CHECK (length(box) = 16),
        landmarks BLOB NOT NULL CHECK (length(landmarks) = 40),
        probability REAL NOT NULL,
        size_px REAL NOT NULL,
        sharpness REAL NOT NULL,
        yaw_degrees REAL NOT NULL,
        crop BLOB,
        crop_place BLOB CHECK (length(crop_place) = 12 AND (crop IS NULL) = (crop_place IS NULL)),
        UNIQUE (person, source_sha256)
    ) STRICT;
    INSERT INTO old_face SELECT face, person, source_sha256, box, landmarks, probability, size_px, sharpness,
        yaw_degrees, crop, crop_place FROM face;
    DROP TABLE face;
    DROP TABLE person;
    ALTER TABLE old_face RENAME TO face;
    ALTER TABLE old_person RENAME TO person;
    PRAGMA user_version = 1;
    COMMIT;
    """
)
print(version)
