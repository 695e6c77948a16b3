//! MobileFaceNet (Chen et al. 2018, arXiv 1804.07573), in the variant with 192 values that the package's file holds:
//! inverted residual blocks with PReLU, a global depthwise convolution, two linear layers.

use super::graph::{Conv, FlattenOrder, Graph, Input, Op, Pads, Value};

/// TensorFlow's "same" padding of a 3x3 window at stride 1.
const SAME: Pads = Pads { before: 1, after: 1 };
/// The same at stride 2 on an even side: the odd pixel goes to the end.
const SAME_STRIDE_2: Pads = Pads { before: 0, after: 1 };

/// Embeds a face aligned to 112x112 by five points; gives `[N, 192]`, not normalised.
pub(super) fn graph() -> Graph {
    let mut g = Graph::new(
        "mobilefacenet",
        "MobileFaceNet (Chen et al. 2018, arXiv 1804.07573): embeds an aligned face",
        Input::square(112),
    );
    let stem = Conv {
        stride: 2,
        pads: SAME_STRIDE_2,
        ..Conv::plain(3, 64, 3)
    };
    let x = conv_prelu(&mut g, "stem", stem, Value::INPUT);
    let x = conv_prelu(&mut g, "stem_depthwise", depthwise(64, 1), x);
    let mut x = g.node("stem_project", Op::Conv(Conv::plain(64, 64, 1)), &[x]);

    // Channels in, inside and out, stride, blocks. With stride 1 a shortcut leads around each block.
    let stages = [
        (64, 128, 64, 2, 1),
        (64, 128, 64, 1, 4),
        (64, 256, 128, 2, 1),
        (128, 256, 128, 1, 6),
        (128, 512, 128, 2, 1),
        (128, 256, 128, 1, 2),
    ];
    let blocks = stages
        .into_iter()
        .flat_map(|(i, inside, o, stride, blocks)| vec![(i, inside, o, stride); blocks]);
    for (number, (inputs, inside, outputs, stride)) in blocks.enumerate() {
        let name = format!("block{number}");
        let y = conv_prelu(&mut g, &format!("{name}.expand"), Conv::plain(inputs, inside, 1), x);
        let y = conv_prelu(&mut g, &format!("{name}.depthwise"), depthwise(inside, stride), y);
        let y = g.node(
            format!("{name}.project"),
            Op::Conv(Conv::plain(inside, outputs, 1)),
            &[y],
        );
        x = if stride == 1 {
            g.node(format!("{name}.sum"), Op::Add, &[y, x])
        } else {
            y
        };
    }

    let x = conv_prelu(&mut g, "last", Conv::plain(128, 512, 1), x);
    let x = g.node(
        "global_depthwise",
        Op::Conv(Conv {
            groups: 512,
            ..Conv::plain(512, 512, 7)
        }),
        &[x],
    );
    let x = g.node("linear1", Op::Conv(Conv::plain(512, 512, 1)), &[x]);
    let x = g.node("linear2", Op::Conv(Conv::plain(512, 192, 1)), &[x]);
    let flat = Op::Flatten {
        order: FlattenOrder::ChannelHeightWidth,
        channels: 192,
        height: 1,
        width: 1,
    };
    let x = g.node("embedding", flat, &[x]);
    g.output("embedding", x, &[Some(192)]);
    g
}

/// A 3x3 convolution in each channel by itself.
fn depthwise(channels: usize, stride: usize) -> Conv {
    let pads = if stride == 1 { SAME } else { SAME_STRIDE_2 };
    Conv {
        stride,
        pads,
        groups: channels,
        ..Conv::plain(channels, channels, 3)
    }
}

/// A convolution called `name` and a PReLU called `name_prelu`.
fn conv_prelu(g: &mut Graph, name: &str, conv: Conv, x: Value) -> Value {
    let x = g.node(name, Op::Conv(conv), &[x]);
    g.node(format!("{name}_prelu"), Op::PRelu { channels: conv.outputs }, &[x])
}
