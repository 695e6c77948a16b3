//! `kith-export export`: a trained embedder and head, with the detector where asked, as ONNX files and a catalogue entry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use kith::commands::terminal::say;
use kith::embed::Embedding;
use kith::model::{Accuracy, EmbedderModel, Kind, Model, ModelFile, Reads, Rejection, Thresholds};
use kith::networks;
use kith::runtime::Runtime;
use kith::verification::LabelledPhoto;
use kith::verification::fit::{self, to_places};
use kith::verification::rates::AllPairs;
use serde::Serialize;
use tch::{Device, Tensor};

use super::embedder::Checkpoint;
use super::head::{HeadAbout, read_head};
use super::runtime::RuntimeArgs;
use crate::faces::Split;
use crate::faces::{AlignedFace, AlignedFolder};
use crate::make::{self, Source, sha256};
use crate::nets::{self, Network};
use crate::train::net::{Net, Pass};
use crate::train::samples::{self, Preprocessing};
use crate::train::served::{self, Look, Written};
use crate::weights::Weights;
use crate::whole_file::write_whole;

/// What libtorch and ONNX Runtime may differ by, in the outputs' own units.
const TOLERANCE: f64 = 1e-4;
/// Faces that the exported networks are compared on; more would only take longer.
const MOST_COMPARED: usize = 64;
/// The false accept rate of the threshold, for each comparison with an enrolled face; as `kith calibrate` has it.
const FALSE_ACCEPT_RATE: f64 = 1e-4;
/// Least distance to the runner-up; as in the shipped catalogue.
const MARGIN_COSINE: f32 = 0.05;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export export --name family --checkpoint runs/family --head heads/family \\\n    \
    --faces faces --split split.json --out family-models\n  kith heads install family-models\n\n\
    OUT can be the user's catalogue, models.d in Kith's configuration directory, itself. What is written is first run in\n\
    ONNX Runtime beside libtorch on the faces; where they differ, nothing is written."
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
    /// The detector too: folder of the package's pnet.pt, rnet.pt and onet.pt
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

/// Writes the networks and then, in one step, the entry that makes them count. When something fails, what was written
/// is taken away again.
fn put(out: &Path, files: &[(String, Vec<u8>)], entry_file: &Path, entry: &str) -> anyhow::Result<()> {
    let mut made: Vec<PathBuf> = Vec::new();
    let mut write_all = || -> anyhow::Result<()> {
        for (name, bytes) in files {
            let path = out.join(name);
            let was_there = path.exists();
            write_whole(&path, bytes)?;
            if !was_there {
                made.push(path);
            }
        }
        write_whole(entry_file, entry.as_bytes())
    };
    let written = write_all();
    if written.is_err() {
        for path in &made {
            // It is the first error that counts.
            let _ = std::fs::remove_file(path);
        }
    }
    written
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

fn embedder(
    args: &Args,
    checkpoint: &Checkpoint,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    accuracy: Option<&Accuracy>,
    parcel: &mut Parcel,
) -> anyhow::Result<Written> {
    let mut written = checkpoint.write(&args.name)?;
    let about = &checkpoint.state.about;
    let cuts = samples::cuts(folder, faces, about.preprocessing.alignment)?;
    let cuts: Vec<&image::RgbImage> = cuts.iter().collect();
    let net = Net::new(checkpoint.network.graph(), &checkpoint.weights, Device::Cpu)?;
    let input = about.preprocessing.input_of(&cuts)?;
    let apart = apart(args, &net, &written.onnx, &input)?;
    parcel.apart.push((args.name.clone(), apart));
    if let Some(path) = &args.calibrate {
        calibrate(args, path, &mut written)?;
    }
    let model = &written.model;
    let mut outputs = BTreeMap::from([("embedding".to_owned(), model.embedding.clone())]);
    outputs.extend(model.features.clone().map(|features| ("features".to_owned(), features)));
    let data = &about.data;
    parcel
        .files
        .push((model.file.path.display().to_string(), written.onnx.clone()));
    parcel.models.push(Model {
        source: format!(
            "kith-export {}: {} trained on {} photos{} of {} (faces.json sha256 {})",
            about.made_by,
            about.network,
            data.photos,
            if data.people > 0 {
                format!(" of {} people", data.people)
            } else {
                String::new()
            },
            data.from,
            data.sha256.get(..8).unwrap_or_default(),
        ),
        licence: args.licence.clone(),
        input: Some(model.input.clone()),
        alignment: Some(model.alignment.clone()),
        outputs,
        embedding_space: Some(model.embedding_space.clone()),
        thresholds: model.thresholds,
        calibration: model.calibration,
        accuracy: accuracy.cloned(),
        ..entry(
            &args.name,
            Kind::Embedder,
            BTreeMap::from([("network".to_owned(), model.file.clone())]),
        )
    });
    Ok(written)
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
        embedder: None,
        reads: None,
        classes: Vec::new(),
        rejection: None,
    }
}

/// Sets threshold and confidence as `kith calibrate` does: from all pairs of photos of a folder.
fn calibrate(args: &Args, path: &Path, written: &mut Written) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(path)?;
    let people = folder.people();
    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    let mut embedder = served::open(written.clone(), &args.runtime.settings())?;
    let photos: Vec<LabelledPhoto> = faces
        .iter()
        .zip(served::embed(&mut embedder, &folder, &faces, Look::Plain)?)
        .map(|(face, embedded)| LabelledPhoto {
            person: people
                .iter()
                .position(|person| *person == face.person)
                .unwrap_or_default(),
            embedding: Some(embedded.embedding),
        })
        .collect();
    let pairs = AllPairs::of(&photos, people.len());
    ensure!(
        !pairs.same.is_empty() && pairs.different.len() as f64 * FALSE_ACCEPT_RATE >= 1.0,
        "{} has {} pairs of one person and {} of two; a threshold for a false accept rate of {FALSE_ACCEPT_RATE} needs \
         some of one, and ten thousand of two",
        path.display(),
        pairs.same.len(),
        pairs.different.len(),
    );
    #[expect(clippy::cast_possible_truncation, reason = "three decimals")]
    let cosine = to_places(f64::from(pairs.threshold_at(FALSE_ACCEPT_RATE)), 3) as f32;
    written.model.thresholds = Some(Thresholds {
        cosine,
        margin_cosine: MARGIN_COSINE,
    });
    written.model.calibration = Some(fit::calibration(&pairs));
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the head, its embedder, and where both go")]
fn head(
    args: &Args,
    weights: &Weights,
    about: &HeadAbout,
    embedder: Written,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    accuracy: Option<Accuracy>,
    parcel: &mut Parcel,
) -> anyhow::Result<()> {
    let model: EmbedderModel = embedder.model.clone();
    ensure!(
        about.embedding_space == model.embedding_space,
        "the head was trained on {}, but the embedder {} gives {}; train the head on it, or name the embedder that it \
         was trained on with --checkpoint or --model",
        about.embedding_space,
        model.name,
        model.embedding_space
    );
    let reads = match about.reads.as_str() {
        "embedding" => Reads::Embedding,
        "features" => Reads::Features,
        other => bail!("the head reads {other:?}, which no embedder gives"),
    };
    let mut opened = served::open(embedder, &args.runtime.settings())?;
    let inputs: Vec<f32> = served::embed(&mut opened, folder, faces, Look::Plain)?
        .into_iter()
        .flat_map(|embedded| match (reads, embedded.features) {
            (Reads::Features, Some(features)) => features,
            _ => Embedding::as_slice(&embedded.embedding).to_vec(),
        })
        .collect();
    let values = inputs.len() / faces.len();
    let mut cooled = weights.clone();
    #[expect(clippy::cast_possible_truncation, reason = "weights")]
    for value in cooled.values_mut().flat_map(|tensor| &mut tensor.values) {
        *value = (f64::from(*value) / about.temperature) as f32;
    }
    let graph = nets::head(values, about.classes.len());
    let metadata = [
        ("source", "kith-export head".to_owned()),
        ("embedding_space", about.embedding_space.clone()),
        ("reads", about.reads.clone()),
    ];
    let onnx = crate::onnx::write(&graph, &cooled, &metadata)?;
    let net = Net::new(graph, &cooled, Device::Cpu)?;
    let input = Tensor::f_from_slice(&inputs)?.f_reshape([i64::try_from(faces.len())?, i64::try_from(values)?])?;
    let apart = apart(args, &net, &onnx, &input)?;
    parcel.apart.push((format!("{} (head)", args.name), apart));
    let path = format!("{}-head.onnx", args.name);
    let file = ModelFile {
        path: path.clone().into(),
        sha256: sha256(&onnx),
    };
    parcel.files.push((path, onnx));
    let figures = BTreeMap::from([("held_out".to_owned(), about.accuracy_held_out)]);
    parcel.models.push(Model {
        source: format!(
            "kith-export head: {} photos of {} people of {} (faces.json sha256 {})",
            about.data.photos,
            about.data.people,
            about.data.from,
            about.data.sha256.get(..8).unwrap_or_default()
        ),
        licence: args.licence.clone(),
        embedding_space: Some(about.embedding_space.clone()),
        embedder: Some(model.name),
        reads: Some(reads),
        classes: about.classes.clone(),
        rejection: Some(Rejection {
            probability: to_places(about.rejection_probability, 4),
            false_accept_rate: about.false_accept_rate,
        }),
        accuracy: Some(accuracy.unwrap_or(Accuracy {
            how: "share of photos that heads without their fold named rightly".to_owned(),
            figures,
        })),
        ..entry(&args.name, Kind::Head, BTreeMap::from([("network".to_owned(), file)]))
    });
    Ok(())
}

fn detector(
    args: &Args,
    packages: &Path,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    parcel: &mut Parcel,
) -> anyhow::Result<()> {
    let mut files = BTreeMap::new();
    let (mean, scale) = Network::MtcnnPnet.mean_and_scale();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "floats of 32 bits, written down with more digits"
    )]
    let input = kith::model::Input {
        channels: kith::model::Channels::Rgb,
        width_px: None,
        height_px: None,
        mean: mean as f32,
        scale: scale as f32,
    };
    for (role, network, side) in [
        ("pnet", Network::MtcnnPnet, 112),
        ("rnet", Network::MtcnnRnet, 24),
        ("onet", Network::MtcnnOnet, 48),
    ] {
        let path = packages.join(format!("{role}.pt"));
        let file = make::read_weight_file(&path)?;
        let source = Source {
            package: "facenet-pytorch",
            licence: "MIT",
        };
        let made = make::from_bytes(network, &file, source).with_context(|| format!("can't use {}", path.display()))?;
        let net = Net::new(network.graph(), &make::weights_of(network, &file)?, Device::Cpu)?;
        let cuts = samples::cuts(folder, faces, kith::align::Alignment::FivePoint112)?;
        let mut planes = vec![0.0; faces.len() * 3 * side * side];
        for (cut, planes) in cuts.iter().zip(planes.chunks_exact_mut(3 * side * side)) {
            let pixels = u32::try_from(side)?;
            let small = image::imageops::resize(cut, pixels, pixels, image::imageops::FilterType::Triangle);
            kith::embed::normalise(&small, &input, planes);
        }
        let side = i64::try_from(side)?;
        let tensor = Tensor::f_from_slice(&planes)?.f_reshape([i64::try_from(faces.len())?, 3, side, side])?;
        let apart = apart(args, &net, &made.onnx, &tensor)?;
        parcel.apart.push((format!("{} ({role})", args.name), apart));
        let name = format!("{}-{role}.onnx", args.name);
        files.insert(
            role.to_owned(),
            ModelFile {
                path: name.clone().into(),
                sha256: made.sha256,
            },
        );
        parcel.files.push((name, made.onnx));
    }
    parcel.models.push(Model {
        source: "facenet-pytorch".to_owned(),
        licence: "MIT".to_owned(),
        input: Some(input),
        ..entry(&args.name, Kind::Detector, files)
    });
    Ok(())
}

/// The largest difference between what libtorch and ONNX Runtime give for `input`.
///
/// # Errors
/// When it is more than rounding: then one of the two is wrong, and neither is to be used.
fn apart(args: &Args, net: &Net, onnx: &[u8], input: &Tensor) -> anyhow::Result<f64> {
    let graph = net.graph();
    let runtime = Runtime::load(&args.runtime.settings())?;
    let mut lane = runtime.open_small("exported", onnx, graph.input.name())?;
    let shape: Vec<usize> = input
        .size()
        .into_iter()
        .map(|length| usize::try_from(length).unwrap_or(0))
        .collect();
    let values = Vec::<f32>::try_from(input.f_contiguous()?.f_view([-1])?)?;
    let ours = net.run(input, Pass::Serve)?;
    let read = |outputs: &ort::session::SessionOutputs<'_>| -> anyhow::Result<Vec<Vec<f32>>> {
        graph
            .outputs
            .iter()
            .map(|output| {
                let value = outputs
                    .get(output.name)
                    .with_context(|| format!("no output {}", output.name))?;
                Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
            })
            .collect()
    };
    let theirs = match shape[..] {
        [n, k] => lane.run([n, k], &values, read)??,
        [n, c, h, w] => lane.run([n, c, h, w], &values, read)??,
        _ => bail!("{} takes a shape that is not known here", graph.name),
    };
    let mut most = 0.0_f64;
    for ((ours, theirs), output) in ours.iter().zip(&theirs).zip(&graph.outputs) {
        let ours = Vec::<f32>::try_from(ours.f_contiguous()?.f_view([-1])?)?;
        ensure!(
            ours.len() == theirs.len(),
            "{} {} has another size in ONNX Runtime",
            graph.name,
            output.name
        );
        let size = theirs
            .iter()
            .fold(1.0_f64, |size, value| size.max(f64::from(value.abs())));
        for (a, b) in ours.iter().zip(theirs) {
            let apart = f64::from((a - b).abs()) / size;
            // A value that is no number is not within any tolerance.
            ensure!(
                apart <= TOLERANCE,
                "{}: its output {} is {apart:.1e} apart in libtorch and ONNX Runtime (at most {TOLERANCE:.0e}), so \
                 nothing was written; the weights or the runtime library are damaged",
                graph.name,
                output.name
            );
            most = most.max(apart);
        }
    }
    Ok(most)
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

impl Preprocessing {
    /// The network's input for cuts, `[N, 3, side, side]`.
    fn input_of(&self, cuts: &[&image::RgbImage]) -> anyhow::Result<Tensor> {
        let shape = self.shape();
        let values: usize = shape.iter().product();
        let mut planes = vec![0.0; cuts.len() * values];
        for (cut, planes) in cuts.iter().zip(planes.chunks_exact_mut(values)) {
            self.planes(&self.alignment.finish(cut), planes);
        }
        let shape = [cuts.len(), shape[0], shape[1], shape[2]].map(|length| i64::try_from(length).unwrap_or(0));
        Ok(Tensor::f_from_slice(&planes)?.f_reshape(shape)?)
    }
}
