//! The linear head: names the person from an embedder's output.

use super::graph::{Graph, Input, Op, Value};

/// A dense layer called `linear` from `features`, `[N, inputs]`, to `logits`, `[N, classes]`: the softmax of those is
/// how probable each class is.
pub fn head(inputs: usize, classes: usize) -> Graph {
    let mut g = Graph::new(
        "linear-head",
        "A linear head: from what an embedder gives to the logits of people",
        Input::Vector {
            name: "features",
            values: inputs,
        },
    );
    let linear = Op::Linear {
        inputs,
        outputs: classes,
    };
    let logits = g.node("linear", linear, &[Value::INPUT]);
    g.output("logits", logits, &[Some(classes)]);
    g
}
