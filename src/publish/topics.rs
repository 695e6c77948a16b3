//! The names of all topics. Ids in them are `[a-z0-9_-]+` by construction: the configuration and the gallery refuse
//! others.

use crate::event::Event;

/// Makes topics of one node.
#[derive(Debug, Clone)]
pub struct Topics {
    /// `BASE/NODE`.
    prefix: String,
}

impl Topics {
    /// The topics of `node` under `base`.
    pub fn new(base: &str, node: &str) -> Self {
        Self {
            prefix: format!("{base}/{node}"),
        }
    }

    /// A topic of the node itself: `status`, `info`, `stats`, `sight`, `log`.
    pub fn node(&self, what: &str) -> String {
        format!("{}/{what}", self.prefix)
    }

    /// A topic of a camera: `status`, `event`, `people`, `face`.
    pub fn camera(&self, camera: &str, what: &str) -> String {
        format!("{}/camera/{camera}/{what}", self.prefix)
    }

    /// A topic of a person: `state`, `attributes`.
    pub fn person(&self, id: &str, what: &str) -> String {
        format!("{}/person/{id}/{what}", self.prefix)
    }

    /// Where an event goes.
    pub fn event(&self, event: &Event) -> String {
        self.camera(&event.camera, "event")
    }
}
