//! What is counted of a camera's visits; written by its worker, read at any time by others.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::EventKind;

/// Counts since the start, and the tracks of now.
#[derive(Debug, Default)]
pub struct Tally {
    tracks: AtomicU64,
    ended: AtomicU64,
    preliminary: AtomicU64,
    recognized: AtomicU64,
    unknown: AtomicU64,
    corrected: AtomicU64,
    left: AtomicU64,
}

impl Tally {
    /// So many tracks are live.
    pub fn set_tracks(&self, tracks: usize) {
        self.tracks.store(tracks as u64, Ordering::Relaxed);
    }

    /// A track ended.
    pub fn track_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// An event was made.
    pub fn event(&self, kind: &EventKind) {
        let count = match kind {
            EventKind::Preliminary => &self.preliminary,
            EventKind::Recognized => &self.recognized,
            EventKind::Unknown => &self.unknown,
            EventKind::Corrected { .. } => &self.corrected,
            EventKind::Left { .. } => &self.left,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Tracks of now.
    pub fn tracks(&self) -> u64 {
        self.tracks.load(Ordering::Relaxed)
    }

    /// Tracks that ended, with or without a verdict.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// How many events of each `event_type` were made.
    pub fn events(&self) -> [(&'static str, u64); 5] {
        [
            ("preliminary", &self.preliminary),
            ("recognized", &self.recognized),
            ("unknown", &self.unknown),
            ("corrected", &self.corrected),
            ("left", &self.left),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
