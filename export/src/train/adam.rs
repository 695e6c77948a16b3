//! Adam (Kingma and Ba 2015, arXiv 1412.6980) with decoupled weight decay (Loshchilov and Hutter 2019, arXiv
//! 1711.05101), on plain tensors. Our own, since tch's optimisers can't save their state, and without the state a run
//! that is gone on with is another run.

use std::collections::BTreeMap;

use tch::Tensor;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The optimiser and its state.
#[derive(Debug)]
pub struct Adam {
    weight_decay: f64,
    steps: i32,
    moments: BTreeMap<String, Moments>,
}

/// Running means of a tensor's gradient and of its square.
#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
}

impl Moments {
    /// Brings both to where `tensor` is, in the order in which it lies in memory: a checkpoint's need not be, and an
    /// operation on tensors of different orders takes several times as long.
    fn lie_as(&mut self, tensor: &Tensor) -> Result<(), tch::TchError> {
        for moment in [&mut self.first, &mut self.second] {
            if moment.stride() != tensor.stride() || moment.device() != tensor.device() {
                let mut moved = tensor.f_zeros_like()?;
                moved.f_copy_(moment)?;
                *moment = moved;
            }
        }
        Ok(())
    }
}

impl Adam {
    /// At its beginning. `weight_decay` per step and learning rate; it applies to weights of at least two axes, not to
    /// biases, slopes and normalisations.
    pub fn new(weight_decay: f64) -> Self {
        Self {
            weight_decay,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Goes one step down the gradients that `learned`, by name, carry, and clears them. A tensor without a gradient
    /// stays as it is.
    ///
    /// # Errors
    /// When libtorch can't compute it.
    pub fn step<'a>(
        &mut self,
        learned: impl Iterator<Item = (&'a str, &'a Tensor)>,
        learning_rate: f64,
    ) -> Result<(), tch::TchError> {
        self.steps += 1;
        let correction1 = 1.0 - BETA1.powi(self.steps);
        let correction2 = 1.0 - BETA2.powi(self.steps);
        tch::no_grad(|| {
            for (name, tensor) in learned {
                let mut gradient = tensor.grad();
                if !gradient.defined() {
                    continue;
                }
                let moments = match self.moments.get_mut(name) {
                    Some(moments) => moments,
                    None => self.moments.entry(name.to_owned()).or_insert(Moments {
                        first: tensor.f_zeros_like()?,
                        second: tensor.f_zeros_like()?,
                    }),
                };
                moments.lie_as(tensor)?;
                let _ = moments.first.f_lerp_(&gradient, 1.0 - BETA1)?;
                let _ = moments.second.f_lerp_(&gradient.f_square()?, 1.0 - BETA2)?;
                let mut tensor = tensor.detach();
                if self.weight_decay > 0.0 && tensor.dim() > 1 {
                    let _ = tensor.f_mul_scalar_(1.0 - learning_rate * self.weight_decay)?;
                }
                // rate * (first / c1) / (sqrt(second / c2) + epsilon), with all factors in the divisor: each pass over
                // the weights costs as much as reading them.
                if learning_rate > 0.0 {
                    let factor = -correction1 / learning_rate;
                    let mut divisor = moments.second.f_sqrt()?;
                    let _ = divisor.f_mul_scalar_(factor / correction2.sqrt())?;
                    let _ = divisor.f_add_scalar_(factor * EPSILON)?;
                    let _ = tensor.f_addcdiv_(&moments.first, &divisor)?;
                }
                let _ = gradient.f_zero_()?;
            }
            Ok(())
        })
    }

    /// Steps made.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// The state: `first/NAME` and `second/NAME` for each tensor that was ever moved.
    pub fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.moments.iter().flat_map(|(name, moments)| {
            [
                (format!("first/{name}"), &moments.first),
                (format!("second/{name}"), &moments.second),
            ]
        })
    }

    /// An optimiser that goes on from where [`Self::state`] was taken, after `steps`.
    ///
    /// # Errors
    /// Names what is missing or not known in the state.
    pub fn resume(weight_decay: f64, steps: i32, state: BTreeMap<String, Tensor>) -> Result<Self, String> {
        let (mut firsts, mut moments) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in state {
            if let Some(of) = name.strip_prefix("first/") {
                firsts.insert(of.to_owned(), tensor);
            } else if let Some(of) = name.strip_prefix("second/") {
                // Alphabetical order: first comes before second.
                let first = firsts.remove(of).ok_or_else(|| format!("first/{of} is missing"))?;
                moments.insert(of.to_owned(), Moments { first, second: tensor });
            } else {
                return Err(format!("{name} is not known"));
            }
        }
        match firsts.into_keys().next() {
            Some(name) => Err(format!("second/{name} is missing")),
            None => Ok(Self {
                weight_decay,
                steps,
                moments,
            }),
        }
    }
}

/// Scales all gradients down together so that their common length is at most `limit`; returns the length before.
///
/// # Errors
/// When libtorch can't compute it.
pub fn clip_gradients<'a>(learned: impl Iterator<Item = &'a Tensor>, limit: f64) -> Result<f64, tch::TchError> {
    let mut gradients: Vec<Tensor> = learned.map(Tensor::grad).filter(Tensor::defined).collect();
    let lengths = gradients.iter().map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
    if lengths.is_empty() {
        return Ok(0.0);
    }
    let length = Tensor::f_stack(&lengths, 0)?.f_norm()?.double_value(&[]);
    if length > limit {
        for gradient in &mut gradients {
            let _ = gradient.f_mul_scalar_(limit / length)?;
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// The gradient of `sum((x - goal)^2)`.
    fn descend(adam: &mut Adam, x: &Tensor, goal: &Tensor, steps: usize) {
        for _ in 0..steps {
            (x - goal).square().sum(Kind::Float).backward();
            adam.step([("x", x)].into_iter(), 0.05).unwrap();
        }
    }

    #[test]
    fn the_first_steps_are_those_of_the_paper() {
        // By hand: with g = 2 (x - goal) the first step is lr * g / (|g| + eps).
        let x = Tensor::from_slice(&[1.0_f32, -2.0]).set_requires_grad(true);
        let goal = Tensor::from_slice(&[0.0_f32, 0.0]);
        let mut adam = Adam::new(0.0);
        descend(&mut adam, &x, &goal, 1);
        assert!(x.allclose(&Tensor::from_slice(&[0.95_f32, -1.95]), 1e-5, 1e-6, false));
        // The second: m = 0.9*0.1*g1 + 0.1*g2, v = 0.999*0.001*g1^2 + 0.001*g2^2, both corrected.
        let (g1, g2) = (2.0_f64, 1.9_f64);
        let m = (0.9 * 0.1 * g1 + 0.1 * g2) / (1.0 - 0.81);
        let v = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999_f64.powi(2));
        descend(&mut adam, &x, &goal, 1);
        let expected = 0.95 - 0.05 * m / (v.sqrt() + 1e-8);
        assert!((x.double_value(&[0]) - expected).abs() < 1e-5, "{expected}");
    }

    #[test]
    fn it_arrives() {
        let x = Tensor::from_slice(&[3.0_f32, -2.0]).set_requires_grad(true);
        let goal = Tensor::from_slice(&[0.5_f32, 1.5]);
        descend(&mut Adam::new(0.0), &x, &goal, 400);
        assert!(x.allclose(&goal, 1e-2, 1e-2, false), "{x:?}");
    }

    #[test]
    fn a_resumed_optimiser_goes_the_same_way() {
        let goal = Tensor::from_slice(&[0.5_f32, 1.5]);
        let through = Tensor::from_slice(&[3.0_f32, -2.0]).set_requires_grad(true);
        descend(&mut Adam::new(0.01), &through, &goal, 20);

        let part = Tensor::from_slice(&[3.0_f32, -2.0]).set_requires_grad(true);
        let mut adam = Adam::new(0.01);
        descend(&mut adam, &part, &goal, 7);
        let state = adam.state().map(|(name, tensor)| (name, tensor.copy())).collect();
        let mut resumed = Adam::resume(0.01, adam.steps(), state).unwrap();
        descend(&mut resumed, &part, &goal, 13);
        assert!(part.equal(&through), "{part:?} {through:?}");
    }

    #[test]
    fn gradients_are_clipped_together() {
        let a = Tensor::from_slice(&[0.0_f32]).set_requires_grad(true);
        let b = Tensor::from_slice(&[0.0_f32]).set_requires_grad(true);
        (&a * 3.0 + &b * 4.0).sum(Kind::Float).backward();
        let length = clip_gradients([&a, &b].into_iter(), 1.0).unwrap();
        assert!((length - 5.0).abs() < 1e-6);
        assert!((a.grad().double_value(&[0]) - 0.6).abs() < 1e-6 && (b.grad().double_value(&[0]) - 0.8).abs() < 1e-6);
    }
}
