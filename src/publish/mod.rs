//! From events and states to MQTT.
//!
//! - `outbox`: events survive here until the broker has acknowledged them on `log`
//! - `connection`: whether there is a broker
//! - `gap`: what names the events that will never come
//! - `record`: every retained topic there ever was, so that it can be cleared
//! - `link`: one connection after the other; `link_words` says why there is none; `probe` asks for `kith check`
//! - `desk`: what has to be said and in which order
//! - `publisher`: outbox, desk and connection wired together
//! - `presence`: who is `ON`
//! - `topics`: where it is said
//! - `states`: the payloads of retained topics
//! - `home_assistant`: the payloads of its discovery

mod connection;
mod desk;
mod gap;
mod home_assistant;
mod link;
mod link_words;
mod outbox;
mod presence;
mod probe;
mod publisher;
mod record;
mod states;
mod topics;

use std::sync::Arc;
use std::time::Duration;

pub use connection::Connection;
pub use desk::{Asked, Desk, Farewell, LARGEST_REQUEST_BYTES};
pub use link::{Heard, LinkEvent, link, listener_options, options};
pub use link_words::in_words;
pub use outbox::{Depth, FromOutbox, Outbox, OutboxError, ToOutbox};
pub use probe::{Answers, Questions, Refused, Trouble, certificate_until, probe};
pub use publisher::{Publisher, Publishing};
pub use record::{Component, Kept};
pub use states::{Info, ModelInfo, StatsSource};
pub use topics::Topics;
use ulid::Ulid;

use crate::frame::{CameraId, CapturedAt};
use crate::gallery::Person;

/// What the rest of the daemon tells the publisher. Events take the way through the outbox instead.
#[derive(Debug)]
pub enum Saying {
    /// A camera delivers, or no longer does.
    Camera {
        /// Which one.
        camera: CameraId,
        /// Whether it delivers.
        online: bool,
    },
    /// Who is before a camera now.
    InView {
        /// Which one.
        camera: CameraId,
        /// Who, sorted by id.
        people: Vec<Arc<Person>>,
        /// How many who are nobody enrolled.
        unknown: usize,
    },
    /// A person was seen.
    Seen {
        /// Who.
        person: Arc<Person>,
        /// By which camera.
        camera: CameraId,
        /// When.
        at: CapturedAt,
        /// Probability that it is this person.
        confidence: f64,
        /// The event that said so, if it was announced.
        event: Option<Ulid>,
    },
    /// A picture of a face, if they are published.
    Face {
        /// Which camera.
        camera: CameraId,
        /// The picture.
        jpeg: Vec<u8>,
    },
    /// Everybody who is enrolled, at the start and whenever that changes.
    Enrolled(Vec<Person>),
    /// A reload: these are the cameras now, and a person is present for so long after having been seen.
    Reloaded {
        /// All of them.
        cameras: Vec<CameraId>,
        /// `presence.hold_s`.
        presence_hold: Duration,
        /// Whether pictures of faces are published.
        faces: bool,
    },
    /// What `info` says.
    Info(Box<Info>),
}
