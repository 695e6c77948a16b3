//! How well people are told apart, and whether the catalogue's threshold and calibration are those that the data give.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod given;

use std::path::Path;
use std::process::Command;

use kith::model::Catalogue;
use serde_json::Value;

#[test]
fn people_are_told_apart_and_the_catalogue_says_so() {
    let Some(data) = given::data() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_kith"))
        .args(["calibrate", "--json", "--provider", "cpu", "--lfw"])
        .arg(data.join("lfw-dev"))
        .arg("--folds")
        .arg(root.join("tests/lfw-dev-folds.txt"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{report:#}");

    let accuracy = report["pairs_accuracy"]["value"].as_f64().unwrap();
    assert!(accuracy >= 0.99, "accuracy on the pairs {accuracy}");
    for error in report["calibration_errors"].as_array().unwrap() {
        assert!(error["expected_error"].as_f64().unwrap() < 0.03, "{error}");
        assert!(error["strangers_named"].as_f64().unwrap() < 0.02, "{error}");
    }

    let catalogue = Catalogue::read(&root.join("onnx")).unwrap();
    let model = catalogue.embedder("mobilefacenet").unwrap();
    let near = |key: &str, in_catalogue: f64, of: &Value, tolerance: f64| {
        let measured = of[key].as_f64().unwrap();
        assert!(
            (measured - in_catalogue).abs() <= tolerance,
            "{key}: {measured} here, {in_catalogue} in the catalogue"
        );
    };
    near(
        "cosine",
        f64::from(model.thresholds.unwrap().cosine),
        &report["thresholds"],
        0.01,
    );
    let calibration = model.calibration.unwrap();
    near("lr_intercept", calibration.lr_intercept, &report["calibration"], 0.2);
    near("lr_slope", calibration.lr_slope, &report["calibration"], 0.5);
}
