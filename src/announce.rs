//! From a camera's verdicts to what is said about them: events, who is in view, who was seen. The rule that nobody is
//! announced twice in a short time lives here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use jiff::Timestamp;
use tokio::sync::mpsc as tokio_mpsc;
use ulid::Ulid;

use crate::event::{Event, EventKind, two_decimals_down, ulid_text};
use crate::frame::{CameraId, CapturedAt};
use crate::gallery::Person;
use crate::publish::{Saying, ToOutbox};
use crate::sightings::Recorder;
use crate::track::{ShotTaken, Track};
use crate::verdict::{Judgement, Verdict};
use crate::visits::Tally;

/// A person in view is reported as seen so often.
const SEEN_EVERY: Duration = Duration::from_secs(1);
/// Quality of published pictures.
const JPEG_QUALITY: u8 = 85;

/// One camera's voice. Owned by its worker.
pub struct Announcer {
    node: Arc<str>,
    camera: CameraId,
    model: Arc<str>,
    again: Duration,
    outbox: SyncSender<ToOutbox>,
    say: tokio_mpsc::Sender<Saying>,
    /// Remembers visits, where that is wanted.
    recorder: Option<Recorder>,
    /// Whether pictures of faces are published.
    pictures: bool,
    tally: Arc<Tally>,
    /// When each person was announced last, and on which track.
    announced: RefCell<HashMap<Ulid, (Instant, Ulid)>>,
    /// The last event about each track.
    events: RefCell<HashMap<Ulid, Said>>,
    /// What was said last about who is in view, to say it again only when it changes.
    in_view: RefCell<Option<(Vec<Ulid>, usize)>>,
    seen_at: Cell<Option<Instant>>,
}

/// The last event about a track.
#[derive(Debug, Clone, Copy)]
struct Said {
    event: Ulid,
    /// Whether a vote led to it, so that `left` will follow.
    is_verdict: bool,
}

impl Announcer {
    /// A voice for `camera`. Events go to the outbox, where sending waits (an event is never dropped to save time);
    /// states go to the publisher, where sending waits too (it never blocks on the broker).
    #[expect(
        clippy::too_many_arguments,
        reason = "what a voice is made of; each is used once, in one place"
    )]
    pub fn new(
        node: Arc<str>,
        camera: CameraId,
        model: Arc<str>,
        again: Duration,
        outbox: SyncSender<ToOutbox>,
        say: tokio_mpsc::Sender<Saying>,
        recorder: Option<Recorder>,
        pictures: bool,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            node,
            camera,
            model,
            again,
            outbox,
            say,
            recorder,
            pictures,
            tally,
            announced: RefCell::default(),
            events: RefCell::default(),
            in_view: RefCell::default(),
            seen_at: Cell::default(),
        }
    }

    /// Passes a state on to the publisher.
    pub fn say(&self, saying: Saying) {
        // It ends after the workers, so this fails only while the daemon falls over.
        if self.say.blocking_send(saying).is_err() {
            tracing::debug!("nobody publishes any more");
        }
    }

    /// Says that `track` was judged, unless its person was announced a moment ago on another track or is ignored. `was`
    /// is the verdict before.
    pub fn judged(&self, track: &Track, judgement: &Judgement, was: Option<&Verdict>, now: Instant) {
        let event = self.announce(track, judgement, was, now);
        if let (Judgement::Voted(verdict) | Judgement::Corrected(verdict), Some(recorder)) = (judgement, &self.recorder)
        {
            recorder.stands(track, verdict, event, false);
        }
    }

    /// Gives the event, if there was one.
    fn announce(&self, track: &Track, judgement: &Judgement, was: Option<&Verdict>, now: Instant) -> Option<Ulid> {
        let shot = track.shots.last()?;
        let (kind, verdict) = match judgement {
            Judgement::Preliminary(verdict) => (EventKind::Preliminary, verdict),
            Judgement::Voted(verdict) if verdict.person.is_some() => (EventKind::Recognized, verdict),
            Judgement::Voted(verdict) => (EventKind::Unknown, verdict),
            Judgement::Corrected(verdict) => match self.event_of(track) {
                Some(corrects) => {
                    let was = was.and_then(|before| before.person.clone());
                    (EventKind::Corrected { corrects, was }, verdict)
                }
                // What was never announced needs no correction.
                None if verdict.person.is_some() => (EventKind::Recognized, verdict),
                None => (EventKind::Unknown, verdict),
            },
        };
        if !matches!(kind, EventKind::Preliminary) {
            self.seen_by(track, verdict, shot.captured_at);
        }
        if let Some(person) = &verdict.person
            && !matches!(kind, EventKind::Corrected { .. })
            && (person.ignored || !self.may_announce(person, track.id, now))
        {
            tracing::debug!(
                track = ulid_text(track.id),
                person = person.id,
                "is ignored, or was announced a moment ago"
            );
            return None;
        }
        if let EventKind::Corrected { was, .. } = &kind {
            self.announced_instead(was.as_deref(), verdict.person.as_deref(), track.id, now);
        } else if !matches!(kind, EventKind::Preliminary) {
            // A preliminary word about somebody else is taken back by the vote.
            let named = verdict.person.as_ref().map(|person| person.uid);
            let mut announced = self.announced.borrow_mut();
            announced.retain(|uid, (_, on)| *on != track.id || Some(*uid) == named);
        }
        let event = self.event(kind, track.id, shot, verdict);
        let is_verdict = !matches!(event.kind, EventKind::Preliminary);
        if is_verdict {
            self.face(track.shots.best());
        }
        let id = event.id;
        self.events
            .borrow_mut()
            .insert(track.id, Said { event: id, is_verdict });
        self.send(event);
        Some(id)
    }

    /// Says nothing any more about the track `gone`, which turned out to be `into`.
    pub fn joined(&self, gone: Ulid, into: Ulid) {
        self.events.borrow_mut().remove(&gone);
        for (_, on) in self.announced.borrow_mut().values_mut() {
            if *on == gone {
                *on = into;
            }
        }
    }

    fn event_of(&self, track: &Track) -> Option<Ulid> {
        self.events.borrow().get(&track.id).map(|said| said.event)
    }

    /// A correction takes back that somebody was announced on this track, so that they can be announced on another one.
    fn announced_instead(&self, was: Option<&Person>, person: Option<&Person>, track: Ulid, now: Instant) {
        let mut announced = self.announced.borrow_mut();
        if let Some(was) = was {
            announced.retain(|uid, (_, on)| *uid != was.uid || *on != track);
        }
        if let Some(person) = person {
            announced.insert(person.uid, (now, track));
        }
    }

    /// Whether `person` was not announced on another track within the time; remembers it if so.
    fn may_announce(&self, person: &Person, track: Ulid, now: Instant) -> bool {
        let mut announced = self.announced.borrow_mut();
        announced.retain(|_, (at, _)| now.saturating_duration_since(*at) < self.again);
        match announced.get(&person.uid) {
            Some((_, on)) => *on == track,
            None => {
                announced.insert(person.uid, (now, track));
                true
            }
        }
    }

    /// Says that a track ended, if it was announced.
    pub fn ended(&self, track: &Track) {
        let announced = self.events.borrow_mut().remove(&track.id);
        let shots = &track.shots;
        // A track that got no verdict has nobody who could leave.
        let (Some(shot), Some(verdict)) = (shots.last(), &shots.verdict) else {
            return;
        };
        // Who was never announced doesn't leave either.
        if !announced.is_some_and(|said| said.is_verdict) {
            self.remember_end(track, verdict, None);
            return;
        }
        let duration = track.last.monotonic.saturating_duration_since(track.first.monotonic);
        let mut event = self.event(EventKind::Left { duration }, track.id, shot, verdict);
        event.captured_at = track.last;
        self.remember_end(track, verdict, Some(event.id));
        self.send(event);
    }

    fn remember_end(&self, track: &Track, verdict: &Verdict, event: Option<Ulid>) {
        if let Some(recorder) = &self.recorder {
            recorder.stands(track, verdict, event, true);
        }
    }

    fn event(&self, kind: EventKind, track: Ulid, shot: &ShotTaken, verdict: &Verdict) -> Event {
        Event {
            id: Ulid::generate(),
            kind,
            node: Arc::clone(&self.node),
            camera: self.camera.clone(),
            track,
            captured_at: shot.captured_at,
            published_at: Timestamp::now(),
            person: verdict.person.clone(),
            similar_to: verdict.similar_to.clone().filter(|person| !person.ignored),
            confidence: verdict.confidence,
            shots: verdict.shots,
            zones: shot.zones.clone(),
            box_frame_fraction: shot.box_frame_fraction,
            face_height_px: shot.face_height_px,
            model: Arc::clone(&self.model),
        }
    }

    fn send(&self, event: Event) {
        self.tally.event(&event.kind);
        tracing::info!(
            track = ulid_text(event.track),
            person = event.person.as_ref().map(|person| person.id.as_str()),
            confidence = two_decimals_down(event.confidence),
            age_ms = event.captured_at.monotonic.elapsed().as_millis(),
            "{}",
            event.kind.name()
        );
        if self.outbox.send(ToOutbox::Event(Box::new(event))).is_err() {
            tracing::error!("the outbox is gone; an event is lost");
        }
    }

    fn face(&self, best: Option<&ShotTaken>) {
        if !self.pictures {
            return;
        }
        let Some(picture) = best.and_then(|shot| shot.picture.as_ref()) else {
            return;
        };
        let mut jpeg = Vec::new();
        if let Err(error) = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(picture) {
            tracing::warn!(%error, "can't make a picture of the face");
            return;
        }
        self.say(Saying::Face {
            camera: self.camera.clone(),
            jpeg,
        });
    }

    /// Says who is in view, if that changed.
    pub fn in_view<'a>(&self, tracks: impl Iterator<Item = &'a Track>) {
        let mut people: Vec<Arc<Person>> = Vec::new();
        let mut unknown = 0;
        for verdict in tracks.filter_map(|track| track.shots.verdict.as_ref()) {
            match &verdict.person {
                Some(person) if person.ignored => {}
                Some(person) if people.iter().any(|other| other.uid == person.uid) => {}
                Some(person) => people.push(Arc::clone(person)),
                None => unknown += 1,
            }
        }
        people.sort_by(|a, b| a.id.cmp(&b.id));
        let now = Some((people.iter().map(|person| person.uid).collect(), unknown));
        if *self.in_view.borrow() != now {
            *self.in_view.borrow_mut() = now;
            self.say(Saying::InView {
                camera: self.camera.clone(),
                people,
                unknown,
            });
        }
    }

    /// Says which named people are seen, about once a second.
    pub fn seen<'a>(&self, tracks: impl Iterator<Item = &'a Track>, now: Instant) {
        if self
            .seen_at
            .get()
            .is_some_and(|at| now.saturating_duration_since(at) < SEEN_EVERY)
        {
            return;
        }
        for track in tracks {
            if let Some(verdict) = &track.shots.verdict {
                self.seen_at.set(Some(now));
                self.seen_by(track, verdict, track.last);
            }
        }
    }

    fn seen_by(&self, track: &Track, verdict: &Verdict, at: CapturedAt) {
        if let Some(person) = verdict.person.as_ref().filter(|person| !person.ignored) {
            self.say(Saying::Seen {
                person: Arc::clone(person),
                camera: self.camera.clone(),
                at,
                confidence: verdict.confidence,
                event: self.event_of(track),
            });
        }
    }
}

#[cfg(test)]
#[path = "announce_tests.rs"]
mod tests;
