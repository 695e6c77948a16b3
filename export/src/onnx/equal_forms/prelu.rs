//! Forms of PReLU. ONNX Runtime's own kernel of it is slow, so no PReLU is left in the file.
//!
//! Convolutions run in blocks of sixteen channels where the CPU has AVX-512 (eight with AVX2), and a value stays in
//! that layout only through convolutions, pools, sums, relus, and products with one number per channel.

use super::super::plan::{Convolution, Does, Plan, Step};
use super::round;

/// Channels that the kernels compute together.
const BLOCK: usize = 16;

/// Moves a PReLU between a convolution and a max pool behind the pool, where there are fewer pixels.
///
/// With a slope of 0 or more PReLU never decreases, so it may change places with the maximum. With a negative slope
/// `s` it is `max(x, s * x)`, and the maximum over a window of that is the larger of the two maxima: the convolution
/// gives such a channel twice, as `w` and as `s * w`. The channels change their order, so that those with a negative
/// slope come first, and whoever reads them has its weights reordered.
///
/// It pays only where the channels that are given twice find room in a block that is computed anyway: P-Net's ten
/// channels become sixteen.
pub(super) fn behind_pool(plan: &mut Plan) -> Option<()> {
    let (prelu, conv, pool) = (0..plan.steps.len()).find_map(|prelu| {
        let step = &plan.steps[prelu];
        let conv = plan.producer(matches!(step.does, Does::PRelu { .. }).then(|| step.inputs.first())??)?;
        let pool = plan.only_reader(prelu)?;
        let Does::PRelu { slope, .. } = &step.does else {
            return None;
        };
        let falling = slope.iter().filter(|&&slope| slope < 0.0).count();
        let fits = (slope.len() + falling).div_ceil(BLOCK) == slope.len().div_ceil(BLOCK)
            && plan.only_reader(conv) == Some(prelu)
            && matches!(&plan.steps[conv].does, Does::Conv(conv) if conv.groups == 1)
            && matches!(plan.steps[pool].does, Does::MaxPool(_))
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
    let order: Vec<Option<usize>> = order.into_iter().map(Some).collect();
    for reader in plan.readers(&output) {
        if let Does::Conv(conv) = &mut plan.steps[reader].does {
            conv.take_inputs(&order);
        }
    }
    plan.replace(&[conv, prelu, pool], steps);
    Some(())
}

/// Fills the channels of a convolution before a PReLU up to whole blocks, with zeros that nobody reads. A value whose
/// channels don't fill blocks leaves the layout behind the convolution; R-Net's first one has 28.
pub(super) fn fill_blocks(plan: &mut Plan) -> Option<()> {
    let (conv, prelu, end) = (0..plan.steps.len()).find_map(|conv| {
        let Does::Conv(convolution) = &plan.steps[conv].does else {
            return None;
        };
        let prelu = plan.only_reader(conv)?;
        let is_prelu = matches!(plan.steps[prelu].does, Does::PRelu { .. });
        let pool = plan
            .only_reader(prelu)
            .filter(|&at| matches!(plan.steps[at].does, Does::MaxPool(_)));
        let end = pool.unwrap_or(prelu);
        let outputs = convolution.weight.shape[0];
        // Below a whole block there would be more padding than it is worth.
        let fits = convolution.groups == 1 && outputs > BLOCK && !outputs.is_multiple_of(BLOCK);
        (fits && is_prelu && all_read_by_dense_convolutions(plan, end)).then_some((conv, prelu, end))
    })?;
    for reader in plan.readers(&plan.steps[end].output) {
        if let Does::Conv(conv) = &mut plan.steps[reader].does {
            let inputs = conv.weight.shape[1];
            conv.take_inputs(
                &(0..inputs.next_multiple_of(BLOCK))
                    .map(|i| (i < inputs).then_some(i))
                    .collect::<Vec<_>>(),
            );
        }
    }
    if let Does::PRelu { slope, .. } = &mut plan.steps[prelu].does {
        slope.resize(slope.len().next_multiple_of(BLOCK), 0.0);
    }
    if let Does::Conv(conv) = &mut plan.steps[conv].does {
        let outputs = conv.weight.shape[0];
        let nothing = (outputs..outputs.next_multiple_of(BLOCK)).map(|_| (0, 0.0));
        *conv = conv.with_outputs((0..outputs).map(|output| (output, 1.0)).chain(nothing));
    }
    Some(())
}

/// Turns slopes over 1 into slopes below 1, by the sign of the channel: with `y = -s * x`, `prelu_s(x)` is
/// `-prelu_1/s(y)`. The convolution before takes the factor `-s`, those behind take the sign.
pub(super) fn flip_steep(plan: &mut Plan) -> Option<()> {
    let (conv, prelu) = (0..plan.steps.len()).find_map(|prelu| {
        let step = &plan.steps[prelu];
        let Does::PRelu { slope, .. } = &step.does else {
            return None;
        };
        let conv = plan.producer(step.inputs.first()?)?;
        let readers = plan.readers(&step.output);
        let fits = slope.iter().any(|&slope| slope > 1.0)
            && matches!(plan.steps[conv].does, Does::Conv(_))
            && plan.only_reader(conv) == Some(prelu)
            && !plan.is_output(prelu)
            && readers.iter().all(|&reader| match &plan.steps[reader].does {
                Does::Conv(conv) => conv.groups == 1 || conv.weight.shape[1] == 1,
                _ => false,
            });
        fits.then_some((conv, prelu))
    })?;
    let Does::PRelu { slope, .. } = &mut plan.steps[prelu].does else {
        return None;
    };
    let factors: Vec<f32> = slope
        .iter()
        .map(|&slope| if slope > 1.0 { -slope } else { 1.0 })
        .collect();
    slope
        .iter_mut()
        .filter(|slope| **slope > 1.0)
        .for_each(|slope| *slope = slope.recip());
    let signs: Vec<f32> = factors.iter().map(|factor| factor.signum()).collect();
    if let Does::Conv(conv) = &mut plan.steps[conv].does {
        *conv = conv.with_outputs(factors.into_iter().enumerate());
    }
    for reader in plan.readers(&plan.steps[prelu].output.clone()) {
        if let Does::Conv(conv) = &mut plan.steps[reader].does {
            conv.scale_inputs(&signs);
        }
    }
    Some(())
}

/// Takes a PReLU apart into operations whose kernels are vectorised.
///
/// Between convolutions, `s * x + relu((1 - s) * x)`: two products with the relu and the sum built in, in the layout of
/// the convolutions. That needs slopes up to 1; otherwise `s * x + (1 - s) * relu(x)`. After a dense layer, where there
/// is no such layout, `max(x, s * x)`, which is fewer steps.
pub(super) fn in_plain_operations(plan: &mut Plan) -> Option<()> {
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
    let [straight, relu, rest] = ["_straight", "_relu", "_rest"].map(|end| format!("{output}{end}"));
    let x = inputs[0].as_str();
    let is_steep = slope.iter().any(|&slope| slope > 1.0);
    let remainder = slope.iter().map(|&slope| round(1.0 - f64::from(slope))).collect();
    let scale = |output: &str, factors, x| Step::new(output, Does::Scale { factors, axes }, &[x]);
    let mut steps = vec![scale(&straight, slope, x)];
    if is_steep {
        steps.extend([
            Step::new(&relu, Does::Relu, &[x]),
            scale(&rest, remainder, &relu),
            Step::new(&output, Does::Add, &[&straight, &rest]),
        ]);
    } else if axes == 4 {
        steps.extend([
            scale(&rest, remainder, x),
            Step::new(&relu, Does::Relu, &[&rest]),
            Step::new(&output, Does::Add, &[&straight, &relu]),
        ]);
    } else {
        steps.push(Step::new(&output, Does::Max, &[x, &straight]));
    }
    plan.replace(&[place], steps);
    Some(())
}

/// Whether all that read what the step at `place` gives are convolutions of one group, so that they can take its
/// channels in another order or number.
fn all_read_by_dense_convolutions(plan: &Plan, place: usize) -> bool {
    let is_dense = |&reader: &usize| matches!(&plan.steps[reader].does, Does::Conv(Convolution { groups: 1, .. }));
    !plan.is_output(place) && plan.readers(&plan.steps[place].output).iter().all(is_dense)
}
