//! What is exported is what was trained, goes with its embedder, and is there as a whole or not at all.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kith_export::nets::Network;
use kith_export::weights::Weights;

use crate::bad_input::{checkpoint_of, cut_off, export, names_in};
use crate::faces::{Faces, THREE};
use crate::running::{has_runtime, kith_export, pause, refuses, succeeds};

#[test]
fn a_head_goes_with_its_embedder_only() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::split(THREE);
    let mut head = kith_export(["head", "--model", "mobilefacenet", "--split"]);
    head.arg(faces.path("split.json"))
        .arg(faces.path("faces"))
        .arg("--out")
        .arg(faces.path("head"));
    println!("{}", succeeds(&mut head));
    refuses(&mut head, &["holds a head already", "--force"]);
    checkpoint_of(Network::MobileFaceNet, &faces.path("run/best.safetensors"), 1, |_| ());
    refuses(
        &mut export(&faces, "out", &[("--head", "head"), ("--checkpoint", "run")]),
        &["the head was trained on mobilefacenet-", "--checkpoint or --model"],
    );
    refuses(
        &mut export(&faces, "out", &[("--head", "run/best.safetensors")]),
        &["best.safetensors", "no head"],
    );
    refuses(
        &mut export(&faces, "out", &[("--checkpoint", "head/head.safetensors")]),
        &["head.safetensors", "no checkpoint"],
    );
    refuses(
        export(&faces, "out", &[("--head", "head")]).args(["--model", "nobody"]),
        &["nobody"],
    );
    cut_off(&faces.path("head/head.safetensors"));
    refuses(
        &mut export(&faces, "out", &[("--head", "head")]),
        &["head.safetensors", "cut off"],
    );
    cut_off(&faces.path("run/best.safetensors"));
    refuses(
        &mut export(&faces, "out", &[("--checkpoint", "run")]),
        &["best.safetensors", "cut off"],
    );
    assert!(!faces.path("out").exists());
}

#[test]
fn a_network_that_computes_otherwise_in_onnx_runtime_is_not_exported() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(THREE);
    let patterns = |run: &str, change: fn(&mut Weights), words: &[&str]| {
        checkpoint_of(Network::Nn4Small2, &faces.path(run).join("best.safetensors"), 1, change);
        refuses(&mut export(&faces, "out", &[("--checkpoint", run)]), words);
        assert!(!faces.path("out").exists(), "something was written");
    };
    // Subtracting a million and adding it again leaves few digits where it is done in turn, and all where ONNX Runtime
    // has made one constant of both. What is added is the million as the normalisation scales it, with its epsilon.
    let cancels = |weights: &mut Weights| {
        let normalised: Vec<String> = weights
            .keys()
            .filter_map(|name| name.strip_suffix(".running_mean"))
            .map(str::to_owned)
            .collect();
        for name in normalised {
            weights
                .get_mut(&format!("{name}.running_mean"))
                .unwrap()
                .values
                .fill(1e6);
            weights.get_mut(&format!("{name}.bias")).unwrap().values.fill(999_995.0);
        }
    };
    patterns(
        "cancels",
        cancels,
        &["apart in libtorch and ONNX Runtime", "nothing was written"],
    );
    // Finite weights, whose products are not.
    let overflows = |weights: &mut Weights| weights.get_mut("layer1.weight").unwrap().values.fill(1e38);
    patterns("overflows", overflows, &["nothing was written"]);
    let no_number = |weights: &mut Weights| weights.get_mut("layer1.weight").unwrap().values.fill(f32::NAN);
    patterns("no-number", no_number, &["layer1.weight", "not a number"]);
}

#[test]
fn an_interrupted_export_leaves_no_entry_or_a_whole_one() {
    if !has_runtime() {
        return;
    }
    let faces = Faces::of(THREE);
    checkpoint_of(Network::MobileFaceNet, &faces.path("run/best.safetensors"), 1, |_| ());
    let out = faces.path("out");
    // One is there, so that the folder is not made only at the end.
    fs::create_dir(&out).unwrap();
    let mut command = export(&faces, "out", &[("--checkpoint", "run")]);
    let began = Instant::now();
    succeeds(&mut command);
    let whole = began.elapsed();
    let entry = |out: &PathBuf| fs::read_to_string(out.join("patterns.toml")).ok();
    let finished = entry(&out).unwrap();
    let (mut without, mut written) = (0, 0);
    for share in [0.2, 0.6, f64::INFINITY, f64::INFINITY, f64::INFINITY, f64::INFINITY] {
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        // Without a share: as soon as it begins to write.
        while child.try_wait().unwrap().is_none()
            && began.elapsed().as_secs_f64() < whole.as_secs_f64() * share
            && (share.is_finite() || names_in(&out).is_empty())
        {
            pause(Duration::from_micros(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        written += usize::from(!names_in(&out).is_empty());
        match entry(&out) {
            None => without += 1,
            Some(text) => {
                assert_eq!(text, finished);
                assert_eq!(names_in(&out), ["patterns.onnx", "patterns.toml"]);
            }
        }
    }
    assert!(
        without > 0 && written > 0,
        "{without} without an entry, {written} begun: the moments miss the point"
    );
    let _ = fs::remove_file(out.join("patterns.toml"));
    succeeds(&mut command);
    assert_eq!(entry(&out).unwrap(), finished);
    assert_eq!(
        names_in(&out),
        ["patterns.onnx", "patterns.toml"],
        "files of interrupted writing are left"
    );
}
