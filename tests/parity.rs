//! The numbers of detection, alignment and embedding against reference outputs.
//!
//! The sample photos come at set-up (`KITH_PHOTOS`); the larger sets are used where `KITH_DATA` names their folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

mod given;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use kith::align::five_point_112;
use kith::detect::{Face, FaceBox};
use kith::embed::Embedding;
use kith::networks::Networks;
use kith::photo;
use kith::runtime::{Provider, RuntimeSettings};
use serde::Deserialize;

/// A file of reference detections: photo name to faces.
type Reference = BTreeMap<String, ReferencePhoto>;

#[derive(Deserialize)]
struct ReferencePhoto {
    size: [u32; 2],
    faces: Vec<ReferenceFace>,
}

#[derive(Deserialize)]
struct ReferenceFace {
    r#box: [f32; 4],
    probability: f32,
    landmarks: [[f32; 2]; 5],
}

#[derive(Deserialize)]
struct ReferenceEmbeddings {
    #[serde(alias = "embeddings")]
    raw: BTreeMap<String, ReferenceEmbedding>,
}

/// The network's output as it is, in the two forms that the files have.
#[derive(Deserialize)]
#[serde(untagged)]
enum ReferenceEmbedding {
    Bare(Vec<f32>),
    Named { raw: Vec<f32> },
}

impl ReferenceEmbedding {
    fn unit(&self) -> Embedding {
        let (Self::Bare(raw) | Self::Named { raw }) = self;
        Embedding::from_raw(raw).unwrap()
    }
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    serde_json::from_reader(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

fn networks() -> Networks {
    Networks::open(&RuntimeSettings {
        provider: Provider::Cpu,
        ..RuntimeSettings::default()
    })
    .unwrap()
}

fn read(path: &Path) -> RgbImage {
    photo::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// How the faces found compare with the reference's.
#[derive(Debug, Default)]
struct Agreement {
    reference: usize,
    found: usize,
    extra: usize,
    landmark_distance_px: Vec<f32>,
    differences: Vec<String>,
}

impl Agreement {
    /// From which probability on faces have to agree.
    const PROBABILITY: f32 = 0.9;

    fn add(&mut self, name: &str, faces: &[Face], reference: &[ReferenceFace]) {
        let overlap = |face: &Face, other: &ReferenceFace| {
            let [left, top, right, bottom] = other.r#box;
            face.box_in_frame.iou(&FaceBox {
                left,
                top,
                right,
                bottom,
            })
        };
        for wanted in reference.iter().filter(|face| face.probability >= Self::PROBABILITY) {
            self.reference += 1;
            match faces.iter().find(|face| overlap(face, wanted) >= 0.9) {
                Some(face) => {
                    self.found += 1;
                    for (a, b) in face.landmarks.iter().zip(wanted.landmarks) {
                        self.landmark_distance_px.push((a[0] - b[0]).hypot(a[1] - b[1]));
                    }
                }
                None => self.differences.push(format!("{name}: not found {:?}", wanted.r#box)),
            }
        }
        for face in faces.iter().filter(|face| face.probability >= Self::PROBABILITY) {
            if reference.iter().all(|wanted| overlap(face, wanted) < 0.9) {
                self.extra += 1;
                self.differences.push(format!("{name}: extra {:?}", face.box_in_frame));
            }
        }
    }

    fn mean_landmark_distance_px(&self) -> f32 {
        self.landmark_distance_px.iter().sum::<f32>() / self.landmark_distance_px.len() as f32
    }

    fn print(&self) {
        println!(
            "{} of {} reference faces found, {} extra, landmarks {:.3} px apart on average",
            self.found,
            self.reference,
            self.extra,
            self.mean_landmark_distance_px()
        );
        self.differences
            .iter()
            .for_each(|difference| println!("  {difference}"));
    }
}

#[test]
fn faces_of_the_sample_photos_equal_the_reference() {
    let (photos, mut networks) = (given::photos(), networks());
    let mut agreement = Agreement::default();
    for (name, wanted) in parse::<Reference>(&committed("samples-mtcnn.json")) {
        let picture = read(&photos.join(&name));
        assert_eq!(picture.dimensions(), (wanted.size[0], wanted.size[1]), "{name}");
        let faces = networks.detector.detect(&picture, 20).unwrap();
        agreement.add(&name, &faces, &wanted.faces);
    }
    agreement.print();
    assert!(agreement.reference >= 6);
    assert_eq!((agreement.found, agreement.extra), (agreement.reference, 0));
    assert!(agreement.mean_landmark_distance_px() < 0.5);
}

#[test]
fn faces_of_the_data_sets_equal_the_reference() {
    let Some(data) = given::data() else { return };
    let mut networks = networks();
    let mut agreement = Agreement::default();
    for set in ["wider-dev", "avengers", "enrol"] {
        for (name, wanted) in parse::<Reference>(&data.join(format!("reference/mtcnn-{set}.json"))) {
            let picture = read(&data.join(set).join(&name));
            let faces = networks.detector.detect(&picture, 20).unwrap();
            agreement.add(&name, &faces, &wanted.faces);
        }
    }
    agreement.print();
    let share = |part: usize| part as f64 / agreement.reference as f64;
    assert!(agreement.reference > 500);
    assert!(share(agreement.found) >= 0.995, "found {:.4}", share(agreement.found));
    assert!(share(agreement.extra) <= 0.01, "extra {:.4}", share(agreement.extra));
    assert!(agreement.mean_landmark_distance_px() < 0.5);
}

/// Our alignment and network on the sample photos, against the source network's output for its own crops.
#[test]
fn embeddings_of_the_sample_photos_are_those_of_the_source() {
    let (photos, mut networks) = (given::photos(), networks());
    let reference: ReferenceEmbeddings = parse(&committed("samples-mobilefacenet.json"));
    for (name, photo) in parse::<Reference>(&committed("samples-mtcnn.json")) {
        let picture = read(&photos.join(&name));
        let crop = five_point_112(&picture, &photo.faces[0].landmarks).unwrap();
        let ours = networks.embedder.embed(&[crop]).unwrap().remove(0);
        let cosine = ours.cosine(&reference.raw[&name.replace(".jpg", "-112.png")].unit());
        println!("{name}: cosine {cosine:.5}");
        assert!(cosine > 0.99, "{name}: {cosine}");
    }
}

#[test]
fn embeddings_of_reference_crops_equal_those_of_the_source() {
    let Some(data) = given::data() else { return };
    let mut networks = networks();
    for (folder, file) in [("mobilefacenet", "embeddings.json"), ("samples", "mobilefacenet.json")] {
        let folder = data.join("reference").join(folder);
        let reference: ReferenceEmbeddings = parse(&folder.join(file));
        assert!(!reference.raw.is_empty());
        let crops: Vec<RgbImage> = reference.raw.keys().map(|name| read(&folder.join(name))).collect();
        let ours = networks.embedder.embed(&crops).unwrap();
        for ((name, reference), ours) in reference.raw.iter().zip(ours) {
            let cosine = ours.cosine(&reference.unit());
            println!("{name}: cosine {cosine:.6}");
            assert!(cosine >= 0.9999, "{name}: {cosine}");
        }
    }
}

#[test]
fn aligned_sample_photos_equal_the_reference_crops() {
    let Some(data) = given::data() else { return };
    let photos = given::photos();
    for (name, photo) in parse::<Reference>(&committed("samples-mtcnn.json")) {
        let ours = five_point_112(&read(&photos.join(&name)), &photo.faces[0].landmarks).unwrap();
        let reference = read(&data.join("reference/samples").join(name.replace(".jpg", "-112.png")));
        let sum: u64 = ours
            .as_raw()
            .iter()
            .zip(reference.as_raw())
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = sum as f64 / ours.as_raw().len() as f64;
        println!("{name}: {mean:.3} grey levels apart on average");
        assert!(mean <= 2.0, "{name}: {mean}");
    }
}

#[test]
fn a_batch_gives_the_embeddings_of_single_runs() {
    let (photos, mut networks) = (given::photos(), networks());
    let crops: Vec<RgbImage> = parse::<Reference>(&committed("samples-mtcnn.json"))
        .iter()
        .map(|(name, photo)| five_point_112(&read(&photos.join(name)), &photo.faces[0].landmarks).unwrap())
        .collect();
    let together = networks.embedder.embed(&crops).unwrap();
    for (crop, together) in crops.iter().zip(together) {
        let alone = networks.embedder.embed(std::slice::from_ref(crop)).unwrap().remove(0);
        assert!(alone.cosine(&together) > 0.99999);
    }
}

/// CUDA against the CPU on the sample photos, where a card and a library for it are at hand (`KITH_RUNTIME_LIBRARY`).
#[test]
fn on_a_card_faces_and_vectors_are_those_of_the_cpu() {
    let on_a_card = Networks::open(&RuntimeSettings {
        provider: Provider::Cuda,
        ..RuntimeSettings::default()
    });
    let mut on_a_card = match on_a_card {
        Ok(networks) => networks,
        Err(error) => {
            eprintln!("skipped: {error:#}");
            return;
        }
    };
    let (photos, mut on_the_cpu) = (given::photos(), networks());
    println!("{}", on_a_card.provider.proofs());
    for name in parse::<Reference>(&committed("samples-mtcnn.json")).into_keys() {
        let picture = read(&photos.join(&name));
        let faces = on_the_cpu.detector.detect(&picture, 20).unwrap();
        let others = on_a_card.detector.detect(&picture, 20).unwrap();
        assert_eq!(faces.len(), others.len(), "{name}");
        for (face, other) in faces.iter().zip(&others) {
            let overlap = face.box_in_frame.iou(&other.box_in_frame);
            assert!(overlap > 0.98, "{name}: {overlap}");
        }
        let vectors = on_the_cpu.embed_faces(&picture, &faces).unwrap();
        let others = on_a_card.embed_faces(&picture, &faces).unwrap();
        for (vector, other) in vectors.into_iter().flatten().zip(others.into_iter().flatten()) {
            let cosine = vector.embedding.cosine(&other.embedding);
            println!("{name}: cosine {cosine:.6}");
            assert!(cosine >= 0.9999, "{name}: {cosine}");
        }
    }
}
