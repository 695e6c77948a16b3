//! MTCNN: three networks that propose, refine and finish faces.
//!
//! Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016. The
//! constants and the order of roundings are those of facenet-pytorch 2.6, whose weights these are, so that the faces
//! come out equal.

use std::time::Duration;

use image::RgbImage;
use ort::session::SessionOutputs;
use rayon::prelude::*;

use super::area::{Area, shrink};
use super::crops::{Buffers, Crops};
use super::nms::{Overlap, suppress};
use super::{DetectError, Detector, Face, FaceBox, Landmarks};
use crate::runtime::{Lane, Network};

/// P-Net sees a face in a cell of 12 pixels.
const CELL_PX: f64 = 12.0;
/// Pixels between two of P-Net's cells.
const STRIDE_PX: f32 = 2.0;
/// Ratio of one pyramid scale to the one before.
const FACTOR: f64 = 0.709;
/// Least probabilities after P-Net, R-Net and O-Net.
const THRESHOLDS: [f32; 3] = [0.6, 0.7, 0.7];
/// Inputs of R-Net and O-Net, in pixels.
pub(crate) const RNET_SIDE_PX: usize = 24;
pub(crate) const ONET_SIDE_PX: usize = 48;
/// The detector.
pub struct Mtcnn {
    pnet: Network,
    rnet: Network,
    onet: Network,
    /// One for each lane of the networks.
    buffers: Vec<Buffers>,
}

/// A candidate between two networks.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    face_box: FaceBox,
    probability: f32,
    /// How the network would move left, top, right, bottom, in widths and heights of the box.
    regression: [f32; 4],
}

/// What O-Net says of a crop.
struct Finished {
    probability: f32,
    regression: [f32; 4],
    /// Five x, then five y, in widths and heights of the box.
    landmarks: [f32; 10],
}

impl Mtcnn {
    /// A detector of the three networks `pnet`, `rnet`, `onet`, in this order.
    pub fn new([mut pnet, rnet, onet]: [Network; 3]) -> Self {
        let buffers = pnet.lanes().iter().map(|_| Buffers::default()).collect();
        Self {
            pnet,
            rnet,
            onet,
            buffers,
        }
    }

    /// Runs P-Net over the pyramid, each scale in one of the lanes.
    fn propose(&mut self, picture: &RgbImage, min_face_px: u32) -> Result<Vec<Candidate>, DetectError> {
        let lanes = self.pnet.lanes();
        let shares = share_out(
            scales(picture.width() as usize, picture.height() as usize, min_face_px),
            lanes.len(),
        );
        let of_lanes: Vec<Vec<(f64, Vec<Candidate>)>> = lanes
            .par_iter_mut()
            .zip(&mut self.buffers)
            .zip(shares)
            .map(|((lane, buffers), scales)| {
                scales
                    .into_iter()
                    .map(|scale| Ok((scale, propose_at(lane, buffers, picture, scale)?)))
                    .collect::<Result<_, DetectError>>()
            })
            .collect::<Result<_, DetectError>>()?;
        // Back into the pyramid's order, which decides between equally probable ones.
        let mut of_scales: Vec<(f64, Vec<Candidate>)> = of_lanes.into_iter().flatten().collect();
        of_scales.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut candidates: Vec<Candidate> = of_scales.into_iter().flat_map(|(_, candidates)| candidates).collect();
        suppress(&mut candidates, 0.7, Overlap::Union, Candidate::view);
        for candidate in &mut candidates {
            candidate.face_box = candidate.moved(0.0).squared();
        }
        Ok(candidates)
    }

    /// Runs R-Net over the candidates.
    fn refine(&mut self, picture: &RgbImage, candidates: &[Candidate]) -> Result<Vec<Candidate>, DetectError> {
        let crops = Crops::of(picture, candidates.iter().map(|candidate| candidate.face_box));
        let refined = crops.run(
            &mut self.rnet,
            &mut self.buffers,
            RNET_SIDE_PX,
            "rnet",
            |outputs, count| {
                let log_odds = output(outputs, "rnet", "log_odds", count)?;
                let regression = output(outputs, "rnet", "regression", 4 * count)?.as_chunks::<4>().0;
                Ok(log_odds
                    .iter()
                    .zip(regression)
                    .map(|(odds, regression)| (probability(*odds), *regression))
                    .collect())
            },
        )?;
        let mut refined: Vec<Candidate> = crops
            .boxes
            .iter()
            .map(|&(face_box, crop)| {
                let (probability, regression) = refined[crop];
                Candidate {
                    face_box,
                    probability,
                    regression,
                }
            })
            .filter(|candidate| candidate.probability > THRESHOLDS[1])
            .collect();
        suppress(&mut refined, 0.7, Overlap::Union, Candidate::view);
        for candidate in &mut refined {
            candidate.face_box = candidate.moved(1.0).squared();
        }
        Ok(refined)
    }

    /// Runs O-Net over the candidates.
    fn finish(&mut self, picture: &RgbImage, candidates: &[Candidate]) -> Result<Vec<Face>, DetectError> {
        let crops = Crops::of(picture, candidates.iter().map(|candidate| candidate.face_box));
        let finished = crops.run(
            &mut self.onet,
            &mut self.buffers,
            ONET_SIDE_PX,
            "onet",
            |outputs, count| {
                let log_odds = output(outputs, "onet", "log_odds", count)?;
                let regression = output(outputs, "onet", "regression", 4 * count)?.as_chunks::<4>().0;
                let landmarks = output(outputs, "onet", "landmarks", 10 * count)?.as_chunks::<10>().0;
                Ok(log_odds
                    .iter()
                    .zip(regression)
                    .zip(landmarks)
                    .map(|((odds, regression), landmarks)| Finished {
                        probability: probability(*odds),
                        regression: *regression,
                        landmarks: *landmarks,
                    })
                    .collect())
            },
        )?;
        let mut faces: Vec<Face> = crops
            .boxes
            .iter()
            .map(|&(face_box, crop)| (face_box, &finished[crop]))
            .filter(|(_, finished)| finished.probability > THRESHOLDS[2])
            .map(|(face_box, finished)| {
                let (probability, regression) = (finished.probability, finished.regression);
                Face {
                    box_in_frame: Candidate {
                        face_box,
                        probability,
                        regression,
                    }
                    .moved(1.0),
                    probability,
                    landmarks: landmarks_in_frame(&face_box, &finished.landmarks),
                }
            })
            .collect();
        suppress(&mut faces, 0.7, Overlap::SmallerInclusive, |face| {
            (face.box_in_frame, face.probability)
        });
        Ok(faces)
    }
}

/// Runs P-Net on one scale of the picture.
fn propose_at(
    lane: &mut Lane,
    buffers: &mut Buffers,
    picture: &RgbImage,
    scale: f64,
) -> Result<Vec<Candidate>, DetectError> {
    // As python's int(h * scale + 1).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    let scaled = |side: u32| (f64::from(side) * scale + 1.0) as usize;
    let (width, height) = (scaled(picture.width()), scaled(picture.height()));
    buffers.planes.resize(3 * width * height, 0.0);
    shrink(
        picture,
        Area::whole(picture),
        (width, height),
        &mut buffers.planes,
        &mut buffers.scratch,
    );
    let mut candidates = lane
        .run([1, 3, height, width], &buffers.planes, |outputs| {
            proposals(outputs, scale)
        })
        .map_err(|source| DetectError::Run {
            network: "pnet",
            source,
        })??;
    suppress(&mut candidates, 0.5, Overlap::Union, Candidate::view);
    Ok(candidates)
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

/// Gives each of `lanes` its scales: every next one to the lane that has least to do yet.
fn share_out(scales: impl Iterator<Item = f64>, lanes: usize) -> Vec<Vec<f64>> {
    let mut shares = vec![Vec::new(); lanes];
    let mut work = vec![0.0_f64; lanes];
    for scale in scales {
        let least = (0..lanes).min_by(|a, b| work[*a].total_cmp(&work[*b])).unwrap_or(0);
        work[least] += scale * scale;
        shares[least].push(scale);
    }
    shares
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
