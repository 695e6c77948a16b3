//! What one camera tells the memory of visits.

use std::sync::Arc;

use super::{Memory, StrangerNow, StrangerShot, VisitNow};
use crate::frame::CameraId;
use crate::track::Track;
use crate::verdict::Verdict;

/// Tells the memory how the visits before a camera stand. Owned by the camera's worker; never waits.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Whose visits.
    pub camera: CameraId,
    /// The embedding space of the shots' vectors.
    pub space: Arc<str>,
    /// The way to the thread.
    pub memory: Memory,
}

impl Recorder {
    /// `track` has `verdict`, which `event` said, if one was published. Of somebody ignored there is to be no trace.
    pub fn stands(&self, track: &Track, verdict: &Verdict, event: Option<ulid::Ulid>, ended: bool) {
        if verdict.person.as_ref().is_some_and(|person| person.ignored) {
            self.memory.ignore(track.id);
            return;
        }
        self.memory.visit(VisitNow {
            track: track.id,
            camera: self.camera.clone(),
            person: verdict.person.as_ref().map(|person| person.uid),
            similar_to: verdict
                .similar_to
                .as_ref()
                .filter(|person| !person.ignored)
                .map(|person| person.uid),
            from: track.first.wall,
            to: track.last.wall,
            ended,
            confidence: verdict.confidence,
            shots: verdict.shots,
            zones: zones(track),
            event,
            looks: verdict.person.is_none().then(|| self.looks(track)),
        });
    }

    fn looks(&self, track: &Track) -> StrangerNow {
        let shots = track.shots.kept().map(|(taken, embedding)| StrangerShot {
            captured_at: taken.captured_at.wall,
            face: taken.face,
            quality: taken.quality,
            embedding: embedding.clone(),
        });
        let picture = track.shots.best().and_then(|best| best.picture.clone());
        StrangerNow {
            space: Arc::clone(&self.space),
            shots: shots.collect(),
            crop: picture.map(Arc::new),
        }
    }
}

/// The zones of all kept shots, in the order in which they were entered.
fn zones(track: &Track) -> Vec<Arc<str>> {
    let mut zones: Vec<Arc<str>> = Vec::new();
    for zone in track.shots.kept().flat_map(|(taken, _)| &taken.zones) {
        if !zones.contains(zone) {
            zones.push(Arc::clone(zone));
        }
    }
    zones
}
