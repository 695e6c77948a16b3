//! The reader of torch's legacy format: real files, files made here, hostile files.

use std::time::{Duration, Instant};

use kith_export::nets::Network;
use kith_export::weights::{check_fit, legacy_torch};
use proptest::prelude::*;

use crate::packages;

/// A file in the legacy format: the object's pickle and the storages behind it.
fn file(object: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.");
    file.extend(b"\x80\x02}(X\x0d\0\0\0little_endian\x88u.");
    file.extend(b"\x80\x02");
    file.extend(object);
    file.extend(b".\x80\x02](");
    keys.iter().for_each(|key| file.extend(text(key)));
    file.extend(b"e.");
    for (count, bytes) in storages {
        file.extend(count.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

fn text(text: &str) -> Vec<u8> {
    [
        b"X".as_slice(),
        &u32::try_from(text.len()).unwrap().to_le_bytes(),
        text.as_bytes(),
    ]
    .concat()
}

fn short_text(text: &str) -> Vec<u8> {
    [b"U".as_slice(), &[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn numbers(numbers: &[u8]) -> Vec<u8> {
    let items: Vec<u8> = numbers.iter().flat_map(|&number| [b'K', number]).collect();
    [b"(".as_slice(), &items, b"t"].concat()
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, …)`, as torch writes it.
fn tensor(class: &str, key: &str, offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(text("storage"));
    pickle.extend(format!("ctorch\n{class}\n").into_bytes());
    pickle.extend(text(key));
    pickle.extend(text("cpu"));
    pickle.extend(b"K\x04NtQ");
    pickle.extend([b'K', offset]);
    pickle.extend(numbers(size));
    pickle.extend(numbers(stride));
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    pickle
}

fn state_dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut pickle = b"ccollections\nOrderedDict\n)R(".to_vec();
    for (name, value) in entries {
        pickle.extend(text(name));
        pickle.extend(value);
    }
    pickle.extend(b"u}b");
    pickle
}

fn small_file() -> Vec<u8> {
    let floats: Vec<u8> = (0..6_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
    let longs = 7_i64.to_le_bytes();
    let object = state_dict(&[
        ("conv.weight", tensor("FloatStorage", "a", 0, &[2, 3], &[3, 1])),
        ("conv.transposed", tensor("FloatStorage", "a", 0, &[3, 2], &[1, 3])),
        ("conv.tail", tensor("FloatStorage", "a", 4, &[2], &[1])),
        ("steps", tensor("LongStorage", "b", 0, &[], &[])),
    ]);
    file(&object, &["a", "b"], &[(6, &floats), (1, &longs)])
}

fn error(file: &[u8]) -> String {
    legacy_torch::read(file).unwrap_err().to_string()
}

#[test]
fn strides_offsets_and_whole_numbers_are_honoured() {
    let weights = legacy_torch::read(&small_file()).unwrap();
    assert_eq!(weights["conv.weight"].values, [0., 1., 2., 3., 4., 5.]);
    assert_eq!(weights["conv.weight"].shape, [2, 3]);
    assert_eq!(weights["conv.transposed"].values, [0., 3., 1., 4., 2., 5.]);
    assert_eq!(weights["conv.transposed"].shape, [3, 2]);
    assert_eq!(weights["conv.tail"].values, [4., 5.]);
    assert_eq!(weights["steps"].values, [7.]);
    assert!(weights["steps"].shape.is_empty());
}

#[test]
fn narrow_and_wide_floats_are_converted() {
    let check = |class: &str, bytes: &[u8], wanted: f32| {
        let object = state_dict(&[("x", tensor(class, "a", 0, &[1], &[1]))]);
        let weights = legacy_torch::read(&file(&object, &["a"], &[(1, bytes)])).unwrap();
        assert_eq!(weights["x"].values, [wanted], "{class}");
    };
    check("HalfStorage", &[0x00, 0xc1], -2.5);
    check("BFloat16Storage", &[0x20, 0xc0], -2.5);
    check("DoubleStorage", &(-2.5_f64).to_le_bytes(), -2.5);
    check("CharStorage", &[0xff], -1.0);
    check("ByteStorage", &[0xff], 255.0);
}

#[test]
fn a_dict_written_by_python_2_is_read() {
    // Python 2 pickles an OrderedDict as its class and a list of two-value lists, and texts as byte strings.
    let mut object = b"ccollections\nOrderedDict\n(](](".to_vec();
    object.extend(short_text("x"));
    object.extend(tensor("FloatStorage", "a", 0, &[1], &[1]));
    object.extend(b"eetR");
    let weights = legacy_torch::read(&file(&object, &["a"], &[(1, &1_f32.to_le_bytes())])).unwrap();
    assert_eq!(weights["x"].values, [1.0]);
}

#[test]
fn errors_say_what_is_wrong_with_the_file() {
    let good = small_file();
    let check = |file: &[u8], wanted: &str| {
        let said = error(file);
        assert!(said.contains(wanted), "{said:?} lacks {wanted:?}");
    };
    check(b"PK\x03\x04", "_use_new_zipfile_serialization=False");
    check(b"", "magic number");
    check(b"GIF89a", "magic number");
    check(&good[..good.len() - 1], "ends in the middle of storage 1");
    check(&good[..40], "ends in the middle of a pickle");
    check(
        &file(b"cos\nsystem\n", &[], &[]),
        "\"os.system\", which has no place in a torch state dict; nothing was run",
    );
    check(&file(b"K\x01", &[], &[]), "holds no state dict");
    check(&file(b"i", &[], &[]), "operation 0x69");
    let beyond = state_dict(&[("x", tensor("FloatStorage", "a", 1, &[1], &[1]))]);
    check(
        &file(&beyond, &["a"], &[(1, &[0; 4])]),
        "tensor \"x\": it reaches beyond its storage",
    );
    let absent = state_dict(&[("x", tensor("FloatStorage", "a", 0, &[1], &[1]))]);
    check(&file(&absent, &[], &[]), "tensor \"x\": its storage is not in the file");
    let huge = state_dict(&[(
        "x",
        tensor("FloatStorage", "a", 0, &[255, 255, 255, 255], &[0, 0, 0, 0]),
    )]);
    check(
        &file(&huge, &["a"], &[(1, &[0; 4])]),
        "more values than the file has bytes",
    );
}

#[test]
fn hostile_pickles_end_in_an_error_soon() {
    let check = |name: &str, object: &[u8]| {
        let begun = Instant::now();
        assert!(legacy_torch::read(&file(object, &[], &[])).is_err(), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
    };
    check("deep nesting", &[b")".as_slice(), &vec![0x85; 3_000_000]].concat());
    check("nothing but marks", &vec![b'('; 3_000_000]);
    // A list in itself: `]` memoized, then appended to itself over and over.
    check("a cycle", &[b"]q\0".as_slice(), &b"h\0a".repeat(500_000)].concat());
    let mut copies = b"](".to_vec();
    copies.extend(b"]K\x01aK\x01a".repeat(50_000));
    copies.extend(b"eq\0\x85q\x01ccollections\nOrderedDict\nq\x02".iter());
    copies.extend(b"h\x02h\x01R".repeat(100_000));
    check("one big list copied by many calls", &copies);
    check("a text longer than the file", b"X\xff\xff\xff\xff");
    check(
        "a name without an end",
        &[b"c".as_slice(), &vec![b'a'; 1_000_000]].concat(),
    );
}

#[test]
fn the_mtcnn_files_hold_exactly_their_networks() {
    for (network, path) in [
        (Network::MtcnnPnet, "facenet-pytorch/pnet.pt"),
        (Network::MtcnnRnet, "facenet-pytorch/rnet.pt"),
        (Network::MtcnnOnet, "facenet-pytorch/onet.pt"),
    ] {
        let Some(file) = packages::weight_file(path) else {
            return;
        };
        let weights = legacy_torch::read(&file).unwrap();
        check_fit(&network.graph(), &weights).unwrap();
    }
    let file = packages::weight_file("facenet-pytorch/pnet.pt").unwrap();
    let error = check_fit(&Network::MtcnnRnet.graph(), &legacy_torch::read(&file).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"conv1.bias\" is [10] where mtcnn-rnet needs [28]; is this a weight file of mtcnn-rnet?"
    );
}

#[test]
fn the_openface_file_is_read() {
    let Some(data) = std::env::var_os("KITH_DATA") else {
        println!("skipped: KITH_DATA is not set");
        return;
    };
    let path = std::path::Path::new(&data).join("reference/nn4-small2/openface-random.pth");
    let weights = legacy_torch::read(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(weights.len(), 261);
    assert_eq!(weights["layer1.weight"].shape, [64, 3, 7, 7]);
    assert_eq!(weights["layer25.weight"].shape, [128, 736]);
    assert!(
        weights
            .values()
            .all(|tensor| tensor.values.iter().all(|value| value.is_finite()))
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = legacy_torch::read(&bytes);
        let _ = legacy_torch::read(&file(&bytes, &[], &[]));
    }

    #[test]
    fn changed_and_cut_files_never_panic(
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = small_file();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = legacy_torch::read(&bytes);
        let _ = legacy_torch::read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_cut_file_is_an_error(cut in any::<prop::sample::Index>()) {
        let bytes = small_file();
        prop_assert!(legacy_torch::read(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

#[test]
fn the_real_file_with_changed_bytes_never_panics() {
    let Some(file) = packages::weight_file("facenet-pytorch/pnet.pt") else {
        return;
    };
    // Every byte of the pickles, which are the first 2 kB, one after the other; the rest is floats.
    for at in 0..1_938 {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= change;
            let _ = legacy_torch::read(&changed);
        }
        assert!(legacy_torch::read(&file[..at]).is_err(), "cut at {at}");
    }
}
