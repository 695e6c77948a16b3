//! A clip or photos, played through the daemon's own way from picture to verdict ([`crate::visits`]), with real
//! networks, one step after the other and as fast as it goes. The clip's own time is the clock: what comes out is what
//! a daemon that keeps up would have said, and when.

mod log;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use log::{Outcome, Playback, Seen, Spoken, Visit};

use log::Log;

use crate::camera::{self, Address, Gate, Picture};
use crate::config::CameraSettings;
use crate::detect::{Face, FaceBox};
use crate::frame::{CapturedAt, Frame};
use crate::identify::Identifier;
use crate::networks::Networks;
use crate::photo;
use crate::stop::Stop;
use crate::visits::{EmbeddedShot, Happening, VisitRules, Visits, WantedShot};

/// As often as the daemon looks at its tracks when no frame comes.
const LOOK: Duration = Duration::from_millis(200);
/// A face that overlaps one that was found so much is the same.
const SAME_IOU: f32 = 0.3;
/// The smallest face that the second look finds; smaller ones the detector finds in every pattern.
const CLOSE_LOOK_PX: u32 = 20;

/// What is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reel {
    /// A video file.
    Clip(PathBuf),
    /// Photos that stand alone.
    Photos(Vec<PathBuf>),
}

impl Reel {
    /// The frames of a reel, one after the other, each with its seconds from the first; photos are a second apart.
    ///
    /// # Errors
    /// When it can't be read to its end, or the first that `each` returns.
    pub fn frames(
        &self,
        camera: &CameraSettings,
        each: &mut dyn FnMut(Frame, f64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut sequence = 0;
        let mut first = None;
        let mut show = |picture: Picture| {
            let began: CapturedAt = *first.get_or_insert(picture.captured_at);
            let at = picture.captured_at.monotonic.saturating_duration_since(began.monotonic);
            let frame = Frame {
                camera: camera.id.clone(),
                sequence,
                captured_at: picture.captured_at,
                pixels: picture.pixels,
            };
            sequence += 1;
            each(frame, at.as_secs_f64())
        };
        match self {
            Self::Clip(path) => {
                let settings = CameraSettings {
                    address: Address::Clip(path.clone()),
                    looped: false,
                    ..camera.clone()
                };
                let mut source = camera::open(&settings, &Stop::default())?;
                while let Some(picture) = source.next_picture()? {
                    show(picture)?;
                }
            }
            Self::Photos(paths) => {
                let began = CapturedAt::now();
                for (path, number) in paths.iter().zip(0_u32..) {
                    let pixels = photo::read(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
                    show(Picture {
                        pixels: Arc::new(pixels),
                        captured_at: began.after(f64::from(number)),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The file of frame number `sequence`.
    pub fn file(&self, sequence: u64) -> Option<&Path> {
        match self {
            Self::Clip(path) => Some(path),
            Self::Photos(paths) => paths.get(usize::try_from(sequence).ok()?).map(PathBuf::as_path),
        }
    }
}

/// Plays reels as one camera would see them.
pub struct Player<'a> {
    /// Detector and embedder.
    pub networks: &'a mut Networks,
    /// Who is who.
    pub identifier: Arc<dyn Identifier>,
    /// The camera whose settings count. Its address does not.
    pub camera: CameraSettings,
    /// How visits are watched.
    pub rules: VisitRules,
    /// Whether every face of every frame is noted, those too that are smaller than the camera looks for.
    pub in_detail: bool,
}

impl Player<'_> {
    /// Plays it to its end.
    ///
    /// # Errors
    /// When the reel can't be read or a network fails.
    pub fn play(&mut self, reel: &Reel) -> anyhow::Result<Playback> {
        let single_pictures = matches!(reel, Reel::Photos(_));
        let rules = VisitRules {
            single_pictures,
            ..self.rules.clone()
        };
        let mut run = Run {
            gate: Gate::new(Arc::clone(&rules.view), self.camera.view.motion && !single_pictures),
            visits: if self.in_detail {
                Visits::in_detail(rules)
            } else {
                Visits::new(rules)
            },
            log: Log::new(self.in_detail),
            identifier: Arc::clone(&self.identifier),
            wanted: Vec::new(),
            now: None,
        };
        let camera = self.camera.clone();
        reel.frames(&camera, &mut |frame, at_s| self.show(&mut run, &frame, at_s))?;
        run.drive(|visits, identifier, tell| visits.finish(identifier, tell));
        Ok(run.log.finish())
    }

    fn show(&mut self, run: &mut Run, frame: &Frame, at_s: f64) -> anyhow::Result<()> {
        run.wait_until(frame.captured_at.monotonic);
        run.log.frame(frame, at_s);
        let live = run.visits.live(frame.captured_at.monotonic);
        if !run.gate.look(&frame.pixels, frame.captured_at.monotonic, live) {
            run.log.still();
            return Ok(());
        }
        let began = Instant::now();
        let faces = self.networks.detector.detect(&frame.pixels, self.camera.min_face_px)?;
        run.drive(|visits, identifier, tell| visits.saw(frame, &faces, identifier, tell));
        run.log.tracked(run.visits.tracks(), frame.captured_at);
        self.embed(run, frame.captured_at.monotonic)?;
        run.log.took(began.elapsed());
        if self.in_detail && CLOSE_LOOK_PX < self.camera.min_face_px {
            let closer = self.networks.detector.detect(&frame.pixels, CLOSE_LOOK_PX)?;
            let least_px = self.camera.min_face_px;
            for face in closer.iter().filter(|face| is_new(&face.box_in_frame, &faces)) {
                run.log.unwatched(*face, Outcome::TooSmall { least_px });
            }
        }
        Ok(())
    }

    /// Embeds what is wanted, and hands the answers back.
    fn embed(&mut self, run: &mut Run, now: Instant) -> anyhow::Result<()> {
        let wanted = std::mem::take(&mut run.wanted);
        let (shots, crops): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .map(|shot| ((shot.track, shot.taken), shot.aligned))
            .unzip();
        let embedded = self.networks.embedder.embed_all(&crops)?;
        for ((track, taken), embedded) in shots.into_iter().zip(embedded) {
            let shot = EmbeddedShot {
                track,
                taken,
                embedded: Some(embedded),
            };
            run.drive(|visits, identifier, tell| visits.embedded(shot, now, identifier, tell));
        }
        Ok(())
    }
}

fn is_new(face: &FaceBox, found: &[Face]) -> bool {
    found.iter().all(|other| other.box_in_frame.iou(face) < SAME_IOU)
}

/// One playing.
struct Run {
    gate: Gate,
    visits: Visits,
    log: Log,
    identifier: Arc<dyn Identifier>,
    wanted: Vec<WantedShot>,
    now: Option<Instant>,
}

impl Run {
    /// Lets the time pass as it does for the daemon between two frames.
    fn wait_until(&mut self, next: Instant) {
        let mut now = self.now.unwrap_or(next);
        while now < next {
            let due = self.visits.due_in(now).unwrap_or(LOOK);
            now = next.min(now + LOOK.min(due));
            self.log.time(now);
            self.drive(|visits, identifier, tell| visits.passed(now, identifier, tell));
        }
        self.now = Some(next);
    }

    fn drive(&mut self, step: impl FnOnce(&mut Visits, &dyn Identifier, &mut crate::visits::Tell<'_>)) {
        let (log, wanted) = (&mut self.log, &mut self.wanted);
        step(&mut self.visits, &*self.identifier, &mut |happening| {
            log.note(&happening);
            if let Happening::Wanted(shot) = happening {
                wanted.push(shot);
            }
        });
    }
}
