//! Operations that ONNX has no one operation for, or none that every execution provider has, as several steps.

use super::plan::{Does, Step};

/// [`crate::nets::graph::Op::L2Pool`]. ONNX has `LpPool`, but few providers have it.
pub(super) fn l2_pool(output: String, inputs: Vec<String>, kernel: usize, stride: usize) -> Vec<Step> {
    let [squared, mean, sum] = ["_squared", "_mean", "_sum"].map(|end| format!("{output}{end}"));
    #[expect(clippy::cast_precision_loss, reason = "a window of a few pixels")]
    let pixels = (kernel * kernel) as f32;
    vec![
        squares(&squared, inputs),
        Step::new(&mean, Does::AvgPool { kernel, stride }, &[&squared]),
        Step::new(
            &sum,
            Does::Scale {
                factors: vec![pixels],
                axes: 4,
            },
            &[&mean],
        ),
        Step::new(output, Does::Root, &[&sum]),
    ]
}

/// [`crate::nets::graph::Op::L2Normalise`].
pub(super) fn l2_normalise(output: String, inputs: Vec<String>, epsilon: f32) -> Vec<Step> {
    let [squared, sum, above_zero, length] =
        ["_squared", "_sum", "_above_zero", "_length"].map(|end| format!("{output}{end}"));
    let divided = inputs.iter().cloned().chain([length.clone()]).collect();
    vec![
        squares(&squared, inputs),
        Step::new(&sum, Does::SumOfChannels, &[&squared]),
        Step::new(&above_zero, Does::Plus(epsilon), &[&sum]),
        Step::new(length, Does::Root, &[&above_zero]),
        Step {
            output,
            does: Does::Over,
            inputs: divided,
        },
    ]
}

/// The value times itself.
fn squares(output: &str, inputs: Vec<String>) -> Step {
    Step {
        output: output.to_owned(),
        does: Does::Times,
        inputs: [inputs.clone(), inputs].concat(),
    }
}
