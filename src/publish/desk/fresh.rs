//! Events on their way to `event`: sent young or not at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::event::{Event, ulid_text};

/// When the broker has not acknowledged an event for so long, no further one is sent into a connection that may be
/// dead: it would come out late.
const SILENCE: Duration = Duration::from_secs(2);
/// An event with less life than this is not sent: the broker counts whole seconds.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// Fresh events that may wait; each lives ten seconds at most.
const MAX_FRESH: usize = 1024;

/// Fresh events in order.
#[derive(Default)]
pub(super) struct Fresh {
    waiting: VecDeque<(Box<Event>, String)>,
    /// When each event that is not acknowledged was sent; answers come in order.
    sent: VecDeque<Instant>,
    too_old: u64,
}

impl Fresh {
    pub(super) fn push(&mut self, event: Box<Event>, json: String) {
        self.waiting.push_back((event, json));
        if self.waiting.len() > MAX_FRESH {
            self.waiting.pop_front();
            self.too_old += 1;
        }
    }

    /// Gives up those that are too old; they are in the log.
    pub(super) fn give_up_old_ones(&mut self, now: Instant) {
        while let Some((event, _)) = self.waiting.front() {
            if event.life_left(now) >= LEAST_LIFE {
                return;
            }
            self.too_old += 1;
            tracing::warn!(
                track = ulid_text(event.track),
                "an event grew too old for `event`; it is in the log only"
            );
            self.waiting.pop_front();
        }
    }

    /// The next one, and the whole seconds that it may live, at least 1. `None` also while the connection is silent.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Box<Event>, String, u32)> {
        let silent = |sent: &Instant| now.saturating_duration_since(*sent) > SILENCE;
        if self.sent.front().is_some_and(silent) {
            return None;
        }
        self.give_up_old_ones(now);
        let (event, json) = self.waiting.pop_front()?;
        // Rounded down: it must not outlive its life.
        let seconds = u32::try_from(event.life_left(now).as_secs()).unwrap_or(1);
        Some((event, json, seconds))
    }

    pub(super) fn put_back(&mut self, event: Box<Event>, json: String) {
        self.waiting.push_front((event, json));
    }

    pub(super) fn was_sent(&mut self, now: Instant) {
        self.sent.push_back(now);
    }

    pub(super) fn was_answered(&mut self) {
        self.sent.pop_front();
    }

    /// Answers of an older connection don't come.
    pub(super) fn disconnected(&mut self) {
        self.sent.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn too_old(&self) -> u64 {
        self.too_old
    }
}
