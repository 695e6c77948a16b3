//! The triplet loss of FaceNet (Schroff, Kalenichenko and Philbin 2015, arXiv 1503.03832, equation 2), averaged.

use rand::rngs::StdRng;
use tch::{Kind, Tensor};

use super::mining::{Mining, Triplet, mine};

/// The loss of a batch, and what it was made of.
#[derive(Debug)]
pub struct TripletLoss {
    /// Scalar; `None` where no triplet was found, so that there is nothing to learn.
    pub loss: Option<Tensor>,
    /// Triplets that were chosen.
    pub triplets: usize,
    /// Those whose negative is nearer than the positive plus the margin: the others teach nothing.
    pub active: usize,
}

/// Squared distances of unit vectors `[N, values]`, as `[N, N]`, 0 to 4.
///
/// # Errors
/// When libtorch can't compute it.
pub fn squared_distances(embeddings: &Tensor) -> Result<Tensor, tch::TchError> {
    // |a - b|^2 = 2 - 2ab for unit vectors; one product, and no root whose gradient is infinite at zero.
    let products = embeddings.f_matmul(&embeddings.f_tr()?)?;
    (products * -2.0 + 2.0).f_clamp_min(0.0)
}

/// The mean over the chosen triplets of `max(0, |a - p|^2 - |a - n|^2 + margin)`. `embeddings` `[N, values]` of unit
/// length, `people[N]` who each shows.
///
/// # Errors
/// When libtorch can't compute it.
pub fn triplet_loss(
    embeddings: &Tensor,
    people: &[usize],
    mining: Mining,
    margin: f32,
    random: &mut StdRng,
) -> Result<TripletLoss, tch::TchError> {
    let distances = squared_distances(embeddings)?;
    let plain = Vec::<f32>::try_from(
        distances
            .detach()
            .to_device(tch::Device::Cpu)
            .to_kind(Kind::Float)
            .view(-1),
    )?;
    let triplets = mine(mining, people, &plain, margin, random);
    if triplets.is_empty() {
        return Ok(TripletLoss {
            loss: None,
            triplets: 0,
            active: 0,
        });
    }
    let size = people.len();
    let place = |of: fn(&Triplet) -> (usize, usize)| {
        let flat: Vec<i64> = triplets
            .iter()
            .map(of)
            .map(|(row, column)| i64::try_from(row * size + column).unwrap_or(i64::MAX))
            .collect();
        Tensor::from_slice(&flat).to_device(distances.device())
    };
    let flat = distances.f_reshape([-1])?;
    let near = flat.f_index_select(0, &place(|t| (t.anchor, t.positive)))?;
    let far = flat.f_index_select(0, &place(|t| (t.anchor, t.negative)))?;
    let losses = (near - far + f64::from(margin)).f_relu()?;
    let active = usize::try_from(losses.f_gt(0.0)?.f_sum(Kind::Int64)?.int64_value(&[])).unwrap_or(0);
    Ok(TripletLoss {
        loss: Some(losses.f_mean(Kind::Float)?),
        triplets: triplets.len(),
        active,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_loss_is_the_formula_s() {
        // Three directions in the plane; distances by hand.
        let unit = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let points: Vec<[f32; 2]> = [0.0, 30.0, 40.0].into_iter().map(unit).collect();
        let d = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let embeddings = Tensor::from_slice2(&points);
        let mut random = StdRng::seed_from_u64(1);
        let got = triplet_loss(&embeddings, &[0, 0, 1], Mining::BatchHard, 0.2, &mut random).unwrap();
        // Anchors are the two faces of person 0; person 1 has no second face.
        let expected = ((d(points[0], points[1]) - d(points[0], points[2]) + 0.2).max(0.0)
            + (d(points[1], points[0]) - d(points[1], points[2]) + 0.2).max(0.0))
            / 2.0;
        assert_eq!((got.triplets, got.active), (2, 2));
        let loss = got.loss.unwrap().double_value(&[]);
        assert!((loss - f64::from(expected)).abs() < 1e-6, "{loss} {expected}");
    }

    #[test]
    fn a_step_down_the_gradient_lowers_the_loss() {
        let loss_of = |raw: &Tensor| {
            let unit = raw / raw.norm_scalaropt_dim(2.0, [1], true);
            let mut random = StdRng::seed_from_u64(1);
            triplet_loss(&unit, &[0, 0, 1, 1], Mining::BatchHard, 0.2, &mut random)
                .unwrap()
                .loss
                .unwrap()
        };
        let raw = Tensor::from_slice2(&[[1.0_f32, 0.1], [0.3, 1.0], [0.9, 0.4], [-0.2, 1.0]]).set_requires_grad(true);
        let before = loss_of(&raw);
        before.backward();
        let after = loss_of(&(raw.detach() - raw.grad() * 0.1));
        assert!(after.double_value(&[]) < before.double_value(&[]));
    }
}
