//! Aligned faces in memory, as a network takes them.

use image::RgbImage;
use kith::align::Alignment;
use kith::embed::normalise;
use kith::model::Input;
use rand::rngs::StdRng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Device, TchError, Tensor};

use super::net::{Net, Pass};
use crate::faces::augment::{Augmentation, augmented};
use crate::faces::{AlignedFace, AlignedFolder};

/// Faces that go through a network at once where no gradient is wanted.
const BATCH: usize = 32;

/// How a face becomes a network's input: the same in training and in serving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How it is cut out.
    pub alignment: Alignment,
    /// Mean and scale of its pixels.
    pub input: Input,
}

impl Preprocessing {
    /// Shape of one face.
    pub fn shape(&self) -> [usize; 3] {
        let side = self.alignment.side_px() as usize;
        [3, side, side]
    }

    /// Writes the normalised planes of an aligned crop.
    pub fn planes(&self, aligned: &RgbImage, planes: &mut [f32]) {
        normalise(aligned, &self.input, planes);
    }

    /// Writes the normalised planes of a cut, changed by chance.
    pub fn augmented(&self, cut: &RgbImage, how: &Augmentation, random: &mut StdRng, planes: &mut [f32]) {
        normalise(&augmented(cut, self.alignment, how, random), &self.input, planes);
    }

    /// The network's output called `output` for cuts, `[N, values]`, on the CPU; each face's mirror picture instead
    /// where `mirrored`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn outputs(&self, net: &Net, output: &str, cuts: &[&RgbImage], mirrored: bool) -> Result<Tensor, TchError> {
        let shape = self.shape();
        let values: usize = shape.iter().product();
        let mut outputs = Vec::with_capacity(cuts.len().div_ceil(BATCH));
        for cuts in cuts.chunks(BATCH) {
            let mut planes = vec![0.0; cuts.len() * values];
            planes.par_chunks_exact_mut(values).zip(cuts).for_each(|(planes, cut)| {
                let mut aligned = self.alignment.finish(cut);
                if mirrored {
                    image::imageops::flip_horizontal_in_place(&mut aligned);
                }
                self.planes(&aligned, planes);
            });
            let shape = [cuts.len(), shape[0], shape[1], shape[2]].map(|length| i64::try_from(length).unwrap_or(0));
            let input = Tensor::f_from_slice(&planes)?
                .f_reshape(shape)?
                .f_to_device(net.device())?;
            outputs.push(net.run_for(output, &input, Pass::Serve)?.f_to_device(Device::Cpu)?);
        }
        Tensor::f_cat(&outputs, 0)
    }
}

/// The faces of a run, as the threads that make batches need them.
pub struct Pictures<'a> {
    /// How a face becomes input.
    pub preprocessing: &'a Preprocessing,
    /// Chance changes.
    pub augmentation: &'a Augmentation,
    /// Cuts that are changed by chance each time.
    pub changed: Vec<&'a RgbImage>,
    /// Cuts that stay as they are; they are numbered on from the others.
    pub unchanged: Vec<&'a RgbImage>,
}

impl Pictures<'_> {
    /// Writes the normalised planes of the face at `place`.
    pub fn picture(&self, place: usize, random: &mut StdRng, planes: &mut [f32]) {
        if let Some(cut) = self.changed.get(place) {
            self.preprocessing.augmented(cut, self.augmentation, random, planes);
        } else if let Some(cut) = self.unchanged.get(place - self.changed.len()) {
            self.preprocessing
                .planes(&self.preprocessing.alignment.finish(cut), planes);
        }
    }
}

/// Reads the cuts of `faces` that `alignment` is made from.
///
/// # Errors
/// When one can't be read; names it.
pub fn cuts(folder: &AlignedFolder, faces: &[&AlignedFace], alignment: Alignment) -> anyhow::Result<Vec<RgbImage>> {
    faces
        .par_iter()
        .map(|face| Ok(folder.cut(face, alignment.cut())?))
        .collect()
}

/// Scales each row to unit length.
///
/// # Errors
/// When libtorch fails.
pub fn unit_rows(rows: &Tensor) -> Result<Tensor, TchError> {
    let length = rows.f_norm_scalaropt_dim(2.0, [1], true)?.f_clamp_min(1e-12)?;
    rows.f_div(&length)
}

/// The rows of a matrix.
///
/// # Errors
/// When libtorch fails.
pub fn rows_of(matrix: &Tensor) -> Result<Vec<Vec<f32>>, TchError> {
    let (_, columns) = matrix.size2()?;
    let flat = Vec::<f32>::try_from(matrix.f_contiguous()?.f_view([-1])?)?;
    let columns = usize::try_from(columns).unwrap_or(1).max(1);
    Ok(flat.chunks_exact(columns).map(<[f32]>::to_vec).collect())
}

/// From this cosine similarity on, two photos may well show one person: for MobileFaceNet three of a hundred thousand pairs
/// of two people reach it, and nine in ten of one person's.
const MAY_BE_ONE_PERSON: f32 = 0.6;

/// Whether a face may show somebody of `others`, all of unit length.
pub fn is_among<'a>(face: &[f32], mut others: impl Iterator<Item = &'a [f32]>) -> bool {
    others.any(|other| face.iter().zip(other).map(|(a, b)| a * b).sum::<f32>() >= MAY_BE_ONE_PERSON)
}
