//! NN4.small2 from an `OpenFace` file of random weights, held against what the original's port to torch gave.

use std::process::Command;

use kith_export::make::{Source, from_bytes};
use kith_export::nets::Network;

use crate::packages::{self, data_file};
use crate::running::{run, session};

const SOURCE: Source<'static> = Source {
    package: "a test",
    licence: "",
};

/// The floats of a numpy file, without its shape.
fn npy(file: &[u8]) -> Vec<f32> {
    assert!(file.starts_with(b"\x93NUMPY\x01\x00"), "numpy's format, version 1");
    let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    assert!(String::from_utf8_lossy(&file[10..header]).contains("'descr': '<f4', 'fortran_order': False"));
    let (values, rest) = file[header..].as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

fn reference(file: &str) -> Option<Vec<u8>> {
    data_file(&format!("reference/nn4-small2/{file}"))
}

#[test]
fn the_openface_file_gives_what_the_original_gives() {
    let Some(file) = reference("openface-random.pth") else {
        return;
    };
    let made = from_bytes(Network::Nn4Small2, &file, SOURCE).unwrap();
    let Some(mut session) = session(&made.onnx) else { return };
    let image = npy(&reference("input.npy").unwrap());
    let outputs = [
        ("features", 736, 1e-4, "features-736.npy"),
        ("embedding", 128, 1e-5, "embedding-128.npy"),
    ];
    for (output, length, tolerance, file) in outputs {
        let wanted = npy(&reference(file).unwrap());
        assert_eq!(wanted.len(), 4 * length);
        for batch in [1, 4] {
            let images = image.chunks(batch * 3 * 96 * 96);
            for (image, wanted) in images.zip(wanted.chunks(batch * length)) {
                let (shape, values) = run(&mut session, "image", output, &[batch, 3, 96, 96], image);
                assert_eq!(shape.last(), Some(&i64::try_from(length).unwrap()));
                assert_eq!(values.len(), wanted.len());
                let apart = values.iter().zip(wanted).map(|(a, b)| (a - b).abs());
                let apart = apart.fold(0.0, f32::max);
                assert!(apart <= tolerance, "{output}, batch {batch}: {apart} apart");
                println!("{output}, batch {batch}: {apart} apart");
            }
        }
    }
}

/// A process has one ONNX Runtime, so the test above runs again in another process.
#[test]
fn the_oldest_runtime_gives_the_same() {
    let Some(old) = packages::old_runtime_library() else {
        return;
    };
    let tests = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nn4_small2::the_openface_file_gives_what_the_original_gives"])
        .env("KITH_RUNTIME_LIBRARY", old)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tests.stdout);
    assert!(tests.status.success() && said.contains("1 passed"), "{said}");
}
