//! The backend that writes a network as ONNX: opset 17 and IR version 8, which ONNX Runtime accepts from 1.14 on.
//! The same weights give the same bytes on every run and every machine.

mod compound;
mod equal_forms;
mod plan;
pub mod proto;

use plan::{BatchNorm, Convolution, Does, Plan, Step};
use prost::Message;

use crate::nets::graph::{Graph, Input, MaxPool};
use crate::weights::{FitError, Weights, check_fit};

/// ONNX's operator set.
const OPSET: i64 = 17;
/// ONNX's file format. Runtime libraries for JetPack accept 9 at most.
const IR_VERSION: i64 = 8;

/// Writes a network with its weights. `metadata` becomes the model's properties, in the given order.
///
/// Inputs and outputs as the description names them, `f32`, the batch free. Results equal the description's within float rounding.
///
/// # Errors
/// When the weights are not exactly those that the network needs.
pub fn write(graph: &Graph, weights: &Weights, metadata: &[(&str, String)]) -> Result<Vec<u8>, FitError> {
    check_fit(graph, weights)?;
    let mut plan = Plan::of(graph, weights);
    equal_forms::apply(&mut plan);
    Ok(model(graph, plan, metadata).encode_to_vec())
}

/// As [`write`], but operation by operation as the description says, slow forms included: what the other has to equal.
///
/// # Errors
/// When the weights are not exactly those that the network needs.
pub fn write_as_described(graph: &Graph, weights: &Weights) -> Result<Vec<u8>, FitError> {
    check_fit(graph, weights)?;
    Ok(model(graph, Plan::of(graph, weights), &[]).encode_to_vec())
}

fn model(graph: &Graph, plan: Plan, metadata: &[(&str, String)]) -> proto::Model {
    let mut body = proto::Graph {
        name: graph.name.to_owned(),
        ..proto::Graph::default()
    };
    for step in plan.steps {
        write_step(&mut body, step);
    }
    let axis = |length: Option<usize>, name| length.map_or(Axis::Named(name), Axis::Fixed);
    let input = match graph.input {
        Input::Image { height, width } => vec![Axis::Fixed(3), axis(height, "height"), axis(width, "width")],
        Input::Vector { values, .. } => vec![Axis::Fixed(values)],
    };
    body.input.push(value_info(graph.input.name(), input));
    for output in &graph.outputs {
        // An axis that depends on the picture's size has no name that could be shared with another value's.
        let names = ["", "rows", "columns"];
        let axes = output.axes.iter().enumerate();
        let axes = axes.map(|(place, &length)| axis(length, names[place.min(2)]));
        body.output.push(value_info(output.name, axes.collect()));
    }
    proto::Model {
        ir_version: IR_VERSION,
        // No producer_version: a new version of Kith that writes the same network shall write the same bytes.
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        doc_string: graph.about.to_owned(),
        graph: Some(body),
        opset_import: vec![proto::OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| proto::StringEntry {
                key: (*key).to_owned(),
                value: value.clone(),
            })
            .collect(),
    }
}

fn write_step(
    graph: &mut proto::Graph,
    Step {
        output,
        does,
        mut inputs,
    }: Step,
) {
    let mut constant = |suffix: &str, tensor: proto::Tensor| {
        let name = format!("{output}.{suffix}");
        graph.initializer.push(proto::Tensor {
            name: name.clone(),
            ..tensor
        });
        inputs.push(name);
    };
    let mut attributes = Vec::new();
    let op_type = match does {
        Does::Conv(Convolution {
            weight,
            bias,
            stride,
            pads,
            groups,
        }) => {
            let kernel = [int(weight.shape[2]), int(weight.shape[3])];
            attributes.push(proto::Attribute::ints("kernel_shape", &kernel));
            attributes.push(proto::Attribute::ints("strides", &[int(stride); 2]));
            let [before, after] = [int(pads.before), int(pads.after)];
            attributes.push(proto::Attribute::ints("pads", &[before, before, after, after]));
            attributes.push(proto::Attribute::int("group", int(groups)));
            constant("weight", floats(&weight.shape, &weight.values));
            if let Some(bias) = bias {
                constant("bias", floats(&[bias.len()], &bias));
            }
            "Conv"
        }
        Does::Linear { weight, bias } => {
            attributes.push(proto::Attribute::int("transB", 1));
            constant("weight", floats(&weight.shape, &weight.values));
            constant("bias", floats(&[bias.len()], &bias));
            "Gemm"
        }
        Does::PRelu { slope, axes } => {
            constant("slope", floats(&per_channel(slope.len(), axes), &slope));
            "PRelu"
        }
        Does::Scale { factors, axes } => {
            constant("factors", floats(&per_channel(factors.len(), axes), &factors));
            "Mul"
        }
        Does::BatchNorm(BatchNorm {
            weight,
            bias,
            mean,
            variance,
            epsilon,
        }) => {
            attributes.push(proto::Attribute::float("epsilon", epsilon));
            for (suffix, values) in [
                ("weight", weight),
                ("bias", bias),
                ("mean", mean),
                ("variance", variance),
            ] {
                constant(suffix, floats(&[values.len()], &values));
            }
            "BatchNormalization"
        }
        // ONNX divides alpha by the size too, and its window is the same.
        Does::LocalResponseNorm {
            size,
            alpha,
            beta,
            bias,
        } => {
            attributes.push(proto::Attribute::float("alpha", alpha));
            attributes.push(proto::Attribute::float("beta", beta));
            attributes.push(proto::Attribute::float("bias", bias));
            attributes.push(proto::Attribute::int("size", int(size)));
            "LRN"
        }
        Does::MaxPool(MaxPool {
            kernel,
            stride,
            pad,
            ceil,
        }) => {
            attributes.push(proto::Attribute::ints("kernel_shape", &[int(kernel); 2]));
            attributes.push(proto::Attribute::ints("strides", &[int(stride); 2]));
            if pad > 0 {
                attributes.push(proto::Attribute::ints("pads", &[int(pad); 4]));
            }
            if ceil {
                attributes.push(proto::Attribute::int("ceil_mode", 1));
            }
            "MaxPool"
        }
        Does::AvgPool { kernel, stride } => {
            attributes.push(proto::Attribute::ints("kernel_shape", &[int(kernel); 2]));
            attributes.push(proto::Attribute::ints("strides", &[int(stride); 2]));
            "AveragePool"
        }
        Does::ChannelsAsDepth => {
            constant("axis", ints(&[1]));
            "Unsqueeze"
        }
        Does::MeanOverDepth { size } => {
            let reach = int(size / 2);
            attributes.push(proto::Attribute::ints("kernel_shape", &[int(size), 1, 1]));
            attributes.push(proto::Attribute::ints("pads", &[reach, 0, 0, reach, 0, 0]));
            attributes.push(proto::Attribute::int("count_include_pad", 1));
            "AveragePool"
        }
        Does::DepthAsChannels => {
            constant("axis", ints(&[1]));
            "Squeeze"
        }
        Does::Pad(pads) => {
            let [before, after] = [int(pads.before), int(pads.after)];
            constant("pads", ints(&[0, 0, before, before, 0, 0, after, after]));
            "Pad"
        }
        Does::Channels { start, end } => {
            constant("start", ints(&[int(start)]));
            constant("end", ints(&[int(end)]));
            constant("axis", ints(&[1]));
            "Slice"
        }
        Does::Flatten {
            order: crate::nets::graph::FlattenOrder::ChannelHeightWidth,
            ..
        } => "Flatten",
        Does::Flatten {
            order: crate::nets::graph::FlattenOrder::WidthHeightChannel,
            ..
        } => {
            let transposed = format!("{output}_transposed");
            graph.node.push(proto::Node {
                input: std::mem::replace(&mut inputs, vec![transposed.clone()]),
                output: vec![transposed.clone()],
                name: transposed,
                op_type: "Transpose".to_owned(),
                attribute: vec![proto::Attribute::ints("perm", &[0, 3, 2, 1])],
            });
            "Flatten"
        }
        Does::Concat => {
            attributes.push(proto::Attribute::int("axis", 1));
            "Concat"
        }
        Does::Add => "Add",
        Does::Times => "Mul",
        Does::Over => "Div",
        Does::Plus(number) => {
            constant("number", floats(&[1], &[number]));
            "Add"
        }
        Does::Root => "Sqrt",
        Does::SumOfChannels => {
            constant("axis", ints(&[1]));
            "ReduceSum"
        }
        Does::Relu => "Relu",
        Does::Max => "Max",
    };
    graph.node.push(proto::Node {
        input: inputs,
        output: vec![output.clone()],
        name: output,
        op_type: op_type.to_owned(),
        attribute: attributes,
    });
}

/// An axis of an input or output.
enum Axis {
    Fixed(usize),
    Named(&'static str),
}

/// A value of these axes behind the batch.
fn value_info(name: &str, axes: Vec<Axis>) -> proto::ValueInfo {
    let dim = [Axis::Named("N")].into_iter().chain(axes);
    let dim = dim.map(|axis| proto::Dimension {
        value: Some(match axis {
            Axis::Fixed(length) => proto::DimensionValue::Fixed(int(length)),
            Axis::Named(name) => proto::DimensionValue::Named(name.to_owned()),
        }),
    });
    let tensor_type = proto::TensorType {
        elem_type: proto::FLOAT,
        shape: Some(proto::Shape { dim: dim.collect() }),
    };
    proto::ValueInfo {
        name: name.to_owned(),
        r#type: Some(proto::Type {
            tensor_type: Some(tensor_type),
        }),
    }
}

/// The shape that lets a number per channel meet a value of `axes` axes, batch included.
fn per_channel(channels: usize, axes: usize) -> Vec<usize> {
    let mut shape = vec![1; axes.saturating_sub(1)];
    shape[0] = channels;
    shape
}

fn floats(shape: &[usize], values: &[f32]) -> proto::Tensor {
    proto::Tensor {
        dims: shape.iter().copied().map(int).collect(),
        data_type: proto::FLOAT,
        name: String::new(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn ints(values: &[i64]) -> proto::Tensor {
    proto::Tensor {
        dims: vec![int(values.len())],
        data_type: proto::INT64,
        name: String::new(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// Sizes of networks that are described here fit easily.
fn int(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
