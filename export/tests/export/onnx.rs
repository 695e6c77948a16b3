//! The ONNX that is written: well formed, the same every time, and equal to the description when it runs.

use std::collections::HashSet;

use kith_export::nets::graph::{Graph, Input, Weight, WeightKind};
use kith_export::nets::{Network, head};
use kith_export::onnx::{proto, write, write_as_described};
use kith_export::weights::{FitError, Tensor, Weights};
use prost::Message;

use crate::running::{Numbers, run, session};

/// Weights of a sensible size for each layer, and slopes from -1.5 to 1.5.
pub(crate) fn weights(graph: &Graph) -> Weights {
    let mut numbers = Numbers(7);
    let tensors = graph.weights().map(|(name, Weight { shape, kind, .. })| {
        let inputs: usize = shape.iter().skip(1).product();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand inputs")]
        let scale = if name.contains("prelu") {
            1.5
        } else {
            (3.0 / inputs as f32).sqrt()
        };
        let values = numbers.take(shape.iter().product());
        let values = values.iter().map(|value| match kind {
            WeightKind::RunningVariance => value.abs() + 0.1,
            WeightKind::Learned | WeightKind::RunningMean => value * scale,
        });
        let values = values.collect();
        (name, Tensor { shape, values })
    });
    tensors.collect()
}

/// With weights that meet every case of the rewritings: slopes below 0, up to 1 and over 1.
#[test]
fn equal_forms_give_what_the_description_says() {
    for network in Network::ALL {
        let graph = network.graph();
        let weights = weights(&graph);
        let Some(mut fast) = session(&write(&graph, &weights, &[]).unwrap()) else {
            return;
        };
        let mut plain = session(&write_as_described(&graph, &weights).unwrap()).unwrap();
        for (batch, height, width) in [(1, 12, 13), (3, 47, 31)] {
            let Input::Image { height: h, width: w } = graph.input else {
                panic!("{} takes no image", graph.name)
            };
            let shape = [batch, 3, h.unwrap_or(height), w.unwrap_or(width)];
            let image = Numbers(batch as u64).take(shape.iter().product());
            for output in &graph.outputs {
                let (shape_fast, values_fast) = run(&mut fast, "image", output.name, &shape, &image);
                let (shape_plain, values_plain) = run(&mut plain, "image", output.name, &shape, &image);
                assert_eq!(shape_fast, shape_plain, "{} {}", graph.name, output.name);
                let size = values_plain.iter().fold(1e-3_f32, |size, value| size.max(value.abs()));
                let apart = values_fast
                    .iter()
                    .zip(&values_plain)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(
                    apart <= 1e-5 * size,
                    "{} {}: {apart} apart at size {size}",
                    graph.name,
                    output.name
                );
                let spread = values_plain
                    .iter()
                    .any(|value| (value - values_plain[0]).abs() > 1e-3 * size);
                assert!(
                    spread || values_plain.len() == 1,
                    "{} {}: nothing to compare",
                    graph.name,
                    output.name
                );
            }
        }
    }
}

/// Every description there is.
fn graphs() -> Vec<Graph> {
    let networks = Network::ALL.into_iter().map(Network::graph);
    networks.chain([head(192, 5)]).collect()
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    for (graph, again) in graphs().into_iter().zip(graphs()) {
        let metadata = [("source", "a test".to_owned())];
        let once = write(&graph, &weights(&graph), &metadata).unwrap();
        assert!(
            once == write(&again, &weights(&again), &metadata).unwrap(),
            "{}",
            graph.name
        );
    }
}

#[test]
fn files_are_well_formed() {
    for graph in graphs() {
        let bytes = write(&graph, &weights(&graph), &[("source", "a test".to_owned())]).unwrap();
        let model = proto::Model::decode(bytes.as_slice()).unwrap();
        assert!((8..=9).contains(&model.ir_version));
        assert_eq!(model.opset_import[0].version, 17);
        assert_eq!(model.producer_name, "kith-export");
        assert_eq!(model.metadata_props[0].key, "source");
        assert!(!model.doc_string.is_empty());
        let body = model.graph.unwrap();
        let mut known: HashSet<&str> = HashSet::from([graph.input.name()]);
        for constant in &body.initializer {
            let count: i64 = constant.dims.iter().product();
            let bytes_each = if constant.data_type == proto::FLOAT { 4 } else { 8 };
            assert_eq!(
                constant.raw_data.len(),
                usize::try_from(count).unwrap() * bytes_each,
                "{}",
                constant.name
            );
            assert!(known.insert(&constant.name), "{} is there twice", constant.name);
        }
        let constants = body.initializer.len();
        let read: HashSet<&str> = body
            .node
            .iter()
            .flat_map(|node| &node.input)
            .map(String::as_str)
            .collect();
        assert!(
            body.initializer
                .iter()
                .all(|constant| read.contains(constant.name.as_str())),
            "all are read"
        );
        for node in &body.node {
            assert!(
                node.input.iter().all(|input| known.contains(input.as_str())),
                "{} reads what is not there",
                node.name
            );
            assert!(known.insert(&node.output[0]), "{} is there twice", node.name);
            let slow = ["PRelu", "BatchNormalization", "LRN"];
            assert!(
                !slow.contains(&node.op_type.as_str()),
                "{} is left in {}",
                node.op_type,
                graph.name
            );
        }
        assert!(constants > 0 && body.output.iter().all(|output| known.contains(output.name.as_str())));
        for value in body.input.iter().chain(&body.output) {
            let shape = value
                .r#type
                .as_ref()
                .unwrap()
                .tensor_type
                .as_ref()
                .unwrap()
                .shape
                .as_ref()
                .unwrap();
            let batch = shape.dim[0].value.clone().unwrap();
            assert_eq!(
                batch,
                proto::DimensionValue::Named("N".to_owned()),
                "{} {}",
                graph.name,
                value.name
            );
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let graph = Network::MtcnnPnet.graph();
    let good = weights(&graph);
    let check = |change: &dyn Fn(&mut Weights), wanted: &str| {
        let mut changed = good.clone();
        change(&mut changed);
        let error: FitError = write(&graph, &changed, &[]).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    };
    check(
        &|w| drop(w.remove("conv2.bias")),
        "lack \"conv2.bias\" [16], which mtcnn-pnet needs",
    );
    check(
        &|w| drop(w.insert("conv9.bias".to_owned(), w["conv2.bias"].clone())),
        "\"conv9.bias\", which mtcnn-pnet has no",
    );
    check(
        &|w| w.get_mut("prelu1.weight").unwrap().shape = vec![5, 2],
        "is [5, 2] where mtcnn-pnet needs [10]",
    );
    check(
        &|w| w.get_mut("prelu1.weight").unwrap().values[3] = f32::NAN,
        "infinite or not a number",
    );
    let graph = Network::Nn4Small2.graph();
    let mut weights = weights(&graph);
    weights.get_mut("layer2.running_var").unwrap().values[3] = -1.0;
    let error = write(&graph, &weights, &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("\"layer2.running_var\" holds a variance below zero"),
        "{error}"
    );
}
