//! NN4.small2, `OpenFace`'s small variant of FaceNet's NN4 (Schroff et al. 2015, arXiv 1503.03832; Amos et al. 2016,
//! CMU-CS-16-118), after the public definition `nn4.small2.def.lua`. Layers are named as in `OpenFace`'s weights for
//! torch: `layer14` to `layer21` are the inception blocks 3a, 3b, 3c, 4a, 4e, 5a and 5b.

use super::graph::{Conv, FlattenOrder, Graph, Input, MaxPool, Op, Pads, Value};

/// The pool in front of an inception block's pool branch.
#[derive(Clone, Copy)]
enum Pool {
    /// 3x3, stride 2, no padding.
    Max,
    /// 3x3, stride 3, no padding.
    L2,
}

/// An inception block: branches that all read the block's input and are put one after the other.
struct Block {
    name: &'static str,
    /// Channels and side in pixels of what it reads.
    inputs: usize,
    side: usize,
    /// Branches of a 1x1 and a larger convolution: channels between, window, channels out.
    convolutions: &'static [(usize, usize, usize)],
    /// Step of the larger convolutions.
    stride: usize,
    pool: Pool,
    /// Channels of the 1x1 convolution behind the pool; `None`: the pool alone.
    behind_pool: Option<usize>,
    /// Channels of the branch of a 1x1 convolution alone.
    pointwise: Option<usize>,
}

/// In the order of the network.
const BLOCKS: [Block; 7] = [
    Block {
        name: "layer14",
        inputs: 192,
        side: 12,
        convolutions: &[(96, 3, 128), (16, 5, 32)],
        stride: 1,
        pool: Pool::Max,
        behind_pool: Some(32),
        pointwise: Some(64),
    },
    Block {
        name: "layer15",
        inputs: 256,
        side: 12,
        convolutions: &[(96, 3, 128), (32, 5, 64)],
        stride: 1,
        pool: Pool::L2,
        behind_pool: Some(64),
        pointwise: Some(64),
    },
    Block {
        name: "layer16",
        inputs: 320,
        side: 12,
        convolutions: &[(128, 3, 256), (32, 5, 64)],
        stride: 2,
        pool: Pool::Max,
        behind_pool: None,
        pointwise: None,
    },
    Block {
        name: "layer17",
        inputs: 640,
        side: 6,
        convolutions: &[(96, 3, 192), (32, 5, 64)],
        stride: 1,
        pool: Pool::L2,
        behind_pool: Some(128),
        pointwise: Some(256),
    },
    Block {
        name: "layer18",
        inputs: 640,
        side: 6,
        convolutions: &[(160, 3, 256), (64, 5, 128)],
        stride: 2,
        pool: Pool::Max,
        behind_pool: None,
        pointwise: None,
    },
    Block {
        name: "layer19",
        inputs: 1024,
        side: 3,
        convolutions: &[(96, 3, 384)],
        stride: 1,
        pool: Pool::L2,
        behind_pool: Some(96),
        pointwise: Some(256),
    },
    Block {
        name: "layer21",
        inputs: 736,
        side: 3,
        convolutions: &[(96, 3, 384)],
        stride: 1,
        pool: Pool::Max,
        behind_pool: Some(96),
        pointwise: Some(256),
    },
];

/// Embeds a face of 96x96 pixels, values from 0 to 1; gives `features`, `[N, 736]`, and `embedding`, `[N, 128]`, of
/// unit length.
pub(super) fn graph() -> Graph {
    let mut g = Graph::new(
        "nn4-small2",
        "NN4.small2 of OpenFace (Amos et al. 2016, CMU-CS-16-118), after FaceNet (Schroff et al. 2015, arXiv \
         1503.03832): embeds an aligned face",
        Input::square(96),
    );
    let norm = Op::LocalResponseNorm {
        size: 5,
        alpha: 1e-4,
        beta: 0.75,
        bias: 1.0,
    };
    let pool = Op::MaxPool(MaxPool {
        kernel: 3,
        stride: 2,
        pad: 1,
        ceil: false,
    });
    let stem = Conv {
        stride: 2,
        ..same(3, 64, 7)
    };
    let x = conv_norm_relu(&mut g, ["layer1", "layer2", "layer3"], stem, Value::INPUT);
    let x = g.node("layer4", pool, &[x]);
    let x = g.node("layer5", norm, &[x]);
    let x = conv_norm_relu(&mut g, ["layer6", "layer7", "layer8"], same(64, 64, 1), x);
    let x = conv_norm_relu(&mut g, ["layer9", "layer10", "layer11"], same(64, 192, 3), x);
    let x = g.node("layer12", norm, &[x]);
    let mut x = g.node("layer13", pool, &[x]);
    for block in &BLOCKS {
        x = inception(&mut g, block, x);
    }
    let x = g.node("layer22", Op::AvgPool { kernel: 3, stride: 1 }, &[x]);
    let flat = Op::Flatten {
        order: FlattenOrder::ChannelHeightWidth,
        channels: 736,
        height: 1,
        width: 1,
    };
    let features = g.node("features", flat, &[x]);
    let linear = Op::Linear {
        inputs: 736,
        outputs: 128,
    };
    let x = g.node("layer25", linear, &[features]);
    // As the port to torch has it. The original adds 1e-10, which is the same to six digits for a length of 1 or more.
    let embedding = g.node("embedding", Op::L2Normalise { epsilon: 1e-6 }, &[x]);
    g.output("features", features, &[Some(736)]);
    g.output("embedding", embedding, &[Some(128)]);
    g
}

/// A convolution that keeps the side of the image at stride 1.
fn same(inputs: usize, outputs: usize, kernel: usize) -> Conv {
    Conv {
        pads: Pads {
            before: kernel / 2,
            after: kernel / 2,
        },
        ..Conv::plain(inputs, outputs, kernel)
    }
}

/// A convolution, a batch norm and a ReLU of these names.
fn conv_norm_relu(g: &mut Graph, names: [impl Into<String>; 3], conv: Conv, x: Value) -> Value {
    let [name, norm_name, relu_name] = names;
    let norm = Op::BatchNorm {
        channels: conv.outputs,
        epsilon: 1e-5,
    };
    let x = g.node(name, Op::Conv(conv), &[x]);
    let x = g.node(norm_name, norm, &[x]);
    g.node(relu_name, Op::Relu, &[x])
}

fn inception(g: &mut Graph, block: &Block, x: Value) -> Value {
    // The names of a branch's three layers, from number `first` on.
    let layers = |branch: usize, first: usize| {
        let layer = |number: usize, kind| format!("{}.seq_list.{branch}.{number}_{kind}", block.name);
        [layer(first, "conv"), layer(first + 1, "bn"), layer(first + 2, "relu")]
    };
    let mut branches = Vec::new();
    for (branch, &(between, kernel, outputs)) in block.convolutions.iter().enumerate() {
        let y = conv_norm_relu(g, layers(branch, 1), same(block.inputs, between, 1), x);
        let conv = Conv {
            stride: block.stride,
            ..same(between, outputs, kernel)
        };
        branches.push(conv_norm_relu(g, layers(branch, 4), conv, y));
    }
    let branch = branches.len();
    branches.push(pool_branch(g, block, branch, layers(branch, 2), x));
    if let Some(outputs) = block.pointwise {
        let names = layers(branches.len(), 1);
        branches.push(conv_norm_relu(g, names, same(block.inputs, outputs, 1), x));
    }
    g.node(block.name, Op::Concat, &branches)
}

/// Pools, mixes the channels where the block says so, and brings the image back to the other branches' side: zeros
/// around it, the odd pixel below and right.
fn pool_branch(g: &mut Graph, block: &Block, branch: usize, names: [String; 3], x: Value) -> Value {
    let name = |layer| format!("{}.seq_list.{branch}.{layer}", block.name);
    let (pool, side) = match block.pool {
        Pool::Max => {
            let pool = MaxPool {
                kernel: 3,
                stride: 2,
                pad: 0,
                ceil: false,
            };
            (Op::MaxPool(pool), (block.side - 3) / 2 + 1)
        }
        Pool::L2 => (Op::L2Pool { kernel: 3, stride: 3 }, block.side / 3),
    };
    let mut y = g.node(name("1_pool"), pool, &[x]);
    if let Some(outputs) = block.behind_pool {
        y = conv_norm_relu(g, names, same(block.inputs, outputs, 1), y);
    }
    let missing = block.side / block.stride - side;
    let pads = Pads {
        before: missing / 2,
        after: missing - missing / 2,
    };
    g.node(name("pad"), Op::Pad(pads), &[y])
}
