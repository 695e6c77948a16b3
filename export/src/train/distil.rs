//! Teaching a student network the embedding of a teacher, on faces of nobody in particular: a start for a network that
//! has no weights (after Hinton, Vinyals and Dean 2015, arXiv 1503.02531; the second term after Park et al. 2019,
//! "Relational knowledge distillation", arXiv 1904.05068).

use image::RgbImage;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::batches::random_of;
use super::course::{Loss, Objective, Validation};
use super::net::{Net, Pass};
use super::samples::{Preprocessing, unit_rows};
use crate::faces::augment::Augmentation;

/// What is learned, and how much of it at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// Faces in a batch.
    pub batch: usize,
    /// Weight of the difference between the batch's similarities as student and teacher see them, beside the
    /// difference of the embeddings themselves.
    pub relations_weight: f64,
}

/// Faces with the teacher's embeddings.
pub struct Distil<'a> {
    /// How a face becomes the student's input.
    pub preprocessing: &'a Preprocessing,
    /// Chance changes of what is learned from.
    pub augmentation: &'a Augmentation,
    /// What is learned.
    pub lesson: &'a Lesson,
    /// Of everything drawn by chance.
    pub seed: u64,
    /// The student's cuts: first those to learn from, then those held out.
    pub cuts: Vec<&'a RgbImage>,
    /// How many are held out.
    pub held_out: usize,
    /// What the student shall answer to each, unit length, `[N, values]`, on the network's device; see [`targets`].
    pub targets: Tensor,
}

impl Distil<'_> {
    fn losses(&self, embeddings: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        // For unit vectors |a - b|^2 / 2 is one minus the cosine.
        let apart = (embeddings - targets).f_square()?.f_sum(Kind::Float)? * (0.5 / embeddings.size()[0] as f64);
        let seen = embeddings.f_matmul(&embeddings.f_tr()?)?;
        let meant = targets.f_matmul(&targets.f_tr()?)?;
        Ok(apart + (seen - meant).f_square()?.f_mean(Kind::Float)? * self.lesson.relations_weight)
    }
}

impl Objective for Distil<'_> {
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.cuts.len() - self.held_out).collect();
        order.shuffle(&mut random_of(&[self.seed, epoch as u64, 0]));
        // A last batch of a few would be a step by chance.
        let whole = order.chunks_exact(self.lesson.batch.min(order.len()).max(1));
        whole.map(<[usize]>::to_vec).collect()
    }

    fn picture(&self, sample: usize, random: &mut StdRng, planes: &mut [f32]) {
        if let Some(cut) = self.cuts.get(sample) {
            self.preprocessing.augmented(cut, self.augmentation, random, planes);
        }
    }

    fn shape(&self) -> [usize; 3] {
        self.preprocessing.shape()
    }

    fn loss(&self, net: &Net, input: &Tensor, samples: &[usize], _: &mut StdRng) -> anyhow::Result<Loss> {
        let embeddings = unit_rows(&net.run_for("embedding", input, Pass::Learn)?)?;
        let places: Vec<i64> = samples
            .iter()
            .filter_map(|&sample| i64::try_from(sample).ok())
            .collect();
        let targets = self
            .targets
            .f_index_select(0, &Tensor::from_slice(&places).to_device(net.device()))?;
        Ok(Loss {
            accuracy: own_nearest(&embeddings, &targets)?,
            loss: Some(self.losses(&embeddings, &targets)?),
        })
    }

    fn validate(&self, net: &Net) -> anyhow::Result<Validation> {
        let first = self.cuts.len() - self.held_out;
        let cuts = self.cuts.get(first..).unwrap_or_default();
        let embeddings = unit_rows(&self.preprocessing.outputs(net, "embedding", cuts, false)?)?;
        let targets = self
            .targets
            .f_narrow(0, i64::try_from(first)?, i64::try_from(self.held_out)?)?
            .f_to_device(tch::Device::Cpu)?;
        let cosines = (&embeddings * &targets).f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        Ok(Validation {
            loss: 1.0 - cosines.f_mean(Kind::Float)?.double_value(&[]),
            accuracy: own_nearest(&embeddings, &targets)?,
        })
    }
}

/// Share of faces whose embedding is nearer to the face's own target than to any other one of the batch.
fn own_nearest(embeddings: &Tensor, targets: &Tensor) -> Result<f64, TchError> {
    let nearest = embeddings.detach().f_matmul(&targets.f_tr()?)?.f_argmax(1, false)?;
    let own = Tensor::f_arange(embeddings.size()[0], (Kind::Int64, embeddings.device()))?;
    Ok(nearest
        .f_eq_tensor(&own)?
        .f_to_kind(Kind::Float)?
        .f_mean(Kind::Float)?
        .double_value(&[]))
}

/// What a student with `values` values shall answer, from the teacher's unit embeddings `[N, more or as many]`: their
/// first principal components, at unit length again. Of all projections on so few values it keeps the distances best.
///
/// # Errors
/// When the teacher has fewer values than the student, or fewer faces were given than values, or libtorch fails.
pub fn targets(teacher: &Tensor, values: usize) -> anyhow::Result<Tensor> {
    let (faces, given) = teacher.size2()?;
    let values = i64::try_from(values)?;
    anyhow::ensure!(
        given >= values,
        "the teacher's embedding has {given} values, the student's {values}; a teacher needs at least as many"
    );
    if given == values {
        return Ok(unit_rows(teacher)?);
    }
    anyhow::ensure!(
        faces >= values,
        "{faces} faces are too few to find the {values} directions in which the teacher's embeddings differ most"
    );
    // Not centred: what matters is the angle at the origin. Eigenvalues come in ascending order.
    let second_moments = teacher.f_to_kind(Kind::Double)?;
    let second_moments = second_moments.f_tr()?.f_matmul(&second_moments)?;
    let (_, directions) = second_moments.f_linalg_eigh("L")?;
    let directions = directions.f_narrow(1, given - values, values)?.f_flip([1])?;
    // An eigenvector is as good as its opposite; the largest value is made positive, so that all machines agree.
    let largest = directions.f_abs()?.f_argmax(0, true)?;
    let directions = &directions * directions.f_gather(0, &largest, false)?.f_sign()?;
    Ok(unit_rows(&teacher.f_matmul(&directions.f_to_kind(Kind::Float)?)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_keeps_cosines_where_the_teacher_uses_few_directions() {
        // 60 unit vectors that lie in 4 of 10 dimensions, turned by a rotation of the first two axes.
        let raw = Tensor::from_slice(&(0..240).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()).view([60, 4]);
        let wide = Tensor::cat(&[&raw, &Tensor::zeros([60, 6], (Kind::Float, tch::Device::Cpu))], 1);
        let mixed = &wide + wide.roll([3], [1]) * 0.5;
        let teacher = unit_rows(&mixed).unwrap();
        let targets = targets(&teacher, 4).unwrap();
        assert_eq!(targets.size(), [60, 4]);
        let before = teacher.matmul(&teacher.tr());
        let after = targets.matmul(&targets.tr());
        assert!(
            before.allclose(&after, 1e-4, 1e-4, false),
            "{}",
            (before - after).abs().max()
        );
    }

    #[test]
    fn a_teacher_with_too_few_values_is_refused() {
        let teacher = Tensor::ones([50, 16], (Kind::Float, tch::Device::Cpu));
        assert!(
            targets(&teacher, 32)
                .unwrap_err()
                .to_string()
                .contains("at least as many")
        );
    }
}
