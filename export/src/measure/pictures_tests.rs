use std::path::PathBuf;

use super::super::closed_set::{ClosedSet, nearest_neighbour};
use super::super::example;
use super::super::log::LogLine;
use super::super::{About, FoldRun, LeftOutRun, Measurement, Sample};
use super::*;

/// Where pictures go that a person wants to look at.
fn kept() -> Option<PathBuf> {
    std::env::var_os("KITH_PICTURES").map(PathBuf::from)
}

fn log(epochs: u32) -> Vec<LogLine> {
    (1..=epochs)
        .map(|epoch| {
            let done = f64::from(epoch) / f64::from(epochs);
            LogLine {
                epoch,
                loss: 0.2 * (-4.0 * done).exp() + 0.004,
                accuracy: Some(1.0 - 0.4 * (-5.0 * done).exp()),
                val_loss: Some(0.2 * (-3.0 * done).exp() + 0.02 + 0.02 * done),
                val_accuracy: Some(0.98 - 0.4 * (-6.0 * done).exp() - 0.01 * done),
                learning_rate: Some(if done < 0.5 { 1e-3 } else { 1e-4 }),
                ..LogLine::default()
            }
        })
        .collect()
}

#[test]
fn every_figure_of_a_report_has_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let files = example::report().draw(folder.path()).unwrap();
    assert_eq!(
        files,
        [
            "confusion-nearest-neighbour.svg",
            "confusion-head.svg",
            "roc-held-out.svg",
            "similarities-held-out.svg",
            "open-set.svg",
            "reliability.svg"
        ]
    );
    for file in files {
        let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
        assert!(
            text.starts_with("<svg") && text.trim_end().ends_with("</svg>"),
            "{file}"
        );
        assert!(text.contains("example") && !text.contains("NaN"), "{file}");
    }
    let blocked = folder.path().join("reliability.svg");
    assert!(format!("{:#}", example::report().draw(&blocked).unwrap_err()).contains("reliability.svg"));
}

#[test]
fn curves_show_what_the_log_has() {
    let svg = training_curves("run", &log(40)).unwrap();
    assert!(svg.contains("learning rate") && svg.contains("held-out") && !svg.contains("NaN"));
    let loss_only: Vec<LogLine> = log(1)
        .into_iter()
        .map(|line| LogLine {
            epoch: line.epoch,
            loss: line.loss,
            ..LogLine::default()
        })
        .collect();
    let svg = training_curves("run", &loss_only).unwrap();
    assert!(!svg.contains("learning rate") && svg.contains("<circle"));
    assert!(training_curves("run", &[]).is_err());
    if let Some(folder) = kept() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("curves.svg"),
            training_curves("nn4-small2, fold 0", &log(40)).unwrap(),
        )
        .unwrap();
    }
}

#[test]
fn a_matrix_of_many_people_keeps_to_its_size() {
    for count in [1_usize, 2, 24, 60] {
        let people: Vec<String> = (0..count)
            .map(|index| format!("somebody_with_a_name_{index}"))
            .collect();
        let answers = ClosedSet {
            photos: count,
            right: count,
            accuracy_by_person: ALL_RIGHT,
            accuracy_by_photo: ALL_RIGHT,
            confusion: (0..count)
                .map(|row| {
                    (0..count)
                        .map(|column| usize::from(row == column || row * 7 % count == column))
                        .collect()
                })
                .collect(),
            wrong: Vec::new(),
        };
        let svg = confusion::matrix("run", &people, &answers).unwrap();
        let width: u32 = svg
            .split("width=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!((600..1100).contains(&width), "{width}");
        assert_eq!(svg.contains("somebody_with_a_name_0"), count <= 40);
        if let Some(folder) = kept() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("matrix-{count}.svg")), svg).unwrap();
        }
    }
}

const ALL_RIGHT: kith::verification::Estimate = kith::verification::Estimate {
    value: 1.0,
    low: 1.0,
    high: 1.0,
};

#[test]
fn the_map_names_everybody_it_can_and_counts_the_others() {
    let points: Vec<MapPoint> = (0..30_u8)
        .map(|index| MapPoint {
            place: [f32::from(index) / 30.0, 0.5],
            person: usize::from(index),
            is_marked: index == 2,
        })
        .collect();
    let people: Vec<String> = (0..30).map(|index| format!("p-{index}")).collect();
    let svg = embedding_map("t", &points, &people).unwrap();
    assert!(svg.contains("p-20") && !svg.contains("p-21") && svg.contains("9 more") && svg.contains("1 ringed"));
    if let Some(folder) = kept() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("map-many.svg"), svg).unwrap();
    }
}

/// Faces that `kith embed --json --largest FOLDER` wrote: person by folder, file below the set's folder.
fn embedded(file: &std::path::Path, first_person: usize) -> (Vec<Sample>, Vec<String>, Vec<PathBuf>) {
    let (mut samples, mut people, mut paths) = (Vec::new(), Vec::<String>::new(), Vec::new());
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let photo: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = PathBuf::from(photo["image"].as_str().unwrap());
        let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let person = name(path.parent().unwrap());
        let Some(values) = photo["faces"][0]["embedding"].as_array() else {
            continue;
        };
        if people.last() != Some(&person) {
            people.push(person.clone());
        }
        samples.push(Sample {
            person: first_person + people.len() - 1,
            file: format!("{person}/{}", name(&path)),
            embedding: values.iter().map(|value| value.as_f64().unwrap() as f32).collect(),
            features: None,
        });
        paths.push(path);
    }
    (samples, people, paths)
}

/// Measures and draws real faces: set KITH_EMBEDDED to a folder with `people.jsonl` and `strangers.jsonl`, as
/// `kith embed --json --largest` writes them, and KITH_PICTURES to where the pictures should go; KITH_PAIRS to
/// LFW's pairsDevTest.txt, where the strangers are its photos.
#[test]
fn real_faces_are_measured_and_drawn() {
    let (Some(embedded_at), Some(folder)) = (std::env::var_os("KITH_EMBEDDED").map(PathBuf::from), kept()) else {
        eprintln!("skipped: KITH_EMBEDDED and KITH_PICTURES are not set");
        return;
    };
    let (faces, people, paths) = embedded(&embedded_at.join("people.jsonl"), 0);
    let (strangers, ..) = embedded(&embedded_at.join("strangers.jsonl"), people.len());
    let mut measurement = Measurement::new(About {
        model: "mobilefacenet".into(),
        embedding_space: "mobilefacenet".into(),
        faces: "people".into(),
        strangers: Some("strangers".into()),
        people: people.clone(),
        ..example::about(0)
    });
    let folds = 5;
    for fold in 0..folds {
        let (test, train): (Vec<_>, Vec<_>) = faces
            .iter()
            .cloned()
            .enumerate()
            .partition(|(index, _)| index % folds == fold);
        let [test, train] = [test, train].map(|side| side.into_iter().map(|(_, s)| s).collect::<Vec<Sample>>());
        let run = FoldRun {
            fold,
            train: &train,
            test: &test,
        };
        measurement.fold(&run, Some(&mut example::head)).unwrap();
        for left_out in 0..people.len() {
            let side = |samples: &[Sample]| -> Vec<Sample> {
                samples
                    .iter()
                    .filter(|sample| sample.person != left_out)
                    .cloned()
                    .collect()
            };
            let come: Vec<Sample> = faces
                .iter()
                .filter(|sample| sample.person == left_out)
                .chain(&strangers)
                .cloned()
                .collect();
            let run = LeftOutRun {
                left_out,
                fold,
                train: &side(&train),
                test: &side(&test),
                strangers: &come,
            };
            measurement.left_out(&run, Some(&mut example::head)).unwrap();
        }
    }
    if let Some(pairs) = std::env::var_os("KITH_PAIRS") {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folds = std::fs::read_to_string(root.join("tests/lfw-dev-folds.txt")).unwrap();
        let folds = kith::verification::pairs_file::parse_folds(&folds).unwrap();
        let text = std::fs::read_to_string(pairs).unwrap();
        let pairs = kith::verification::pairs_file::parse(&text).unwrap();
        measurement.pairs_file(&pairs, &strangers, Some(&folds)).unwrap();
    }
    let report = measurement.finish().unwrap();
    report.draw(&folder).unwrap();
    std::fs::write(folder.join("report.txt"), report.to_table()).unwrap();
    let points: Vec<MapPoint> = faces
        .iter()
        .zip(plane(&faces, 1).unwrap())
        .map(|(face, place)| {
            let others: Vec<Sample> = faces.iter().filter(|other| other.file != face.file).cloned().collect();
            let nearest = nearest_neighbour(&others, &[face]).unwrap()[0];
            MapPoint {
                place,
                person: face.person,
                is_marked: nearest.person != face.person,
            }
        })
        .collect();
    std::fs::write(
        folder.join("map.svg"),
        embedding_map("mobilefacenet, people", &points, &people).unwrap(),
    )
    .unwrap();
    let crops: Vec<image::RgbImage> = paths.iter().map(|path| image::open(path).unwrap().to_rgb8()).collect();
    let picture = faces_map("mobilefacenet, people", &points, &crops, &people).unwrap();
    picture.save(folder.join("map-faces.png")).unwrap();
}
