//! `kith-export export`: a trained embedder and head, with the detector where asked, as ONNX files and a catalogue entry.

mod detector;
mod embedder;
mod head;
mod parity;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use kith::commands::terminal::say;
use kith::model::{Accuracy, Kind, Model, ModelFile};
use kith::networks;
use kith::verification::fit::to_places;
use serde::Serialize;

use self::detector::detector;
use self::embedder::embedder;
use self::head::head;
use super::embedder::Checkpoint;
use super::head::read_head;
use super::runtime::RuntimeArgs;
use crate::faces::{AlignedFace, AlignedFolder, Split};
use crate::train::served::Written;
use crate::whole_file::{remove_unfinished, write_all_whole};

/// Faces that the exported networks are compared on; more would only take longer.
const MOST_COMPARED: usize = 64;
/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export export --name family --checkpoint runs/family --head heads/family \\\n    \
    --faces faces --split split.json --out family-models\n  kith heads install family-models\n\n\
    OUT can be the user's catalogue itself, models.d in Kith's configuration directory. What is written\n\
    is first run in ONNX Runtime beside libtorch on the faces; where they differ, nothing is written."
)]
pub struct Args {
    /// What the models are called in the catalogue
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: String,
    /// Folder for NAME.toml and the .onnx files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A trained embedder: a run's folder, or a checkpoint
    #[arg(long, value_name = "RUN")]
    pub checkpoint: Option<PathBuf>,
    /// A trained head, from `head`; it reads the embedder above, or one of the catalogue
    #[arg(long, value_name = "HEAD", required_unless_present_any = ["checkpoint", "mtcnn"])]
    pub head: Option<PathBuf>,
    /// The detector too: folder of facenet-pytorch's pnet.pt, rnet.pt and onet.pt
    #[arg(long, value_name = "DIR")]
    pub mtcnn: Option<PathBuf>,
    /// The head's embedder, where it is one of the catalogue
    #[arg(long, value_name = "NAME", default_value = networks::EMBEDDER)]
    pub model: String,
    /// Aligned faces to compare on
    #[arg(long, value_name = "FACES")]
    pub faces: PathBuf,
    /// Compare on the photos of the fold that the embedder has not learned from
    #[arg(long, value_name = "FILE")]
    pub split: Option<PathBuf>,
    /// Aligned faces of many people whom the embedder has not learned, to set threshold and confidence for recognition
    /// from the gallery
    #[arg(long, value_name = "FACES", requires = "checkpoint")]
    pub calibrate: Option<PathBuf>,
    /// The report.json of `evaluate`, whose figures go into the entry
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// SPDX identifier of the weights' licence
    #[arg(long, value_name = "LICENCE", default_value = "")]
    pub licence: String,
    /// Write over models of that name
    #[arg(long)]
    pub force: bool,
    /// Where the networks run.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

fn parse_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_plain) {
        Ok(name.to_owned())
    } else {
        Err("a name has lower-case letters, digits, - and _ only, as it names files".to_owned())
    }
}

#[derive(Serialize)]
struct CatalogueFile {
    model: Vec<Model>,
}

/// What is to be written: files by name, and their entries.
#[derive(Default)]
struct Parcel {
    files: Vec<(String, Vec<u8>)>,
    models: Vec<Model>,
    /// The largest difference found, by network, for telling.
    apart: Vec<(String, f64)>,
}

/// Runs `export`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let entry_file = args.out.join(format!("{}.toml", args.name));
    ensure!(
        args.force || !entry_file.exists(),
        "{} is there already; --force writes over it, or take another --name",
        entry_file.display()
    );
    let folder = AlignedFolder::read(&args.faces)?;
    ensure!(
        !folder.faces.is_empty(),
        "{} has no faces to compare on",
        args.faces.display()
    );
    let checkpoint = args.checkpoint.as_deref().map(Checkpoint::read).transpose()?;
    let faces = compared(args, &folder, checkpoint.as_ref())?;
    let accuracy = args.report.as_deref().map(accuracy).transpose()?;
    let mut parcel = Parcel::default();
    if let Some(packages) = &args.mtcnn {
        detector(args, packages, &folder, &faces, &mut parcel)?;
    }
    let embedder = match &checkpoint {
        Some(checkpoint) => embedder(args, checkpoint, &folder, &faces, accuracy.as_ref(), &mut parcel)?,
        None => {
            let catalogue = networks::catalogue(&args.runtime.settings())?;
            let model = catalogue.embedder(&args.model)?;
            let onnx = catalogue.read_file(&model.file)?;
            Written { onnx, model }
        }
    };
    if let Some(path) = &args.head {
        let (weights, about) = read_head(path)?;
        head(args, &weights, &about, embedder, &folder, &faces, accuracy, &mut parcel)?;
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("can't make the folder {}", args.out.display()))?;
    let entries = toml::to_string(&CatalogueFile { model: parcel.models })?;
    let text = format!("# Written by kith-export export.\n{entries}");
    put(&args.out, &parcel.files, &entry_file, &text)?;
    for (network, apart) in &parcel.apart {
        say(format!(
            "{network}: {apart:.1e} apart in libtorch and ONNX Runtime on {} faces",
            faces.len()
        ))?;
    }
    Ok(say(format!("{}: {} files", entry_file.display(), parcel.files.len()))?)
}

/// Writes the networks and, last of all, the entry that makes them count.
fn put(out: &Path, files: &[(String, Vec<u8>)], entry_file: &Path, entry: &str) -> anyhow::Result<()> {
    remove_unfinished(out);
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| out.join(name)).collect();
    let networks = paths
        .iter()
        .zip(files)
        .map(|(path, (_, bytes))| (path.as_path(), bytes.as_slice()));
    let all: Vec<(&Path, &[u8])> = networks.chain([(entry_file, entry.as_bytes())]).collect();
    write_all_whole(&all)
}

/// Held-out faces, as far as the checkpoint and the split tell; evenly over the folder.
fn compared<'f>(
    args: &Args,
    folder: &'f AlignedFolder,
    checkpoint: Option<&Checkpoint>,
) -> anyhow::Result<Vec<&'f AlignedFace>> {
    let mut faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    if let Some(file) = &args.split {
        let split = Split::read(file)?;
        split.check(folder)?;
        let settings = checkpoint.map(|checkpoint| &checkpoint.state.about.settings);
        let unseen = settings
            .and_then(|settings| settings["unseen_fold"].as_u64())
            .unwrap_or(0);
        faces.retain(|face| split.fold_of(&face.file).is_some_and(|fold| fold as u64 == unseen));
        ensure!(
            !faces.is_empty(),
            "fold {unseen} of {} has no faces to compare on",
            file.display()
        );
    }
    let step = faces.len().div_ceil(MOST_COMPARED).max(1);
    Ok(faces.into_iter().step_by(step).collect())
}

/// An entry with nothing but what every kind has.
fn entry(name: &str, kind: Kind, files: BTreeMap<String, ModelFile>) -> Model {
    Model {
        name: name.to_owned(),
        kind,
        source: String::new(),
        licence: String::new(),
        files,
        input: None,
        alignment: None,
        outputs: BTreeMap::new(),
        embedding_space: None,
        thresholds: None,
        calibration: None,
        accuracy: None,
        half_precision: None,
        embedder: None,
        reads: None,
        classes: Vec::new(),
        rejection: None,
    }
}

/// The figures of a report, for people to read.
fn accuracy(report: &Path) -> anyhow::Result<Accuracy> {
    let shown = report.display();
    let text = std::fs::read_to_string(report).with_context(|| format!("can't read {shown}"))?;
    let report: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{shown} is no report"))?;
    let mut figures = BTreeMap::new();
    for (name, pointer) in [
        ("nearest_neighbour", "/by_nearest_neighbour/accuracy_by_photo/value"),
        ("class_centre", "/by_class_centre/accuracy_by_photo/value"),
        ("head", "/by_head/accuracy_by_photo/value"),
        ("head_calibration_error", "/reliability/expected_error"),
        ("pairs", "/labelled_pairs/accuracy/value"),
    ] {
        figures.extend(
            report
                .pointer(pointer)
                .and_then(serde_json::Value::as_f64)
                .map(|value| (name.to_owned(), to_places(value, 4))),
        );
    }
    ensure!(
        !figures.is_empty(),
        "{shown} holds no figures; it is no report of `evaluate`"
    );
    let about = |key: &str| report["about"][key].as_str().unwrap_or("?").to_owned();
    Ok(Accuracy {
        how: format!(
            "kith-export evaluate: {} photos of {} in {} folds, by {}",
            report["photos"],
            about("faces"),
            report["folds"],
            about("model")
        ),
        figures,
    })
}
