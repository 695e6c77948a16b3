//! P-Net, the first network of MTCNN (Zhang et al. 2016, arXiv 1604.02878), layers named as in facenet-pytorch.

use super::graph::{Conv, Graph, Input, MaxPool, Op, Value};

/// Runs over a picture of any size, at least 12x12, and gives for each window of 12x12 pixels, every 2 pixels, the
/// log odds that it holds a face `[N, 1, h, w]` and how to move its edges, in window sides `[N, 4, h, w]`.
pub(super) fn graph() -> Graph {
    let mut g = Graph::new(
        "mtcnn-pnet",
        "P-Net, the first network of MTCNN (Zhang et al. 2016, arXiv 1604.02878): face candidates on a whole picture",
        Input::Image {
            height: None,
            width: None,
        },
    );
    let x = g.node("conv1", Op::Conv(Conv::plain(3, 10, 3)), &[Value::INPUT]);
    let x = g.node("prelu1", Op::PRelu { channels: 10 }, &[x]);
    let x = g.node("pool1", Op::MaxPool(MaxPool::caffe(2, 2)), &[x]);
    let x = g.node("conv2", Op::Conv(Conv::plain(10, 16, 3)), &[x]);
    let x = g.node("prelu2", Op::PRelu { channels: 16 }, &[x]);
    let x = g.node("conv3", Op::Conv(Conv::plain(16, 32, 3)), &[x]);
    let x = g.node("prelu3", Op::PRelu { channels: 32 }, &[x]);
    let logits = g.node("conv4_1", Op::Conv(Conv::plain(32, 2, 1)), &[x]);
    let log_odds = g.node("log_odds4_1", Op::LogOdds, &[logits]);
    let regression = g.node("conv4_2", Op::Conv(Conv::plain(32, 4, 1)), &[x]);
    g.output("log_odds", log_odds, &[Some(1), None, None]);
    g.output("regression", regression, &[Some(4), None, None]);
    g
}
