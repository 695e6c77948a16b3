//! Visits, as they are told to the memory and as it gives them back.

use std::sync::Arc;

use image::RgbImage;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use ulid::Ulid;

use crate::detect::Face;
use crate::embed::Embedding;
use crate::event::ulid_text;
use crate::frame::CameraId;
use crate::quality::Quality;

/// How a visit stands now. Told when it is judged, when the verdict is corrected, and when it ends; a later word about
/// the same track replaces an earlier one.
#[derive(Debug, Clone)]
pub struct VisitNow {
    /// The track, which names the visit.
    pub track: Ulid,
    /// Where.
    pub camera: CameraId,
    /// Who, by uid; `None` for nobody enrolled.
    pub person: Option<Ulid>,
    /// Who is near, where nobody is named.
    pub similar_to: Option<Ulid>,
    /// When the face was seen first.
    pub from: Timestamp,
    /// When it was seen last, so far.
    pub to: Timestamp,
    /// Whether it is over.
    pub ended: bool,
    /// Probability that the verdict is right, 0 to 1.
    pub confidence: f64,
    /// How many shots the verdict stands on.
    pub shots: usize,
    /// The zones that the face was in.
    pub zones: Vec<Arc<str>>,
    /// The event that says so, if one was published.
    pub event: Option<Ulid>,
    /// What an unknown visitor looked like; not looked at where there is a person.
    pub looks: Option<StrangerNow>,
}

/// What an unknown visitor looks like.
#[derive(Debug, Clone)]
pub struct StrangerNow {
    /// The embedding space of the vectors.
    pub space: Arc<str>,
    /// The best shots, any number of them.
    pub shots: Vec<StrangerShot>,
    /// The face with a margin on the best shot, where crops are kept.
    pub crop: Option<Arc<RgbImage>>,
}

/// One shot of an unknown visitor.
#[derive(Debug, Clone, PartialEq)]
pub struct StrangerShot {
    /// When.
    pub captured_at: Timestamp,
    /// Where in the frame, in pixels.
    pub face: Face,
    /// How good it is.
    pub quality: Quality,
    /// Its vector.
    pub embedding: Embedding,
}

/// A remembered visit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Visit {
    /// The track, as in events.
    #[serde(serialize_with = "small")]
    pub track: Ulid,
    /// The camera's id.
    pub camera: String,
    /// Who, by uid; `None` for nobody enrolled.
    #[serde(serialize_with = "small_or_null")]
    pub person: Option<Ulid>,
    /// Who is near, where nobody is named.
    #[serde(serialize_with = "small_or_null")]
    pub similar_to: Option<Ulid>,
    /// When the face was seen first.
    pub from: Timestamp,
    /// When it was seen last.
    pub to: Timestamp,
    /// Whether it lasts, as far as is known.
    pub is_open: bool,
    /// Probability that the verdict was right, 0 to 1; `None` where a person gave the name afterwards.
    pub confidence: Option<f64>,
    /// How many shots the verdict stood on.
    pub shots: u32,
    /// The zones that the face was in.
    pub zones: Vec<String>,
    /// The events that were published about it, oldest first.
    #[serde(serialize_with = "all_small")]
    pub events: Vec<Ulid>,
    /// Whether its vectors are kept.
    pub has_looks: bool,
    /// Whether its picture is kept.
    pub has_crop: bool,
}

/// Visits of one unknown person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stranger {
    /// Short, made from the first visit; every visit's own short id finds the visitor, too.
    pub id: String,
    /// Oldest first, at least one.
    pub visits: Vec<Visit>,
}

/// A visit's id in short: the end of its track's, which is all chance.
pub fn short_id(track: Ulid) -> String {
    let text = ulid_text(track);
    text[text.len().saturating_sub(SHORT_ID_CHARS)..].to_owned()
}

/// 30 bits: that two of a thousand visits share them happens once in two thousand such thousands.
pub(super) const SHORT_ID_CHARS: usize = 6;

fn small<S: Serializer>(ulid: &Ulid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&ulid_text(*ulid))
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn small_or_null<S: Serializer>(ulid: &Option<Ulid>, serializer: S) -> Result<S::Ok, S::Error> {
    ulid.map(ulid_text).serialize(serializer)
}

fn all_small<S: Serializer>(ulids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ulids.iter().map(|ulid| ulid_text(*ulid)))
}
