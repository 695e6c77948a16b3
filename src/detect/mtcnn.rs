//! MTCNN: three networks that propose, refine and finish faces.
//!
//! Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016. The
//! constants and the order of roundings are those of facenet-pytorch 2.6, whose weights these are, so that the faces
//! come out equal.

use std::collections::HashMap;
use std::time::Duration;

use image::RgbImage;
use ort::session::SessionOutputs;
use rayon::prelude::*;

use super::area::{Area, Scratch, shrink_rows};
use super::nms::{Overlap, suppress};
use super::{DetectError, Detector, Face, FaceBox, Landmarks};
use crate::runtime::Network;

/// P-Net sees a face in a cell of 12 pixels.
const CELL_PX: f64 = 12.0;
/// Pixels between two of P-Net's cells.
const STRIDE_PX: f32 = 2.0;
/// Ratio of one pyramid scale to the one before.
const FACTOR: f64 = 0.709;
/// Least probabilities after P-Net, R-Net and O-Net.
const THRESHOLDS: [f32; 3] = [0.6, 0.7, 0.7];
/// Inputs of R-Net and O-Net, in pixels.
const RNET_SIDE_PX: usize = 24;
const ONET_SIDE_PX: usize = 48;
/// As many crops go through R-Net or O-Net at once; bounds the memory of a picture full of candidates.
const BATCH: usize = 256;

/// The detector.
pub struct Mtcnn {
    pnet: Network,
    rnet: Network,
    onet: Network,
    pyramid: Vec<f32>,
    crops: Vec<f32>,
}

/// A candidate between two networks.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    face_box: FaceBox,
    probability: f32,
    /// How the network would move left, top, right, bottom, in widths and heights of the box.
    regression: [f32; 4],
}

impl Mtcnn {
    /// A detector of the three networks `pnet`, `rnet`, `onet`, in this order.
    pub fn new([pnet, rnet, onet]: [Network; 3]) -> Self {
        Self {
            pnet,
            rnet,
            onet,
            pyramid: Vec::new(),
            crops: Vec::new(),
        }
    }

    /// Runs P-Net over the pyramid.
    fn propose(&mut self, picture: &RgbImage, min_face_px: u32) -> Result<Vec<Candidate>, DetectError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut candidates = Vec::new();
        for scale in scales(width, height, min_face_px) {
            // As python's int(h * scale + 1).
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small positive numbers"
            )]
            let scaled = |side: usize| (side as f64 * scale + 1.0) as usize;
            let (scaled_width, scaled_height) = (scaled(width), scaled(height));
            let cells = scaled_width * scaled_height;
            self.pyramid.resize(3 * cells, 0.0);
            shrink_in_parallel(picture, (scaled_width, scaled_height), &mut self.pyramid);
            let shape = [1, 3, scaled_height, scaled_width];
            let mut of_scale = self
                .pnet
                .run(shape, &self.pyramid[..3 * cells], |outputs| proposals(outputs, scale))
                .map_err(|source| DetectError::Run {
                    network: "pnet",
                    source,
                })??;
            suppress(&mut of_scale, 0.5, Overlap::Union, Candidate::view);
            candidates.append(&mut of_scale);
        }
        suppress(&mut candidates, 0.7, Overlap::Union, Candidate::view);
        for candidate in &mut candidates {
            candidate.face_box = candidate.moved(0.0).squared();
        }
        Ok(candidates)
    }

    /// Runs R-Net over the candidates.
    fn refine(&mut self, picture: &RgbImage, candidates: &[Candidate]) -> Result<Vec<Candidate>, DetectError> {
        let mut refined = Vec::new();
        for batch in candidates.chunks(BATCH) {
            let cut = self.cut(picture, batch, RNET_SIDE_PX);
            let crops = cut.shape[0];
            if cut.boxes.is_empty() {
                continue;
            }
            self.rnet
                .run(cut.shape, &self.crops, |outputs| -> Result<(), DetectError> {
                    let log_odds = output(outputs, "rnet", "log_odds", crops)?;
                    let regression = output(outputs, "rnet", "regression", 4 * crops)?.as_chunks::<4>().0;
                    for &(face_box, crop) in &cut.boxes {
                        let probability = probability(log_odds[crop]);
                        if probability > THRESHOLDS[1] {
                            refined.push(Candidate {
                                face_box,
                                probability,
                                regression: regression[crop],
                            });
                        }
                    }
                    Ok(())
                })
                .map_err(|source| DetectError::Run {
                    network: "rnet",
                    source,
                })??;
        }
        suppress(&mut refined, 0.7, Overlap::Union, Candidate::view);
        for candidate in &mut refined {
            candidate.face_box = candidate.moved(1.0).squared();
        }
        Ok(refined)
    }

    /// Runs O-Net over the candidates.
    fn finish(&mut self, picture: &RgbImage, candidates: &[Candidate]) -> Result<Vec<Face>, DetectError> {
        let mut faces = Vec::new();
        for batch in candidates.chunks(BATCH) {
            let cut = self.cut(picture, batch, ONET_SIDE_PX);
            let crops = cut.shape[0];
            if cut.boxes.is_empty() {
                continue;
            }
            self.onet
                .run(cut.shape, &self.crops, |outputs| -> Result<(), DetectError> {
                    let log_odds = output(outputs, "onet", "log_odds", crops)?;
                    let regression = output(outputs, "onet", "regression", 4 * crops)?.as_chunks::<4>().0;
                    let landmarks = output(outputs, "onet", "landmarks", 10 * crops)?.as_chunks::<10>().0;
                    for &(face_box, crop) in &cut.boxes {
                        let probability = probability(log_odds[crop]);
                        if probability > THRESHOLDS[2] {
                            let candidate = Candidate {
                                face_box,
                                probability,
                                regression: regression[crop],
                            };
                            faces.push(Face {
                                box_in_frame: candidate.moved(1.0),
                                probability,
                                landmarks: landmarks_in_frame(&face_box, &landmarks[crop]),
                            });
                        }
                    }
                    Ok(())
                })
                .map_err(|source| DetectError::Run {
                    network: "onet",
                    source,
                })??;
        }
        suppress(&mut faces, 0.7, Overlap::SmallerInclusive, |face| {
            (face.box_in_frame, face.probability)
        });
        Ok(faces)
    }

    /// Fills `self.crops` with the candidates' parts of the picture, shrunk to squares of `side` pixels.
    ///
    /// Boxes that reach beyond the picture often have the same part of it. Such a part is cut and run once: it saves
    /// time, and the candidates come out equally probable to the last bit, on which the choice among them hangs.
    fn cut(&mut self, picture: &RgbImage, candidates: &[Candidate], side: usize) -> Cut {
        let mut areas = Vec::with_capacity(candidates.len());
        let mut index_of = HashMap::with_capacity(candidates.len());
        let boxes = candidates
            .iter()
            .filter_map(|candidate| {
                let area = inside(&candidate.face_box, picture)?;
                let index = *index_of.entry(area).or_insert_with(|| {
                    areas.push(area);
                    areas.len() - 1
                });
                Some((candidate.face_box, index))
            })
            .collect();
        let cells = side * side;
        let crops = areas.len();
        self.crops.resize(crops * 3 * cells, 0.0);
        self.crops
            .par_chunks_mut(3 * cells)
            .zip(areas)
            .for_each_init(Scratch::default, |scratch, (crop, area)| {
                shrink_rows(picture, area, (side, side), 0..side, planes(crop, cells), scratch);
            });
        Cut {
            boxes,
            shape: [crops, 3, side, side],
        }
    }
}

/// Candidates on their way through R-Net or O-Net.
struct Cut {
    /// The boxes that have a part inside the picture, with the index of its crop.
    boxes: Vec<(FaceBox, usize)>,
    /// Of the batch of crops.
    shape: [usize; 4],
}

impl Detector for Mtcnn {
    fn detect(&mut self, picture: &RgbImage, min_face_px: u32) -> Result<Vec<Face>, DetectError> {
        let proposed = self.propose(picture, min_face_px)?;
        let refined = self.refine(picture, &proposed)?;
        self.finish(picture, &refined)
    }

    fn take_session_time(&mut self) -> Duration {
        self.pnet.take_spent() + self.rnet.take_spent() + self.onet.take_spent()
    }
}

impl Candidate {
    fn view(&self) -> (FaceBox, f32) {
        (self.face_box, self.probability)
    }

    /// The box, moved by the network's regression; `extra` is what a side has more than the difference of its edges.
    fn moved(&self, extra: f32) -> FaceBox {
        let b = &self.face_box;
        let (width, height) = (b.right - b.left + extra, b.bottom - b.top + extra);
        let [left, top, right, bottom] = self.regression;
        FaceBox {
            left: b.left + left * width,
            top: b.top + top * height,
            right: b.right + right * width,
            bottom: b.bottom + bottom * height,
        }
    }
}

impl FaceBox {
    /// A square about the same centre, as long as the longer side.
    fn squared(self) -> Self {
        let (width, height) = (self.width(), self.height());
        let side = width.max(height);
        let left = self.left + width * 0.5 - side * 0.5;
        let top = self.top + height * 0.5 - side * 0.5;
        Self {
            left,
            top,
            right: left + side,
            bottom: top + side,
        }
    }
}

/// The scales of the pyramid, largest first: the smallest face comes out as one cell, then ever larger faces.
fn scales(width: usize, height: usize, min_face_px: u32) -> impl Iterator<Item = f64> {
    let largest = CELL_PX / f64::from(min_face_px.max(1));
    let shorter_side_px = width.min(height) as f64;
    // The running products, not powers: the reference rounds this way.
    std::iter::successors(Some((largest, shorter_side_px * largest)), |(scale, side_px)| {
        Some((scale * FACTOR, side_px * FACTOR))
    })
    .take_while(|(_, side_px)| *side_px >= CELL_PX)
    .map(|(scale, _)| scale)
}

/// The probability of a face, rounded as the reference's softmax rounds it: towards 1 many are equal, and their order
/// decides among overlapping boxes.
fn probability(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// P-Net's cells that may hold a face, as boxes in the frame.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the reference computes in f32"
)]
fn proposals(outputs: &SessionOutputs<'_>, scale: f64) -> Result<Vec<Candidate>, DetectError> {
    let (shape, log_odds) = output_with_shape(outputs, "pnet", "log_odds")?;
    let cells = log_odds.len();
    let regression = output(outputs, "pnet", "regression", 4 * cells)?;
    let columns = shape
        .last()
        .and_then(|&columns| usize::try_from(columns).ok())
        .unwrap_or(0)
        .max(1);
    let scale = scale as f32;
    let mut candidates = Vec::new();
    for (index, &log_odds) in log_odds.iter().enumerate() {
        // Few cells are positive at all; only they are worth an exponential.
        let probability = if log_odds > 0.0 { probability(log_odds) } else { 0.0 };
        if probability >= THRESHOLDS[0] {
            let (x, y) = (
                (index % columns) as f32 * STRIDE_PX,
                (index / columns) as f32 * STRIDE_PX,
            );
            let cell = CELL_PX as f32;
            candidates.push(Candidate {
                face_box: FaceBox {
                    left: ((x + 1.0) / scale).floor(),
                    top: ((y + 1.0) / scale).floor(),
                    right: ((x + cell) / scale).floor(),
                    bottom: ((y + cell) / scale).floor(),
                },
                probability,
                regression: [0, 1, 2, 3].map(|side| regression[side * cells + index]),
            });
        }
    }
    Ok(candidates)
}

/// The whole pixels of a box that lie inside the picture; `None` when there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "pixels"
)]
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

/// O-Net's landmarks (five x, then five y, in widths and heights of the box) in pixels of the frame.
fn landmarks_in_frame(face_box: &FaceBox, landmarks: &[f32; 10]) -> Landmarks {
    let (width, height) = (
        face_box.right - face_box.left + 1.0,
        face_box.bottom - face_box.top + 1.0,
    );
    [0, 1, 2, 3, 4].map(|point| {
        [
            width * landmarks[point] + face_box.left - 1.0,
            height * landmarks[point + 5] + face_box.top - 1.0,
        ]
    })
}

/// Shrinks the whole picture into `planes` (three planes of width x height), some rows on each thread.
fn shrink_in_parallel(picture: &RgbImage, (width, height): (usize, usize), values: &mut [f32]) {
    /// Enough work for a thread to be worth waking.
    const ROWS: usize = 32;
    let whole = Area::whole(picture);
    let [red, green, blue] = planes(values, width * height);
    let rows = ROWS * width;
    (
        red.par_chunks_mut(rows),
        green.par_chunks_mut(rows),
        blue.par_chunks_mut(rows),
    )
        .into_par_iter()
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (chunk, (red, green, blue))| {
            let first = chunk * ROWS;
            shrink_rows(
                picture,
                whole,
                (width, height),
                first..(first + ROWS).min(height),
                [red, green, blue],
                scratch,
            );
        });
}

fn planes(values: &mut [f32], cells: usize) -> [&mut [f32]; 3] {
    let (red, rest) = values.split_at_mut(cells);
    let (green, blue) = rest.split_at_mut(cells);
    [red, green, &mut blue[..cells]]
}

/// The values of an output, which must be `count` in number.
fn output<'a>(
    outputs: &'a SessionOutputs<'_>,
    network: &'static str,
    output: &'static str,
    count: usize,
) -> Result<&'a [f32], DetectError> {
    let (_, values) = output_with_shape(outputs, network, output)?;
    if values.len() == count {
        Ok(values)
    } else {
        Err(DetectError::Output { network, output })
    }
}

fn output_with_shape<'a>(
    outputs: &'a SessionOutputs<'_>,
    network: &'static str,
    output: &'static str,
) -> Result<(&'a [i64], &'a [f32]), DetectError> {
    let value = outputs.get(output).ok_or(DetectError::Output { network, output })?;
    let (shape, values) = value
        .try_extract_tensor::<f32>()
        .map_err(|_| DetectError::Output { network, output })?;
    Ok((shape, values))
}
