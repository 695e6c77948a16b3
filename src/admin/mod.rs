//! Administration while the daemon runs: what can be asked for, and who answers. The same requests come over the Unix
//! socket (commands) and, if allowed, over MQTT.
//!
//! - `socket`: the daemon's side of the socket
//! - `client`: the commands' side
//! - `keeper`: the daemon or the database, for commands
//! - `peers`: who may
//!
//! Everything that changes the gallery is done by the gallery's thread, which has the new people in use before it
//! answers: an answer says that somebody is live.

mod client;
mod keeper;
mod peers;
mod socket;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

pub use client::{AdminError, Client};
pub use keeper::{Keeper, service_socket};
pub use peers::{GROUP, group, is_member};
pub use socket::{FILE_NAME, Socket};

use crate::gallery::{Enrolment, Name, NewFace, Threshold, Who};

/// Whether we are a member of the group that may administer the service.
pub fn is_in_group() -> bool {
    peers::are_we_in_group()
}

/// The number of the group whose members may administer, if there is the group.
pub fn group_id() -> Option<u32> {
    peers::group().map(nix::unistd::Gid::as_raw)
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Whether the daemon lives.
    Health,
    /// How the daemon is.
    Status,
    /// Read the configuration again.
    Reload,
    /// Everybody who is enrolled.
    People,
    /// A person and the faces that the gallery has of them.
    Person {
        /// Id or name.
        person: String,
    },
    /// Add people and faces.
    Enrol {
        /// The embedding space of the vectors.
        space: String,
        /// Whom.
        enrolments: Vec<Enrolment>,
    },
    /// Enrol the last unknown visitor of a camera.
    EnrolUnknown {
        /// Which camera.
        camera: String,
        /// Whose face it is: name of a new person, or id or name of one who is there.
        name: Name,
    },
    /// Enrol an unknown visitor who is remembered, and give all their visits the name.
    NameUnknown {
        /// The visitor's id, or the end of it.
        visitor: String,
        /// Who it is.
        who: Who,
        /// What the person is; `None` leaves it as it is.
        role: Option<Name>,
    },
    /// Add the people of an export.
    Import {
        /// The export, as `kith people export` writes it.
        export: String,
    },
    /// Change a display name.
    Rename {
        /// Id or name.
        person: String,
        /// The new one.
        name: Name,
    },
    /// Remove people with everything that is kept of their faces.
    Remove {
        /// Ids or names.
        people: Vec<String>,
    },
    /// Give a person another threshold than everybody's, or take it away.
    Threshold {
        /// Id or name.
        person: String,
        /// Which one.
        which: Threshold,
        /// Above 0 and at most 1; `None` takes it away.
        value: Option<f64>,
    },
    /// Add faces of somebody who is taken for a person, and is not.
    Not {
        /// Id or name.
        person: String,
        /// The embedding space of the vectors.
        space: String,
        /// The faces.
        faces: Vec<NewFace>,
    },
    /// Forget all such faces of a person.
    ForgetNot {
        /// Id or name.
        person: String,
    },
    /// Tell nobody of a person, or tell again.
    Ignore {
        /// Id or name.
        person: String,
        /// Whether nobody is told.
        ignored: bool,
    },
}

/// JSON, or a sentence about why not.
pub type Answer = Result<Value, String>;

/// A request on its way to the thread that answers it.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub verb: Verb,
    /// Takes the answer.
    pub reply: oneshot::Sender<Answer>,
}

/// Passes requests to who can answer them. Clones lead to the same daemon.
#[derive(Clone)]
pub struct Handler {
    /// The gallery's thread.
    gallery: SyncSender<Asked>,
    /// The daemon itself, for `health`, `status` and `reload`.
    daemon: Arc<dyn Fn(Asked) -> bool + Send + Sync>,
}

impl Handler {
    /// Requests about people go to `gallery`, the others to `daemon`, which says whether it had room for it.
    pub fn new(gallery: SyncSender<Asked>, daemon: impl Fn(Asked) -> bool + Send + Sync + 'static) -> Self {
        Self {
            gallery,
            daemon: Arc::new(daemon),
        }
    }

    /// Asks, and waits for the answer. Never blocks the thread.
    ///
    /// # Errors
    /// With a sentence for whoever asked.
    pub async fn ask(&self, verb: Verb) -> Answer {
        const BUSY: &str = "the daemon has too much to do; try again in a moment";
        let (reply, answer) = oneshot::channel();
        let for_daemon = matches!(verb, Verb::Health | Verb::Status | Verb::Reload);
        let asked = Asked { verb, reply };
        if for_daemon {
            if !(self.daemon)(asked) {
                return Err(BUSY.to_owned());
            }
        } else {
            self.gallery.try_send(asked).map_err(|error| match error {
                TrySendError::Full(_) => BUSY,
                TrySendError::Disconnected(_) => "the daemon is stopping",
            })?;
        }
        answer
            .await
            .unwrap_or_else(|_| Err("the daemon is stopping".to_owned()))
    }
}
