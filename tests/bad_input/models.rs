//! Wrong models, catalogues and runtime libraries.

use std::fs;
use std::path::{Path, PathBuf};

use kith::paths;
use sha2::{Digest, Sha256};

use crate::given::{onnx, photos};
use crate::kith::{Desk, Said};

/// A copy of the models' folder.
struct Models {
    desk: Desk,
}

impl Models {
    fn new() -> Self {
        let desk = Desk::new();
        for entry in fs::read_dir(paths::models_dir(None)).unwrap() {
            let from = entry.unwrap().path();
            if from
                .extension()
                .is_some_and(|ending| ending == "onnx" || ending == "toml")
            {
                desk.write(&format!("models/{}", name(&from)), &fs::read(&from).unwrap());
            }
        }
        Self { desk }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.desk.path("models").join(name)
    }

    fn change_catalogue(&self, from: &str, to: &str) {
        let file = self.file("models.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
    }

    /// Puts `bytes` in place of a network, with the sha256 that the catalogue then needs.
    fn replace(&self, network: &str, bytes: &[u8]) {
        let file = self.file(network);
        let sha256 =
            |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
        self.change_catalogue(&sha256(&fs::read(&file).unwrap()), &sha256(bytes));
        fs::write(&file, bytes).unwrap();
    }

    fn embed(&self) -> Said {
        let photo = photos().join("obama.jpg");
        let args = ["embed", "--json", "--provider", "cpu", "--models"].map(Path::new);
        self.desk.kith(
            args.into_iter()
                .chain([self.desk.path("models").as_path(), photo.as_path()]),
        )
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_copy_itself_is_right() {
    assert_eq!(Models::new().embed().ok().json().len(), 1);
}

#[test]
fn a_changed_byte_is_found_by_its_sha256() {
    for network in [
        "mtcnn-pnet.onnx",
        "mtcnn-rnet.onnx",
        "mtcnn-onet.onnx",
        "mobilefacenet.onnx",
    ] {
        let models = Models::new();
        let mut bytes = fs::read(models.file(network)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(models.file(network), bytes).unwrap();
        models
            .embed()
            .refused(1, &[network, "sha256", "make or install the models again"]);
    }
}

#[test]
fn a_missing_model_or_catalogue_is_named_with_the_way_to_make_it() {
    let models = Models::new();
    fs::remove_file(models.file("mtcnn-onet.onnx")).unwrap();
    models
        .embed()
        .refused(1, &["mtcnn-onet.onnx", "No such file", "cargo xtask models"]);
    fs::remove_file(models.file("models.toml")).unwrap();
    models
        .embed()
        .refused(1, &["models.toml", "No such file", "cargo xtask models"]);
}

#[test]
fn a_wrong_catalogue_is_named_with_what_is_wrong() {
    for (from, to, words) in [
        ("[[model]]", "[[model", &["models.toml", "is wrong"][..]),
        ("licence =", "license =", &["license"]),
        ("kind = \"detector\"", "kind = \"oracle\"", &["oracle"]),
        ("mean = 127.5", "mean = \"127.5\"", &["127.5"]),
        ("channels = \"rgb\"", "channels = \"bgr\"", &["bgr"]),
        (
            "name = \"mobilefacenet\"",
            "name = \"other\"",
            &["models.toml", "no embedder named mobilefacenet"],
        ),
        ("files.pnet", "files.qnet", &["mtcnn", "pnet"]),
        (
            "alignment = \"five-point-112-v1\"\n",
            "",
            &["mobilefacenet", "lacks alignment"],
        ),
        (
            "alignment = \"five-point-112-v1\"",
            "alignment = \"by-eye\"",
            &["by-eye", "five-point-112-v1"],
        ),
        (
            "values = 192",
            "values = 193",
            &["embedding", "193", "the file that the catalogue names"],
        ),
        (
            "name = \"embedding\"",
            "name = \"vector\"",
            &["vector", "the file that the catalogue names"],
        ),
    ] {
        let models = Models::new();
        models.change_catalogue(from, to);
        let said = models.embed();
        assert_eq!(said.code, Some(1), "{from} -> {to}: {said:#?}");
        for word in words {
            assert!(said.err.contains(word), "no {word} for {from} -> {to}: {said:#?}");
        }
    }
}

#[test]
fn another_network_under_the_right_sha256_is_told_by_its_outputs() {
    let models = Models::new();
    models.replace("mobilefacenet.onnx", &fs::read(models.file("mtcnn-rnet.onnx")).unwrap());
    models.embed().refused(1, &["embedding"]);
    let models = Models::new();
    models.replace("mtcnn-pnet.onnx", &fs::read(models.file("mobilefacenet.onnx")).unwrap());
    models.embed().refused(1, &["pnet"]);
    let models = Models::new();
    models.replace("mtcnn-onet.onnx", &fs::read(models.file("mtcnn-rnet.onnx")).unwrap());
    models.embed().refused(1, &["onet"]);
}

#[test]
fn what_is_no_network_is_refused_by_the_runtime() {
    for bytes in [&b"not a network"[..], b""] {
        let models = Models::new();
        models.replace("mtcnn-rnet.onnx", bytes);
        models.embed().refused(1, &["rnet", "refuses"]);
    }
    let models = Models::new();
    let network = fs::read(models.file("mobilefacenet.onnx")).unwrap();
    models.replace("mobilefacenet.onnx", &network[..network.len() / 2]);
    models.embed().refused(1, &["embedder", "refuses"]);
}

/// The sha256 covers the model's own file only, so nothing else may be read for it, wherever it lies.
#[test]
fn external_data_is_refused() {
    for library in libraries() {
        let models = Models::new();
        for folder in ["", "models/"] {
            models.desk.write(&format!("{folder}weight.bin"), &1_f32.to_le_bytes());
        }
        let absolute = models.desk.path("weight.bin");
        for data in ["weight.bin", absolute.to_str().unwrap(), "../weight.bin"] {
            models.replace("mobilefacenet.onnx", &onnx::with_external_data(data));
            let photo = photos().join("obama.jpg");
            let mut args = vec!["embed".into(), "--models".into(), models.desk.path("models"), photo];
            args.extend(["--runtime-library".into(), library.clone()]);
            models
                .desk
                .kith(args)
                .refused(1, &["embedder", "data outside of its file"]);
        }
    }
}

/// The newest runtime library, and the oldest that is tested where set-up brought it.
fn libraries() -> Vec<PathBuf> {
    let old = std::env::var_os("KITH_RUNTIME_LIBRARY_OLD").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime-1.19.2/libonnxruntime.so"),
        PathBuf::from,
    );
    assert!(
        old.is_file(),
        "no runtime library {}: `cargo xtask test --only set-up` brings it",
        old.display()
    );
    vec![paths::runtime_library(None), old]
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[test]
fn the_oldest_runtime_library_finds_the_same_faces_and_embeddings() {
    let desk = Desk::new();
    let [new, old]: [Vec<serde_json::Value>; 2] = libraries()
        .iter()
        .map(|library| {
            let args = [
                Path::new("embed"),
                Path::new("--json"),
                Path::new("--runtime-library"),
                library,
                &photos(),
            ];
            desk.kith(args).ok().json()
        })
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert_eq!(new.len(), old.len());
    let mut compared = 0;
    for (new, old) in new.iter().zip(&old) {
        assert_eq!(new["image"], old["image"]);
        let (new, old) = (new["faces"].as_array().unwrap(), old["faces"].as_array().unwrap());
        assert_eq!(new.len(), old.len());
        for (new, old) in new.iter().zip(old) {
            let overlap = intersection_over_union(&numbers(&new["box"]), &numbers(&old["box"]));
            assert!(overlap > 0.99, "{overlap}");
            let cosine: f64 = numbers(&new["embedding"])
                .iter()
                .zip(numbers(&old["embedding"]))
                .map(|(a, b)| a * b)
                .sum();
            assert!(cosine > 0.9999, "{cosine}");
            compared += 1;
        }
    }
    assert!(compared >= 6, "only {compared} faces");
}

fn intersection_over_union(a: &[f64], b: &[f64]) -> f64 {
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let area = |c: &[f64]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

#[test]
fn a_runtime_library_that_is_none() {
    let desk = Desk::new();
    let photo = photos().join("obama.jpg");
    let c_library = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("/libc.so")))
        .unwrap()
        .to_owned();
    let text = desk.write("library.so", b"I am a library, trust me");
    for (library, reason) in [
        (Path::new("/nonexistent/libonnxruntime.so"), "No such file"),
        (&text, "is it ONNX Runtime"),
        (Path::new(&c_library), "OrtGetApiBase"),
        (Path::new("/"), "it is a folder"),
        (Path::new("no-such-library.so"), "no-such-library.so"),
    ] {
        let args = [Path::new("detect"), Path::new("--runtime-library"), library, &photo];
        desk.kith(args)
            .refused(1, &["ONNX Runtime library", reason, "KITH_RUNTIME_LIBRARY"]);
    }
}

/// The runtime libraries of set-up are for the CPU.
#[test]
fn a_provider_that_is_not_there_is_an_error_by_name_and_announced_under_auto() {
    let desk = Desk::new();
    let photo = photos().join("obama.jpg");
    for provider in ["cuda", "tensorrt"] {
        let args = [
            Path::new("detect"),
            Path::new("--provider"),
            Path::new(provider),
            &photo,
        ];
        desk.kith(args)
            .refused(1, &["execution provider", provider, "can't be had", "auto"]);
    }
    let said = desk.kith(["bench", "--frames", "1", "--size", "64x64"]).ok();
    let announced = said.out.lines().find(|line| line.starts_with("provider cpu")).unwrap();
    assert!(
        announced.contains("tensorrt:") && announced.contains("cuda:"),
        "{announced}"
    );
}

const SMALLEST: &str = "[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n[[camera]]\nid = \"door\"\nurl = \"file:clip.mp4\"\n";

/// As above.
#[test]
fn without_tensorrt_there_is_nothing_to_warm_and_that_is_said() {
    let desk = Desk::new();
    let config = desk.write("kith.toml", SMALLEST.as_bytes());
    let args = ["warm", "--config", config.to_str().unwrap()];
    desk.kith(args).refused(3, &["nothing to warm", "built without it"]);
    let said = desk.kith(args.into_iter().chain(["--json"]));
    assert_eq!(said.code, Some(3), "{said:#?}");
    let report = said.json().remove(0);
    assert!(
        report["nothing"].as_str().unwrap().contains("built without it"),
        "{report}"
    );
    assert_eq!(report["engines"].as_array().unwrap().len(), 0);
}

/// As above.
#[test]
fn a_daemon_that_shall_stop_without_a_card_does_not_start_on_the_cpu() {
    let desk = Desk::new();
    let text = format!("[runtime]\nwhen_card_is_lost = \"stop\"\n{SMALLEST}");
    let config = desk.write("kith.toml", text.as_bytes());
    desk.kith(["run", "--config", config.to_str().unwrap()]).refused(
        1,
        &["no card runs the networks", "tensorrt:", "cuda:", "when_card_is_lost"],
    );
}
