//! O-Net, the third network of MTCNN (Zhang et al. 2016, arXiv 1604.02878), layers named as in facenet-pytorch.

use super::graph::{Conv, FlattenOrder, Graph, Input, MaxPool, Op, Value};

/// Looks at candidates of 48x48 pixels and gives for each the log odds that it is a face `[N, 1]`, how to move its
/// edges, in box sides `[N, 4]`, and five landmarks, in box sides from the upper left corner
/// `[N, 10]` (x of left eye, right eye, nose, left and right corner of the mouth, then y of the same).
pub(super) fn graph() -> Graph {
    let mut g = Graph::new(
        "mtcnn-onet",
        "O-Net, the third network of MTCNN (Zhang et al. 2016, arXiv 1604.02878): faces and their landmarks",
        Input::square(48),
    );
    let x = g.node("conv1", Op::Conv(Conv::plain(3, 32, 3)), &[Value::INPUT]);
    let x = g.node("prelu1", Op::PRelu { channels: 32 }, &[x]);
    let x = g.node("pool1", Op::MaxPool(MaxPool::caffe(3, 2)), &[x]);
    let x = g.node("conv2", Op::Conv(Conv::plain(32, 64, 3)), &[x]);
    let x = g.node("prelu2", Op::PRelu { channels: 64 }, &[x]);
    let x = g.node("pool2", Op::MaxPool(MaxPool::caffe(3, 2)), &[x]);
    let x = g.node("conv3", Op::Conv(Conv::plain(64, 64, 3)), &[x]);
    let x = g.node("prelu3", Op::PRelu { channels: 64 }, &[x]);
    let x = g.node("pool3", Op::MaxPool(MaxPool::caffe(2, 2)), &[x]);
    let x = g.node("conv4", Op::Conv(Conv::plain(64, 128, 2)), &[x]);
    let x = g.node("prelu4", Op::PRelu { channels: 128 }, &[x]);
    let flat = Op::Flatten {
        order: FlattenOrder::WidthHeightChannel,
        channels: 128,
        height: 3,
        width: 3,
    };
    let x = g.node("flatten", flat, &[x]);
    let x = g.node(
        "dense5",
        Op::Linear {
            inputs: 1152,
            outputs: 256,
        },
        &[x],
    );
    let x = g.node("prelu5", Op::PRelu { channels: 256 }, &[x]);
    let logits = g.node(
        "dense6_1",
        Op::Linear {
            inputs: 256,
            outputs: 2,
        },
        &[x],
    );
    let log_odds = g.node("log_odds6_1", Op::LogOdds, &[logits]);
    let regression = g.node(
        "dense6_2",
        Op::Linear {
            inputs: 256,
            outputs: 4,
        },
        &[x],
    );
    let landmarks = g.node(
        "dense6_3",
        Op::Linear {
            inputs: 256,
            outputs: 10,
        },
        &[x],
    );
    g.output("log_odds", log_odds, &[Some(1)]);
    g.output("regression", regression, &[Some(4)]);
    g.output("landmarks", landmarks, &[Some(10)]);
    g
}
