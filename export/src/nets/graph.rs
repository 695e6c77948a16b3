//! A network as a graph of named operations, without any weight in it.
//!
//! This is the one definition of a network. A backend walks [`Graph::nodes`] in order, where every node stands after
//! those that it reads: [`crate::onnx`] writes ONNX. Operations say what is meant (`PRelu`), not how some runtime
//! computes it best; that is the backend's business.

/// A value of the graph: the input, or what a node gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

impl Value {
    /// What the network takes, see [`Input`].
    pub const INPUT: Self = Self(0);

    /// What the node at `index` of [`Graph::nodes`] gives.
    pub fn of_node(index: usize) -> Self {
        Self(index + 1)
    }
}

/// Zeros put around an image before a convolution, in pixels. Not symmetric where TensorFlow made the network:
/// its "same" padding with stride 2 puts the odd pixel at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pads {
    /// Above and left.
    pub before: usize,
    /// Below and right.
    pub after: usize,
}

/// A convolution over square windows, with a bias. Weight `[outputs, inputs / groups, kernel, kernel]`, bias `[outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Side of the window in pixels.
    pub kernel: usize,
    /// Step of the window in pixels.
    pub stride: usize,
    /// Zeros around the image.
    pub pads: Pads,
    /// Groups of channels that don't mix; `inputs` makes it depthwise.
    pub groups: usize,
}

impl Conv {
    /// Stride 1, no padding, one group.
    pub fn plain(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            stride: 1,
            pads: Pads::default(),
            groups: 1,
        }
    }
}

/// A pool that takes the largest value of each square window. Padding is no value, so it is never the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Side of the window in pixels.
    pub kernel: usize,
    /// Step of the window in pixels.
    pub stride: usize,
    /// Pixels of padding on each side.
    pub pad: usize,
    /// Whether a window that reaches over the lower or right edge counts (`ceil_mode`), as Caffe has it.
    pub ceil: bool,
}

impl MaxPool {
    /// As Caffe has it, where MTCNN comes from: no padding, windows over the edge count.
    pub fn caffe(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            pad: 0,
            ceil: true,
        }
    }
}

/// In which order a `[N, channels, height, width]` value is laid out flat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlattenOrder {
    /// Width fastest, as it lies in memory.
    ChannelHeightWidth,
    /// Channel fastest, then height, then width: what `permute(0, 3, 2, 1)` before a dense layer means.
    WidthHeightChannel,
}

/// An operation. `[N, …]` throughout: the batch is free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Convolution; weights `weight` and `bias`.
    Conv(Conv),
    /// `x` where positive, `weight[channel] * x` elsewhere; weight `[channels]`.
    PRelu {
        /// Channels, axis 1.
        channels: usize,
    },
    /// `max(x, 0)`
    Relu,
    /// Each channel (axis 1 of `[N, channels, height, width]`) moved and scaled to mean `bias` and standard deviation
    /// `weight`: `weight * (x - mean) / sqrt(variance + epsilon) + bias`. In use, mean and variance are the weights
    /// `running_mean` and `running_var`. In training they are those of the batch (variance divided by the number of
    /// values), and the running ones follow them: `running = 0.9 * running + 0.1 * batch`, for the variance with the
    /// batch's divided by one less, as torch does it (Ioffe and Szegedy 2015, arXiv 1502.03167).
    BatchNorm {
        /// Channels, axis 1.
        channels: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3), as torch's
    /// `CrossMapLRN2d` has it: `x / (bias + alpha / size * sum)^beta`, where `sum` is that of the squares of the
    /// `size` channels around it, itself in the middle, as far as there are such channels. Has no weights.
    LocalResponseNorm {
        /// Channels summed over; odd.
        size: usize,
        /// Factor of the mean square.
        alpha: f32,
        /// The power.
        beta: f32,
        /// Added to the mean square; torch calls it `k`.
        bias: f32,
    },
    /// The largest value of each square window.
    MaxPool(MaxPool),
    /// The mean of each square window, no padding; windows that reach over the edge don't count.
    AvgPool {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step of the window in pixels.
        stride: usize,
    },
    /// The root of the sum of squares of each square window, no padding; windows that reach over the edge don't count.
    /// The same as `sqrt(mean of squares * kernel * kernel)`. Its slope at a window of nothing but zeros is infinite,
    /// which is usual behind a [`Self::Relu`]: whoever trains it takes it for zero there.
    L2Pool {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step of the window in pixels.
        stride: usize,
    },
    /// Zeros around an image.
    Pad(Pads),
    /// Values one after the other along axis 1; any number of them, alike in all other axes.
    Concat,
    /// `[N, values]` to unit length: `x / sqrt(sum of squares + epsilon)`.
    L2Normalise {
        /// Added to the sum of squares, so that zeros stay zeros.
        epsilon: f32,
    },
    /// Fully connected; weight `[outputs, inputs]`, bias `[outputs]`.
    Linear {
        /// Values in.
        inputs: usize,
        /// Values out.
        outputs: usize,
    },
    /// The second of two channels (axis 1) minus the first: the log odds of the second under a softmax of both. Axis 1
    /// stays with length 1.
    LogOdds,
    /// `[N, channels, height, width]` to `[N, channels * height * width]`.
    Flatten {
        /// In which order.
        order: FlattenOrder,
        /// Channels of the input.
        channels: usize,
        /// Height of the input in pixels.
        height: usize,
        /// Width of the input in pixels.
        width: usize,
    },
    /// The sum of two values of one shape.
    Add,
}

/// A tensor that an operation brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// What to append to the node's name, behind a dot.
    pub suffix: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How training changes it.
    pub kind: WeightKind,
}

/// How training changes a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// By its gradient.
    Learned,
    /// Not by a gradient: it follows the statistics of the batches. Any value is possible.
    RunningMean,
    /// The same; 0 or more.
    RunningVariance,
}

impl Op {
    /// The weights that the operation needs.
    pub fn weights(&self) -> Vec<Weight> {
        let weight = |kind| {
            move |suffix, shape: &[usize]| Weight {
                suffix,
                shape: shape.to_vec(),
                kind,
            }
        };
        let learned = weight(WeightKind::Learned);
        match *self {
            Self::Conv(Conv {
                inputs,
                outputs,
                kernel,
                groups,
                ..
            }) => vec![
                learned("weight", &[outputs, inputs / groups, kernel, kernel]),
                learned("bias", &[outputs]),
            ],
            Self::Linear { inputs, outputs } => {
                vec![learned("weight", &[outputs, inputs]), learned("bias", &[outputs])]
            }
            Self::PRelu { channels } => vec![learned("weight", &[channels])],
            Self::BatchNorm { channels, .. } => vec![
                learned("weight", &[channels]),
                learned("bias", &[channels]),
                weight(WeightKind::RunningMean)("running_mean", &[channels]),
                weight(WeightKind::RunningVariance)("running_var", &[channels]),
            ],
            Self::Relu
            | Self::LocalResponseNorm { .. }
            | Self::MaxPool(_)
            | Self::AvgPool { .. }
            | Self::L2Pool { .. }
            | Self::Pad(_)
            | Self::Concat
            | Self::L2Normalise { .. }
            | Self::LogOdds
            | Self::Flatten { .. }
            | Self::Add => vec![],
        }
    }
}

/// A named operation and what it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique in the graph; its weights are called `NAME.weight`, `NAME.bias` and so on ([`Op::weights`]).
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads, all of them earlier.
    pub inputs: Vec<Value>,
}

/// The one tensor that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An RGB image called `image`, `[N, 3, height, width]`, normalised by the caller.
    Image {
        /// Height in pixels; `None`: any.
        height: Option<usize>,
        /// Width in pixels; `None`: any.
        width: Option<usize>,
    },
    /// Numbers in a row, `[N, values]`.
    Vector {
        /// What it is called.
        name: &'static str,
        /// How many there are.
        values: usize,
    },
}

impl Input {
    /// A square image of `side` pixels.
    pub fn square(side: usize) -> Self {
        Self::Image {
            height: Some(side),
            width: Some(side),
        }
    }

    /// What the tensor is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image { .. } => "image",
            Self::Vector { name, .. } => name,
        }
    }

    /// Its axes behind the batch; `None`: any length.
    pub fn axes(self) -> Vec<Option<usize>> {
        match self {
            Self::Image { height, width } => vec![Some(3), height, width],
            Self::Vector { values, .. } => vec![Some(values)],
        }
    }
}

/// A named output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// The value.
    pub value: Value,
    /// Its axes behind the batch; `None`: depends on the size of the image.
    pub axes: Vec<Option<usize>>,
}

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Such as `mtcnn-pnet`.
    pub name: &'static str,
    /// One sentence on what it is, with the paper.
    pub about: &'static str,
    /// What it takes.
    pub input: Input,
    /// The operations, each after those that it reads.
    pub nodes: Vec<Node>,
    /// What it gives.
    pub outputs: Vec<Output>,
}

impl Graph {
    /// A network that does nothing yet.
    pub fn new(name: &'static str, about: &'static str, input: Input) -> Self {
        Self {
            name,
            about,
            input,
            nodes: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Adds an operation and returns what it gives.
    pub fn node(&mut self, name: impl Into<String>, op: Op, inputs: &[Value]) -> Value {
        self.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        });
        Value(self.nodes.len())
    }

    /// Names an output; `axes` are those behind the batch.
    pub fn output(&mut self, name: &'static str, value: Value, axes: &[Option<usize>]) {
        self.outputs.push(Output {
            name,
            value,
            axes: axes.to_vec(),
        });
    }

    /// All weights that the network needs, by name.
    pub fn weights(&self) -> impl Iterator<Item = (String, Weight)> + '_ {
        self.nodes.iter().flat_map(|node| {
            let weights = node.op.weights().into_iter();
            weights.map(|weight| (format!("{}.{}", node.name, weight.suffix), weight))
        })
    }
}
