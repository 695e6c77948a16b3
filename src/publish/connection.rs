//! Whether there is a broker, for those who ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the connection to the broker does. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<(AtomicBool, AtomicU64)>);

impl Connection {
    pub(super) fn up(&self) {
        self.0.1.fetch_add(1, Ordering::Relaxed);
        self.0.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn down(&self) {
        self.0.0.store(false, Ordering::Relaxed);
    }

    /// Whether the broker has accepted us, and has not gone since.
    pub fn is_up(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }

    /// How often a broker has accepted us since the start.
    pub fn count(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}
