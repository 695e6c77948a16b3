//! Gaps that a motion model can't bridge: a hand before the face, a head that turned away, somebody who walked behind a
//! pillar. The face that comes back is known by its embedding, and its visit goes on.

use ulid::Ulid;

use crate::model::EmbedderModel;
use crate::track::Tracker;

/// How much more alike than two photos of one person two shots of one visit have to be, in cosine similarity. They are
/// seconds apart and in one light, so they are; see `docs/design/visits.md`.
const SURER_COSINE: f32 = 0.05;

/// From which cosine similarity on two faces that come one after the other are one visitor: well above the threshold
/// that a photo has to reach. `None` where the embedder has no measured threshold.
pub fn same_face_cosine(embedder: &EmbedderModel) -> Option<f32> {
    embedder.thresholds.map(|thresholds| thresholds.cosine + SURER_COSINE)
}

/// The track that goes on as `id`, and how alike they are: one that was not seen since before `id` was seen at all, with
/// a face at least `least` alike. `None` where somebody who was in one frame with it is that alike too.
pub(super) fn goes_on(tracker: &Tracker, id: Ulid, least: f32) -> Option<(Ulid, f32)> {
    let track = tracker.get(id)?;
    let mut best: Option<(Ulid, f32)> = None;
    for other in tracker.iter().filter(|other| other.id != track.id) {
        let Some(cosine) = track.shots.nearest(&other.shots).filter(|cosine| *cosine >= least) else {
            continue;
        };
        if !other.is_before(track) {
            return None;
        }
        if best.is_none_or(|(_, most)| cosine > most) {
            best = Some((other.id, cosine));
        }
    }
    best
}
