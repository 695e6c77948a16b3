//! A trained head as the trainer would deliver it: a folder with a catalogue file and a small network. Its weights are
//! made here, from embeddings of sample photos.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{onnx, photos};

/// What makes vectors of MobileFaceNet comparable, in the shipped catalogue.
pub(crate) const SPACE: &str = "mobilefacenet-d8ba40c0-five-point-112-v1";

/// The unit vector of the largest face on a sample photo.
pub(crate) fn embedding(photo: &str) -> Vec<f32> {
    let done = Command::new(env!("CARGO_BIN_EXE_kith"))
        .args(["embed", "--json", "--largest", "--provider", "cpu"])
        .arg(photos().join(photo))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let line: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let values = line["faces"][0]["embedding"].as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

/// Delivers a head called `name` into `folder`: `NAME.toml` and `NAME.onnx`. A class's logit is ten times the cosine to its
/// vector, so that a photo of the same person gets a probability of nearly 1 beside a stranger.
pub(crate) fn deliver(folder: &Path, name: &str, classes: &[(&str, Vec<f32>)]) {
    let weights: Vec<Vec<f32>> = classes
        .iter()
        .map(|(_, vector)| vector.iter().map(|value| 10.0 * value).collect())
        .collect();
    let onnx = onnx::linear_head(&weights, &vec![0.0; classes.len()]);
    let names: Vec<&str> = classes.iter().map(|(class, _)| *class).collect();
    let rest = entry("mobilefacenet", SPACE, "embedding", &names);
    deliver_as(folder, name, "head", &onnx, &rest);
}

/// What a head's entry has beside what every entry has.
pub(crate) fn entry(embedder: &str, space: &str, reads: &str, classes: &[&str]) -> String {
    format!(
        "embedder = {embedder:?}\nembedding_space = {space:?}\nreads = {reads:?}\nclasses = {classes:?}\n\
         rejection = {{ probability = 0.9, false_accept_rate = 0.01 }}\n"
    )
}

/// Delivers any model: `NAME.toml`, with `rest` in its entry, and `NAME.onnx`.
pub(crate) fn deliver_as(folder: &Path, name: &str, kind: &str, onnx: &[u8], rest: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{name}.onnx")), onnx).unwrap();
    let mut text = String::new();
    writeln!(text, "# Made by a test.\n[[model]]\nname = {name:?}\nkind = {kind:?}").unwrap();
    writeln!(text, "source = \"a test\"\nlicence = \"\"").unwrap();
    let sha256 = kith::model::sha256_hex(onnx);
    writeln!(
        text,
        "files.network = {{ path = \"{name}.onnx\", sha256 = {sha256:?} }}"
    )
    .unwrap();
    text.push_str(rest);
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}
