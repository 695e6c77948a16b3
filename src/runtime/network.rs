//! Open networks, as the detector and the embedder use them.

use std::time::{Duration, Instant};

use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;

/// The only input of every network that takes pictures.
pub(super) const PICTURES: &str = "image";

/// One network, in as many lanes as there are threads.
///
/// A lane is a session that computes in the thread that calls it. Work is divided among lanes (scales of a picture,
/// crops of a batch) rather than inside operators: on two cores that is 1.3 to 2.4 times as fast
/// (`docs/reference/performance.md`), and no thread of the runtime spins beside ours.
pub struct Network {
    pub(super) lanes: Vec<Lane>,
    pub(super) batch_px: usize,
}

impl Network {
    /// As many crops of `side_px` times `side_px` are to go through a lane at once: on the CPU so few that their features
    /// stay in the second-level cache and take little memory (more are no faster), on a card many.
    pub fn batch(&self, side_px: usize) -> usize {
        batch(self.batch_px, side_px)
    }

    /// At least one; each is to be used by one thread at a time.
    pub fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// The time spent inside the runtime since the last call, by the lane that spent most: the others ran beside it.
    pub fn take_spent(&mut self) -> Duration {
        self.lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.spent))
            .max()
            .unwrap_or_default()
    }
}

/// So many crops of `side_px` times `side_px` are `batch_px` pixels, at least one.
pub(super) fn batch(batch_px: usize, side_px: usize) -> usize {
    (batch_px / (side_px * side_px)).max(1)
}

/// A session of one thread, with a stopwatch.
pub struct Lane {
    session: Session,
    input: &'static str,
    spent: Duration,
}

impl Lane {
    pub(super) fn new(session: Session, input: &'static str) -> Self {
        Self {
            session,
            input,
            spent: Duration::ZERO,
        }
    }

    /// Runs the network on `values` of `shape` (N, channels, height, width; N, values for a head) and hands its outputs
    /// to `read`.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run<const AXES: usize, R>(
        &mut self,
        shape: [usize; AXES],
        values: &[f32],
        read: impl FnOnce(&SessionOutputs<'_>) -> R,
    ) -> ort::Result<R> {
        let input = TensorRef::from_array_view((shape, values))?;
        let begun = Instant::now();
        let outputs = self.session.run(ort::inputs![self.input => input])?;
        self.spent += begun.elapsed();
        Ok(read(&outputs))
    }
}
