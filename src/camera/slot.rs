//! The latest frame of a camera. A reader that is faster than its worker replaces the frame: what is old is dropped
//! and counted, never queued.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Meter;
use crate::frame::Frame;

/// Room for one frame.
#[derive(Debug, Default)]
pub struct Slot {
    frame: Mutex<Option<Frame>>,
    taken: Condvar,
    put: AtomicU64,
    dropped: AtomicU64,
    meter: Arc<Meter>,
}

impl Slot {
    /// Puts a frame, in place of one that nobody took. Returns whether the slot was empty, so whether the worker has
    /// to be told.
    pub fn put(&self, frame: Frame) -> bool {
        self.put.fetch_add(1, Ordering::Relaxed);
        let before = self.lock().replace(frame);
        if before.is_some() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        before.is_none()
    }

    /// Waits until the slot is empty, at most `time`; returns whether it is. For pictures that must not be dropped.
    pub fn wait_empty(&self, time: Duration) -> bool {
        let (frame, _) = self
            .taken
            .wait_timeout_while(self.lock(), time, |frame| frame.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        frame.is_none()
    }

    /// Takes the frame, if there is one.
    pub fn take(&self) -> Option<Frame> {
        let frame = self.lock().take();
        self.taken.notify_all();
        frame
    }

    /// How many frames were put, and how many of them were dropped, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.put.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// What else is counted of this camera.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Frame>> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
