//! The backend that runs a network's description in libtorch: the same graph that [`crate::onnx`] writes, forwards and
//! backwards.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tch::{Device, Kind, TchError, Tensor};

use super::layout::{channels_last, local_response_norm};
use crate::nets::graph::{Conv, FlattenOrder, Graph, MaxPool, Op, Pads, WeightKind};
use crate::weights::{self, FitError, Weights, check_fit};

/// How running statistics follow a batch's: `running = 0.9 * running + 0.1 * batch`.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
/// Below it a sum of squares counts as zero.
const LEAST_SQUARE: f64 = 1e-24;

/// What arithmetic convolutions and dense layers use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    Full,
    /// bfloat16 in convolutions and dense layers, 32-bit floats everywhere else; the weights stay in 32 bits.
    BFloat16,
}

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The result counts: batch normalisation by its running statistics, no gradients.
    Serve,
    /// The gradient counts: batch normalisation by the batch's statistics, which the running ones follow, but for
    /// frozen layers.
    Learn,
}

/// Why a network can't be set up for training.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The weights are another network's.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// libtorch failed.
    #[error("libtorch failed: {0}")]
    Torch(#[from] TchError),
    /// A layer to freeze does not exist.
    #[error("no layer of {network} is called {pattern:?}, which should be frozen; its layers are {layers}")]
    NoSuchLayer {
        /// The network.
        network: &'static str,
        /// What was asked for.
        pattern: String,
        /// All that there are.
        layers: String,
    },
}

/// A network with its weights in libtorch.
#[derive(Debug)]
pub struct Net {
    graph: Graph,
    device: Device,
    precision: Precision,
    /// All weights, running statistics included.
    tensors: BTreeMap<String, Tensor>,
    /// Names of nodes whose weights stay as they are.
    frozen: BTreeSet<String>,
    /// Whether batch normalisation goes by its running statistics in learning too.
    frozen_statistics: bool,
}

impl Net {
    /// A network with given weights.
    ///
    /// # Errors
    /// When the weights are not exactly those that the network needs.
    pub fn new(graph: Graph, weights: &Weights, device: Device) -> Result<Self, NetError> {
        check_fit(&graph, weights)?;
        let mut tensors = BTreeMap::new();
        for (name, weight) in weights {
            tensors.insert(name.clone(), channels_last(&to_torch(weight)?.f_to_device(device)?)?);
        }
        let net = Self {
            graph,
            device,
            precision: Precision::default(),
            tensors,
            frozen: BTreeSet::new(),
            frozen_statistics: false,
        };
        net.mark_learned()?;
        Ok(net)
    }

    /// A network at its beginning. Convolutions and dense layers are drawn uniformly with the variance of He et al.
    /// (2015, arXiv 1502.01852), the same numbers for the same seed on every machine.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn at_random(graph: Graph, seed: u64, device: Device) -> Result<Self, NetError> {
        let mut random = StdRng::seed_from_u64(seed);
        let weights: Weights = graph
            .nodes
            .iter()
            .flat_map(|node| node.op.weights().into_iter().map(move |weight| (node, weight)))
            .map(|(node, weight)| {
                let (suffix, shape) = (weight.suffix, weight.shape);
                let count: usize = shape.iter().product();
                let values = match (&node.op, suffix) {
                    (Op::Conv(_) | Op::Linear { .. }, "weight") => {
                        let inputs: usize = shape[1..].iter().product();
                        #[expect(clippy::cast_precision_loss, reason = "a number of inputs")]
                        let bound = (6.0 / inputs as f32).sqrt();
                        (0..count).map(|_| random.random_range(-bound..bound)).collect()
                    }
                    (Op::PRelu { .. }, _) => vec![0.25; count],
                    (Op::BatchNorm { .. }, "weight" | "running_var") => vec![1.0; count],
                    _ => vec![0.0; count],
                };
                (format!("{}.{suffix}", node.name), weights::Tensor { shape, values })
            })
            .collect();
        Self::new(graph, &weights, device)
    }

    /// Uses `precision` from now on.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Lets batch normalisation go by its running statistics in learning too, and leaves those as they are: right for
    /// fine-tuning on few people, whose batches are no fair sample of faces.
    #[must_use]
    pub fn with_frozen_statistics(mut self, frozen: bool) -> Self {
        self.frozen_statistics = frozen;
        self
    }

    /// Keeps the weights of the layers that `patterns` name as they are; `block1*` names all whose names begin so.
    ///
    /// # Errors
    /// When a pattern names no layer.
    pub fn freeze(&mut self, patterns: &[String]) -> Result<(), NetError> {
        let with_weights = || self.graph.nodes.iter().filter(|node| !node.op.weights().is_empty());
        let mut frozen = BTreeSet::new();
        for pattern in patterns {
            let before = frozen.len();
            let matches = |name: &str| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            };
            frozen.extend(
                with_weights()
                    .filter(|node| matches(&node.name))
                    .map(|node| node.name.clone()),
            );
            let named_twice = with_weights().any(|node| matches(&node.name));
            if frozen.len() == before && !named_twice {
                let layers: Vec<&str> = with_weights().map(|node| node.name.as_str()).collect();
                return Err(NetError::NoSuchLayer {
                    network: self.graph.name,
                    pattern: pattern.clone(),
                    layers: layers.join(", "),
                });
            }
        }
        self.frozen = frozen;
        self.mark_learned()?;
        Ok(())
    }

    fn mark_learned(&self) -> Result<(), TchError> {
        for node in &self.graph.nodes {
            for weight in node.op.weights() {
                let learned = !self.frozen.contains(&node.name) && weight.kind == WeightKind::Learned;
                if let Some(tensor) = self.tensors.get(&format!("{}.{}", node.name, weight.suffix)) {
                    let _ = tensor.f_set_requires_grad(learned)?;
                }
            }
        }
        Ok(())
    }

    /// The description.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The tensors that a step may change, by name, in alphabetical order.
    pub fn learned(&self) -> impl Iterator<Item = (&str, &Tensor)> + Clone {
        self.tensors
            .iter()
            .filter(|(_, tensor)| tensor.requires_grad())
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A copy of all weights.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn weights(&self) -> Result<Weights, TchError> {
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), from_torch(tensor)?));
        self.tensors.iter().map(copy).collect()
    }

    /// Overwrites all weights.
    ///
    /// # Errors
    /// When they are not exactly those that the network needs.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<(), NetError> {
        check_fit(&self.graph, weights)?;
        tch::no_grad(|| {
            for (name, weight) in weights {
                if let Some(tensor) = self.tensors.get(name) {
                    tensor.detach().f_copy_(&to_torch(weight)?)?;
                }
            }
            Ok(())
        })
    }

    /// Runs the network on `input` (`[N, 3, height, width]`, normalised, or `[N, values]`) and gives the outputs in the
    /// order of the description.
    ///
    /// # Errors
    /// When the input has another shape than the network takes, or libtorch fails.
    pub fn run(&self, input: &Tensor, pass: Pass) -> Result<Vec<Tensor>, TchError> {
        let input = channels_last(input)?;
        match pass {
            Pass::Serve => tch::no_grad(|| self.walk(&input, pass)),
            Pass::Learn => self.walk(&input, pass),
        }
    }

    /// As [`Self::run`], but only the output called `name`.
    ///
    /// # Errors
    /// As [`Self::run`]; also when there is no such output.
    pub fn run_for(&self, name: &str, input: &Tensor, pass: Pass) -> Result<Tensor, TchError> {
        let place = self.graph.outputs.iter().position(|output| output.name == name);
        let outputs = self.run(input, pass)?;
        place
            .and_then(|place| outputs.into_iter().nth(place))
            .ok_or_else(|| TchError::Torch(format!("{} has no output called {name:?}", self.graph.name)))
    }

    fn walk(&self, input: &Tensor, pass: Pass) -> Result<Vec<Tensor>, TchError> {
        let last_reader = self.last_readers();
        let mut values: Vec<Option<Tensor>> = vec![Some(input.shallow_clone())];
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let read = |place: usize| {
                let value = node.inputs.get(place).and_then(|value| values.get(value.0)?.as_ref());
                value.ok_or_else(|| TchError::Torch(format!("{} reads a value that is not there", node.name)))
            };
            let output = self.compute(&node.name, &node.op, node.inputs.len(), read, pass)?;
            values.push(Some(output));
            // What nobody reads any more is let go: without gradients that halves the memory.
            for value in &node.inputs {
                if last_reader[value.0] == index {
                    values[value.0] = None;
                }
            }
        }
        let mut outputs = Vec::with_capacity(self.graph.outputs.len());
        for output in &self.graph.outputs {
            let value = values.get(output.value.0).and_then(Option::as_ref);
            outputs.push(
                value
                    .ok_or_else(|| TchError::Torch(format!("{} has no value", output.name)))?
                    .shallow_clone(),
            );
        }
        Ok(outputs)
    }

    /// For each value the index of the last node that reads it; outputs are read at the end.
    fn last_readers(&self) -> Vec<usize> {
        let mut last = vec![usize::MAX; self.graph.nodes.len() + 1];
        for (index, node) in self.graph.nodes.iter().enumerate() {
            for value in &node.inputs {
                last[value.0] = index;
            }
        }
        for output in &self.graph.outputs {
            last[output.value.0] = usize::MAX;
        }
        last
    }

    fn compute<'v>(
        &self,
        name: &str,
        op: &Op,
        inputs: usize,
        read: impl Fn(usize) -> Result<&'v Tensor, TchError>,
        pass: Pass,
    ) -> Result<Tensor, TchError> {
        let x = read(0)?;
        match *op {
            Op::Conv(conv) => self.convolve(name, &conv, x),
            Op::Linear { .. } => {
                let (weight, bias) = (self.weight(name, "weight")?, self.weight(name, "bias")?);
                match self.precision {
                    Precision::Full => x.f_linear(weight, Some(bias)),
                    Precision::BFloat16 => half(x)?
                        .f_linear(&half(weight)?, Some(&half(bias)?))?
                        .f_to_kind(Kind::Float),
                }
            }
            Op::PRelu { .. } => x.f_prelu(self.weight(name, "weight")?),
            Op::Relu => x.f_relu(),
            Op::BatchNorm { epsilon, .. } => {
                let [weight, bias, mean, variance] =
                    ["weight", "bias", "running_mean", "running_var"].map(|suffix| self.weight(name, suffix));
                let learns = pass == Pass::Learn && !self.frozen_statistics && !self.frozen.contains(name);
                x.f_batch_norm(
                    Some(weight?),
                    Some(bias?),
                    Some(mean?),
                    Some(variance?),
                    learns,
                    BATCH_NORM_MOMENTUM,
                    f64::from(epsilon),
                    true,
                )
            }
            Op::LocalResponseNorm {
                size,
                alpha,
                beta,
                bias,
            } => local_response_norm(x, size, f64::from(alpha), f64::from(beta), f64::from(bias)),
            Op::MaxPool(MaxPool {
                kernel,
                stride,
                pad,
                ceil,
            }) => {
                let (kernel, stride, pad) = (int(kernel), int(stride), int(pad));
                x.f_max_pool2d([kernel, kernel], [stride, stride], [pad, pad], [1, 1], ceil)
            }
            Op::AvgPool { kernel, stride } => average(x, kernel, stride),
            Op::L2Pool { kernel, stride } => {
                let count = f64::from(u32::try_from(kernel * kernel).unwrap_or(u32::MAX));
                let squares = average(&x.f_square()?, kernel, stride)? * count;
                // The slope of a root is infinite at zero; held at the least value, it is zero.
                squares.f_clamp_min(LEAST_SQUARE)?.f_sqrt()
            }
            Op::Pad(pads) => {
                let (before, after) = (int(pads.before), int(pads.after));
                x.f_constant_pad_nd([before, after, before, after])
            }
            Op::Concat => Tensor::f_cat(&(0..inputs).map(&read).collect::<Result<Vec<_>, _>>()?, 1),
            Op::L2Normalise { epsilon } => {
                let squares = x.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?;
                x.f_div(&squares.f_add_scalar(f64::from(epsilon))?.f_sqrt()?)
            }
            Op::LogOdds => x.f_narrow(1, 1, 1)?.f_sub(&x.f_narrow(1, 0, 1)?),
            Op::Flatten { order, .. } => match order {
                FlattenOrder::ChannelHeightWidth => x.f_flatten(1, -1),
                FlattenOrder::WidthHeightChannel => x.f_permute([0, 3, 2, 1])?.f_flatten(1, -1),
            },
            Op::Add => x.f_add(read(1)?),
        }
    }

    fn convolve(&self, name: &str, conv: &Conv, x: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = (self.weight(name, "weight")?, self.weight(name, "bias")?);
        let Pads { before, after } = conv.pads;
        // libtorch pads both ends alike; what is more at one end is put there by hand.
        let both = before.min(after);
        let (more_before, more_after) = (int(before - both), int(after - both));
        let padded;
        let x = if more_before + more_after > 0 {
            padded = x.f_constant_pad_nd([more_before, more_after, more_before, more_after])?;
            &padded
        } else {
            x
        };
        let (stride, both, groups) = (int(conv.stride), int(both), int(conv.groups));
        let convolve = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            x.f_conv2d(weight, Some(bias), [stride, stride], [both, both], [1, 1], groups)
        };
        match self.precision {
            Precision::Full => convolve(x, weight, bias),
            Precision::BFloat16 => convolve(&half(x)?, &half(weight)?, &half(bias)?)?.f_to_kind(Kind::Float),
        }
    }

    fn weight(&self, node: &str, suffix: &str) -> Result<&Tensor, TchError> {
        self.tensors
            .get(&format!("{node}.{suffix}"))
            .ok_or_else(|| TchError::Torch(format!("{node}.{suffix} is missing")))
    }
}

fn average(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor, TchError> {
    let (kernel, stride) = (int(kernel), int(stride));
    x.f_avg_pool2d([kernel, kernel], [stride, stride], [0, 0], false, true, None::<i64>)
}

fn half(tensor: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_to_kind(Kind::BFloat16)
}

/// Sizes of networks that are described here fit easily.
fn int(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A weight as a tensor of libtorch, on the CPU.
///
/// # Errors
/// When libtorch fails.
pub fn to_torch(weight: &weights::Tensor) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = weight.shape.iter().copied().map(int).collect();
    Tensor::f_from_slice(&weight.values)?.f_reshape(shape)
}

/// A copy of a tensor of libtorch.
///
/// # Errors
/// When libtorch fails.
pub fn from_torch(tensor: &Tensor) -> Result<weights::Tensor, TchError> {
    let shape = tensor
        .size()
        .into_iter()
        .map(|length| usize::try_from(length).unwrap_or(0));
    let plain = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?;
    Ok(weights::Tensor {
        shape: shape.collect(),
        values: Vec::<f32>::try_from(plain.f_view([-1])?)?,
    })
}
