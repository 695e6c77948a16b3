//! Our checkpoint format: what was written is read, also by and from others, and damage is an error.

use std::collections::{BTreeMap, HashMap};

use kith_export::make::{Source, from_bytes};
use kith_export::nets::Network;
use kith_export::onnx;
use kith_export::weights::safetensors::{Contents, is_safetensors, read, write};
use kith_export::weights::{Tensor, Weights};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::onnx::weights;

fn small() -> Vec<u8> {
    let tensor = Tensor {
        shape: vec![2, 3],
        values: vec![1.0, -2.0, 0.5, f32::MIN_POSITIVE, -0.0, 3e38],
    };
    let scalar = Tensor {
        shape: vec![],
        values: vec![7.0],
    };
    let weights = Weights::from([("a.weight".to_owned(), tensor), ("b \"quoted\"".to_owned(), scalar)]);
    write(&weights, &BTreeMap::from([("epoch".to_owned(), "3".to_owned())]))
}

fn error(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        tensors in prop::collection::btree_map("[a-z.\"\\\\\u{e9}]{1,9}", prop::collection::vec(0_usize..4, 0..4), 0..6),
        metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        seed in any::<u64>(),
    ) {
        let mut numbers = crate::running::Numbers(seed);
        let weights: Weights = tensors
            .into_iter()
            .map(|(name, shape)| {
                let values = numbers.take(shape.iter().product());
                (name, Tensor { shape, values })
            })
            .collect();
        let file = write(&weights, &metadata);
        prop_assert!(is_safetensors(&file));
        prop_assert_eq!(&file, &write(&weights, &metadata));
        prop_assert_eq!(read(&file).unwrap(), Contents { weights, metadata });
    }

    #[test]
    fn changed_and_random_files_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = read(&bytes);
        let mut file = small();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = read(&file);
    }
}

#[test]
fn every_cut_is_an_error() {
    let file = small();
    read(&file).unwrap();
    for length in 0..file.len() {
        let said = error(&file[..length]);
        assert!(said.contains("cut off or damaged"), "{length}: {said}");
    }
    let longer = [file.as_slice(), b"\0"].concat();
    assert!(error(&longer).contains("cut off or damaged"));
}

#[test]
fn errors_say_what_is_wrong_with_the_file() {
    let half = TensorView::new(Dtype::F16, vec![1], &[0, 60]).unwrap();
    let file = safetensors::serialize([("layer1.weight", half)], None).unwrap();
    assert_eq!(
        error(&file),
        "not a readable safetensors file: tensor \"layer1.weight\" is of type F16, and only F32 is read"
    );
    let no_json = [&4_u64.to_le_bytes()[..], b"{no}"].concat();
    assert!(error(&no_json).starts_with("not a readable safetensors file: "));
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(error(&endless).starts_with("not a readable safetensors file: "));
}

#[test]
fn others_read_what_is_written_and_the_other_way_round() {
    let file = small();
    let theirs = SafeTensors::deserialize(&file).unwrap();
    let view = theirs.tensor("a.weight").unwrap();
    assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[2, 3][..]));
    assert_eq!(&view.data()[8..12], 0.5_f32.to_le_bytes());
    let place = view.data().as_ptr() as usize - file.as_ptr() as usize;
    assert_eq!(place % 8, 0, "values begin at a multiple of eight bytes");

    let metadata = HashMap::from([("epoch".to_owned(), "3".to_owned())]);
    let again = safetensors::serialize(theirs.tensors(), Some(metadata)).unwrap();
    assert_eq!(read(&again).unwrap(), read(&file).unwrap());
}

#[test]
fn every_network_is_made_from_a_checkpoint() {
    let source = Source {
        package: "a checkpoint",
        licence: "",
    };
    for network in Network::ALL {
        let graph = network.graph();
        let weights = weights(&graph);
        let made = from_bytes(network, &write(&weights, &BTreeMap::new()), source).unwrap();
        let wanted = onnx::write(&graph, &weights, &[]).unwrap();
        assert!(body(&made.onnx) == body(&wanted), "{}", graph.name);
    }
    let pnet = write(&weights(&Network::MtcnnPnet.graph()), &BTreeMap::new());
    let said = from_bytes(Network::Nn4Small2, &pnet, source).unwrap_err().to_string();
    assert!(said.ends_with("is this a weight file of nn4-small2?"), "{said}");
}

fn body(file: &[u8]) -> onnx::proto::Graph {
    use prost::Message as _;
    onnx::proto::Model::decode(file).unwrap().graph.unwrap()
}
