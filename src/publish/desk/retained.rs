//! The retained topics: what is wanted, what the broker was not told yet, and what has to be cleared. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// In which order topics are sent after a connection: who sees the later ones can trust the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// What is cleared.
    Gone,
    /// Home Assistant's devices.
    Discovery,
    /// States.
    State,
    /// Whether cameras deliver. The node's own `online` comes after all.
    Availability,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) rank: Rank,
    pub(super) topic: String,
    /// Empty clears the topic.
    pub(super) payload: Vec<u8>,
}

/// What the broker should hold of us, and what it holds.
#[derive(Debug, Default)]
pub(super) struct Retained {
    wanted: BTreeMap<String, (Rank, Vec<u8>)>,
    unsent: BTreeSet<(Rank, String)>,
    /// Every topic that the broker may hold.
    recorded: BTreeSet<String>,
    /// Asked to be put on record.
    asked: BTreeSet<String>,
    /// Published by other ways, never cleared.
    permanent: BTreeSet<String>,
    /// How many messages of each topic the broker has not answered yet.
    underway: BTreeMap<String, usize>,
    /// Whether everything wanted is known, so that what isn't can be cleared.
    complete: bool,
    /// Whether Home Assistant's devices wait for their parts to be put on record.
    discovery_waits: bool,
}

impl Retained {
    pub(super) fn new(recorded: BTreeSet<String>, permanent: impl IntoIterator<Item = String>) -> Self {
        Self {
            recorded,
            permanent: permanent.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Sets a topic, to be sent if it is new.
    pub(super) fn want(&mut self, rank: Rank, topic: String, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        if self.wanted.get(&topic).is_some_and(|(_, before)| *before == payload) {
            return;
        }
        self.unsent.remove(&(Rank::Gone, topic.clone()));
        self.unsent.insert((rank, topic.clone()));
        self.wanted.insert(topic, (rank, payload));
    }

    /// Clears a topic.
    pub(super) fn drop(&mut self, topic: &str) {
        if let Some((rank, _)) = self.wanted.remove(topic) {
            self.unsent.remove(&(rank, topic.to_owned()));
        }
        if self.recorded.contains(topic) && self.complete {
            self.unsent.insert((Rank::Gone, topic.to_owned()));
        }
    }

    /// From now on everything wanted is known: the rest of the record is cleared.
    pub(super) fn complete(&mut self) {
        self.complete = true;
        self.clear_the_rest();
    }

    fn clear_the_rest(&mut self) {
        if self.complete {
            let rest: Vec<String> = self
                .recorded
                .iter()
                .filter(|topic| self.is_gone(topic))
                .cloned()
                .collect();
            self.unsent.extend(rest.into_iter().map(|topic| (Rank::Gone, topic)));
        }
    }

    fn is_gone(&self, topic: &str) -> bool {
        !self.wanted.contains_key(topic) && !self.permanent.contains(topic)
    }

    /// All is to be said anew.
    pub(super) fn say_again(&mut self) {
        let all = self.wanted.iter().map(|(topic, (rank, _))| (*rank, topic.clone()));
        self.unsent.extend(all);
        self.clear_the_rest();
    }

    /// The topics that are to be put on record before they can be sent.
    pub(super) fn ask_for_record(&mut self) -> Vec<String> {
        let new = |topic: &String| !self.recorded.contains(topic) && !self.asked.contains(topic);
        let topics: Vec<String> = self
            .unsent
            .iter()
            .map(|(_, topic)| topic)
            .filter(|topic| new(topic))
            .cloned()
            .collect();
        self.asked.extend(topics.iter().cloned());
        topics
    }

    pub(super) fn remembered(&mut self, topic: String) {
        self.asked.remove(&topic);
        // It may have become unwanted meanwhile; then nobody was told of it, but the record was.
        if self.complete && self.is_gone(&topic) {
            self.unsent.insert((Rank::Gone, topic.clone()));
        }
        self.recorded.insert(topic);
    }

    /// The next message that may be sent; it counts as sent.
    pub(super) fn next(&mut self) -> Option<Next> {
        let (rank, topic) = self.unsent.first()?.clone();
        if rank == Rank::Discovery && self.discovery_waits {
            return None;
        }
        let payload = match self.wanted.get(&topic) {
            _ if !self.recorded.contains(&topic) => return None,
            Some((_, payload)) => payload.clone(),
            None => Vec::new(),
        };
        self.unsent.pop_first();
        *self.underway.entry(topic.clone()).or_default() += 1;
        Some(Next { rank, topic, payload })
    }

    /// It could not be sent after all.
    pub(super) fn put_back(&mut self, next: Next) {
        self.came_back(&next.topic);
        self.unsent.insert((next.rank, next.topic));
    }

    fn came_back(&mut self, topic: &str) {
        if let Some(count) = self.underway.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                self.underway.remove(topic);
            }
        }
    }

    /// The broker answered a message; `cleared` if it took one that clears the topic. Whether the topic is to be
    /// forgotten: not while a later message may still set it.
    pub(super) fn answered(&mut self, topic: &str, cleared: bool) -> bool {
        self.came_back(topic);
        cleared
            && self.is_gone(topic)
            && !self.underway.contains_key(topic)
            && !self.unsent.contains(&(Rank::Gone, topic.to_owned()))
            && self.recorded.remove(topic)
    }

    /// Nothing that is underway will be answered.
    pub(super) fn disconnected(&mut self) {
        self.underway.clear();
    }

    /// Whether everything was sent and answered.
    pub(super) fn is_said(&self) -> bool {
        self.unsent.is_empty() && self.underway.is_empty()
    }

    /// Lets Home Assistant's devices wait, or no longer.
    pub(super) fn let_discovery_wait(&mut self, waits: bool) {
        self.discovery_waits = waits;
    }

    /// What is left to send, without waiting for the record, for a farewell.
    pub(super) fn rest(&mut self) -> Vec<Next> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A broker, and a record on disk: what is left of us after a kill.
    #[derive(Default)]
    struct World {
        broker: BTreeMap<String, Vec<u8>>,
        record: BTreeSet<String>,
    }

    fn start(world: &World, topics: &BTreeMap<u8, u8>) -> Retained {
        let mut retained = Retained::new(world.record.clone(), []);
        for (topic, value) in topics {
            retained.want(Rank::State, format!("t{topic}"), vec![b'v', *value]);
        }
        retained.complete();
        retained
    }

    /// Does at most `steps` things, as the desk does them.
    fn work(retained: &mut Retained, world: &mut World, steps: usize) {
        for _ in 0..steps {
            let new = retained.ask_for_record();
            if !new.is_empty() {
                world.record.extend(new.iter().cloned());
                for topic in new {
                    retained.remembered(topic);
                }
                continue;
            }
            let Some(next) = retained.next() else { return };
            if next.payload.is_empty() {
                world.broker.remove(&next.topic);
                if retained.answered(&next.topic, true) {
                    world.record.remove(&next.topic);
                }
            } else {
                retained.answered(&next.topic, false);
                world.broker.insert(next.topic, next.payload);
            }
        }
    }

    proptest! {
        /// After any sequence of changes, kills and restarts the broker holds exactly what is wanted.
        #[test]
        fn the_broker_holds_exactly_what_is_wanted(
            runs in prop::collection::vec(
                (prop::collection::vec((0_u8..6, prop::option::of(0_u8..3), 0_usize..4), 0..8), any::<bool>()),
                1..6,
            )
        ) {
            let mut world = World::default();
            let mut wanted: BTreeMap<u8, u8> = BTreeMap::new();
            for (changes, killed) in runs {
                let mut retained = start(&world, &wanted);
                for (topic, value, steps) in changes {
                    match value {
                        Some(value) => {
                            wanted.insert(topic, value);
                            retained.want(Rank::State, format!("t{topic}"), vec![b'v', value]);
                        }
                        None => {
                            wanted.remove(&topic);
                            retained.drop(&format!("t{topic}"));
                        }
                    }
                    work(&mut retained, &mut world, steps);
                }
                if !killed {
                    retained.say_again();
                    work(&mut retained, &mut world, usize::MAX);
                    let expected: BTreeMap<String, Vec<u8>> =
                        wanted.iter().map(|(topic, value)| (format!("t{topic}"), vec![b'v', *value])).collect();
                    prop_assert_eq!(&world.broker, &expected);
                    prop_assert_eq!(world.record.iter().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn nothing_is_sent_before_it_is_on_record_nor_out_of_order() {
        let mut retained = Retained::new(["old".to_owned()].into(), []);
        retained.want(Rank::Availability, "a".to_owned(), "online");
        retained.want(Rank::State, "s".to_owned(), "1");
        assert_eq!(retained.next(), None);
        retained.complete();
        let old = retained.next().unwrap();
        assert_eq!(
            (old.rank, old.topic.as_str(), old.payload.len()),
            (Rank::Gone, "old", 0)
        );
        assert_eq!(retained.ask_for_record(), ["s", "a"]);
        retained.remembered("a".to_owned());
        assert_eq!(retained.next(), None, "the state before it is not on record");
        retained.remembered("s".to_owned());
        let order: Vec<String> = retained.rest().into_iter().map(|next| next.topic).collect();
        assert_eq!(order, ["s", "a"]);
        for topic in ["old", "s", "a"] {
            assert!(!retained.is_said());
            assert_eq!(retained.answered(topic, topic == "old"), topic == "old");
        }
        assert!(retained.is_said());
    }

    /// Cleared, set and cleared again before the first answer: only the last answer says that nothing is left.
    #[test]
    fn a_topic_is_forgotten_at_the_last_answer_only() {
        let mut retained = Retained::new(["a".to_owned()].into(), []);
        retained.complete();
        assert_eq!(retained.next().unwrap().payload, b"");
        retained.want(Rank::State, "a".to_owned(), "1");
        assert_eq!(retained.next().unwrap().payload, b"1");
        retained.drop("a");
        assert!(!retained.answered("a", true));
        assert_eq!(retained.next().unwrap().payload, b"");
        assert!(!retained.answered("a", false));
        assert!(retained.answered("a", true));
    }
}
