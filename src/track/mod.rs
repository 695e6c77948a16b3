//! Tracks: the faces of one camera over time, each visit one track, and the shots of it that are worth embedding.

mod shots;
mod tracker;

pub use shots::{Best, PassedOver, RefusedName, ShotTaken, Shots};
pub use tracker::{Track, Tracker};
