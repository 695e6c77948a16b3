//! One worker thread for each camera: it owns the camera's tracks and verdicts. Frames come from the slot, go to the
//! engine to be searched, and come back with faces; chosen shots go to the engine to be embedded; verdicts become
//! events. Nobody else touches a track, and an answer for a track that has ended is dropped and counted.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use ulid::Ulid;

use crate::align::Alignment;
use crate::announce::Announcer;
use crate::camera::{CameraState, Slot};
use crate::detect::{Face, FaceBox};
use crate::embed::Embedded;
use crate::engine::Request;
use crate::event::ulid_text;
use crate::frame::{CameraId, Frame};
use crate::identify::Identifier;
use crate::publish::Saying;
use crate::quality::Quality;
use crate::track::{ShotTaken, Track, Tracker};
use crate::verdict::{Judgement, Rules, Said, judge};

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
    /// A shot of a track came back; `None` where the network failed.
    Embedded(Ulid, Box<ShotTaken>, Option<Box<Embedded>>),
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
    /// Good shots before the vote.
    pub min_shots: usize,
    /// Whether each picture stands alone: no visit lasts from one to the next, and no vote is held on one shot.
    pub single_pictures: bool,
    /// Whether faces are cut out for publishing.
    pub pictures: bool,
    /// How a face is cut out for the embedding network.
    pub alignment: Alignment,
    /// Who is who.
    pub identifier: SharedIdentifier,
    /// The way to the networks.
    pub engine: SyncSender<Request>,
    /// Makes events of verdicts.
    pub announcer: Announcer,
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
                    watcher: self,
                    inbox: inbox.sender,
                    tracker: Tracker::default(),
                    searching: false,
                    waited_for: 0,
                    ending: false,
                    late: 0,
                };
                span.in_scope(|| watch.run(&inbox.receiver));
                if watch.ending {
                    over();
                }
            })
    }
}

struct Watch {
    watcher: Watcher,
    inbox: SyncSender<Heard>,
    tracker: Tracker,
    /// Whether a frame of ours is at the engine.
    searching: bool,
    /// Shots of ours that are at the engine.
    waited_for: usize,
    /// The camera is over.
    ending: bool,
    /// Answers that came after their track's end.
    late: u64,
}

impl Watch {
    fn run(&mut self, inbox: &Receiver<Heard>) {
        self.watcher.announcer.in_view(&self.tracker);
        loop {
            match inbox.recv_timeout(LOOK) {
                Ok(Heard::FrameReady) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Heard::Camera(state)) => self.camera(state),
                Ok(Heard::Searched(frame, faces)) => self.searched(&frame, faces),
                Ok(Heard::Embedded(track, taken, embedded)) => self.embedded(track, *taken, embedded.map(|it| *it)),
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.search_next();
            if !self.watcher.single_pictures {
                let lost = self.tracker.take_lost(Instant::now());
                self.end(lost);
            }
            self.watcher.announcer.in_view(&self.tracker);
            if self.ending && !self.searching && self.waited_for == 0 {
                break;
            }
        }
        let rest = self.tracker.take_all();
        self.end(rest);
        self.watcher.announcer.in_view(&self.tracker);
        if self.late > 0 {
            tracing::debug!(late = self.late, "answers came after their tracks had ended");
        }
    }

    fn camera(&mut self, state: CameraState) {
        self.ending |= state == CameraState::Over;
        self.watcher.announcer.say(Saying::Camera {
            camera: self.watcher.camera.clone(),
            online: state == CameraState::Online,
        });
    }

    /// Sends the latest frame to be searched, if none of ours is there.
    fn search_next(&mut self) {
        // A picture that stands alone is done with before the next one.
        if self.searching || (self.watcher.single_pictures && self.waited_for > 0) {
            return;
        }
        let Some(frame) = self.watcher.slot.take() else {
            return;
        };
        if !self.watcher.single_pictures && frame.captured_at.monotonic.elapsed() > MAX_AGE {
            tracing::debug!(sequence = frame.sequence, "a frame waited too long");
            return;
        }
        let inbox = self.inbox.clone();
        self.searching = self
            .watcher
            .engine
            .send(Request::Detect {
                frame,
                min_face_px: self.watcher.min_face_px,
                answer: Box::new(move |frame, faces| tell(&inbox, Heard::Searched(frame, faces))),
            })
            .is_ok();
    }

    fn searched(&mut self, frame: &Frame, faces: Option<Vec<Face>>) {
        self.searching = false;
        let Some(faces) = faces else { return };
        if self.watcher.single_pictures {
            let before = self.tracker.take_all();
            self.end(before);
        }
        self.tracker.see(&faces, frame.captured_at);
        let (alignment, min_shots) = (self.watcher.alignment, self.watcher.min_shots);
        for track in self.tracker.iter_mut() {
            let seen_now = track.last == frame.captured_at;
            if !seen_now
                || !track
                    .shots
                    .may_take(&track.face, frame.pixels.dimensions(), frame.captured_at.monotonic)
            {
                continue;
            }
            let Some((quality, aligned)) = Quality::with_aligned(&frame.pixels, &track.face, alignment) else {
                continue;
            };
            if !track.shots.take(&quality, min_shots, frame.captured_at.monotonic) {
                continue;
            }
            let mut taken = ShotTaken::new(
                &track.face,
                quality.score(),
                frame.captured_at,
                frame.pixels.dimensions(),
            );
            if self.watcher.pictures {
                taken.picture = Some(with_margin(&frame.pixels, &track.face.box_in_frame));
            }
            let (inbox, id) = (self.inbox.clone(), track.id);
            let request = Request::Embed {
                aligned,
                answer: Box::new(move |embedded| {
                    tell(&inbox, Heard::Embedded(id, Box::new(taken), embedded.map(Box::new)));
                }),
            };
            if self.watcher.engine.send(request).is_ok() {
                self.waited_for += 1;
            }
        }
        self.watcher.announcer.seen(&self.tracker);
    }

    fn embedded(&mut self, id: Ulid, taken: ShotTaken, embedded: Option<Embedded>) {
        self.waited_for = self.waited_for.saturating_sub(1);
        let Some(track) = self.tracker.get_mut(id) else {
            self.late += 1;
            return;
        };
        track.shots.answered();
        let Some(embedded) = embedded else { return };
        let mut of = id;
        if track.shots.is_somebody_else(&taken, &embedded.embedding) {
            if let Some(before) = self.tracker.split(id, taken.captured_at) {
                tracing::debug!(track = ulid_text(id), "somebody else is there now");
                self.end(vec![before]);
            }
            // The new track stands where the old one stood.
            let new = self.tracker.iter().find(|track| track.first == taken.captured_at);
            of = new.map_or(id, |track| track.id);
        }
        let Some(track) = self.tracker.get_mut(of) else { return };
        track.shots.keep(taken, embedded);
        Self::judge(&self.watcher, track, false);
    }

    /// Says what there is to say about a track.
    fn judge(watcher: &Watcher, track: &mut Track, ended: bool) {
        let identifier = Arc::clone(&watcher.identifier.read().unwrap_or_else(PoisonError::into_inner));
        let shots = track.shots.identified(|embedded| identifier.identify(embedded).answer);
        let said = Said {
            preliminary: track.shots.preliminary,
            verdict: track.shots.verdict.as_ref(),
        };
        let rules = Rules {
            min_shots: watcher.min_shots,
            ended: ended && !watcher.single_pictures,
        };
        let Some(judgement) = judge(&shots, said, rules) else {
            return;
        };
        watcher.announcer.judged(track, &judgement);
        match judgement {
            Judgement::Preliminary(_) => track.shots.preliminary = true,
            Judgement::Voted(verdict) | Judgement::Corrected(verdict) => track.shots.verdict = Some(verdict),
        }
    }

    /// Ends tracks: a visit shorter than the vote gets its answer from what there is.
    fn end(&self, tracks: Vec<Track>) {
        for mut track in tracks {
            Self::judge(&self.watcher, &mut track, true);
            self.watcher.announcer.left(&track);
        }
    }
}

/// The face with half its size around it, for publishing.
fn with_margin(frame: &RgbImage, face: &FaceBox) -> RgbImage {
    let (width, height) = frame.dimensions();
    let margin = 0.5 * face.width().max(face.height());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the frame before"
    )]
    let within = |value: f32, side: u32| value.round().clamp(0.0, side as f32) as u32;
    let (left, top) = (within(face.left - margin, width), within(face.top - margin, height));
    let (right, bottom) = (within(face.right + margin, width), within(face.bottom + margin, height));
    image::imageops::crop_imm(
        frame,
        left,
        top,
        right.saturating_sub(left).max(1),
        bottom.saturating_sub(top).max(1),
    )
    .to_image()
}
