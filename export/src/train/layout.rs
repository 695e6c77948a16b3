//! How pictures lie in memory, and an operation that hangs on it.

use tch::{Kind, TchError, Tensor};

/// The same values with channels lying together in memory, where there are images: libtorch's convolutions follow their
/// input's order, and in this one they are several times as fast on a CPU, depthwise ones most of all; pools go over
/// channels in vectors.
///
/// # Errors
/// When libtorch fails.
pub(super) fn channels_last(images: &Tensor) -> Result<Tensor, TchError> {
    if images.dim() != 4 {
        return Ok(images.shallow_clone());
    }
    images.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

/// See [`crate::nets::graph::Op::LocalResponseNorm`].
///
/// # Errors
/// When libtorch fails.
pub(super) fn local_response_norm(
    x: &Tensor,
    size: usize,
    alpha: f64,
    beta: f64,
    bias: f64,
) -> Result<Tensor, TchError> {
    let channels = x.size().get(1).copied().unwrap_or(0);
    let length = i64::try_from(size).unwrap_or(i64::MAX);
    // The sum over neighbours is a product with a matrix that has ones near its diagonal, so a convolution with a window
    // of one pixel: a single pass over the values, forwards and backwards. torch's own function takes an average pool
    // over three axes instead, and sums of shifted copies need a pass each.
    let options = (Kind::Float, x.device());
    let near = Tensor::f_ones([channels, channels], options)?
        .f_tril(length / 2)?
        .f_triu(-(length / 2))?
        .f_mul_scalar(alpha / length as f64)?
        .f_reshape([channels, channels, 1, 1])?;
    let bias = Tensor::f_full([channels], bias, options)?;
    let scale = x.f_square()?.f_conv2d(&near, Some(&bias), [1, 1], [0, 0], [1, 1], 1)?;
    let factor = if (beta - 0.75).abs() < f64::EPSILON {
        // The same power without logarithm and exponential.
        let root = scale.f_rsqrt()?;
        root.f_sqrt()?.f_mul(&root)?
    } else {
        scale.f_pow_tensor_scalar(-beta)?
    };
    x.f_mul(&factor)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// The definition, one channel after the other.
    fn by_definition(x: &Tensor, size: i64, alpha: f64, beta: f64, bias: f64) -> Tensor {
        let channels = x.size()[1];
        let normed: Vec<Tensor> = (0..channels)
            .map(|channel| {
                let first = (channel - size / 2).max(0);
                let count = (channel + size / 2 + 1).min(channels) - first;
                let squares = x
                    .narrow(1, first, count)
                    .square()
                    .sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
                let scale = squares * (alpha / size as f64) + bias;
                x.narrow(1, channel, 1) * scale.pow_tensor_scalar(-beta)
            })
            .collect();
        Tensor::cat(&normed, 1)
    }

    #[test]
    fn local_response_norm_is_as_defined_forwards_and_backwards() {
        tch::manual_seed(3);
        let options = (Kind::Float, Device::Cpu);
        // An alpha of this size makes the factor matter; OpenFace's is 1e-4.
        for (channels, size, alpha, beta, bias) in
            [(8, 5, 0.7, 0.75, 1.0), (3, 5, 0.7, 0.75, 2.0), (7, 3, 0.9, 0.5, 1.0)]
        {
            let values = Tensor::randn([2, channels, 3, 4], options);
            let towards = Tensor::randn([2, channels, 3, 4], options);
            let [ours, defined] = [true, false].map(|ours| {
                let x = channels_last(&values).unwrap().copy().set_requires_grad(true);
                let y = if ours {
                    local_response_norm(&x, size, alpha, beta, bias).unwrap()
                } else {
                    by_definition(&x, i64::try_from(size).unwrap(), alpha, beta, bias)
                };
                (&y * &towards).sum(Kind::Float).backward();
                (y, x.grad())
            });
            assert!(ours.0.allclose(&defined.0, 1e-5, 1e-6, false));
            assert!(ours.1.allclose(&defined.1, 1e-4, 1e-5, false));
        }
    }

    #[test]
    fn channels_lie_together_and_stay_so_through_a_convolution() {
        let options = (Kind::Float, Device::Cpu);
        let picture = Tensor::randn([2, 3, 5, 6], options);
        let together = channels_last(&picture).unwrap();
        assert!(together.equal(&picture));
        assert_eq!(together.stride(), [90, 1, 18, 3]);
        let weight = channels_last(&Tensor::randn([4, 3, 3, 3], options)).unwrap();
        let output = together.conv2d(&weight, None::<&Tensor>, 1, 1, 1, 1);
        assert_eq!(output.stride(), [120, 1, 24, 4]);
    }
}
