//! The cameras of now, for those who count.

use std::sync::{Arc, PoisonError, RwLock};

use super::Slot;
use crate::frame::CameraId;

type Slots = Vec<(CameraId, Arc<Slot>)>;

/// Each camera with its slot, in the order of the configuration. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<RwLock<Slots>>);

impl Roster {
    /// The cameras of now.
    pub fn all(&self) -> Vec<(CameraId, Arc<Slot>)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These are the cameras from now on.
    pub fn set(&self, cameras: Vec<(CameraId, Arc<Slot>)>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = cameras;
    }
}
