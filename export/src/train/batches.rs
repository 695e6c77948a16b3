//! What a training step sees, made ahead of it on other threads, so that the training thread never waits for a photo.
//!
//! Whoever makes a batch, its content hangs on its number alone: each has its own random numbers.

use std::num::Wrapping;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Batches that each thread may be ahead.
const AHEAD: usize = 3;

/// A seed that hangs on all of `parts`, so that no two places of a run draw the same numbers (the finaliser of
/// `SplitMix64`, Steele, Lea and Flood 2014).
pub fn seed_of(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| {
        let mut z = Wrapping(state) + Wrapping(*part) + Wrapping(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)) * Wrapping(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)) * Wrapping(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).0
    })
}

/// Random numbers that hang on all of `parts`.
pub fn random_of(parts: &[u64]) -> StdRng {
    StdRng::seed_from_u64(seed_of(parts))
}

/// Batches in order, made ahead.
pub struct Ahead<T> {
    from: Vec<Receiver<T>>,
    next: usize,
    waited: Duration,
}

impl<T: Send> Ahead<T> {
    /// Starts `threads` threads of `scope` that call `make` for the batches `0..count`. They end by themselves, also when
    /// the batches are dropped before the end.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start<'s, 'e>(
        scope: &'s Scope<'s, 'e>,
        threads: usize,
        count: usize,
        make: &'e (impl Fn(usize) -> T + Sync),
    ) -> std::io::Result<Self>
    where
        T: 's,
    {
        let threads = threads.max(1);
        let mut from = Vec::with_capacity(threads);
        for first in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            std::thread::Builder::new()
                .name(format!("batches-{first}"))
                .spawn_scoped(scope, move || {
                    for number in (first..count).step_by(threads) {
                        if sender.send(make(number)).is_err() {
                            return;
                        }
                    }
                })?;
            from.push(receiver);
        }
        Ok(Self {
            from,
            next: 0,
            waited: Duration::ZERO,
        })
    }

    /// How long [`Iterator::next`] has waited altogether.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let since = Instant::now();
        let batch = self.from.get(self.next % self.from.len().max(1))?.recv().ok();
        self.waited += since.elapsed();
        self.next += 1;
        batch
    }
}

/// Batches of `people_per_batch` people with `photos_each` photos each, enough for each photo to come up about once.
/// `people[i]` is whom photo `i` shows. Somebody with fewer photos gives those that they have; of more people than a
/// batch takes, others come up each time.
pub fn people_with_photos(
    people: &[usize],
    people_per_batch: usize,
    photos_each: usize,
    random: &mut StdRng,
) -> Vec<Vec<usize>> {
    use rand::seq::SliceRandom;

    let mut of_person = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for (photo, person) in people.iter().enumerate() {
        of_person.entry(*person).or_default().push(photo);
    }
    let mut queues: Vec<(Vec<usize>, usize)> = of_person
        .into_values()
        .map(|mut photos| {
            photos.shuffle(random);
            (photos, 0)
        })
        .collect();
    let batch = people_per_batch.min(queues.len()) * photos_each;
    let count = people.len().div_ceil(batch.max(1));
    let mut turns: Vec<usize> = Vec::new();
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        let mut here = Vec::with_capacity(batch);
        let mut taken = Vec::with_capacity(people_per_batch);
        while taken.len() < people_per_batch.min(queues.len()) {
            if turns.is_empty() {
                turns = (0..queues.len()).collect();
                turns.shuffle(random);
            }
            // Somebody who is in this batch already comes up again in the next.
            let Some(place) = turns.iter().rposition(|person| !taken.contains(person)) else {
                turns.clear();
                continue;
            };
            taken.push(turns.remove(place));
        }
        for person in taken {
            let Some((photos, at)) = queues.get_mut(person) else {
                continue;
            };
            let wanted = photos_each.min(photos.len());
            if *at + wanted > photos.len() {
                photos.shuffle(random);
                *at = 0;
            }
            here.extend_from_slice(photos.get(*at..*at + wanted).unwrap_or_default());
            *at += wanted;
        }
        batches.push(here);
    }
    batches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batches_come_in_order_whoever_makes_them() {
        for threads in [1, 2, 3] {
            let make = |number: usize| number * number;
            std::thread::scope(|scope| {
                let batches: Vec<usize> = Ahead::start(scope, threads, 20, &make).unwrap().collect();
                assert_eq!(batches, (0..20).map(|n| n * n).collect::<Vec<_>>());
            });
        }
    }

    #[test]
    fn threads_end_when_nobody_wants_more() {
        let make = |number: usize| number;
        // Leaving the scope waits for the threads.
        std::thread::scope(|scope| {
            assert_eq!(Ahead::start(scope, 2, 1_000_000, &make).unwrap().next(), Some(0));
        });
    }

    #[test]
    fn seeds_hang_on_every_part() {
        let seeds: BTreeSet<u64> = [[1, 2, 3], [1, 3, 2], [0, 2, 3], [1, 2, 4], [2, 1, 3]]
            .iter()
            .map(|parts| seed_of(parts))
            .collect();
        assert_eq!(seeds.len(), 5);
    }

    proptest! {
        #[test]
        fn a_batch_has_the_people_and_photos_asked_for(
            people in proptest::collection::vec(0_usize..6, 1..60),
            per_batch in 1_usize..8,
            each in 1_usize..6,
            seed in any::<u64>(),
        ) {
            let batches = people_with_photos(&people, per_batch, each, &mut random_of(&[seed]));
            let there: BTreeSet<usize> = people.iter().copied().collect();
            for batch in &batches {
                let here: BTreeSet<usize> = batch.iter().map(|&photo| people[photo]).collect();
                prop_assert_eq!(here.len(), per_batch.min(there.len()));
                prop_assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), batch.len(), "no photo twice");
                for person in here {
                    let photos = batch.iter().filter(|&&photo| people[photo] == person).count();
                    let all = people.iter().filter(|&&p| p == person).count();
                    prop_assert_eq!(photos, each.min(all));
                }
            }
            let again = people_with_photos(&people, per_batch, each, &mut random_of(&[seed]));
            prop_assert_eq!(batches, again);
        }
    }
}
