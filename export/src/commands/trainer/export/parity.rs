//! Comparing what was written with what was trained: ONNX Runtime with libtorch.

use anyhow::{Context, bail, ensure};
use kith::runtime::Runtime;
use tch::Tensor;

use super::Args;
use crate::train::net::{Net, Pass};

/// What the two may differ by, in the outputs' own units.
const TOLERANCE: f64 = 1e-4;

/// The largest difference between what libtorch and ONNX Runtime give for `input`.
///
/// # Errors
/// When it is more than rounding: then one of the two is wrong, and neither is to be used.
pub(super) fn apart(args: &Args, net: &Net, onnx: &[u8], input: &Tensor) -> anyhow::Result<f64> {
    let graph = net.graph();
    let runtime = Runtime::load(&args.runtime.settings())?;
    let mut lane = runtime.open_small("exported", onnx, graph.input.name())?;
    let shape: Vec<usize> = input
        .size()
        .into_iter()
        .map(|length| usize::try_from(length).unwrap_or(0))
        .collect();
    let values = Vec::<f32>::try_from(input.f_contiguous()?.f_view([-1])?)?;
    let ours = net.run(input, Pass::Serve)?;
    let read = |outputs: &ort::session::SessionOutputs<'_>| -> anyhow::Result<Vec<Vec<f32>>> {
        graph
            .outputs
            .iter()
            .map(|output| {
                let value = outputs
                    .get(output.name)
                    .with_context(|| format!("no output {}", output.name))?;
                Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
            })
            .collect()
    };
    let theirs = match shape[..] {
        [n, k] => lane.run([n, k], &values, read)??,
        [n, c, h, w] => lane.run([n, c, h, w], &values, read)??,
        _ => bail!("{} takes a shape that is not known here", graph.name),
    };
    let mut most = 0.0_f64;
    for ((ours, theirs), output) in ours.iter().zip(&theirs).zip(&graph.outputs) {
        let ours = Vec::<f32>::try_from(ours.f_contiguous()?.f_view([-1])?)?;
        ensure!(
            ours.len() == theirs.len(),
            "{} {} has another size in ONNX Runtime",
            graph.name,
            output.name
        );
        let size = theirs
            .iter()
            .fold(1.0_f64, |size, value| size.max(f64::from(value.abs())));
        for (a, b) in ours.iter().zip(theirs) {
            let apart = f64::from((a - b).abs()) / size;
            // A value that is no number is not within any tolerance.
            ensure!(
                apart <= TOLERANCE,
                "{}: its output {} is {apart:.1e} apart in libtorch and ONNX Runtime (at most {TOLERANCE:.0e}), so \
                 nothing was written; the weights or the runtime library are damaged",
                graph.name,
                output.name
            );
            most = most.max(apart);
        }
    }
    Ok(most)
}
