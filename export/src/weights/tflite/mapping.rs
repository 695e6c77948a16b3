//! Finds a network's weights in a TensorFlow Lite model by walking both in step: each operation of the description
//! has to be what the model does next, on the same values and with the same options. So weights can't land in a wrong
//! place, and a model of another architecture is refused with the first difference.

use std::collections::HashMap;

use super::{Model, Operation, Operator};
use crate::nets::graph::{Conv, Graph, Node, Op, Pads, Value};
use crate::weights::{Tensor, Weights};

/// Why a model is not the network that it should be.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a {network} model: operator {operator} of the file should be {node:?} of the network, but {what}")]
pub struct MappingError {
    network: String,
    operator: usize,
    node: String,
    what: String,
}

/// The weights of `graph` from `model`, with axes in the order of the description (torch's).
///
/// # Errors
/// Names the first operator that differs from the description.
pub fn import(model: &Model<'_>, graph: &Graph) -> Result<Weights, MappingError> {
    let mut walk = Walk {
        model,
        next: 0,
        tensor_of: HashMap::new(),
        weights: Weights::new(),
    };
    let fail = |operator, node: &str, what| MappingError {
        network: graph.name.to_owned(),
        operator,
        node: node.to_owned(),
        what,
    };
    match model.inputs.as_slice() {
        &[Some(image)] => walk.tensor_of.insert(Value::INPUT, image),
        _ => return Err(fail(0, "image", "the file does not take exactly one input".to_owned())),
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        let output = walk
            .node(node)
            .map_err(|what| fail(walk.next.saturating_sub(1), &node.name, what))?;
        walk.tensor_of.insert(Value::of_node(index), output);
    }
    let wanted: Vec<_> = graph
        .outputs
        .iter()
        .map(|output| walk.tensor_of.get(&output.value).copied())
        .collect();
    if model.operators.len() != walk.next || model.outputs != wanted {
        return Err(fail(
            walk.next,
            "the end",
            "the file goes on or gives something else".to_owned(),
        ));
    }
    Ok(walk.weights)
}

struct Walk<'m> {
    model: &'m Model<'m>,
    /// The next operator of the model.
    next: usize,
    tensor_of: HashMap<Value, usize>,
    weights: Weights,
}

impl Walk<'_> {
    /// Takes the operators that `node` stands for and returns the tensor that they give.
    fn node(&mut self, node: &Node) -> Result<usize, String> {
        let inputs: Vec<usize> = node
            .inputs
            .iter()
            .filter_map(|value| self.tensor_of.get(value).copied())
            .collect();
        match node.op {
            Op::Conv(conv) => self.conv(node, conv, inputs[0]),
            Op::PRelu { channels } => self.prelu(node, channels, inputs[0]),
            Op::Add => {
                let operator = self.take(Operation::Add)?;
                let [a, b] = two_inputs(&operator)?;
                if inputs != [a, b] && inputs != [b, a] {
                    return Err("it adds other values".to_owned());
                }
                output(&operator)
            }
            Op::Flatten {
                channels,
                height: 1,
                width: 1,
                ..
            } => {
                let operator = self.take(Operation::Reshape)?;
                self.reads(&operator, inputs[0])?;
                let output = output(&operator)?;
                match self.model.shape(output) {
                    &[_, length] if length == channels => Ok(output),
                    other => Err(format!("its shape is {other:?}")),
                }
            }
            _ => Err("no TensorFlow Lite form of this operation is known here".to_owned()),
        }
    }

    fn conv(&mut self, node: &Node, conv: Conv, input: usize) -> Result<usize, String> {
        let is_depthwise = conv.groups > 1;
        let operator = self.take(if is_depthwise {
            Operation::DepthwiseConv2d
        } else {
            Operation::Conv2d
        })?;
        self.reads(&operator, input)?;
        let options = operator.options;
        let stride = i32::try_from(conv.stride).unwrap_or(0);
        if options.stride != [stride, stride] || options.dilation != [1, 1] || options.depth_multiplier != 1 {
            return Err(format!("its stride, dilation or depth multiplier differs: {options:?}"));
        }
        let pads = match self.model.shape(input) {
            &[_, height, width, _] if options.padding_same => {
                let [vertical, horizontal] = [height, width].map(|length| same_pads(length, conv));
                if vertical != horizontal {
                    return Err("it pads height and width differently".to_owned());
                }
                vertical
            }
            &[_, _, _, _] => Pads::default(),
            other => return Err(format!("it reads a tensor of shape {other:?}")),
        };
        if pads != conv.pads {
            return Err(format!("it pads by {pads:?}"));
        }
        let weight = self.constant(&operator, 1)?;
        let bias = self.constant(&operator, 2)?;
        let (kernel, wanted) = (conv.kernel, conv.outputs);
        let shape = if is_depthwise {
            [1, kernel, kernel, wanted]
        } else {
            [wanted, kernel, kernel, conv.inputs]
        };
        if weight.shape != shape || bias.shape != [wanted] {
            return Err(format!(
                "its weight is {:?} and its bias {:?}",
                weight.shape, bias.shape
            ));
        }
        // [outputs, height, width, inputs] becomes [outputs, inputs, height, width], and for a depthwise convolution
        // [1, height, width, channels] becomes [channels, 1, height, width].
        let order = if is_depthwise { [3, 0, 1, 2] } else { [0, 3, 1, 2] };
        self.weights
            .insert(format!("{}.weight", node.name), transpose(&weight, order));
        self.weights.insert(format!("{}.bias", node.name), bias);
        output(&operator)
    }

    /// A PReLU, or what TensorFlow 1 wrote for one: `relu(x) + c * (x - |x|)`, where `c` is half the slope.
    fn prelu(&mut self, node: &Node, channels: usize, input: usize) -> Result<usize, String> {
        let (slope, output) = if self.peek() == Some(Operation::Prelu) {
            let operator = self.take(Operation::Prelu)?;
            self.reads(&operator, input)?;
            (self.constant(&operator, 1)?, output(&operator)?)
        } else {
            let relu = self.take(Operation::Relu)?;
            self.reads(&relu, input)?;
            let abs = self.take(Operation::Abs)?;
            self.reads(&abs, input)?;
            let sub = self.take(Operation::Sub)?;
            if two_inputs(&sub)? != [input, output(&abs)?] {
                return Err("it does not subtract the absolute value from the value".to_owned());
            }
            let mul = self.take(Operation::Mul)?;
            let factors = two_inputs(&mul)?;
            let Some(constant) = factors
                .iter()
                .position(|&factor| factor != output(&sub).unwrap_or(factor))
            else {
                return Err("it does not multiply by a constant".to_owned());
            };
            if factors[1 - constant] != output(&sub)? {
                return Err("it multiplies other values".to_owned());
            }
            let mut slope = self.constant(&mul, constant)?;
            slope.values.iter_mut().for_each(|half| *half *= 2.0);
            let add = self.take(Operation::Add)?;
            let mut terms = two_inputs(&add)?;
            let mut wanted = [output(&relu)?, output(&mul)?];
            terms.sort_unstable();
            wanted.sort_unstable();
            if terms != wanted {
                return Err("it adds other values".to_owned());
            }
            (slope, output(&add)?)
        };
        if slope.values.len() != channels {
            return Err(format!("it has {} slopes instead of {channels}", slope.values.len()));
        }
        self.weights.insert(
            format!("{}.weight", node.name),
            Tensor {
                shape: vec![channels],
                values: slope.values,
            },
        );
        Ok(output)
    }

    /// Steps over the operators that only turn 16-bit constants into 32-bit ones.
    fn skip_dequantize(&mut self) {
        while self
            .model
            .operators
            .get(self.next)
            .is_some_and(|op| op.operation == Operation::Dequantize)
        {
            self.next += 1;
        }
    }

    fn peek(&mut self) -> Option<Operation> {
        self.skip_dequantize();
        self.model.operators.get(self.next).map(|operator| operator.operation)
    }

    fn take(&mut self, wanted: Operation) -> Result<Operator, String> {
        self.skip_dequantize();
        let operator = self
            .model
            .operators
            .get(self.next)
            .cloned()
            .ok_or("the file ends before it")?;
        self.next += 1;
        if operator.operation != wanted {
            Err(format!("it is {:?} instead of {wanted:?}", operator.operation))
        } else if operator.options.has_activation {
            Err("it has an activation built in".to_owned())
        } else {
            Ok(operator)
        }
    }

    fn reads(&self, operator: &Operator, input: usize) -> Result<(), String> {
        match operator.inputs.first() {
            Some(&Some(first)) if first == input => Ok(()),
            Some(&Some(first)) => Err(format!(
                "it reads {:?} instead of {:?}",
                self.model.name(first),
                self.model.name(input)
            )),
            _ => Err("it reads nothing".to_owned()),
        }
    }

    /// The constant that an operator reads, through a dequantisation if there is one.
    fn constant(&self, operator: &Operator, input: usize) -> Result<Tensor, String> {
        let tensor = operator
            .inputs
            .get(input)
            .copied()
            .flatten()
            .ok_or(format!("it has no input {input}"))?;
        let source = self
            .model
            .operators
            .iter()
            .find(|other| other.operation == Operation::Dequantize && other.outputs.first() == Some(&Some(tensor)));
        let tensor = source
            .and_then(|source| source.inputs.first().copied().flatten())
            .unwrap_or(tensor);
        self.model.constant(tensor).ok_or_else(|| {
            format!(
                "{:?} is not a constant of 16-bit or 32-bit floats",
                self.model.name(tensor)
            )
        })
    }
}

fn two_inputs(operator: &Operator) -> Result<[usize; 2], String> {
    match operator.inputs.as_slice() {
        &[Some(a), Some(b)] => Ok([a, b]),
        _ => Err("it does not read two values".to_owned()),
    }
}

fn output(operator: &Operator) -> Result<usize, String> {
    match operator.outputs.as_slice() {
        &[Some(output)] => Ok(output),
        _ => Err("it does not give one value".to_owned()),
    }
}

/// TensorFlow's "same" padding: the output has `length / stride` pixels, rounded up, and an odd pixel goes to the end.
fn same_pads(length: usize, conv: Conv) -> Pads {
    let reach = length.div_ceil(conv.stride).saturating_sub(1) * conv.stride + conv.kernel;
    let total = reach.saturating_sub(length);
    Pads {
        before: total / 2,
        after: total - total / 2,
    }
}

/// Puts axis `order[i]` of `tensor`, which has four, at place `i`.
fn transpose(tensor: &Tensor, order: [usize; 4]) -> Tensor {
    let mut strides = [1; 4];
    for axis in (0..3).rev() {
        strides[axis] = strides[axis + 1] * tensor.shape[axis + 1];
    }
    let [a, b, c, d] = order.map(|axis| (tensor.shape[axis], strides[axis]));
    let mut values = Vec::with_capacity(tensor.values.len());
    for i in 0..a.0 {
        for j in 0..b.0 {
            for k in 0..c.0 {
                values.extend((0..d.0).map(|l| tensor.values[i * a.1 + j * b.1 + k * c.1 + l * d.1]));
            }
        }
    }
    Tensor {
        shape: vec![a.0, b.0, c.0, d.0],
        values,
    }
}
