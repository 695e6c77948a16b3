//! Fine-tuning an embedder on people's photos with the triplet loss.

use image::RgbImage;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::batches::{people_with_photos, random_of};
use super::course::{Loss, Objective, Validation};
use super::mining::Mining;
use super::net::{Net, Pass};
use super::samples::{Pictures, unit_rows};
use super::triplet::{squared_distances, triplet_loss};

/// What is learned: triplets of which kind, in batches of which form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Triplets {
    /// How triplets are chosen.
    pub mining: Mining,
    /// The least difference of squared distances that is asked for, 0 to 4; FaceNet's is 0.2.
    pub margin: f32,
    /// People in a batch.
    pub people_per_batch: usize,
    /// Photos of each.
    pub photos_each: usize,
    /// How often a photo comes up in an epoch, about.
    pub rounds: usize,
    /// Weight of staying near the embeddings that the network began with, on faces of nobody in particular; 0: none.
    pub keep_weight: f64,
}

/// Photos of people, some to learn from, some held out.
pub struct Fit<'a> {
    /// The faces: those of people to learn from are changed by chance; those of others, to be kept where they are, are not.
    pub pictures: Pictures<'a>,
    /// Whom each face to learn from shows.
    pub people: Vec<usize>,
    /// What is learned.
    pub triplets: &'a Triplets,
    /// Of everything drawn by chance.
    pub seed: u64,
    /// Cuts to stop by, and whom each shows.
    pub held_out: Vec<(&'a RgbImage, usize)>,
    /// The unit embeddings that the others had in the beginning, `[N, values]`, on the network's device.
    pub kept_embeddings: Tensor,
}

impl Fit<'_> {
    fn kept_in_batch(&self, learned: usize) -> usize {
        if self.triplets.keep_weight > 0.0 {
            learned.min(self.pictures.unchanged.len())
        } else {
            0
        }
    }
}

impl Objective for Fit<'_> {
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        use rand::RngExt as _;

        let mut random = random_of(&[self.seed, epoch as u64, 0]);
        let (per_batch, each) = (self.triplets.people_per_batch, self.triplets.photos_each);
        let mut batches = Vec::new();
        for _ in 0..self.triplets.rounds {
            batches.extend(people_with_photos(&self.people, per_batch, each, &mut random));
        }
        for batch in &mut batches {
            // Places behind those to learn from stand for the kept ones.
            let kept = self.kept_in_batch(batch.len());
            batch.extend((0..kept).map(|_| self.people.len() + random.random_range(0..self.pictures.unchanged.len())));
        }
        batches
    }

    fn pictures(&self) -> &Pictures<'_> {
        &self.pictures
    }

    fn loss(&self, net: &Net, input: &Tensor, samples: &[usize], random: &mut StdRng) -> anyhow::Result<Loss> {
        let embeddings = unit_rows(&net.run_for("embedding", input, Pass::Learn)?)?;
        let people: Vec<usize> = samples
            .iter()
            .filter_map(|&sample| self.people.get(sample).copied())
            .collect();
        let count = i64::try_from(people.len())?;
        let triplets = &self.triplets;
        let learned = embeddings.f_narrow(0, 0, count)?;
        let found = triplet_loss(&learned, &people, triplets.mining, triplets.margin, random)?;
        let right = found.triplets - found.active;
        let kept: Vec<i64> = samples
            .iter()
            .filter_map(|sample| i64::try_from(sample.checked_sub(self.people.len())?).ok())
            .collect();
        let mut loss = found.loss;
        if !kept.is_empty() {
            let here = embeddings.f_narrow(0, count, i64::try_from(kept.len())?)?;
            let before = self
                .kept_embeddings
                .f_index_select(0, &Tensor::from_slice(&kept).to_device(net.device()))?;
            let moved = (here - before)
                .f_square()?
                .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
            let moved = moved.f_mean(Kind::Float)? * triplets.keep_weight;
            loss = Some(match loss {
                Some(loss) => loss + moved,
                None => moved,
            });
        }
        Ok(Loss {
            loss,
            // Triplets that are far enough apart; where there are none, nothing is wrong.
            accuracy: if found.triplets == 0 {
                1.0
            } else {
                right as f64 / found.triplets as f64
            },
        })
    }

    /// How far each held-out face is from being nearer, by the margin, to a learned face of the same person than to any
    /// of another, which is what recognition by distance goes by; accuracy counts the nearest face only.
    fn validate(&self, net: &Net) -> anyhow::Result<Validation> {
        let embed = |faces: &[(&RgbImage, usize)]| {
            let cuts: Vec<&RgbImage> = faces.iter().map(|(cut, _)| *cut).collect();
            unit_rows(&self.pictures.preprocessing.outputs(net, "embedding", &cuts, false)?)
        };
        if self.held_out.is_empty() {
            return Ok(Validation {
                loss: 0.0,
                accuracy: 0.0,
            });
        }
        let learned = self.pictures.changed.iter().copied().zip(self.people.iter().copied());
        let both: Vec<(&RgbImage, usize)> = self.held_out.iter().copied().chain(learned).collect();
        let distances = super::samples::rows_of(&squared_distances(&embed(&both)?)?)?;
        let (mut loss, mut right) = (0.0, 0);
        for ((_, person), row) in self.held_out.iter().zip(&distances) {
            let to_learned = row.iter().skip(self.held_out.len()).zip(&self.people);
            let nearest = |same: bool| {
                to_learned
                    .clone()
                    .filter(|(_, other)| (*other == person) == same)
                    .map(|(distance, _)| *distance)
                    .fold(4.0_f32, f32::min)
            };
            let (same, other) = (nearest(true), nearest(false));
            loss += f64::from((same - other + self.triplets.margin).max(0.0));
            right += usize::from(same < other);
        }
        let count = self.held_out.len() as f64;
        Ok(Validation {
            loss: loss / count,
            accuracy: right as f64 / count,
        })
    }
}
