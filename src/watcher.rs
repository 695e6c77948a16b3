//! One worker thread for each camera: it owns the camera's [`Visits`]. Frames come from the slot, go to the engine to
//! be searched, and come back with faces; chosen shots go to the engine to be embedded; verdicts become events. Nobody
//! else touches a track, and an answer for a track that has ended is dropped and counted.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::announce::Announcer;
use crate::camera::{CameraState, Gate, Slot};
use crate::detect::Face;
use crate::engine::Request;
use crate::frame::{CameraId, Frame};
use crate::heartbeat::Pulse;
use crate::identify::Identifier;
use crate::publish::Saying;
use crate::visits::{EmbeddedShot, Happening, Tell, VisitRules, Visits, WantedShot};

/// A frame that is older than this when it is its turn is thrown away.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How often tracks are looked at when no frame comes.
const LOOK: Duration = Duration::from_millis(200);
/// Messages that may wait for a worker. What it asked for comes back here, and it asks for a few things only, so this
/// is never full; a message that found no room would be dropped and logged.
const ROOM: usize = 256;

/// What a worker hears.
pub enum Heard {
    /// The slot, which was empty, has a frame.
    FrameReady,
    /// The camera delivers, or no longer does.
    Camera(CameraState),
    /// A frame came back with its faces; `None` where the network failed.
    Searched(Frame, Option<Vec<Face>>),
    /// A shot came back.
    Embedded(Box<EmbeddedShot>),
    /// Say what there is to be said, and end.
    Stop,
}

/// The identifier that is valid at the moment; replaced when the gallery changes.
pub type SharedIdentifier = Arc<RwLock<Arc<dyn Identifier>>>;

/// What a worker needs.
pub struct Watcher {
    /// Whose frames it gets.
    pub camera: CameraId,
    /// Where they come from.
    pub slot: Arc<Slot>,
    /// The smallest face that is looked for, in pixels.
    pub min_face_px: u32,
    /// Which frames are searched.
    pub gate: Gate,
    /// How visits are watched.
    pub rules: VisitRules,
    /// Who is who.
    pub identifier: SharedIdentifier,
    /// The way to the networks.
    pub engine: SyncSender<Request>,
    /// Makes events of verdicts.
    pub announcer: Announcer,
    /// The worker's sign of life.
    pub pulse: Pulse,
}

/// The inbox of a worker that is to be started.
pub struct Inbox {
    sender: SyncSender<Heard>,
    receiver: Receiver<Heard>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = sync_channel(ROOM);
        Self { sender, receiver }
    }
}

impl Inbox {
    /// A way to tell the worker something.
    pub fn sender(&self) -> SyncSender<Heard> {
        self.sender.clone()
    }
}

/// Tells a worker something without ever waiting for it.
pub fn tell(worker: &SyncSender<Heard>, heard: Heard) {
    if worker.try_send(heard).is_err() {
        tracing::debug!("a worker has ended, or its inbox is full; a message is dropped");
    }
}

impl Watcher {
    /// Starts the thread. `over` is called when the camera came to its end and all was said.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start(self, inbox: Inbox, over: impl FnOnce() + Send + 'static) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("watch-{}", self.camera))
            .spawn(move || {
                let span = tracing::info_span!("camera", camera = %self.camera);
                let mut watch = Watch {
                    single_pictures: self.rules.single_pictures,
                    visits: Visits::new(self.rules),
                    camera: self.camera,
                    slot: self.slot,
                    min_face_px: self.min_face_px,
                    gate: self.gate,
                    identifier: self.identifier,
                    engine: self.engine,
                    announcer: self.announcer,
                    pulse: self.pulse,
                    inbox: inbox.sender,
                    searching: false,
                    waited_for: 0,
                    ending: false,
                };
                span.in_scope(|| watch.run(&inbox.receiver));
                if watch.ending {
                    over();
                }
            })
    }
}

struct Watch {
    camera: CameraId,
    slot: Arc<Slot>,
    min_face_px: u32,
    gate: Gate,
    single_pictures: bool,
    identifier: SharedIdentifier,
    engine: SyncSender<Request>,
    announcer: Announcer,
    pulse: Pulse,
    inbox: SyncSender<Heard>,
    visits: Visits,
    /// Whether a frame of ours is at the engine.
    searching: bool,
    /// Shots of ours that are at the engine.
    waited_for: usize,
    /// The camera is over.
    ending: bool,
}

impl Watch {
    fn run(&mut self, inbox: &Receiver<Heard>) {
        self.announcer.in_view(self.visits.tracks());
        loop {
            self.pulse.beat();
            let wait = self.visits.due_in(Instant::now()).map_or(LOOK, |due| due.min(LOOK));
            match inbox.recv_timeout(wait) {
                Ok(Heard::FrameReady) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Heard::Camera(state)) => self.camera(state),
                Ok(Heard::Searched(frame, faces)) => self.searched(&frame, faces.as_deref()),
                Ok(Heard::Embedded(shot)) => {
                    self.waited_for = self.waited_for.saturating_sub(1);
                    // Tells in the log what a shot decided, and not the time.
                    let _by = tracing::debug_span!("shot").entered();
                    self.drive(|visits, identifier, tell| visits.embedded(*shot, Instant::now(), identifier, tell));
                }
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.search_next();
            self.drive(|visits, identifier, tell| visits.passed(Instant::now(), identifier, tell));
            self.announcer.in_view(self.visits.tracks());
            if self.ending && !self.searching && self.waited_for == 0 {
                break;
            }
        }
        self.drive(Visits::finish);
        self.announcer.in_view(self.visits.tracks());
        if self.visits.late() > 0 {
            tracing::debug!(late = self.visits.late(), "answers came after their tracks had ended");
        }
    }

    fn camera(&mut self, state: CameraState) {
        self.ending |= state == CameraState::Over;
        self.announcer.say(Saying::Camera {
            camera: self.camera.clone(),
            online: state == CameraState::Online,
        });
    }

    /// Sends the latest frame to be searched, if none of ours is there.
    fn search_next(&mut self) {
        // A picture that stands alone is done with before the next one.
        if self.searching || (self.single_pictures && self.waited_for > 0) {
            return;
        }
        let Some(frame) = self.slot.take() else {
            return;
        };
        if !self.single_pictures && frame.captured_at.monotonic.elapsed() > MAX_AGE {
            tracing::debug!(sequence = frame.sequence, "a frame waited too long");
            return;
        }
        let at = frame.captured_at.monotonic;
        let live = self.visits.live(at);
        if !self.single_pictures && !self.gate.look(&frame.pixels, at, live) {
            self.slot.meter().still();
            return;
        }
        let inbox = self.inbox.clone();
        self.searching = self
            .engine
            .send(Request::Detect {
                frame,
                min_face_px: self.min_face_px,
                answer: Box::new(move |frame, faces| tell(&inbox, Heard::Searched(frame, faces))),
            })
            .is_ok();
    }

    fn searched(&mut self, frame: &Frame, faces: Option<&[Face]>) {
        self.searching = false;
        let Some(faces) = faces else { return };
        self.drive(|visits, identifier, tell| visits.saw(frame, faces, identifier, tell));
        self.announcer.seen(self.visits.tracks(), Instant::now());
    }

    /// Lets `step` move the visits on, and passes on what comes out of them.
    fn drive(&mut self, step: impl FnOnce(&mut Visits, &dyn Identifier, &mut Tell<'_>)) {
        let identifier = Arc::clone(&self.identifier.read().unwrap_or_else(PoisonError::into_inner));
        let (announcer, engine, inbox) = (&self.announcer, &self.engine, &self.inbox);
        let (tally, waited_for) = (self.slot.tally(), &mut self.waited_for);
        step(&mut self.visits, &*identifier, &mut |happening| match happening {
            Happening::Wanted(shot) => *waited_for += usize::from(embed(engine, inbox, shot)),
            Happening::LeftOut(_) | Happening::PassedOver(..) | Happening::Identified(..) => {}
            Happening::Judged { track, judgement, was } => announcer.judged(track, judgement, was, Instant::now()),
            Happening::Joined { gone, into, .. } => announcer.joined(gone, into.id),
            Happening::Ended(track) => {
                announcer.ended(track);
                tally.track_ended();
            }
        });
        self.slot.tally().set_tracks(self.visits.tracks().count());
    }
}

/// Sends a shot to be embedded; returns whether there will be an answer.
fn embed(engine: &SyncSender<Request>, inbox: &SyncSender<Heard>, shot: WantedShot) -> bool {
    let (inbox, track, taken) = (inbox.clone(), shot.track, shot.taken);
    let request = Request::Embed {
        aligned: shot.aligned,
        answer: Box::new(move |embedded| {
            let shot = EmbeddedShot { track, taken, embedded };
            tell(&inbox, Heard::Embedded(Box::new(shot)));
        }),
    };
    engine.send(request).is_ok()
}
