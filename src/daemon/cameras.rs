//! The cameras of the daemon: a reader and a worker each. A reload starts and ends them one by one.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::announce::Announcer;
use crate::camera::{Address, CameraState, Gate, Opener, Opening, Reader, Slot, View};
use crate::config::{CameraSettings, Settings};
use crate::engine::{EngineFacts, Request};
use crate::frame::CameraId;
use crate::metrics::Instruments;
use crate::publish::{Saying, ToOutbox};
use crate::sightings::{Memory, Recorder};
use crate::stop::Stop;
use crate::visits::VisitRules;
use crate::watcher::{Heard, Inbox, SharedIdentifier, Watcher, tell};

/// What the workers are connected to.
pub(super) struct Wiring {
    pub(super) node: Arc<str>,
    pub(super) facts: EngineFacts,
    /// The networks that name somebody, as events carry it.
    pub(super) model: Arc<str>,
    pub(super) identifier: SharedIdentifier,
    pub(super) engine: SyncSender<Request>,
    pub(super) outbox: SyncSender<ToOutbox>,
    pub(super) sayings: mpsc::Sender<Saying>,
    /// Remembers visits, where that works.
    pub(super) memory: Option<Memory>,
    /// Makes what a worker calls when its camera came to its end.
    pub(super) over: Box<dyn Fn(CameraId) -> Box<dyn FnOnce() + Send>>,
}

struct Camera {
    settings: CameraSettings,
    slot: Arc<Slot>,
    /// Taken by the worker.
    inbox: Option<Inbox>,
    /// The way to the worker of now, for the reader.
    worker: Arc<RwLock<SyncSender<Heard>>>,
    stop: Stop,
    reading: Option<JoinHandle<()>>,
    watching: Option<JoinHandle<()>>,
}

/// What became of the cameras at a reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<CameraId>,
    pub(super) removed: Vec<CameraId>,
    pub(super) restarted: Vec<CameraId>,
}

/// All cameras.
pub(super) struct Cameras {
    cameras: Vec<Camera>,
    instruments: Arc<Instruments>,
}

impl Cameras {
    /// Starts to read those that are live; what they deliver before there is a worker is dropped but for the latest.
    pub(super) fn open(all: &[CameraSettings], instruments: &Arc<Instruments>) -> std::io::Result<Self> {
        let mut cameras = Self {
            cameras: all.iter().map(Camera::new).collect(),
            instruments: Arc::clone(instruments),
        };
        cameras.enrol_in_roster();
        for camera in &mut cameras.cameras {
            if !camera.settings.address.ends() {
                camera.read(instruments)?;
            }
        }
        Ok(cameras)
    }

    /// Starts the workers that there are not yet, and to read what comes to an end.
    pub(super) fn watch(&mut self, settings: &Settings, wiring: &Wiring) -> std::io::Result<()> {
        for camera in &mut self.cameras {
            camera.watch(settings, wiring, &self.instruments)?;
            if camera.reading.is_none() {
                camera.read(&self.instruments)?;
            }
        }
        Ok(())
    }

    /// Makes the cameras be those of `settings`: starts what is new, ends what is gone, restarts what changed, and lets
    /// the others be. With `rules_changed`, all get a new worker; the visits of the moment end.
    pub(super) fn apply(
        &mut self,
        settings: &Settings,
        rules_changed: bool,
        wiring: &Wiring,
    ) -> std::io::Result<Changes> {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.cameras);
        let wanted: HashSet<&CameraId> = settings.cameras.iter().map(|camera| &camera.id).collect();
        let (kept, gone): (Vec<Camera>, Vec<Camera>) = before
            .drain(..)
            .partition(|camera| wanted.contains(&camera.settings.id) && settings.cameras.contains(&camera.settings));
        for camera in &gone {
            if wanted.contains(&camera.settings.id) {
                changes.restarted.push(camera.settings.id.clone());
            } else {
                changes.removed.push(camera.settings.id.clone());
            }
        }
        end(gone);
        let mut kept = kept;
        for camera in &settings.cameras {
            let camera = match kept.iter().position(|one| one.settings.id == camera.id) {
                Some(index) => kept.swap_remove(index),
                None => {
                    if !changes.restarted.contains(&camera.id) {
                        changes.added.push(camera.id.clone());
                    }
                    Camera::new(camera)
                }
            };
            self.cameras.push(camera);
        }
        if rules_changed {
            for camera in &mut self.cameras {
                camera.replace_worker();
            }
        }
        self.enrol_in_roster();
        self.watch(settings, wiring)?;
        Ok(changes)
    }

    fn enrol_in_roster(&self) {
        let slot = |camera: &Camera| (camera.settings.id.clone(), Arc::clone(&camera.slot));
        self.instruments.cameras.set(self.cameras.iter().map(slot).collect());
    }

    /// Ends the workers, which say what there is to be said, and waits for all threads.
    pub(super) fn stop(&mut self) {
        end(std::mem::take(&mut self.cameras));
    }
}

/// Ends all of `cameras` at once, and waits for it.
fn end(cameras: Vec<Camera>) {
    for camera in &cameras {
        camera.ask_to_stop();
    }
    for mut camera in cameras {
        join(camera.watching.take());
        join(camera.reading.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a camera's thread fell over");
    }
}

impl Camera {
    fn new(settings: &CameraSettings) -> Self {
        let inbox = Inbox::default();
        Self {
            settings: settings.clone(),
            slot: Arc::default(),
            worker: Arc::new(RwLock::new(inbox.sender())),
            inbox: Some(inbox),
            stop: Stop::default(),
            reading: None,
            watching: None,
        }
    }

    fn ask_to_stop(&self) {
        self.stop.set();
        tell_worker(&self.worker, Heard::Stop);
    }

    /// Ends the worker, and prepares another one; the reader goes on.
    fn replace_worker(&mut self) {
        if self.watching.is_none() {
            return;
        }
        let inbox = Inbox::default();
        let old = std::mem::replace(
            &mut *self.worker.write().unwrap_or_else(PoisonError::into_inner),
            inbox.sender(),
        );
        tell(&old, Heard::Stop);
        join(self.watching.take());
        self.inbox = Some(inbox);
    }

    fn watch(&mut self, settings: &Settings, wiring: &Wiring, instruments: &Instruments) -> std::io::Result<()> {
        let Some(inbox) = self.inbox.take() else { return Ok(()) };
        let id = &self.settings.id;
        let view = Arc::new(View::new(&self.settings.view));
        let watcher = Watcher {
            camera: id.clone(),
            slot: Arc::clone(&self.slot),
            min_face_px: self.settings.min_face_px,
            gate: Gate::new(Arc::clone(&view), self.settings.view.motion),
            rules: VisitRules::of(
                settings,
                &self.settings,
                view,
                &wiring.facts.embedder,
                wiring.facts.alignment,
            ),
            identifier: Arc::clone(&wiring.identifier),
            engine: wiring.engine.clone(),
            announcer: Announcer::new(
                Arc::clone(&wiring.node),
                id.clone(),
                Arc::clone(&wiring.model),
                settings.announce_again,
                wiring.outbox.clone(),
                wiring.sayings.clone(),
                wiring.memory.as_ref().map(|memory| Recorder {
                    camera: id.clone(),
                    space: wiring.facts.embedder.embedding_space.as_str().into(),
                    memory: memory.clone(),
                }),
                settings.publish_faces,
                Arc::clone(self.slot.tally()),
            ),
            pulse: instruments.heartbeats.pulse(format!("watch-{id}")),
        };
        self.watching = Some(watcher.start(inbox, (wiring.over)(id.clone()))?);
        Ok(())
    }

    fn read(&mut self, instruments: &Instruments) -> std::io::Result<()> {
        // Whoever reads looks at the wish to stop, however long a picture takes.
        let pulse = instruments.heartbeats.pulse(format!("read-{}", self.settings.id));
        let stop = self.stop.beating(pulse);
        let mut opening = Opening::new(&self.settings, Arc::clone(self.slot.meter()), &stop);
        let opener: Opener = Box::new(move || opening.open());
        let reader = Reader {
            camera: self.settings.id.clone(),
            opener,
            slot: Arc::clone(&self.slot),
            every_picture: matches!(self.settings.address, Address::Folder(_)),
            stop,
        };
        let (frame_ready, changed) = (Arc::clone(&self.worker), Arc::clone(&self.worker));
        let slot = Arc::clone(&self.slot);
        self.reading = Some(reader.start(
            move || tell_worker(&frame_ready, Heard::FrameReady),
            move |state| {
                slot.set_online(state == CameraState::Online);
                tell_worker(&changed, Heard::Camera(state));
            },
        )?);
        Ok(())
    }
}

fn tell_worker(worker: &RwLock<SyncSender<Heard>>, heard: Heard) {
    tell(&worker.read().unwrap_or_else(PoisonError::into_inner), heard);
}
