//! The parts of a picture that candidates lie in, on their way through R-Net or O-Net.

use std::collections::HashMap;

use image::RgbImage;
use ort::session::SessionOutputs;
use rayon::prelude::*;

use super::area::{Area, Scratch, shrink};
use super::{DetectError, FaceBox};
use crate::runtime::Network;

/// What a lane works in; kept from frame to frame, so that a frame allocates little.
#[derive(Default)]
pub(super) struct Buffers {
    /// A scale of the picture, or a batch of crops.
    pub(super) planes: Vec<f32>,
    pub(super) scratch: Scratch,
}

/// The parts of the picture that candidates lie in.
///
/// Boxes that reach beyond the picture often have the same part of it. Such a part is cut and run once: it saves time,
/// and the candidates come out equally probable to the last bit, on which the choice among them hangs.
pub(super) struct Crops<'a> {
    picture: &'a RgbImage,
    /// The boxes that have a part inside the picture, with the index of its area.
    pub(super) boxes: Vec<(FaceBox, usize)>,
    areas: Vec<Area>,
}

impl<'a> Crops<'a> {
    pub(super) fn of(picture: &'a RgbImage, candidates: impl Iterator<Item = FaceBox>) -> Self {
        let mut areas = Vec::new();
        let mut index_of = HashMap::new();
        let boxes = candidates
            .filter_map(|face_box| {
                let area = inside(&face_box, picture)?;
                let index = *index_of.entry(area).or_insert_with(|| {
                    areas.push(area);
                    areas.len() - 1
                });
                Some((face_box, index))
            })
            .collect();
        Self { picture, boxes, areas }
    }

    /// Shrinks each area to a square of `side` pixels and runs `network` on them, some in each lane. `read` makes one
    /// item of each of the given number of crops; they come back in the order of the areas.
    pub(super) fn run<T: Send>(
        &self,
        network: &mut Network,
        buffers: &mut [Buffers],
        side: usize,
        name: &'static str,
        read: impl Fn(&SessionOutputs<'_>, usize) -> Result<Vec<T>, DetectError> + Sync,
    ) -> Result<Vec<T>, DetectError> {
        let batch = network.batch(side);
        let lanes = network.lanes();
        let share = self.areas.len().div_ceil(lanes.len()).max(1);
        let cells = side * side;
        let of_lanes: Vec<Vec<T>> = lanes
            .par_iter_mut()
            .zip(buffers)
            .zip(self.areas.par_chunks(share))
            .map(|((lane, buffers), areas)| {
                let mut items = Vec::with_capacity(areas.len());
                for batch in areas.chunks(batch) {
                    buffers.planes.resize(batch.len() * 3 * cells, 0.0);
                    for (crop, area) in buffers.planes.chunks_exact_mut(3 * cells).zip(batch) {
                        shrink(self.picture, *area, (side, side), crop, &mut buffers.scratch);
                    }
                    let count = batch.len();
                    let read = |outputs: &SessionOutputs<'_>| read(outputs, count);
                    let read = lane
                        .run([count, 3, side, side], &buffers.planes, read)
                        .map_err(|source| DetectError::Run { network: name, source })??;
                    items.extend(read);
                }
                Ok(items)
            })
            .collect::<Result<_, DetectError>>()?;
        Ok(of_lanes.into_iter().flatten().collect())
    }
}

/// The whole pixels of a box that lie inside the picture; `None` when there are none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
fn inside(face_box: &FaceBox, picture: &RgbImage) -> Option<Area> {
    // Truncated towards zero, counted from 1, both ends included: the reference keeps MATLAB's ways.
    let left = (face_box.left as i64).max(1) - 1;
    let top = (face_box.top as i64).max(1) - 1;
    let right = (face_box.right as i64).min(i64::from(picture.width()));
    let bottom = (face_box.bottom as i64).min(i64::from(picture.height()));
    (right > left && bottom > top).then(|| Area {
        left: left as usize,
        top: top as usize,
        width: (right - left) as usize,
        height: (bottom - top) as usize,
    })
}
