//! R-Net, the second network of MTCNN (Zhang et al. 2016, arXiv 1604.02878), layers named as in facenet-pytorch.

use super::graph::{Conv, FlattenOrder, Graph, Input, MaxPool, Op, Value};

/// Looks at candidates of 24x24 pixels and gives for each the log odds that it is a face `[N, 1]` and how to move
/// its edges, in box sides `[N, 4]`.
pub(super) fn graph() -> Graph {
    let mut g = Graph::new(
        "mtcnn-rnet",
        "R-Net, the second network of MTCNN (Zhang et al. 2016, arXiv 1604.02878): sifts face candidates",
        Input::square(24),
    );
    let x = g.node("conv1", Op::Conv(Conv::plain(3, 28, 3)), &[Value::INPUT]);
    let x = g.node("prelu1", Op::PRelu { channels: 28 }, &[x]);
    let x = g.node("pool1", Op::MaxPool(MaxPool::caffe(3, 2)), &[x]);
    let x = g.node("conv2", Op::Conv(Conv::plain(28, 48, 3)), &[x]);
    let x = g.node("prelu2", Op::PRelu { channels: 48 }, &[x]);
    let x = g.node("pool2", Op::MaxPool(MaxPool::caffe(3, 2)), &[x]);
    let x = g.node("conv3", Op::Conv(Conv::plain(48, 64, 2)), &[x]);
    let x = g.node("prelu3", Op::PRelu { channels: 64 }, &[x]);
    let flat = Op::Flatten {
        order: FlattenOrder::WidthHeightChannel,
        channels: 64,
        height: 3,
        width: 3,
    };
    let x = g.node("flatten", flat, &[x]);
    let x = g.node(
        "dense4",
        Op::Linear {
            inputs: 576,
            outputs: 128,
        },
        &[x],
    );
    let x = g.node("prelu4", Op::PRelu { channels: 128 }, &[x]);
    let logits = g.node(
        "dense5_1",
        Op::Linear {
            inputs: 128,
            outputs: 2,
        },
        &[x],
    );
    let log_odds = g.node("log_odds5_1", Op::LogOdds, &[logits]);
    let regression = g.node(
        "dense5_2",
        Op::Linear {
            inputs: 128,
            outputs: 4,
        },
        &[x],
    );
    g.output("log_odds", log_odds, &[Some(1)]);
    g.output("regression", regression, &[Some(4)]);
    g
}
