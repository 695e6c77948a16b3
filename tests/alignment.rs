//! The plain box crop against the one that it stands for.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod given;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use kith::align::{Alignment, Cut};
use kith::detect::{Face, FaceBox};
use kith::photo;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A photo in `samples-mtcnn.json`.
#[derive(Deserialize)]
struct Detected {
    faces: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    r#box: [f32; 4],
    probability: f32,
    landmarks: [[f32; 2]; 5],
}

fn committed<T: DeserializeOwned>(name: &str) -> T {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    serde_json::from_reader(File::open(file).unwrap()).unwrap()
}

/// `samples-box-160.json` holds every 16th pixel, from the 9th on, of each row and column of what facenet-pytorch
/// 2.6's `extract_face(PIL picture, box, 160, 0)` gives for the box in `samples-mtcnn.json`, under Pillow.
#[test]
fn the_plain_box_is_the_one_of_facenet_pytorch() {
    let photos = given::photos();
    let reference: BTreeMap<String, Vec<u8>> = committed("samples-box-160.json");
    let detected: BTreeMap<String, Detected> = committed("samples-mtcnn.json");
    assert!(reference.len() >= 6);
    for (name, wanted) in reference {
        let found = &detected[&name].faces[0];
        let [left, top, right, bottom] = found.r#box;
        let face = Face {
            box_in_frame: FaceBox {
                left,
                top,
                right,
                bottom,
            },
            probability: found.probability,
            landmarks: found.landmarks,
        };
        let picture = photo::read(&photos.join(&name)).unwrap();
        let crop = Cut::Box160.cut(&picture, &face).unwrap();
        assert_eq!(crop.dimensions(), (160, 160));
        let ours = (8..160)
            .step_by(16)
            .flat_map(|y| (8..160).step_by(16).map(move |x| (x, y)));
        let ours = ours.flat_map(|(x, y)| crop.get_pixel(x, y).0);
        let apart: Vec<u8> = ours.zip(&wanted).map(|(ours, wanted)| ours.abs_diff(*wanted)).collect();
        assert_eq!(apart.len(), wanted.len());
        let mean = apart.iter().map(|levels| f64::from(*levels)).sum::<f64>() / apart.len() as f64;
        println!(
            "{name}: {mean:.3} grey levels apart on average, at most {:?}",
            apart.iter().max()
        );
        assert!(mean < 0.5, "{name}: {mean}");
        assert_eq!(Alignment::Box96.align(&picture, &face).unwrap().dimensions(), (96, 96));
    }
}
