//! A person is in one place at a time: of two tracks that were in one frame, at most one has a name. The nearer one keeps
//! it; the other is the next best person, or unknown, and remembers why.

use std::sync::Arc;

use ulid::Ulid;

use super::{Tell, Visits};
use crate::gallery::Person;
use crate::identify::Identifier;
use crate::track::{RefusedName, Track};
use crate::verdict::{Judgement, Shot, nearness, outcome, without};

/// How much nearer a track has to be to take a name from another one, by the identifier's own measure: so that a name
/// does not jump to and fro.
const NEARER: f32 = 0.05;

/// Who has the name that a judgement gives.
pub(super) enum Held {
    /// A track that was not seen since before this one was: it is the same visitor.
    Before(Ulid),
    /// A track that was in one frame with this one: it has to give up its name, this person's.
    Beside(Ulid, Arc<Person>),
}

impl Visits {
    /// The names that `track`, whose shots are `shots`, doesn't get. What was lost stays lost when the other track has
    /// ended: who stood beside Alice is not Alice when she has left.
    pub(super) fn refused(&self, track: &Track, shots: &[Shot], identifier: &dyn Identifier) -> Vec<RefusedName> {
        let mut refused = track.shots.refused.clone();
        for rival in self
            .tracker
            .iter()
            .filter(|rival| rival.id != track.id && rival.met(track))
        {
            let Some(person) = named(rival) else { continue };
            if nearness(shots, person.uid).is_none() {
                continue;
            }
            let of_rival = self.identified(rival, identifier);
            refused.retain(|before| before.person.uid != person.uid);
            refused.push(RefusedName {
                person: Arc::clone(person),
                held_by: rival.id,
                similarity: nearness(&of_rival, person.uid).unwrap_or_default(),
            });
        }
        let own = named(track).map(|person| person.uid);
        refused.retain(|one| {
            let near = nearness(shots, one.person.uid).unwrap_or_default();
            own != Some(one.person.uid) && near <= one.similarity + NEARER
        });
        refused
    }

    /// Who has the name that `judgement` gives to `track`.
    pub(super) fn held(&self, track: &Track, judgement: &Judgement) -> Option<Held> {
        let (Judgement::Voted(verdict) | Judgement::Corrected(verdict)) = judgement else {
            return None;
        };
        let person = verdict.person.as_ref()?;
        let holder = self
            .tracker
            .iter()
            .filter(|other| other.id != track.id && named(other).is_some_and(|name| name.uid == person.uid))
            .find(|other| other.met(track) || other.is_before(track))?;
        Some(if holder.met(track) {
            Held::Beside(holder.id, Arc::clone(person))
        } else {
            Held::Before(holder.id)
        })
    }

    /// Lets the track `id` give up its name to a nearer one: it is corrected to what its shots say without it.
    pub(super) fn give_up(&mut self, id: Ulid, winner: RefusedName, identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        let Some(track) = self.tracker.get(id) else { return };
        let shots = self.identified(track, identifier);
        // Nor may it get a name that somebody else beside it has.
        let mut impossible: Vec<Ulid> = self
            .tracker
            .iter()
            .filter(|other| other.id != id && other.met(track))
            .filter_map(|other| named(other).map(|person| person.uid))
            .collect();
        impossible.push(winner.person.uid);
        let verdict = outcome(&without(shots, &impossible));
        if let Some(track) = self.tracker.get_mut(id) {
            track.shots.refused.push(winner);
        }
        if let Some(verdict) = verdict {
            self.say(id, &Judgement::Corrected(verdict), tell);
        }
    }
}

/// The name that a track has.
fn named(track: &Track) -> Option<&Arc<Person>> {
    track.shots.verdict.as_ref()?.person.as_ref()
}
