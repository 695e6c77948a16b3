//! The cameras of the daemon: a reader and a worker each.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::announce::Announcer;
use crate::camera::{self, CameraError, CameraSource, CameraState, Gate, Opener, Opening, Reader, Roster, Slot, View};
use crate::config::{CameraSettings, Settings};
use crate::engine::{EngineFacts, Request};
use crate::heartbeat::Heartbeats;
use crate::publish::{Saying, ToOutbox};
use crate::sightings::{Memory, Recorder};
use crate::stop::Stop;
use crate::visits::VisitRules;
use crate::watcher::{Heard, Inbox, SharedIdentifier, Watcher, tell};

/// What the workers are connected to.
pub(super) struct Wiring<'a> {
    pub(super) settings: &'a Settings,
    pub(super) node: &'a Arc<str>,
    pub(super) facts: &'a EngineFacts,
    /// The networks that name somebody, as events carry it.
    pub(super) model: &'a Arc<str>,
    pub(super) identifier: &'a SharedIdentifier,
    pub(super) engine: &'a SyncSender<Request>,
    pub(super) outbox: &'a SyncSender<ToOutbox>,
    pub(super) sayings: &'a mpsc::Sender<Saying>,
    /// Remembers visits, where that works.
    pub(super) memory: Option<&'a Memory>,
    /// Makes what a worker calls when its camera came to its end.
    pub(super) over: &'a dyn Fn() -> Box<dyn FnOnce() + Send>,
}

struct Camera {
    settings: CameraSettings,
    slot: Arc<Slot>,
    /// Taken by the worker.
    inbox: Option<Inbox>,
    worker: SyncSender<Heard>,
    threads: Vec<JoinHandle<()>>,
}

/// All cameras.
pub(super) struct Cameras {
    cameras: Vec<Camera>,
    stop: Stop,
    heartbeats: Heartbeats,
}

impl Cameras {
    /// Starts to read those that are live; what they deliver before there is a worker is dropped but for the latest.
    pub(super) fn open(all: &[CameraSettings], stop: &Stop, heartbeats: &Heartbeats) -> std::io::Result<Self> {
        let mut cameras = Vec::new();
        for settings in all {
            let inbox = Inbox::default();
            let mut camera = Camera {
                settings: settings.clone(),
                slot: Arc::default(),
                worker: inbox.sender(),
                inbox: Some(inbox),
                threads: Vec::new(),
            };
            if !settings.address.ends() {
                camera.read(stop, heartbeats)?;
            }
            cameras.push(camera);
        }
        Ok(Self {
            cameras,
            stop: stop.clone(),
            heartbeats: heartbeats.clone(),
        })
    }

    /// Starts the workers, and to read what comes to an end.
    pub(super) fn watch(&mut self, wiring: &Wiring<'_>) -> std::io::Result<()> {
        for camera in &mut self.cameras {
            if camera.settings.address.ends() {
                camera.read(&self.stop, &self.heartbeats)?;
            }
            let Some(inbox) = camera.inbox.take() else { continue };
            let id = &camera.settings.id;
            let view = Arc::new(View::new(&camera.settings.view));
            let watcher = Watcher {
                camera: id.clone(),
                slot: Arc::clone(&camera.slot),
                min_face_px: camera.settings.min_face_px,
                gate: Gate::new(Arc::clone(&view), camera.settings.view.motion),
                rules: VisitRules::of(
                    wiring.settings,
                    &camera.settings,
                    view,
                    &wiring.facts.embedder,
                    wiring.facts.alignment,
                ),
                identifier: Arc::clone(wiring.identifier),
                engine: wiring.engine.clone(),
                pulse: self.heartbeats.pulse(format!("watch-{id}")),
                announcer: Announcer::new(
                    Arc::clone(wiring.node),
                    id.clone(),
                    Arc::clone(wiring.model),
                    wiring.settings.announce_again,
                    wiring.outbox.clone(),
                    wiring.sayings.clone(),
                    wiring.memory.map(|memory| Recorder {
                        camera: id.clone(),
                        space: wiring.facts.embedder.embedding_space.as_str().into(),
                        memory: memory.clone(),
                    }),
                    wiring.settings.publish_faces,
                    Arc::clone(camera.slot.tally()),
                ),
            };
            camera.threads.push(watcher.start(inbox, (wiring.over)())?);
        }
        Ok(())
    }

    /// The cameras, for counting.
    pub(super) fn roster(&self) -> Roster {
        let slot = |camera: &Camera| (camera.settings.id.clone(), Arc::clone(&camera.slot));
        let roster = Roster::default();
        roster.set(self.cameras.iter().map(slot).collect());
        roster
    }

    /// Ends the workers, which say what there is to be said, and waits for all threads.
    pub(super) fn stop(&mut self) {
        for camera in &self.cameras {
            tell(&camera.worker, Heard::Stop);
        }
        self.join();
    }

    /// Waits for all threads; the stop has been asked for.
    pub(super) fn join(&mut self) {
        for thread in self.cameras.iter_mut().flat_map(|camera| camera.threads.drain(..)) {
            if thread.join().is_err() {
                tracing::error!("a camera's thread fell over");
            }
        }
    }
}

impl Camera {
    fn read(&mut self, stop: &Stop, heartbeats: &Heartbeats) -> std::io::Result<()> {
        // Whatever the source waits for, it looks whether it shall stop, and that is its sign of life.
        let stop = stop.beating(heartbeats.pulse(format!("read-{}", self.settings.id)));
        let mut opening = Opening::new(&self.settings, Arc::clone(self.slot.meter()), &stop);
        let opener: Opener = Box::new(move || opening.open());
        let reader = Reader {
            camera: self.settings.id.clone(),
            opener,
            slot: Arc::clone(&self.slot),
            every_picture: self.settings.address.single_pictures(),
            stop,
        };
        let (frame_ready, changed) = (self.worker.clone(), self.worker.clone());
        let slot = Arc::clone(&self.slot);
        let thread = reader.start(
            move || tell(&frame_ready, Heard::FrameReady),
            move |state| {
                slot.set_online(state == CameraState::Online);
                tell(&changed, Heard::Camera(state));
            },
        )?;
        self.threads.push(thread);
        Ok(())
    }
}

/// Opens a camera and waits for its first picture, for `kith check`. Returns width and height in pixels, or `None` for a
/// camera that waits for what others send.
///
/// # Errors
/// When it delivers nothing.
pub fn check_camera(settings: &CameraSettings) -> Result<Option<(u32, u32)>, CameraError> {
    let mut source: Box<dyn CameraSource> = camera::open(settings, &Stop::default())?;
    if source.waits() {
        return Ok(None);
    }
    match source.next_picture()? {
        Some(picture) => Ok(Some(picture.pixels.dimensions())),
        None => Err(CameraError::Ended),
    }
}
