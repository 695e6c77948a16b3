//! Rewritings of a plan that change no result beyond rounding and that ONNX Runtime's CPU kernels compute faster.
//! What each gained, measured, is in `docs/design/networks.md`.

use super::plan::{Convolution, Does, Plan, Step};
use crate::nets::graph::FlattenOrder;
use crate::weights::Tensor;

/// Applies all rewritings.
pub(super) fn apply(plan: &mut Plan) {
    // The order matters: heads have to be single numbers before they are merged, and each PReLU takes the first of
    // the forms that fits it.
    while sigmoid_of_difference(plan).is_some() {}
    while flatten_as_it_lies(plan).is_some() {}
    while merge_pointwise(plan).is_some() {}
    while prelu_behind_pool(plan).is_some() {}
    while prelu_into_heads(plan).is_some() {}
    while prelu_in_plain_operations(plan).is_some() {}
}

/// A two-way softmax of which only the second value is read is the sigmoid of the difference, and the difference can
/// be taken in the weights: one output instead of two.
fn sigmoid_of_difference(plan: &mut Plan) -> Option<()> {
    plan.steps
        .iter()
        .enumerate()
        .find_map(|(softmax, step)| {
            let logits = plan.producer(matches!(step.does, Does::Softmax).then(|| step.inputs.first())??)?;
            let channel = plan.only_reader(softmax)?;
            plan.only_reader(logits)?;
            let Does::Channels { start: 1, end: 2 } = plan.steps[channel].does else {
                return None;
            };
            let step = &plan.steps[logits];
            let does = match &step.does {
                Does::Conv(conv) if conv.weight.shape[0] == 2 => Does::Conv(Convolution {
                    weight: second_minus_first(&conv.weight),
                    bias: conv.bias.as_ref().map(|bias| vec![bias[1] - bias[0]]),
                    ..conv.clone()
                }),
                Does::Linear { weight, bias } if weight.shape[0] == 2 => Does::Linear {
                    weight: second_minus_first(weight),
                    bias: vec![bias[1] - bias[0]],
                },
                _ => return None,
            };
            let difference = Step { does, ..step.clone() };
            let sigmoid = Step::new(&plan.steps[channel].output, Does::Sigmoid, &[&step.output]);
            Some(([logits, softmax, channel], vec![difference, sigmoid]))
        })
        .map(|(places, steps)| plan.replace(&places, steps))
}

fn second_minus_first(weight: &Tensor) -> Tensor {
    let (first, second) = weight.values.split_at(weight.values.len() / 2);
    let mut shape = weight.shape.clone();
    shape[0] = 1;
    Tensor {
        shape,
        values: second.iter().zip(first).map(|(second, first)| second - first).collect(),
    }
}

/// Flattening in another order than the values lie in memory needs a transposition; reordering the columns of the
/// dense layer behind it does not.
fn flatten_as_it_lies(plan: &mut Plan) -> Option<()> {
    let place = plan.steps.iter().position(|step| {
        matches!(
            step.does,
            Does::Flatten {
                order: FlattenOrder::WidthHeightChannel,
                ..
            }
        )
    })?;
    let readers = plan.readers(&plan.steps[place].output);
    if !readers
        .iter()
        .all(|&reader| matches!(plan.steps[reader].does, Does::Linear { .. }))
    {
        return None;
    }
    let Does::Flatten {
        order,
        channels,
        height,
        width,
    } = &mut plan.steps[place].does
    else {
        return None;
    };
    *order = FlattenOrder::ChannelHeightWidth;
    let (channels, height, width) = (*channels, *height, *width);
    let mut old_column_of = Vec::with_capacity(channels * height * width);
    for channel in 0..channels {
        for y in 0..height {
            old_column_of.extend((0..width).map(|x| (x * height + y) * channels + channel));
        }
    }
    for reader in readers {
        if let Does::Linear { weight, .. } = &mut plan.steps[reader].does {
            let rows = weight.values.chunks(old_column_of.len());
            weight.values = rows
                .flat_map(|row| old_column_of.iter().map(|&column| row[column]))
                .collect();
        }
    }
    Some(())
}

/// Two 1x1 convolutions in a row are one, if that is less work.
fn merge_pointwise(plan: &mut Plan) -> Option<()> {
    let pointwise = |place: usize| match &plan.steps[place].does {
        Does::Conv(conv) if conv.is_pointwise() => Some(conv),
        _ => None,
    };
    let (first, second, weight, bias) = (0..plan.steps.len()).find_map(|first| {
        let a = pointwise(first)?;
        let second = plan.only_reader(first)?;
        let b = pointwise(second)?;
        let (inputs, inside, outputs) = (a.weight.shape[1], a.weight.shape[0], b.weight.shape[0]);
        if inputs * outputs >= inside * (inputs + outputs) {
            return None;
        }
        let mut weight = vec![0.0; outputs * inputs];
        let mut bias: Vec<f64> = (0..outputs).map(|o| f64::from(b.bias_of(o))).collect();
        for (o, row) in b.weight.values.chunks(inside).enumerate() {
            for (k, (&factor, inner)) in row.iter().zip(a.weight.values.chunks(inputs)).enumerate() {
                bias[o] += f64::from(factor) * f64::from(a.bias_of(k));
                for (sum, &value) in weight[o * inputs..].iter_mut().zip(inner) {
                    *sum += f64::from(factor) * f64::from(value);
                }
            }
        }
        let weight = Tensor {
            shape: vec![outputs, inputs, 1, 1],
            values: weight.into_iter().map(round).collect(),
        };
        Some((first, second, weight, bias.into_iter().map(round).collect()))
    })?;
    let merged = Step {
        output: plan.steps[second].output.clone(),
        does: Does::Conv(Convolution {
            weight,
            bias: Some(bias),
            ..Convolution::POINTWISE
        }),
        inputs: plan.steps[first].inputs.clone(),
    };
    plan.replace(&[first, second], vec![merged]);
    Some(())
}

/// Moves a PReLU between a convolution and a max pool behind the pool, where there are fewer pixels.
///
/// With a slope of 0 or more PReLU never decreases, so it may change places with the maximum. With a negative slope
/// `s` it is `max(x, s * x)`, and the maximum over a window of that is the larger of the two maxima: the convolution
/// gives such a channel twice, as `w` and as `s * w`. The channels change their order, so that those with a negative
/// slope come first, and whoever reads them has its weights reordered.
fn prelu_behind_pool(plan: &mut Plan) -> Option<()> {
    let (prelu, conv, pool) = (0..plan.steps.len()).find_map(|prelu| {
        let step = &plan.steps[prelu];
        let conv = plan.producer(matches!(step.does, Does::PRelu { .. }).then(|| step.inputs.first())??)?;
        let pool = plan.only_reader(prelu)?;
        let fits = plan.only_reader(conv) == Some(prelu)
            && matches!(&plan.steps[conv].does, Does::Conv(conv) if conv.groups == 1)
            && matches!(plan.steps[pool].does, Does::MaxPoolCeil { .. })
            && plan
                .readers(&plan.steps[pool].output)
                .iter()
                .all(|&reader| matches!(&plan.steps[reader].does, Does::Conv(conv) if conv.groups == 1));
        fits.then_some((prelu, conv, pool))
    })?;
    let (Does::PRelu { slope, .. }, Does::Conv(old)) = (&plan.steps[prelu].does, &plan.steps[conv].does) else {
        return None;
    };
    let channels = slope.len();
    let (falling, rising): (Vec<usize>, Vec<usize>) = (0..channels).partition(|&channel| slope[channel] < 0.0);
    let order: Vec<usize> = falling.iter().chain(&rising).copied().collect();
    let once = order.iter().map(|&channel| (channel, 1.0));
    let twice = falling.iter().map(|&channel| (channel, slope[channel]));
    let rising_slopes: Vec<f32> = rising.iter().map(|&channel| slope[channel]).collect();
    let widened = old.with_outputs(once.chain(twice));

    let name = plan.steps[prelu].output.clone();
    let output = plan.steps[pool].output.clone();
    let [conv_name, wide, upper, lower, mirrored, larger, bent] =
        ["_conv", "_wide", "_falling", "_rising", "_mirrored", "_larger", "_bent"].map(|end| format!("{name}{end}"));
    let mut steps = vec![
        Step {
            output: conv_name.clone(),
            does: Does::Conv(widened),
            inputs: plan.steps[conv].inputs.clone(),
        },
        Step::new(&wide, plan.steps[pool].does.clone(), &[&conv_name]),
    ];
    let split = falling.len();
    let part = |output: &str, start, end| Step::new(output, Does::Channels { start, end }, &[&wide]);
    match (falling.is_empty(), rising.is_empty()) {
        (true, _) => steps.push(Step::new(
            &output,
            Does::PRelu {
                slope: rising_slopes,
                axes: 4,
            },
            &[&wide],
        )),
        (false, true) => steps.extend([
            part(&upper, 0, split),
            part(&mirrored, channels, channels + split),
            Step::new(&output, Does::Max, &[&upper, &mirrored]),
        ]),
        (false, false) => steps.extend([
            part(&upper, 0, split),
            part(&lower, split, channels),
            part(&mirrored, channels, channels + split),
            Step::new(&larger, Does::Max, &[&upper, &mirrored]),
            Step::new(
                &bent,
                Does::PRelu {
                    slope: rising_slopes,
                    axes: 4,
                },
                &[&lower],
            ),
            Step::new(&output, Does::Concat, &[&larger, &bent]),
        ]),
    }
    for reader in plan.readers(&output) {
        if let Does::Conv(conv) = &mut plan.steps[reader].does {
            conv.reorder_inputs(&order);
        }
    }
    plan.replace(&[conv, prelu, pool], steps);
    Some(())
}

/// A PReLU that is read only by 1x1 convolutions with few outputs: `s * x + (1 - s) * relu(x)` is linear in `x` and
/// `relu(x)`, so each reader becomes two convolutions that have the slopes in their weights, and no step is left that
/// goes over all channels but the relu. The readers become one, of which each takes its channels.
fn prelu_into_heads(plan: &mut Plan) -> Option<()> {
    let (prelu, heads) = (0..plan.steps.len()).find_map(|prelu| {
        let Does::PRelu { slope, axes: 4 } = &plan.steps[prelu].does else {
            return None;
        };
        let heads = plan.readers(&plan.steps[prelu].output);
        let outputs = heads.iter().map(|&head| match &plan.steps[head].does {
            Does::Conv(conv) if conv.is_pointwise() => Some(conv.weight.shape[0]),
            _ => None,
        });
        let outputs = outputs.sum::<Option<usize>>()?;
        (!heads.is_empty() && 4 * outputs <= slope.len()).then_some((prelu, heads))
    })?;
    let Does::PRelu { slope, .. } = &plan.steps[prelu].does else {
        return None;
    };
    let (mut straight, mut bent, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    let mut ends = Vec::new();
    for &head in &heads {
        let Does::Conv(conv) = &plan.steps[head].does else {
            return None;
        };
        for (output, row) in conv.weight.values.chunks(slope.len()).enumerate() {
            straight.extend(row.iter().zip(slope).map(|(w, s)| w * s));
            bent.extend(
                row.iter()
                    .zip(slope)
                    .map(|(&w, &s)| round(f64::from(w) * (1.0 - f64::from(s)))),
            );
            bias.push(conv.bias_of(output));
        }
        ends.push(bias.len());
    }
    let shape = vec![bias.len(), slope.len(), 1, 1];
    let half = |values, bias| {
        Does::Conv(Convolution {
            weight: Tensor {
                shape: shape.clone(),
                values,
            },
            bias,
            ..Convolution::POINTWISE
        })
    };
    let input = plan.steps[prelu].inputs[0].clone();
    let name = &plan.steps[prelu].output;
    let [relu, first, second, all] = ["_relu", "_straight", "_bent", "_heads"].map(|end| format!("{name}{end}"));
    let mut steps = vec![
        Step::new(&relu, Does::Relu, &[&input]),
        Step::new(&first, half(straight, Some(bias)), &[&input]),
        Step::new(&second, half(bent, None), &[&relu]),
        Step::new(&all, Does::Add, &[&first, &second]),
    ];
    let mut start = 0;
    for (&head, &end) in heads.iter().zip(&ends) {
        steps.push(Step::new(
            &plan.steps[head].output,
            Does::Channels { start, end },
            &[&all],
        ));
        start = end;
    }
    let places: Vec<usize> = heads.into_iter().chain([prelu]).collect();
    plan.replace(&places, steps);
    Some(())
}

/// ONNX Runtime's PReLU is slower than the vectorised operations that it can be made of: `max(x, s * x)` where all
/// slopes are 1 or less, otherwise `s * x + (1 - s) * relu(x)`.
fn prelu_in_plain_operations(plan: &mut Plan) -> Option<()> {
    let place = plan
        .steps
        .iter()
        .position(|step| matches!(step.does, Does::PRelu { .. }))?;
    let Step {
        output,
        does: Does::PRelu { slope, axes },
        inputs,
    } = plan.steps[place].clone()
    else {
        return None;
    };
    let [scaled, relu, bent] = ["_scaled", "_relu", "_bent"].map(|end| format!("{output}{end}"));
    let x = inputs[0].as_str();
    let steps = if slope.iter().all(|&slope| slope <= 1.0) {
        vec![
            Step::new(&scaled, Does::Scale { factors: slope, axes }, &[x]),
            Step::new(&output, Does::Max, &[x, &scaled]),
        ]
    } else {
        let factors = slope.iter().map(|&slope| round(1.0 - f64::from(slope))).collect();
        vec![
            Step::new(&scaled, Does::Scale { factors: slope, axes }, &[x]),
            Step::new(&relu, Does::Relu, &[x]),
            Step::new(&bent, Does::Scale { factors, axes }, &[&relu]),
            Step::new(&output, Does::Add, &[&scaled, &bent]),
        ]
    };
    plan.replace(&[place], steps);
    Some(())
}

impl Convolution {
    /// The form of a 1x1 convolution, without its weights.
    const POINTWISE: Self = Self {
        weight: Tensor {
            shape: Vec::new(),
            values: Vec::new(),
        },
        bias: None,
        stride: 1,
        pads: crate::nets::graph::Pads { before: 0, after: 0 },
        groups: 1,
    };

    fn is_pointwise(&self) -> bool {
        self.weight.shape[2..] == [1, 1]
            && self.stride == 1
            && self.groups == 1
            && self.pads == crate::nets::graph::Pads::default()
    }

    fn bias_of(&self, output: usize) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| bias[output])
    }

    /// The convolution that gives, for each pair in `outputs`, that output of this one times that factor.
    fn with_outputs(&self, outputs: impl Iterator<Item = (usize, f32)>) -> Self {
        let per_output = self.weight.values.len() / self.weight.shape[0];
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for (output, factor) in outputs {
            values.extend(
                self.weight.values[output * per_output..][..per_output]
                    .iter()
                    .map(|value| value * factor),
            );
            bias.push(self.bias_of(output) * factor);
        }
        let mut shape = self.weight.shape.clone();
        shape[0] = bias.len();
        Self {
            weight: Tensor { shape, values },
            bias: Some(bias),
            ..self.clone()
        }
    }

    /// Makes the convolution read its inputs in another order: place `i` holds what `order[i]` held.
    fn reorder_inputs(&mut self, order: &[usize]) {
        let window: usize = self.weight.shape[2..].iter().product();
        let outputs = self.weight.values.chunks(order.len() * window);
        self.weight.values = outputs
            .flat_map(|output| order.iter().flat_map(|&input| &output[input * window..][..window]))
            .copied()
            .collect();
    }
}

/// Sums are made in double precision, so that the order of the operations shows as little as possible.
#[expect(clippy::cast_possible_truncation, reason = "weights are f32 in the file")]
fn round(value: f64) -> f32 {
    value as f32
}
