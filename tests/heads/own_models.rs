//! Embedders of models.d, by name.

use std::fs;

use crate::given::head::{deliver, deliver_as, embedding, entry};
use crate::given::onnx::{linear_head, mean_colour};
use crate::heads::{Bench, sample};

/// The embedder of [`mean_colour`], which takes the plain box at 96x96 in grey levels.
pub(crate) const COLOUR: &str = "alignment = \"box-96-v1\"\nembedding_space = \"colour\"\n\
                      input = { channels = \"rgb\", width_px = 96, height_px = 96, mean = 0.0, scale = 1.0 }\n\
                      outputs.embedding = { name = \"embedding\", values = 3 }\n\
                      outputs.features = { name = \"features\", values = 3 }\n";

/// Whether a face's channels sum to more than 50: grey levels do, a unit vector's values can't.
fn bright_or_dark() -> Vec<u8> {
    linear_head(&[vec![1.0; 3], vec![0.0; 3]], &[-50.0, 0.0])
}

#[test]
fn another_embedder_takes_another_cut_and_a_head_reads_its_features_or_its_embedding() {
    let bench = Bench::new();
    let trained = bench.desk.path("trained");
    deliver_as(&trained, "colour", "embedder", &mean_colour(96), COLOUR);
    for (name, reads) in [("by_features", "features"), ("by_embedding", "embedding")] {
        let rest = entry("colour", "colour", reads, &["bright", "dark"]);
        deliver_as(&trained, name, "head", &bright_or_dark(), &rest);
    }
    let said = bench.kith(&["heads", "install", "trained"]).ok();
    assert!(said.out.contains("the embedder colour is in "), "{}", said.out);
    // Embedder and heads: an entry and a network each.
    assert_eq!(bench.installed().len(), 6, "{:?}", bench.installed());
    assert!(bench.identify("head:by_features", "obama.jpg").starts_with("bright ("));
    assert!(bench.identify("head:by_embedding", "obama.jpg").starts_with("dark ("));

    // By name, and with the values that the picture has there: skin is redder than blue.
    let obama = sample("obama.jpg");
    let line = bench
        .kith(&["embed", "--json", "--largest", "--embedder", "colour", &obama])
        .ok()
        .json()
        .remove(0);
    let found = line["faces"][0]["embedding"].as_array().unwrap().clone();
    assert_eq!(found.len(), 3);
    assert!(found[0].as_f64() > found[2].as_f64(), "{found:?}");

    // Nobody measured what its similarities mean.
    bench.kith(&["identify", "--embedder", "colour", &obama]).refused(
        1,
        &["no measured threshold", "colour", "kith calibrate --embedder colour"],
    );
    // Another embedder than the head's is no choice.
    bench
        .kith(&[
            "identify",
            "--by",
            "head:by_features",
            "--embedder",
            "mobilefacenet",
            &obama,
        ])
        .refused(1, &["by_features was trained on the embedder colour", "mobilefacenet"]);
    bench
        .kith(&["embed", "--embedder", "color", &obama])
        .refused(1, &["no embedder named color", "there are mobilefacenet, colour"]);
}

/// With thresholds the gallery is used, and people come over with their kept crops, or have to bring new photos.
#[test]
fn enrolled_people_are_embedded_again_for_another_embedder() {
    let bench = Bench::new();
    let measured = "thresholds = { cosine = 0.9, margin_cosine = 0.0 }\n\
                    calibration = { lr_intercept = -8.0, lr_slope = 22.0, same_mean = 0.9, same_sd = 0.1, \
                    different_mean = 0.1, different_sd = 0.1, prior_known = 0.5, cosine_range = [-0.5, 1.0] }\n";
    deliver_as(
        &bench.models_d(),
        "colour",
        "embedder",
        &mean_colour(96),
        &(COLOUR.to_owned() + measured),
    );
    let (obama, biden) = (sample("obama.jpg"), sample("biden.jpg"));
    bench.kith(&["enroll", "Barack", &obama, "--keep-crop"]).ok();
    let said = bench.kith(&["identify", "--embedder", "colour", &obama]).ok();
    assert!(
        said.err.contains("1 enrolled faces were embedded again for colour"),
        "{}",
        said.err
    );
    assert!(said.out.contains(": Barack ("), "{}", said.out);
    let person = bench
        .kith(&["people", "show", "barack", "--json"])
        .ok()
        .json()
        .remove(0);
    assert_eq!(person["faces"][0]["spaces"].as_array().unwrap().len(), 2);

    // The crop that was kept gives nearly what the photo itself gives.
    let from_photo = bench
        .kith(&["embed", "--json", "--largest", "--embedder", "colour", &obama])
        .ok()
        .json()
        .remove(0);
    let from_photo = from_photo["faces"][0]["embedding"].as_array().unwrap().clone();
    bench.kith(&["people", "export", "all.jsonl"]).ok();
    let export = fs::read_to_string(bench.desk.path("all.jsonl")).unwrap();
    let exported: serde_json::Value = serde_json::from_str(export.lines().nth(1).unwrap()).unwrap();
    let from_crop = exported["faces"][0]["vectors"]["colour"].as_array().unwrap();
    for (a, b) in from_photo.iter().zip(from_crop) {
        assert!(
            (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 0.01,
            "{from_photo:?} {from_crop:?}"
        );
    }

    bench.kith(&["enroll", "Joe", &biden]).ok();
    bench.kith(&["identify", "--embedder", "colour", &obama]).refused(
        1,
        &[
            "joe has no vector in the space colour",
            "no kept crop",
            "kith enroll ID PHOTO",
        ],
    );
    bench.kith(&["enroll", "Joe", &biden, "--embedder", "colour"]).ok();
}

/// An embedder that another head reads is not exchanged under it.
#[test]
fn an_embedder_that_came_with_a_head_is_replaced_only_if_no_other_head_reads_it() {
    let bench = Bench::new();
    let deliver_both = |folder: &str, head: &str, space: &str| {
        let folder = bench.desk.path(folder);
        deliver_as(
            &folder,
            "colour",
            "embedder",
            &mean_colour(96),
            &COLOUR.replace("\"colour\"", &format!("{space:?}")),
        );
        deliver_as(
            &folder,
            head,
            "head",
            &bright_or_dark(),
            &entry("colour", space, "features", &["bright", "dark"]),
        );
    };
    deliver_both("first", "one", "colour-1");
    bench.kith(&["heads", "install", "first"]).ok();
    deliver_both("retrained", "one", "colour-2");
    bench.kith(&["heads", "install", "retrained"]).ok();
    assert!(bench.identify("head:one", "obama.jpg").starts_with("bright ("));
    deliver_both("other", "two", "colour-3");
    let before = bench.installed();
    bench.kith(&["heads", "install", "other"]).refused(
        1,
        &[
            "the head two was not installed",
            "another embedder named colour",
            "head one",
        ],
    );
    assert_eq!(bench.installed(), before);
    assert!(bench.identify("head:one", "obama.jpg").starts_with("bright ("));
}

/// Where models.d is looked for when nobody names it.
#[test]
fn models_d_lies_in_the_configuration_directory() {
    let bench = Bench::new();
    deliver(
        &bench.desk.path("etc/models.d"),
        "two",
        &[("ann", embedding("obama.jpg")), ("bea", embedding("biden.jpg"))],
    );
    let heads = |variable: &str, value: &std::path::Path| {
        let mut command = bench.desk.command(env!("CARGO_BIN_EXE_kith"));
        command
            .env_remove("KITH_MODELS_D")
            .env_remove("CONFIGURATION_DIRECTORY");
        let done = command
            .env("XDG_CONFIG_HOME", "/nowhere")
            .env(variable, value)
            .arg("heads")
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let two = "two  on mobilefacenet";
    assert!(heads("KITH_MODELS_D", &bench.desk.path("etc/models.d")).starts_with(two));
    assert!(heads("CONFIGURATION_DIRECTORY", &bench.desk.path("etc")).starts_with(two));
    fs::create_dir_all(bench.desk.path("config")).unwrap();
    fs::rename(bench.desk.path("etc"), bench.desk.path("config/kith")).unwrap();
    assert!(heads("XDG_CONFIG_HOME", &bench.desk.path("config")).starts_with(two));
    assert!(heads("CONFIGURATION_DIRECTORY", &bench.desk.path("etc")).starts_with("no head is installed"));
}

#[test]
fn a_shipped_embedder_is_not_replaced() {
    let bench = Bench::new();
    let trained = bench.desk.path("trained");
    deliver(
        &trained,
        "two",
        &[("ann", embedding("obama.jpg")), ("bea", embedding("biden.jpg"))],
    );
    deliver_as(&trained, "mobilefacenet", "embedder", &mean_colour(96), COLOUR);
    bench.kith(&["heads", "install", "trained"]).ok();
    assert_eq!(bench.installed().len(), 2, "{:?}", bench.installed());
    assert!(bench.identify("head:two", "obama2.jpg").starts_with("ann ("));
}
