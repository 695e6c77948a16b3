//! Who is `ON`: seen on any camera within the hold time. Pure but for the times that it is given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::frame::{CameraId, CapturedAt};
use crate::gallery::Person;

/// A person's attributes are published at most so often, so that a day in view is no flood.
const ATTRIBUTES_EVERY: Duration = Duration::from_secs(60);

/// A person who was seen.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) person: Arc<Person>,
    pub(super) camera: CameraId,
    pub(super) at: CapturedAt,
    pub(super) confidence: f64,
    pub(super) event: Option<Ulid>,
}

/// What a sighting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// The person was `OFF` until now.
    pub(super) comes: bool,
    /// The attributes are due.
    pub(super) attributes: bool,
}

#[derive(Debug)]
struct Present {
    last: Sighting,
    attributes_at: Option<Instant>,
    on: bool,
}

/// Everybody who was seen since the start.
#[derive(Debug)]
pub(super) struct Presence {
    hold: Duration,
    people: HashMap<String, Present>,
}

impl Presence {
    pub(super) fn new(hold: Duration) -> Self {
        Self {
            hold,
            people: HashMap::new(),
        }
    }

    /// From now on a person is held for so long.
    pub(super) fn set_hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// Takes a sighting in.
    pub(super) fn see(&mut self, mut sighting: Sighting, now: Instant) -> Change {
        let id = sighting.person.id.clone();
        let Some(present) = self.people.get_mut(&id) else {
            self.people.insert(
                id,
                Present {
                    last: sighting,
                    attributes_at: Some(now),
                    on: true,
                },
            );
            return Change {
                comes: true,
                attributes: true,
            };
        };
        // A track that was not announced has no event; the last one that was still stands for this visit.
        sighting.event = sighting.event.or(present.last.event);
        let due = |at: Instant| now.saturating_duration_since(at) >= ATTRIBUTES_EVERY;
        let change = Change {
            comes: !present.on,
            attributes: present.attributes_at.is_none_or(due),
        };
        present.on = true;
        present.last = sighting;
        if change.attributes {
            present.attributes_at = Some(now);
        }
        change
    }

    /// The last sighting of a person.
    pub(super) fn last(&self, id: &str) -> Option<&Sighting> {
        self.people.get(id).map(|present| &present.last)
    }

    /// Who goes `OFF` now: not seen within the hold time.
    pub(super) fn gone(&mut self, now: Instant) -> Vec<String> {
        let mut gone = Vec::new();
        for (id, present) in &mut self.people {
            let since = now.saturating_duration_since(present.last.at.monotonic);
            if present.on && since >= self.hold {
                present.on = false;
                gone.push(id.clone());
            }
        }
        gone
    }

    /// Forgets somebody who is no longer enrolled.
    pub(super) fn forget(&mut self, id: &str) {
        self.people.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::gallery::Name;

    fn sighting(id: &str, monotonic: Instant) -> Sighting {
        Sighting {
            person: Arc::new(Person::new(id, Ulid::generate(), Name::parse(id).unwrap())),
            camera: "door".into(),
            at: CapturedAt {
                monotonic,
                wall: Timestamp::UNIX_EPOCH,
            },
            confidence: 0.9,
            event: None,
        }
    }

    #[test]
    fn a_person_is_held_and_then_gone_once() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut presence = Presence::new(Duration::from_secs(60));
        let change = |comes, attributes| Change { comes, attributes };
        assert_eq!(presence.see(sighting("a", start), start), change(true, true));
        assert_eq!(presence.see(sighting("a", after(50)), after(50)), change(false, false));
        assert_eq!(presence.see(sighting("a", after(70)), after(70)), change(false, true));
        assert!(presence.gone(after(129)).is_empty());
        assert_eq!(presence.gone(after(130)), ["a"]);
        assert!(presence.gone(after(131)).is_empty());
        assert_eq!(presence.see(sighting("a", after(132)), after(132)), change(true, true));
    }

    #[test]
    fn attributes_are_due_once_a_minute_even_if_somebody_comes_and_goes() {
        let start = Instant::now();
        let mut presence = Presence::new(Duration::from_secs(1));
        presence.see(sighting("a", start), start);
        let soon = start + Duration::from_secs(10);
        assert_eq!(presence.gone(soon), ["a"]);
        let back = presence.see(sighting("a", soon), soon);
        assert_eq!((back.comes, back.attributes), (true, false));
    }
}
