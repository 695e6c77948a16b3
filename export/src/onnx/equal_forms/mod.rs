//! Rewritings of a plan that change no result beyond rounding and that ONNX Runtime's CPU kernels compute faster.
//! What each gained, measured, is in `docs/design/networks.md`.

mod prelu;
mod response_norm;

use super::plan::{BatchNorm, Convolution, Does, Plan, Step};
use crate::nets::graph::FlattenOrder;
use crate::weights::Tensor;

/// Outputs of convolutions that become one, at most, taken together: the heads of P-Net have five.
const MOST_HEAD_OUTPUTS: usize = 16;

/// Applies all rewritings. Each does one place at a time and says `None` when it finds no more.
pub(super) fn apply(plan: &mut Plan) {
    // The order matters: heads have to be single numbers before they are merged, and a PReLU that can move behind
    // its pool has to do so before it is taken apart.
    while batch_norm_in_the_weights(plan).is_some() {}
    while log_odds_in_the_weights(plan).is_some() {}
    while flatten_as_it_lies(plan).is_some() {}
    while merge_in_a_row(plan).is_some() {}
    while merge_side_by_side(plan).is_some() {}
    while prelu::behind_pool(plan).is_some() {}
    while prelu::fill_blocks(plan).is_some() {}
    while prelu::flip_steep(plan).is_some() {}
    while prelu::in_plain_operations(plan).is_some() {}
    while response_norm::in_plain_operations(plan).is_some() {}
}

/// A batch norm in use only scales and moves each channel, which the convolution before it can do as well.
fn batch_norm_in_the_weights(plan: &mut Plan) -> Option<()> {
    let (conv, norm, folded) = plan.steps.iter().enumerate().find_map(|(norm, step)| {
        let Does::BatchNorm(BatchNorm {
            weight,
            bias,
            mean,
            variance,
            epsilon,
        }) = &step.does
        else {
            return None;
        };
        let conv = plan.producer(step.inputs.first()?)?;
        plan.only_reader(conv)?;
        let Does::Conv(old) = &plan.steps[conv].does else {
            return None;
        };
        let deviation = variance
            .iter()
            .map(|&variance| (f64::from(variance) + f64::from(*epsilon)).sqrt());
        let factors: Vec<f64> = weight
            .iter()
            .zip(deviation)
            .map(|(&weight, deviation)| f64::from(weight) / deviation)
            .collect();
        let moved = factors.iter().enumerate().map(|(channel, factor)| {
            let old = f64::from(old.bias_of(channel));
            round((old - f64::from(mean[channel])) * factor + f64::from(bias[channel]))
        });
        let factors = factors.iter().map(|&factor| round(factor)).enumerate();
        let folded = Convolution {
            bias: Some(moved.collect()),
            ..old.with_outputs(factors)
        };
        Some((conv, norm, folded))
    })?;
    let step = Step {
        output: plan.steps[norm].output.clone(),
        does: Does::Conv(folded),
        inputs: plan.steps[conv].inputs.clone(),
    };
    plan.replace(&[conv, norm], vec![step]);
    Some(())
}

/// Log odds, the difference of two outputs, can be taken in the weights that make them: one output instead of two.
fn log_odds_in_the_weights(plan: &mut Plan) -> Option<()> {
    plan.steps
        .iter()
        .enumerate()
        .find_map(|(log_odds, step)| {
            let (Does::Conv(Convolution { weight, .. }) | Does::Linear { weight, .. }) = &step.does else {
                return None;
            };
            if weight.values != [-1.0, 1.0] {
                return None;
            }
            let logits = plan.producer(step.inputs.first()?)?;
            plan.only_reader(logits)?;
            let does = match &plan.steps[logits].does {
                Does::Conv(conv) => Does::Conv(Convolution {
                    weight: second_minus_first(&conv.weight),
                    bias: conv.bias.as_ref().map(|bias| vec![bias[1] - bias[0]]),
                    ..conv.clone()
                }),
                Does::Linear { weight, bias } => Does::Linear {
                    weight: second_minus_first(weight),
                    bias: vec![bias[1] - bias[0]],
                },
                _ => return None,
            };
            let difference = Step {
                does,
                output: step.output.clone(),
                ..plan.steps[logits].clone()
            };
            Some(([logits, log_odds], vec![difference]))
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
fn merge_in_a_row(plan: &mut Plan) -> Option<()> {
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

/// 1x1 convolutions with few outputs that read one value are one convolution, of which each takes its channels: the
/// kernels compute sixteen outputs in the time of one.
fn merge_side_by_side(plan: &mut Plan) -> Option<()> {
    let outputs_of = |place: usize| match &plan.steps[place].does {
        Does::Conv(conv) if conv.is_pointwise() => Some(conv.weight.shape[0]),
        _ => None,
    };
    let heads = plan.steps.iter().find_map(|step| {
        let heads = plan.readers(&step.output);
        let outputs = heads.iter().map(|&head| outputs_of(head)).sum::<Option<usize>>()?;
        (heads.len() > 1 && outputs <= MOST_HEAD_OUTPUTS).then_some(heads)
    })?;
    let (mut values, mut bias, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let all = format!("{}_heads", plan.steps[heads[0]].inputs[0]);
    let mut inputs = 0;
    for &head in &heads {
        let Does::Conv(conv) = &plan.steps[head].does else {
            return None;
        };
        let start = bias.len();
        inputs = conv.weight.shape[1];
        values.extend_from_slice(&conv.weight.values);
        bias.extend((0..conv.weight.shape[0]).map(|output| conv.bias_of(output)));
        let channels = Does::Channels { start, end: bias.len() };
        parts.push(Step::new(&plan.steps[head].output, channels, &[&all]));
    }
    let weight = Tensor {
        shape: vec![bias.len(), inputs, 1, 1],
        values,
    };
    let conv = Does::Conv(Convolution {
        weight,
        bias: Some(bias),
        ..Convolution::POINTWISE
    });
    let conv = Step {
        output: all,
        does: conv,
        inputs: plan.steps[heads[0]].inputs.clone(),
    };
    plan.replace(&heads, [vec![conv], parts].concat());
    Some(())
}

/// Sums are made in double precision, so that the order of the operations shows as little as possible.
#[expect(clippy::cast_possible_truncation, reason = "weights are f32 in the file")]
fn round(value: f64) -> f32 {
    value as f32
}
