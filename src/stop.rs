//! The wish to stop, seen by every thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::heartbeat::{BEAT, Pulse};

/// Set once; waited for by those who would otherwise sleep. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: Arc<(Mutex<bool>, Condvar)>,
    pulse: Pulse,
}

impl Stop {
    /// The same wish, for a worker whose sign of life it is that it looks at it.
    pub fn beating(&self, pulse: Pulse) -> Self {
        Self {
            asked: Arc::clone(&self.asked),
            pulse,
        }
    }

    /// Asks everybody to stop.
    pub fn set(&self) {
        *self.asked.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.asked.1.notify_all();
    }

    /// Whether it was asked for.
    pub fn is_set(&self) -> bool {
        self.pulse.beat();
        *self.asked.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `time` or until a stop is asked for; returns whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            // Before the lock: whoever hangs here must not keep others from seeing the wish.
            self.pulse.beat();
            let left = until.saturating_duration_since(Instant::now());
            let asked = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (asked, _) = self
                .asked
                .1
                .wait_timeout_while(asked, left.min(BEAT), |asked| !*asked)
                .unwrap_or_else(PoisonError::into_inner);
            if *asked || left <= BEAT {
                return *asked;
            }
        }
    }
}
