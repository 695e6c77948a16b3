//! One description, two backends: what libtorch computes is what the ONNX file gives.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kith_export::nets::graph::{Graph, Input};
use kith_export::nets::{self, Network};
use kith_export::train::net::{Net, Pass, Precision};
use kith_export::{onnx, weights};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;
use tch::{Device, Tensor};

/// What the two may differ by, in the outputs' own units.
const TOLERANCE: f64 = 1e-4;

fn library() -> Option<PathBuf> {
    let library = std::env::var_os("KITH_RUNTIME_LIBRARY").map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped: KITH_RUNTIME_LIBRARY does not name an ONNX Runtime");
    }
    library
}

/// The outputs of an ONNX file, in the order of the description.
fn run_onnx(library: &Path, graph: &Graph, file: &[u8], input: &Tensor) -> Vec<Tensor> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    let load = || ort::init_from(library).unwrap().with_telemetry(false).build().unwrap();
    let builder = Session::builder(ENVIRONMENT.get_or_init(load)).unwrap();
    let mut session = builder.with_intra_threads(1).unwrap().commit_from_memory(file).unwrap();
    let shape: Vec<usize> = input.size().iter().map(|length| *length as usize).collect();
    let values = Vec::<f32>::try_from(input.contiguous().view(-1)).unwrap();
    let tensor = TensorRef::from_array_view((shape, values.as_slice())).unwrap();
    let outputs = session.run(ort::inputs![graph.input.name() => tensor]).unwrap();
    graph
        .outputs
        .iter()
        .map(|output| {
            let (shape, values) = outputs[output.name].try_extract_tensor::<f32>().unwrap();
            Tensor::from_slice(values).reshape(shape.iter().copied().collect::<Vec<i64>>())
        })
        .collect()
}

/// Runs `graph` at random weights, running statistics included, in both backends.
#[track_caller]
fn check(graph: Graph, input: &Tensor) {
    let Some(library) = library() else { return };
    let name = graph.name;
    let mut net = Net::at_random(graph, 11, Device::Cpu).unwrap();
    // Values that a training would bring: no slope, mean or variance is what it is at the beginning.
    let mut weights = net.weights().unwrap();
    for (name, tensor) in &mut weights {
        let least = if name.ends_with("running_var") { 0.3 } else { 0.0 };
        for (place, value) in tensor.values.iter_mut().enumerate().filter(|_| tensor.shape.len() < 2) {
            *value = least + 0.7 * (place as f32 * 0.9 + 1.0).sin().abs();
        }
    }
    net.set_weights(&weights).unwrap();
    let file = onnx::write(net.graph(), &weights, &[]).unwrap();
    let ours = net.run(input, Pass::Serve).unwrap();
    let theirs = run_onnx(&library, net.graph(), &file, input);
    for ((ours, theirs), output) in ours.iter().zip(&theirs).zip(&net.graph().outputs) {
        assert_eq!(ours.size(), theirs.size(), "{name} {}", output.name);
        let apart = (ours - theirs).abs().max().double_value(&[]);
        let size = theirs.abs().max().double_value(&[]);
        println!("{name} {} batch {}: {apart:.1e} apart, values up to {size:.2}", output.name, input.size()[0]);
        assert!(size > 1e-3, "{name} {} gives nothing to compare", output.name);
        assert!(apart <= TOLERANCE * size.max(1.0), "{name} {}: {apart}", output.name);
    }
}

fn random_input(graph: &Graph, batch: i64) -> Tensor {
    let axes = match graph.input {
        Input::Image { height, width } => vec![3, height.unwrap_or(47) as i64, width.unwrap_or(61) as i64],
        Input::Vector { values, .. } => vec![values as i64],
    };
    tch::manual_seed(batch);
    Tensor::rand([vec![batch], axes].concat(), (tch::Kind::Float, Device::Cpu))
}

#[test]
fn every_network_gives_the_same_in_libtorch_and_onnx_runtime() {
    for network in Network::ALL {
        for batch in [1, 7] {
            let graph = network.graph();
            let input = random_input(&graph, batch);
            check(graph, &input);
        }
    }
}

#[test]
fn a_head_gives_the_same_in_libtorch_and_onnx_runtime() {
    for batch in [1, 7] {
        let graph = nets::head(736, 5);
        let input = random_input(&graph, batch);
        check(graph, &input);
    }
}

/// `[N, …]` floats of a NumPy file, version 1, C order, little endian.
fn npy(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<i64> = shape.split(',').filter_map(|length| length.trim().parse().ok()).collect();
    let values: Vec<f32> = bytes[10 + header_len..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Tensor::from_slice(&values).reshape(shape)
}

#[test]
fn openface_weights_give_the_originals_numbers_in_libtorch() {
    let Some(data) = std::env::var_os("KITH_DATA").map(PathBuf::from) else {
        eprintln!("skipped: KITH_DATA does not name the development data");
        return;
    };
    let folder = data.join("reference/nn4-small2");
    let file = std::fs::read(folder.join("openface-random.pth")).unwrap();
    let weights = weights::openface::import(&file).unwrap();
    let net = Net::new(Network::Nn4Small2.graph(), &weights, Device::Cpu).unwrap();
    let outputs = net.run(&npy(&folder.join("input.npy")), Pass::Serve).unwrap();
    for (output, (name, tolerance)) in outputs.iter().zip([("features-736", 1e-4), ("embedding-128", 1e-5)]) {
        let expected = npy(&folder.join(format!("{name}.npy")));
        let apart = (output - &expected).abs().max().double_value(&[]);
        println!("{name}: {apart:.1e} apart");
        assert!(apart <= tolerance, "{name}: {apart}");
    }
}

#[test]
fn bfloat16_is_near_and_its_gradients_too() {
    let graph = Network::Nn4Small2.graph();
    let input = random_input(&graph, 4);
    let run = |precision| {
        let net = Net::at_random(Network::Nn4Small2.graph(), 3, Device::Cpu).unwrap().with_precision(precision);
        let embedding = net.run_for("embedding", &input, Pass::Learn).unwrap();
        embedding.narrow(1, 0, 1).sum(tch::Kind::Float).backward();
        let gradient = net.learned().find(|(name, _)| *name == "layer25.weight").unwrap().1.grad();
        (embedding.detach(), gradient)
    };
    let (full, full_gradient) = run(Precision::Full);
    let (half, half_gradient) = run(Precision::BFloat16);
    let cosine = |a: &Tensor, b: &Tensor| {
        let (a, b) = (a.reshape([-1]), b.reshape([-1]));
        (a.dot(&b) / (a.norm() * b.norm())).double_value(&[])
    };
    assert!(cosine(&full, &half) > 0.98, "{}", cosine(&full, &half));
    assert!(cosine(&full_gradient, &half_gradient) > 0.9, "{}", cosine(&full_gradient, &half_gradient));
    assert!((&full - &half).abs().max().double_value(&[]) > 0.0, "bfloat16 was not used");
}

#[test]
fn a_learning_pass_moves_running_statistics_and_a_frozen_one_does_not() {
    let input = random_input(&Network::Nn4Small2.graph(), 5);
    let statistics = |freeze: &[&str], frozen_statistics: bool| {
        let mut net = Net::at_random(Network::Nn4Small2.graph(), 3, Device::Cpu)
            .unwrap()
            .with_frozen_statistics(frozen_statistics);
        net.freeze(&freeze.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        net.run(&input, Pass::Learn).unwrap();
        let weights = net.weights().unwrap();
        ["layer2", "layer7"].map(|name| weights[&format!("{name}.running_mean")].values.iter().any(|v| *v != 0.0))
    };
    assert_eq!(statistics(&[], false), [true, true]);
    assert_eq!(statistics(&["layer2"], false), [false, true]);
    assert_eq!(statistics(&["layer1*", "layer2*"], true), [false, false]);
}

#[test]
fn frozen_layers_are_not_learned_and_unknown_ones_are_an_error() {
    let mut net = Net::at_random(Network::MobileFaceNet.graph(), 3, Device::Cpu).unwrap();
    let all = net.learned().count();
    net.freeze(&["stem*".to_owned(), "block0.expand".to_owned()]).unwrap();
    let left: Vec<String> = net.learned().map(|(name, _)| name.to_owned()).collect();
    assert!(left.len() < all && left.iter().all(|name| !name.starts_with("stem")), "{left:?}");
    assert!(!left.contains(&"block0.expand.weight".to_owned()) && left.contains(&"block0.project.weight".to_owned()));
    let error = net.freeze(&["blok1*".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("blok1*") && error.contains("block1.expand"), "{error}");
}
