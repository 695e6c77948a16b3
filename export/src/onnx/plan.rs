//! What the ONNX file will compute, step by step, with the weights in place. It starts as the network's description,
//! word for word; [`super::equal_forms`] then rewrites it into forms that ONNX Runtime computes faster.

use super::compound;
use crate::nets::graph::{Conv, FlattenOrder, Graph, MaxPool, Op, Pads, Value};
use crate::weights::{Tensor, Weights};

/// The steps in order, each after those that it reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The values that the file gives, which have to stay as they are.
    outputs: Vec<&'static str>,
}

/// A step: what it computes, from which values, and the value that it gives. Values go by their names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) output: String,
    pub(super) does: Does,
    pub(super) inputs: Vec<String>,
}

/// What a step computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Does {
    /// As [`Op::Conv`].
    Conv(Convolution),
    /// As [`Op::Linear`].
    Linear { weight: Tensor, bias: Vec<f32> },
    /// As [`Op::PRelu`]; `axes` of the value, batch included.
    PRelu { slope: Vec<f32>, axes: usize },
    /// As [`Op::BatchNorm`].
    BatchNorm(BatchNorm),
    /// As [`Op::LocalResponseNorm`].
    LocalResponseNorm {
        size: usize,
        alpha: f32,
        beta: f32,
        bias: f32,
    },
    /// As [`Op::MaxPool`].
    MaxPool(MaxPool),
    /// As [`Op::AvgPool`].
    AvgPool { kernel: usize, stride: usize },
    /// As [`Op::Pad`].
    Pad(Pads),
    /// Channels `start..end` of axis 1.
    Channels { start: usize, end: usize },
    /// As [`Op::Flatten`].
    Flatten {
        order: FlattenOrder,
        channels: usize,
        height: usize,
        width: usize,
    },
    /// The sum of two values.
    Add,
    /// The product of two values.
    Times,
    /// The first value divided by the second.
    Over,
    /// The value and a number.
    Plus(f32),
    /// The square root.
    Root,
    /// `[N, channels, height, width]` to `[N, 1, channels, height, width]`, so that a pool can go over channels.
    ChannelsAsDepth,
    /// Of `[N, 1, depth, height, width]`, the mean of `size` values around each along the depth, itself in the middle;
    /// `size` is odd, and what isn't there counts as zero.
    MeanOverDepth { size: usize },
    /// The way back from [`Self::ChannelsAsDepth`].
    DepthAsChannels,
    /// The sum over axis 1, which stays with length 1.
    SumOfChannels,
    /// Each channel times a number, or all times one; `axes` of the value, batch included.
    Scale { factors: Vec<f32>, axes: usize },
    /// `max(x, 0)`
    Relu,
    /// The larger of two values.
    Max,
    /// Values one after the other along axis 1.
    Concat,
}

/// A convolution and its weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Convolution {
    /// `[outputs, inputs / groups, kernel, kernel]`
    pub(super) weight: Tensor,
    /// `[outputs]`; `None`: zero.
    pub(super) bias: Option<Vec<f32>>,
    pub(super) stride: usize,
    pub(super) pads: Pads,
    pub(super) groups: usize,
}

/// A batch norm in use and its weights, each `[channels]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Plan {
    /// The description as it stands. `weights` have passed [`crate::weights::check_fit`].
    pub(super) fn of(graph: &Graph, weights: &Weights) -> Self {
        let name_of = |value: Value| {
            let output = graph.outputs.iter().find(|output| output.value == value);
            match value.0.checked_sub(1) {
                None => graph.input.name().to_owned(),
                Some(node) => output.map_or_else(|| graph.nodes[node].name.clone(), |output| output.name.to_owned()),
            }
        };
        let mut axes_of = vec![graph.input.axes().len() + 1];
        let mut steps = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let input_axes = node.inputs.first().map_or(0, |value| axes_of[value.0]);
            let flattens = matches!(node.op, Op::Flatten { .. });
            axes_of.push(if flattens { 2 } else { input_axes });
            let weight = |suffix: &str| weights[&format!("{}.{suffix}", node.name)].clone();
            let inputs: Vec<String> = node.inputs.iter().copied().map(name_of).collect();
            let output = name_of(Value::of_node(index));
            let does = match node.op {
                Op::Conv(Conv {
                    stride, pads, groups, ..
                }) => Does::Conv(Convolution {
                    weight: weight("weight"),
                    bias: Some(weight("bias").values),
                    stride,
                    pads,
                    groups,
                }),
                Op::Linear { .. } => Does::Linear {
                    weight: weight("weight"),
                    bias: weight("bias").values,
                },
                Op::PRelu { .. } => Does::PRelu {
                    slope: weight("weight").values,
                    axes: input_axes,
                },
                Op::Relu => Does::Relu,
                Op::BatchNorm { epsilon, .. } => Does::BatchNorm(BatchNorm {
                    weight: weight("weight").values,
                    bias: weight("bias").values,
                    mean: weight("running_mean").values,
                    variance: weight("running_var").values,
                    epsilon,
                }),
                Op::LocalResponseNorm {
                    size,
                    alpha,
                    beta,
                    bias,
                } => Does::LocalResponseNorm {
                    size,
                    alpha,
                    beta,
                    bias,
                },
                Op::MaxPool(pool) => Does::MaxPool(pool),
                Op::AvgPool { kernel, stride } => Does::AvgPool { kernel, stride },
                Op::L2Pool { kernel, stride } => {
                    steps.extend(compound::l2_pool(output, inputs, kernel, stride));
                    continue;
                }
                Op::Pad(pads) => Does::Pad(pads),
                Op::Concat => Does::Concat,
                Op::L2Normalise { epsilon } => {
                    steps.extend(compound::l2_normalise(output, inputs, epsilon));
                    continue;
                }
                Op::LogOdds => second_minus_first(input_axes),
                Op::Flatten {
                    order,
                    channels,
                    height,
                    width,
                } => Does::Flatten {
                    order,
                    channels,
                    height,
                    width,
                },
                Op::Add => Does::Add,
            };
            steps.push(Step { output, does, inputs });
        }
        Self {
            steps,
            outputs: graph.outputs.iter().map(|output| output.name).collect(),
        }
    }

    /// The place of the step that gives `value`; `None` for the input.
    pub(super) fn producer(&self, value: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.output == value)
    }

    /// The places of the steps that read `value`.
    pub(super) fn readers(&self, value: &str) -> Vec<usize> {
        let reads = |step: &Step| step.inputs.iter().any(|input| input == value);
        self.steps
            .iter()
            .enumerate()
            .filter(|(_, step)| reads(step))
            .map(|(place, _)| place)
            .collect()
    }

    /// Whether the file gives what the step at `place` gives, so that others read it too.
    pub(super) fn is_output(&self, place: usize) -> bool {
        self.outputs.contains(&self.steps[place].output.as_str())
    }

    /// The place of the only one that reads what the step at `place` gives; `None` if there are more or none.
    pub(super) fn only_reader(&self, place: usize) -> Option<usize> {
        match self.readers(&self.steps[place].output).as_slice() {
            &[reader] if !self.is_output(place) => Some(reader),
            _ => None,
        }
    }

    /// Puts `steps` where the first of the steps at `places` is, and takes all of those out.
    pub(super) fn replace(&mut self, places: &[usize], steps: Vec<Step>) {
        let Some(&first) = places.iter().min() else { return };
        let mut steps = Some(steps);
        let old = std::mem::take(&mut self.steps);
        for (place, step) in old.into_iter().enumerate() {
            if place == first {
                self.steps.extend(steps.take().unwrap_or_default());
            }
            if !places.contains(&place) {
                self.steps.push(step);
            }
        }
    }
}

impl Step {
    /// A step.
    pub(super) fn new(output: impl Into<String>, does: Does, inputs: &[&str]) -> Self {
        Self {
            output: output.into(),
            does,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
        }
    }
}

impl Convolution {
    /// The form of a 1x1 convolution, without its weights.
    pub(super) const POINTWISE: Self = Self {
        weight: Tensor {
            shape: Vec::new(),
            values: Vec::new(),
        },
        bias: None,
        stride: 1,
        pads: Pads { before: 0, after: 0 },
        groups: 1,
    };

    pub(super) fn is_pointwise(&self) -> bool {
        self.weight.shape[2..] == [1, 1] && self.stride == 1 && self.groups == 1 && self.pads == Pads::default()
    }

    pub(super) fn bias_of(&self, output: usize) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| bias[output])
    }

    /// The convolution that gives, for each pair in `outputs`, that output of this one times that factor.
    pub(super) fn with_outputs(&self, outputs: impl Iterator<Item = (usize, f32)>) -> Self {
        let per_output = self.weight.values.len() / self.weight.shape[0];
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for (output, factor) in outputs {
            values.extend(
                self.weight.values[output * per_output..][..per_output]
                    .iter()
                    .map(|value| value * factor),
            );
            bias.push(self.bias_of(output) * factor);
        }
        let mut shape = self.weight.shape.clone();
        shape[0] = bias.len();
        Self {
            weight: Tensor { shape, values },
            bias: Some(bias),
            ..self.clone()
        }
    }

    /// Makes the convolution, of one group, read other inputs: place `i` holds what `order[i]` held, or something of
    /// no consequence.
    pub(super) fn take_inputs(&mut self, order: &[Option<usize>]) {
        let window: usize = self.weight.shape[2..].iter().product();
        let nothing = vec![0.0; window];
        let outputs = self.weight.values.chunks(self.weight.shape[1] * window);
        let taken = outputs.flat_map(|output| {
            let nothing = &nothing;
            order
                .iter()
                .flat_map(move |input| input.map_or(nothing.as_slice(), |input| &output[input * window..][..window]))
        });
        self.weight.values = taken.copied().collect();
        self.weight.shape[1] = order.len();
    }

    /// Makes the convolution, of one group or depthwise, read each input times a factor.
    pub(super) fn scale_inputs(&mut self, factors: &[f32]) {
        let window: usize = self.weight.shape[2..].iter().product();
        // Depthwise, the outer axis is the input; otherwise it is the second one.
        for (values, factor) in self.weight.values.chunks_mut(window).zip(factors.iter().cycle()) {
            values.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// [`Op::LogOdds`] as a convolution or a dense layer of two inputs.
fn second_minus_first(axes: usize) -> Does {
    let values = vec![-1.0, 1.0];
    if axes == 4 {
        Does::Conv(Convolution {
            weight: Tensor {
                shape: vec![1, 2, 1, 1],
                values,
            },
            bias: None,
            stride: 1,
            pads: Pads::default(),
            groups: 1,
        })
    } else {
        Does::Linear {
            weight: Tensor {
                shape: vec![1, 2],
                values,
            },
            bias: vec![0.0],
        }
    }
}
