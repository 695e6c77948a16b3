//! A network as a graph of named operations, without any weight in it.
//!
//! This is the one definition of a network. A backend walks [`Graph::nodes`] in order, where every node stands after
//! those that it reads: [`crate::onnx`] writes ONNX. Operations say what is meant (`PRelu`), not how some runtime
//! computes it best; that is the backend's business.

/// A value of the graph: the input image, or what a node gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

impl Value {
    /// The input image, `[N, channels, height, width]`.
    pub const IMAGE: Self = Self(0);

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

/// In which order a `[N, channels, height, width]` value is laid out flat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlattenOrder {
    /// Width fastest, as it lies in memory.
    ChannelHeightWidth,
    /// Channel fastest, then height, then width: what `permute(0, 3, 2, 1)` before a dense layer means.
    WidthHeightChannel,
}

/// An operation. `[N, …]` throughout: the batch is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Convolution; weights `weight` and `bias`.
    Conv(Conv),
    /// `x` where positive, `weight[channel] * x` elsewhere; weight `[channels]`.
    PRelu {
        /// Channels, axis 1.
        channels: usize,
    },
    /// The largest value of each square window, no padding. A window that reaches over the edge counts
    /// (`ceil_mode`), as Caffe has it, where MTCNN comes from.
    MaxPoolCeil {
        /// Side of the window in pixels.
        kernel: usize,
        /// Step of the window in pixels.
        stride: usize,
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

impl Op {
    /// The weights that the operation needs: what to append to the node's name, and the shape.
    pub fn weights(&self) -> Vec<(&'static str, Vec<usize>)> {
        match *self {
            Self::Conv(Conv {
                inputs,
                outputs,
                kernel,
                groups,
                ..
            }) => {
                vec![
                    ("weight", vec![outputs, inputs / groups, kernel, kernel]),
                    ("bias", vec![outputs]),
                ]
            }
            Self::Linear { inputs, outputs } => vec![("weight", vec![outputs, inputs]), ("bias", vec![outputs])],
            Self::PRelu { channels } => vec![("weight", vec![channels])],
            Self::MaxPoolCeil { .. } | Self::LogOdds | Self::Flatten { .. } | Self::Add => {
                vec![]
            }
        }
    }
}

/// A named operation and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique in the graph; its weights are called `NAME.weight` and `NAME.bias`.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads, all of them earlier.
    pub inputs: Vec<Value>,
}

/// What the network takes: one RGB image tensor called `image`, `[N, 3, height, width]`, normalised by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Height in pixels; `None`: any.
    pub height: Option<usize>,
    /// Width in pixels; `None`: any.
    pub width: Option<usize>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// All weights that the network needs, by name, with their shapes.
    pub fn weights(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        self.nodes.iter().flat_map(|node| {
            node.op
                .weights()
                .into_iter()
                .map(|(suffix, shape)| (format!("{}.{suffix}", node.name), shape))
        })
    }
}
