//! Local response normalisation without ONNX Runtime's own kernel of it, which takes a power of every value and so
//! 40 % of NN4.small2's time.

use super::super::plan::{Does, Plan, Step};

/// The power whose root form is known here; it is the one of Krizhevsky et al. and of torch.
const THREE_QUARTERS: f32 = 0.75;

/// Takes a norm with the power 3/4 apart: `u^(3/4)` is `v * sqrt(v)` with `v = sqrt(u)`, and the mean of the squares
/// of near channels is an average pool over channels.
pub(super) fn in_plain_operations(plan: &mut Plan) -> Option<()> {
    let (place, size, alpha, bias) = plan
        .steps
        .iter()
        .enumerate()
        .find_map(|(place, step)| match step.does {
            Does::LocalResponseNorm {
                size,
                alpha,
                beta: THREE_QUARTERS,
                bias,
            } if size % 2 == 1 => Some((place, size, alpha, bias)),
            _ => None,
        })?;
    let Step { output, inputs, .. } = plan.steps[place].clone();
    let x = inputs[0].as_str();
    let name = |end: &str| format!("{output}{end}");
    let [squared, solid, pooled, mean] = ["_squared", "_solid", "_pooled", "_mean"].map(name);
    let [scaled, sum, root, fourth_root, power] = ["_scaled", "_sum", "_root", "_fourth_root", "_power"].map(name);
    let factors = vec![alpha];
    let steps = vec![
        Step::new(&squared, Does::Times, &[x, x]),
        Step::new(&solid, Does::ChannelsAsDepth, &[&squared]),
        Step::new(&pooled, Does::MeanOverDepth { size }, &[&solid]),
        Step::new(&mean, Does::DepthAsChannels, &[&pooled]),
        Step::new(&scaled, Does::Scale { factors, axes: 4 }, &[&mean]),
        Step::new(&sum, Does::Plus(bias), &[&scaled]),
        Step::new(&root, Does::Root, &[&sum]),
        Step::new(&fourth_root, Does::Root, &[&root]),
        Step::new(&power, Does::Times, &[&root, &fourth_root]),
        Step::new(&output, Does::Over, &[x, &power]),
    ];
    plan.replace(&[place], steps);
    Some(())
}
